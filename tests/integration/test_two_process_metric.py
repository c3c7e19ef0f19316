"""One process and two give the same counts, with real processes and an odd number of samples."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from rrsis_bench.metrics.metric import SampleCounts

N = 7
CASES = {
    "odd": [[0, 2, 4, 6], [1, 3, 5]],
    "repeated": [[0, 2, 4, 6], [1, 3, 5, 0]],
    "one-has-none": [[6, 5, 4, 3, 2, 1, 0], []],
    "single-sample": [[3], []],
}


def rows(n_views: int = 3) -> torch.Tensor:
    """Counts (N, V, 3) that tell every sample apart."""
    return torch.arange(N * n_views * 3).reshape(N, n_views, 3)


def worker(rank: int, port: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    # One metric throughout: what one epoch gathered must not linger in the next.
    metric, counts = SampleCounts(), rows()
    for name, shards in CASES.items():
        for start in range(0, len(shards[rank]), 2):
            part = torch.tensor(shards[rank][start : start + 2])
            metric.update(part, counts[part])
        torch.save(tuple(metric.compute()), Path(folder) / f"{name}-{rank}.pt")
        metric.reset()
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def gathered(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gathered")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    mp.spawn(worker, args=(port, str(folder)), nprocs=2)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("rank", [0, 1])
def test_two_processes_equal_one(name, rank, gathered):
    seen = sorted({index for shard in CASES[name] for index in shard})
    single = SampleCounts()
    single.update(torch.tensor(seen), rows()[seen])
    expected_indices, expected_counts = single.compute()
    indices, counts = torch.load(gathered / f"{name}-{rank}.pt", weights_only=True)
    assert indices.tolist() == expected_indices.tolist() == seen
    assert torch.equal(counts, expected_counts)
