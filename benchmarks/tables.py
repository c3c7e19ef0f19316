"""How fast images are read at random from parquet and arrow copies, beside the folder that they were made of.

    python benchmarks/tables.py

prints a Markdown table (extra `parquet`). One process reads a made-up RISBench (512 px PNG, row groups of 100 as copies
on the hub have) in a shuffled order, as in training. Each row of the table is a process of its own.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np
import torch

from rrsis_bench.data.dataset import ReferringDataset
from rrsis_bench.data.manifest import Manifest, write_manifest
from rrsis_bench.data.sources import create
from rrsis_bench.data.tables import open_stored
from rrsis_bench.types import InputSpec

GROUP = 100  # rows


def _arrow(table: Any, file: Path) -> None:
    import pyarrow as pa

    with pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=1000)


def _parquet(compression: str) -> Callable[[Any, Path], None]:
    def write(table: Any, file: Path) -> None:
        import pyarrow.parquet as pq

        pq.write_table(table, file, GROUP, compression=compression)

    return write


FORMS: dict[str, tuple[str, Callable[[Any, Path], None]]] = {
    "arrow": ("train.arrow", _arrow),
    "parquet, not compressed": ("train.parquet", _parquet("none")),
    "parquet, snappy": ("train.parquet", _parquet("snappy")),
    "parquet, zstd": ("train.parquet", _parquet("zstd")),
}


def measured(root: Path, listing: Path, order: list[int], passes: int) -> tuple[float, float, float]:
    """Ms of processor time to read an image's bytes and to make a sample, and the samples of the first pass."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    manifest = Manifest.open(listing)
    data = ReferringDataset(manifest, root, InputSpec((480, 480), "tiny", 20))
    paths = [root / manifest[at].image for at in order]

    def timed(work: Callable[[], None]) -> float:
        start = time.process_time()
        work()
        return 1000 * (time.process_time() - start) / len(order)

    def read() -> None:
        for path in paths:
            with open_stored(path) as stream:
                stream.read()

    def load() -> None:
        for at in order:
            data[at]

    first = timed(load)
    return min(timed(read) for _ in range(passes)), min(timed(load) for _ in range(passes)), first


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--samples", type=int, default=600, help="made-up samples (default: 600)")
    parser.add_argument("--passes", type=int, default=3, help="passes over them, the best counts (default: 3)")
    args = parser.parse_args()
    import pyarrow as pa

    order = np.random.default_rng(0).permutation(args.samples).tolist()
    pool = ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1)
    with tempfile.TemporaryDirectory() as folder, pool:
        top = Path(folder)
        source, root = create("risbench"), top / "folder"
        source.write_fake(root, -(-args.samples // 3), 0)
        pairs = list(source.prepare(root))
        write_manifest(top / "folder.jsonl", pairs)
        rows = [
            {
                "image": {"bytes": (root / pair.image).read_bytes(), "path": Path(pair.image).name},
                "mask": {"bytes": (root / "mask" / Path(pair.image).name).read_bytes(), "path": ""},
                "phrase": pair.text,
            }
            for pair in pairs
        ]
        results = {"folder": pool.submit(measured, root, top / "folder.jsonl", order, args.passes).result()}
        for form, (name, write) in FORMS.items():
            copy = top / form.replace(", ", "-")
            copy.mkdir()
            write(pa.Table.from_pylist(rows), copy / name)
            write_manifest(copy / "listing.jsonl", create("risbench").prepare(copy))
            passes = 1 if "zstd" in form else args.passes
            results[form] = pool.submit(measured, copy, copy / "listing.jsonl", order, passes).result()
    print("| form | ms an image's bytes | ms a sample | ms a sample, first pass |\n|---|---|---|---|")
    for form, (read, load, first) in results.items():
        print(f"| {form} | {read:.2f} | {load:.1f} | {first:.1f} |")


if __name__ == "__main__":
    main()
