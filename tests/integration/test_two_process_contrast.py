"""The contrastive loss of two processes is that of one with all samples, and so are its gradients."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.rsrefseg2.losses import contrastive, duplicate_keys

SAMPLES, WIDTH = 6, 5


def loss_of(images: nn.Module, texts: nn.Module, scale: Tensor, bias: Tensor, part: slice) -> Tensor:
    """The loss of some samples; samples 1 and 4 share a sentence."""
    draw = torch.Generator().manual_seed(1)
    seen, said = (torch.randn(SAMPLES, WIDTH, generator=draw, dtype=torch.float64)[part] for _ in range(2))
    words = ["a", "b", "c", "d", "b", "e"][part]
    keys = duplicate_keys(words, [f"image {k}" for k in range(SAMPLES)][part], torch.device("cpu"))
    normed = (F.normalize(images(seen), dim=-1), F.normalize(texts(said), dim=-1))
    return contrastive(*normed, scale, bias, keys)


def gradients(part: slice) -> tuple[Tensor, list[Tensor]]:
    """The loss and its gradients, the mean over processes as DDP takes it."""
    torch.manual_seed(0)
    images, texts = (nn.Linear(WIDTH, WIDTH, dtype=torch.float64) for _ in range(2))
    scale = torch.full((1,), 1.5, dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    loss = loss_of(images, texts, scale, bias, part)
    found = list(torch.autograd.grad(loss, [*images.parameters(), *texts.parameters(), scale]))
    if dist.is_initialized():
        for gradient in found:
            dist.all_reduce(gradient)
            gradient /= dist.get_world_size()
    return loss.detach(), found


def worker(rank: int, port: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    half = SAMPLES // 2
    torch.save(gradients(slice(rank * half, (rank + 1) * half)), Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_processes_equal_one(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    mp.spawn(worker, args=(port, str(tmp_path)), nprocs=2)
    loss, expected = gradients(slice(None))
    for rank in range(2):
        found_loss, found = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        torch.testing.assert_close(found_loss, loss)
        for gradient, wanted in zip(found, expected, strict=True):
            assert wanted.abs().max() > 1e-4
            torch.testing.assert_close(gradient, wanted)
