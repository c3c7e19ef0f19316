"""How fast the published networks are evaluated: from file to integers, images per second.

    python benchmarks/speed.py

prints a Markdown table. Every row runs the same network with the same random parameters on the same made-up RRSIS-D
folder. The plain loop is written as the papers' test scripts work: one image after the other in float32, loaded when it
is its turn, attention written out as products and a softmax, the prediction moved to the host, intersection and union
counted there at 480x480. Ours is what `rrsis-bench test` runs: loader processes, batches, integers counted on the
device under every protocol. Times run from the end of the first batch to the end of the last, so that the start of the
loader processes, which is the same for sixteen images and for three thousand, is not taken for their speed.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, Trainer
from PIL import Image
from pycocotools import mask as coco_mask
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torchvision.transforms import functional

from rrsis_bench import config
from rrsis_bench.data.datamodule import ReferringDataModule
from rrsis_bench.data.sources import create
from rrsis_bench.data.text import load_tokenizer
from rrsis_bench.engine.task import ReferringSegmentationTask
from rrsis_bench.types import Batch, TextTokens

PROTOCOLS = ("paper-lavt480-v1", "native-v1", "paper-rsrefseg2-v1", "paper-detris-v1")


@dataclass(frozen=True)
class Figure:
    """One row.

    Attributes:
        what: how it was run.
        rate: images per second.
        miou: mean IoU at 480x480 in percent.
    """

    what: str
    rate: float
    miou: float


def build(method: str) -> ReferringSegmentationTask:
    """The published network with fixed random parameters."""
    options = config.variant_options(method, "base")
    torch.manual_seed(0)
    return ReferringSegmentationTask(method, "base", options, pretrained=False, protocols=PROTOCOLS).eval()


@torch.no_grad()
def balance(task: ReferringSegmentationTask, data: ReferringDataModule) -> None:
    """Move the object's bias so that half of a test image's pixels are marked; else the score would say nothing."""
    batch = next(iter(data.test_dataloader()))
    task.method.decoder.classify.bias[1] -= task.method(batch).logits.median()  # type: ignore[union-attr, index]


def plain(task: ReferringSegmentationTask, data: ReferringDataModule) -> Figure:
    """The papers' loop."""
    method, dataset = task.method, data.test_dataset
    spec = method.input_spec
    tokenize = load_tokenizer(spec)
    ious, ends = [], []
    for index in range(len(dataset)):
        record = dataset.record(index)
        picture = Image.open(dataset.root / record.image).convert("RGB")
        truth = Image.fromarray(coco_mask.decode(record.rle)).resize(spec.image_size[::-1], Image.Resampling.NEAREST)
        image = functional.to_tensor(functional.resize(picture, list(spec.image_size)))
        image = functional.normalize(image, list(spec.mean), list(spec.std))[None]
        done = tokenize(record.text)
        parts = {name: torch.tensor([part]) for name, part in done.parts.items()}
        tokens = TextTokens(torch.tensor([done.ids]), torch.tensor([done.mask], dtype=torch.bool), parts)
        names = (record.sample_id,)
        mask = torch.from_numpy(np.asarray(truth))[None]
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
            output = method(Batch(image, mask, tokens, names, names, names, names, torch.tensor([index])))
        logits = F.interpolate(output.logits, spec.image_size, mode="bilinear", align_corners=True)
        found = (logits.cpu()[0, 0] > 0).numpy()
        target = np.asarray(truth) > 0
        union = np.logical_or(found, target).sum()
        ious.append(np.logical_and(found, target).sum() / union if union else 0.0)
        ends.append(time.perf_counter())
    rate = (len(dataset) - 1) / (ends[-1] - ends[0])
    return Figure("plain loop, float32, batch 1", rate, 100 * float(np.mean(ious)))


class Clock(Callback):
    """When each batch was scored."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_test_batch_end(self, *args: Any, **kwargs: Any) -> None:
        """Note the time."""
        self.ends.append(time.perf_counter())


def ours(task: ReferringSegmentationTask, data: ReferringDataModule, precision: str, batch: int) -> Figure:
    """What `rrsis-bench test` runs, without starting the process."""
    data.eval_batch_size = batch
    trainer = Trainer(
        accelerator="cpu", precision=precision, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, use_distributed_sampler=False, callbacks=[clock := Clock()],
    )  # fmt: skip
    data.setup("test")
    trainer.test(task, data, verbose=False)
    rate = (len(data.test_dataset) - batch) / (clock.ends[-1] - clock.ends[0])
    assert task.scored is not None
    miou = 100 * task.scored.of(task.protocols[0])["miou"]
    name = {"32-true": "float32", "bf16-mixed": "bf16 autocast"}[precision]
    return Figure(f"rrsis-bench, {name}, batch {batch}", rate, miou)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--methods", nargs="+", default=["lavt", "rmsin", "fianet"], help="registered methods")
    parser.add_argument("--images", type=int, default=16, help="made-up test images (default: 16)")
    parser.add_argument("--workers", type=int, default=2, help="loader processes (default: 2)")
    args = parser.parse_args()
    torch.set_float32_matmul_precision("highest")
    print(f"{os.cpu_count()} cores, torch {torch.__version__}, {args.images} images\n")
    print("| method | how | images/s | against the plain loop | mean IoU |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "rrsisd"
        create("rrsisd").write_fake(root, args.images, 0, size=800)  # type: ignore[call-arg]
        for name in args.methods:
            task = build(name)
            data = ReferringDataModule("rrsisd", "rrsisd", str(root), num_workers=args.workers)
            data.input_spec = task.method.input_spec
            data.prepare_data()
            data.setup("test")
            balance(task, data)
            plain(task, data)  # warm: the first pass pays for allocations and file caches
            reference = plain(task, data)
            rows = [reference]
            for precision in ("32-true", "bf16-mixed"):
                rows += [ours(task, data, precision, batch) for batch in (1, 8)]
            for row in rows:
                ratio = row.rate / reference.rate
                print(f"| {name} | {row.what} | {row.rate:.3f} | {ratio:.2f} | {row.miou:.2f} |", flush=True)


if __name__ == "__main__":
    main()
