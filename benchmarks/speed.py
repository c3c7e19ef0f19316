"""How fast the published networks are evaluated: from file to integers, images per second.

    python benchmarks/speed.py

prints a Markdown table. Every row runs the same network with the same random parameters on the same samples: made-up
ones in RRSIS-D's layout or, with `--dataset NAME`, some of a real test split, evenly spaced. The plain loop is written
as the papers' test scripts work: one image after the other in float32, loaded when it is its turn, attention written
out as products and a softmax (in windows by timm), maps enlarged before they are convolved, the prediction moved to the
host, intersection and union counted there at the size of the method's paper (`PROTOCOLS`). Ours is what `rrsis-bench
test` runs: loader processes, batches, integers counted on the device under every protocol; in one process with every
core, and in one process per core (`--trainer.devices=N`). Times run from the end of the first batch to the end of the
last, of all processes, so that the start of the processes, which is the same for thirty images and for three thousand,
is not taken for their speed. Where a vocabulary is not on disk, made-up words take its place.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, Trainer
from PIL import Image
from pycocotools import mask as coco_mask
from timm.models.swin_transformer import WindowAttention
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torchvision.transforms import functional

from rrsis_bench import config
from rrsis_bench.data.datamodule import ReferringDataModule
from rrsis_bench.data.dataset import ReferringDataset
from rrsis_bench.data.sources import create
from rrsis_bench.data.text import load_tokenizer
from rrsis_bench.engine.task import ReferringSegmentationTask
from rrsis_bench.errors import MissingResourceError
from rrsis_bench.metrics.protocols import expand
from rrsis_bench.nn.layers.forms import as_published
from rrsis_bench.run.request import RunRequest
from rrsis_bench.run.resolve import resolve
from rrsis_bench.types import Batch, InputSpec, TextTokens, Tokenized


@dataclass(frozen=True)
class Figure:
    """One row.

    Attributes:
        what: how it was run.
        rate: images per second.
        miou: mean IoU in percent.
    """

    what: str
    rate: float
    miou: float


@dataclass(frozen=True)
class Samples:
    """What is evaluated.

    Attributes:
        dataset: a configured data set.
        root: its folder; None for where `rrsis-bench` looks for it.
        count: how many samples.
    """

    dataset: str
    root: str | None
    count: int


@dataclass(frozen=True)
class Job:
    """One row of ours.

    Attributes:
        method: registered name.
        variant: one of its variants.
        samples: what is evaluated.
        notes: folder for each process's times.
        precision: Lightning's name of it.
        batch: images at a time in each process.
        processes: how many share the images; each gets its part of the cores.
        workers: loader processes of each.
    """

    method: str
    variant: str
    samples: Samples
    notes: str
    precision: str
    batch: int
    processes: int
    workers: int


METHODS = ("lavt", "rmsin", "fianet", "lgce", "rs2sam2", "dicor", "c3vg")
PROTOCOLS = {"rs2sam2": "paper-rs2sam2-v1", "c3vg": "paper-c3vg-v1"}
"""The protocol of a method's paper; of all others it is LAVT's."""


class StandIn:
    """A tokenizer for methods whose vocabulary is not on disk: the words do not matter here."""

    def __init__(self, spec: InputSpec) -> None:
        self.length = spec.max_tokens

    def __call__(self, text: str) -> Tokenized:
        """As many words as fit."""
        return Tokenized([1] * self.length, [1] * self.length, False)


def build(method: str, variant: str) -> ReferringSegmentationTask:
    """A network with fixed random parameters."""
    options = config.variant_options(method, variant)
    torch.manual_seed(0)
    protocols = expand(PROTOCOLS.get(method, "paper-lavt480-v1"))
    return ReferringSegmentationTask(method, variant, options, pretrained=False, protocols=protocols).eval()


class SpacedData(ReferringDataModule):
    """A data set of which only some samples, evenly spaced, are opened."""

    count: int

    def open_split(self, split: str, training: bool = False) -> ReferringDataset:
        """As many samples as `count` says."""
        whole = super().open_split(split, training)
        places = np.linspace(0, len(whole) - 1, min(self.count, len(whole))).round().astype(int)
        return ReferringDataset(whole.manifest.take(places.tolist()), whole.root, whole.spec, training)


def open_data(samples: Samples, task: ReferringSegmentationTask, workers: int) -> ReferringDataModule:
    """The test samples."""
    options = resolve(RunRequest(task.method_name, samples.dataset, task.variant)).config["data"]
    root = samples.root or options.get("root")
    data = SpacedData(**{**options, "root": root, "num_workers": workers, "eval_batch_size": 8})
    spec = task.method.input_spec
    try:
        load_tokenizer(spec)
    except MissingResourceError:
        spec = replace(spec, tokenizer="__main__:StandIn")
    data.count, data.input_spec = samples.count, spec
    data.setup("test")
    return data


@torch.no_grad()
def balance(task: ReferringSegmentationTask, data: ReferringDataModule) -> None:
    """Shift the logits so that half of a test image's pixels are marked; else the score would say nothing."""
    batch = next(iter(data.test_dataloader()))
    middle = task.method(batch).logits.median()
    task.method.register_forward_hook(lambda _method, _given, out: replace(out, logits=out.logits - middle))


def plain(name: str, variant: str, samples: Samples) -> Figure:
    """The papers' loop, with every core."""
    task = build(name, variant)
    data = open_data(samples, task, 0)
    balance(task, data)
    for module in task.method.modules():
        if isinstance(module, WindowAttention):
            module.fused_attn, module.forward = False, partial(WindowAttention.forward, module)
    method, dataset = task.method, data.test_dataset
    spec = data.input_spec
    tokenize, view = load_tokenizer(spec), task.protocols[0].view
    size = spec.image_size if view.size == "native" else view.size
    ious, ends = [], []
    for index in range(len(dataset)):
        record = dataset.pair(index)
        picture = Image.open(dataset.root / record.image).convert("RGB")
        drawn = Image.fromarray(coco_mask.decode(record.rle))
        truth = np.array(drawn.resize(size[::-1], Image.Resampling.NEAREST))
        image = functional.to_tensor(functional.resize(picture, list(spec.image_size)))
        image = functional.normalize(image, list(spec.mean), list(spec.std))[None]
        done = tokenize(record.text)
        parts = {name: torch.tensor([part]) for name, part in done.parts.items()}
        tokens = TextTokens(torch.tensor([done.ids]), torch.tensor([done.mask], dtype=torch.bool), parts)
        names = (record.sample_id,)
        mask = torch.from_numpy(truth)[None]
        with torch.no_grad(), as_published(), sdpa_kernel(SDPBackend.MATH):
            output = method(Batch(image, mask, tokens, names, names, names, names, torch.tensor([index])))
        corners = view.upsample == "bilinear-corners"
        logits = F.interpolate(output.logits, size, mode="bilinear", align_corners=corners)
        found = (logits.cpu()[0, 0] > 0).numpy()
        target = truth > 0
        union = np.logical_or(found, target).sum()
        ious.append(np.logical_and(found, target).sum() / union if union else 0.0)
        ends.append(time.perf_counter())
    rate = (len(dataset) - 1) / (ends[-1] - ends[0])
    return Figure("plain loop, float32, batch 1", rate, 100 * float(np.mean(ious)))


class Clock(Callback):
    """When each batch was scored, and how many images were in it."""

    def __init__(self) -> None:
        self.ends: list[float] = []
        self.images: list[int] = []

    def on_test_batch_end(self, trainer: Any, task: Any, outputs: Any, batch: Batch, *args: Any) -> None:
        """Note both; the clock is the same in all processes."""
        self.ends.append(time.time())
        self.images.append(len(batch.images))


def score(job: Job) -> None:
    """What `rrsis-bench test` runs; each process notes its times and the score beside the data."""
    task = build(job.method, job.variant)
    data = open_data(job.samples, task, job.workers)
    balance(task, data)
    data.eval_batch_size = job.batch
    trainer = Trainer(
        accelerator="cpu", devices=job.processes, precision=job.precision, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, use_distributed_sampler=False,
        callbacks=[clock := Clock()],
    )  # fmt: skip
    trainer.test(task, data, verbose=False)
    miou = 100 * task.scored.of(task.protocols[0])["miou"] if task.scored is not None else None
    note = {"ends": clock.ends, "images": clock.images, "miou": miou}
    Path(job.notes, f"{trainer.global_rank}.json").write_text(json.dumps(note))


def ours(job: Job) -> Figure:
    """Run one row in processes of its own and put their notes together."""
    done = subprocess.run(
        [sys.executable, __file__, "--job", json.dumps(asdict(job))], stderr=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    notes = [json.loads(Path(job.notes, f"{rank}.json").read_text()) for rank in range(job.processes)]
    timed = sum(sum(note["images"][1:]) for note in notes)
    rate = timed / (max(note["ends"][-1] for note in notes) - min(note["ends"][0] for note in notes))
    name = {"32-true": "float32", "bf16-mixed": "bf16 autocast"}[job.precision]
    processes = f", {job.processes} processes" if job.processes > 1 else ""
    return Figure(f"rrsis-bench, {name}, batch {job.batch}{processes}", rate, notes[0]["miou"])


def row(name: str, figure: Figure, reference: Figure) -> str:
    """A line of the table."""
    ratio = figure.rate / reference.rate
    return f"| {name} | {figure.what} | {figure.rate:.3f} | {ratio:.2f} | {figure.miou:.2f} |"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--methods", nargs="+", default=METHODS, help="registered methods")
    parser.add_argument("--variant", help="variant (default: the published one)")
    parser.add_argument("--dataset", help="a data set on disk, such as rrsisd (default: made-up images)")
    parser.add_argument("--images", type=int, default=32, help="test samples (default: 32)")
    parser.add_argument("--workers", type=int, default=2, help="loader processes (default: 2)")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_float32_matmul_precision("highest")
    if args.job:
        job = json.loads(args.job)
        score(Job(**{**job, "samples": Samples(**job["samples"])}))
        return
    cores = len(os.sched_getaffinity(0))
    print(f"{cores} cores, torch {torch.__version__}, {args.images} samples of {args.dataset or 'made-up images'}\n")
    print("Goals against the plain loop: 1.2 in float32, 2.2 in bf16\n")
    print("| method | how | images/s | against the plain loop | mean IoU |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        samples = Samples(args.dataset or "rrsisd", None if args.dataset else f"{folder}/rrsisd", args.images)
        if samples.root:
            create("rrsisd").write_fake(Path(samples.root), args.images, 0, size=800)  # type: ignore[call-arg]
        for name in args.methods:
            variant = args.variant or str(config.method_config(name)["published"])
            reference = plain(name, variant, samples)
            print(row(name, reference, reference), flush=True)
            for processes in sorted({1, cores}):
                for precision in ("32-true", "bf16-mixed"):
                    for batch in (1, 8):
                        if args.images > batch * processes:  # else no batch is left to be timed
                            job = Job(name, variant, samples, folder, precision, batch, processes, args.workers)
                            print(row(name, ours(job), reference), flush=True)


if __name__ == "__main__":
    main()
