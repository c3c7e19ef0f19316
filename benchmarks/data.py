"""How fast the data room is: opening a large manifest, and samples per second of one loader process.

    python benchmarks/data.py [--dataset NAME]

prints two Markdown tables. With `--dataset`, images are those of a real training split, evenly spaced, and the first
table is left out. The plain loader beside ours is written as the papers' are: every access opens the image with PIL,
decodes the mask, resizes both, makes a tensor, normalises and tokenises. "Cache" is ours with `--data.cache` from the
second epoch on, where no augmentation changes pixels.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np
import torch
from PIL import Image
from pycocotools import mask as coco_mask
from torchvision.transforms import functional

from rrsis_bench.data import text as texts
from rrsis_bench.data.cache import ImageCache
from rrsis_bench.data.catalogue import settings
from rrsis_bench.data.datamodule import ReferringDataModule
from rrsis_bench.data.dataset import ReferringDataset
from rrsis_bench.data.manifest import Manifest, dump_pair, write_manifest
from rrsis_bench.data.sources import create
from rrsis_bench.data.state import Contents
from rrsis_bench.errors import UserError
from rrsis_bench.types import InputSpec

SIDES = {"rrsisd": 800, "refsegrs": 512, "risbench": 512, "manifest": 512}
RISBENCH = 52_472
OPEN = """
import sys, time
from rrsis_bench.data.manifest import Manifest
peak = lambda: int(next(l.split()[1] for l in open("/proc/self/status") if l.startswith("VmHWM"))) / 1024
before, start = peak(), time.perf_counter()
manifest = Manifest.open(sys.argv[1], sys.argv[2])
opened = time.perf_counter() - start
manifest[len(manifest) - 1]
print(len(manifest), opened, before, peak())
"""


def plain_loader(manifest: Manifest, root: Path, spec: InputSpec) -> Callable[[int], tuple[object, ...]]:
    """One access as the papers' loaders make it. Masks that stand in files are opened, others decoded."""
    tokenize = texts.load_tokenizer(spec)
    size = list(spec.image_size)
    records = list(manifest)

    def load(index: int) -> tuple[object, ...]:
        record = records[index]
        image = Image.open(root / record.image).convert("RGB")
        file = root / record.image.replace("img_rgb/", "mask/").replace("images/", "masks/", 1)
        if file.is_file() and file != root / record.image:
            mask = np.asarray(Image.open(file).convert("L")) > 127
        else:
            mask = coco_mask.decode(record.rle)
        picture = functional.resize(image, size)
        truth = Image.fromarray(mask.astype(np.uint8)).resize((size[1], size[0]), Image.Resampling.NEAREST)
        tensor = functional.normalize(functional.to_tensor(picture), list(spec.mean), list(spec.std))
        done = tokenize(record.text)
        return (
            tensor,
            torch.from_numpy(np.asarray(truth).astype(np.int64)),
            torch.tensor(done.ids),
            torch.tensor(done.mask),
        )

    return load


def rates(loads: Sequence[Callable[[int], object]], count: int, passes: int) -> list[float]:
    """Samples per second of processor time of each loader.

    Loaders take turns and the best pass of each counts, so that another process on the machine disturbs both alike.
    """
    best = [0.0] * len(loads)
    for _ in range(passes):
        for number, load in enumerate(loads):
            start = time.process_time()
            for index in range(count):
                load(index)
            best[number] = max(best[number], count / (time.process_time() - start))
    return best


def specification() -> InputSpec:
    """480 px as the papers', with the BERT tokenizer where its vocabulary is at hand, else the tiny one."""
    spec = InputSpec((480, 480), "bert", 20)
    try:
        texts.load_tokenizer(spec)
    except UserError:
        return InputSpec((480, 480), "tiny", 20)
    return spec


def row(name: str, manifest: Manifest, root: Path, spec: InputSpec, folder: Path, passes: int) -> str:
    """A line of the table of loaders, for all samples of a manifest."""
    data = ReferringDataset(manifest, root, spec, training=True)
    cache = ImageCache(folder / "cache" / name, 10**11, spec, Contents(root, {}))
    cached = ReferringDataset(manifest, root, spec, training=True, cache=cache)
    for index in range(len(cached)):
        assert np.array_equal(cached[index].image, data[index].image)
    time.sleep(2)  # a file that was written this moment is read at every access, in case it is written again
    loads = [data.__getitem__, plain_loader(manifest, root, spec), cached.__getitem__]
    ours, plain, kept = rates(loads, len(data), passes)
    side = max(manifest[0].width, manifest[0].height)
    return f"| {name} | {side} | {ours:.0f} | {plain:.0f} | {ours / plain:.2f} | {kept:.0f} | {kept / ours:.2f} |"


def real(name: str, spec: InputSpec, count: int) -> tuple[Manifest, Path]:
    """Some training samples of a data set on disk, and its folder."""
    module = ReferringDataModule(**settings(name))
    module.input_spec = spec
    module.setup()
    whole = module.train_dataset.manifest
    return whole.take(np.linspace(0, len(whole) - 1, min(count, len(whole))).round().astype(int).tolist()), module.root


def large_manifest(listing: Path, folder: Path) -> None:
    """Print how long it takes to open a manifest as long as RISBench's."""
    record = Manifest.open(listing)[0]
    large = folder / "large.jsonl"
    counts = "Pom56h?4M2O2M3N:F2N10O010O1O1O1N4M3L4L5JdPi1" * 6  # as long as a ragged mask's
    line = dump_pair(record).replace(record.rle["counts"].encode().replace(b"\\", b"\\\\"), counts.encode())
    large.write_bytes(line * RISBENCH)
    command = [sys.executable, "-c", OPEN, str(large), record.split]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    print("| manifest | file | opened in | memory, whole process | of it before opening |\n|---|---|---|---|---|")
    print(
        f"| {int(out[0]):,} samples | {large.stat().st_size / 1e6:.0f} MB | {float(out[1]):.2f} s | "
        f"{float(out[3]):.0f} MB | {float(out[2]):.0f} MB |\n"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--dataset", help="a data set on disk, such as houston (default: made-up ones)")
    parser.add_argument("--samples", type=int, default=100, help="samples of each data set (default: 100)")
    parser.add_argument("--passes", type=int, default=5, help="passes over them, the best counts (default: 5)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    spec = specification()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if args.dataset:
            rows = [row(args.dataset, *real(args.dataset, spec, args.samples), spec, folder, args.passes)]
        else:
            rows = []
            for name, side in SIDES.items():
                root, listing = folder / name, folder / f"{name}.jsonl"
                source = create(name)
                source.write_fake(root, -(-args.samples // 3), 0, size=side)  # type: ignore[call-arg]
                write_manifest(listing, source.prepare(root))
                rows.append(row(name, Manifest.open(listing), root, spec, folder, args.passes))
            large_manifest(listing, folder)
    print(f"Samples per second of processor time of one process at 480 px ({spec.tokenizer} tokenizer):\n")
    print("| data set | image side | ours | plain | ratio | cache | ratio to ours |\n|---|---|---|---|---|---|---|")
    print("\n".join(rows))


if __name__ == "__main__":
    main()
