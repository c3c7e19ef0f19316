"""How much faster evaluation is where each image is encoded once for all of its expressions.

    python benchmarks/shared.py

measures RSRefSeg 2, which shares images, with random weights on one core, and prints two Markdown tables. "Per sample"
hands the network one image for each sample, as before; "shared" hands it each image once.

The first table is the network alone at its published input size: one image with several expressions. "Per sample" is
measured on one expression, since its time does not depend on how many others the image has.

The second one is the variant `tiny` on a test split with several expressions an image: loading, network and counting by
the protocols of `rrsis-bench test`, in one process. A process of its own measures each row and its peak memory.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from own_process import measured, peak_bytes

from rrsis_bench import config
from rrsis_bench.data.collate import collate
from rrsis_bench.data.datamodule import ReferringDataModule
from rrsis_bench.data.dataset import Item
from rrsis_bench.data.text import load_tokenizer
from rrsis_bench.data.transforms import normalise
from rrsis_bench.engine.encoded import LastImage
from rrsis_bench.methods.build import build_method
from rrsis_bench.metrics.counts import count
from rrsis_bench.metrics.protocols import get
from rrsis_bench.run.request import RunRequest
from rrsis_bench.run.resolve import resolve

METHOD = "rsrefseg2"
HOWS = ("per sample", "shared")


@torch.inference_mode()
def network(variant: str, expressions: int, how: str) -> dict[str, Any]:
    """Processor seconds of the network for one image, for each expression."""
    torch.manual_seed(0)
    method, _ = build_method(METHOD, variant, config.variant_options(METHOD, variant), pretrained=False)
    spec = method.eval().input_spec
    tokenize = load_tokenizer(spec)
    pixels = np.random.default_rng(0).integers(0, 256, (*spec.image_size, 3), dtype=np.uint8)
    image, blank = normalise(pixels, spec), np.zeros(spec.image_size, np.uint8)
    shared = how == "shared"
    texts = [f"the ship number {k}" for k in range(expressions if shared else 1)]
    items = [Item(k, str(k), "0", image, blank, None, tokenize(text), text, "") for k, text in enumerate(texts)]
    batch = collate(items, shared).blind()
    start = time.process_time()
    method(batch)
    return {"seconds": (time.process_time() - start) / len(texts), "peak": peak_bytes()}


@torch.inference_mode()
def evaluation(dataset: str, batch_size: int, how: str) -> dict[str, Any]:
    """Processor seconds of each part of an evaluation of the test split."""
    chosen = resolve(RunRequest(METHOD, dataset, "tiny")).config
    torch.manual_seed(0)
    method, _ = build_method(METHOD, "tiny", chosen["model"]["options"], pretrained=False)
    views = list(dict.fromkeys(get(name).view for name in chosen["model"]["protocols"]))
    data = ReferringDataModule(**{**chosen["data"], "num_workers": 0, "eval_batch_size": batch_size})
    data.input_spec, data.shares_images = method.eval().input_spec, how == "shared"
    data.setup("test")
    loader, last, spent = iter(data.test_dataloader()), LastImage(), dict.fromkeys(("load", "network", "count"), 0.0)
    while True:
        start = time.process_time()
        if (batch := next(loader, None)) is None:
            break
        loaded = time.process_time()
        seen = last.complete(method, replace(batch.blind(), image_keys=batch.image_keys if data.shares_images else ()))
        logits = method(seen).logits
        done = time.process_time()
        count(logits, batch, method.input_spec.image_size, views)
        for part, seconds in zip(spent, (loaded - start, done - loaded, time.process_time() - done), strict=True):
            spent[part] += seconds
    samples, images = len(data.test_dataset), len(set(data.test_dataset.images.tolist()))
    return {**spent, "samples": samples, "images": images, "peak": peak_bytes()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--variant", default="clip-b16-sam-b", help="variant of the first table")
    parser.add_argument("--expressions", type=int, default=8, help="of the one image of the first table (default: 8)")
    parser.add_argument("--dataset", default="houston", help="data set of the second table (default: houston)")
    parser.add_argument("--batch", type=int, default=8, help="samples in a batch of the second table (default: 8)")
    parser.add_argument("--only", choices=("network", "evaluation"), help="print one table only")
    parser.add_argument("--row", help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.row:
        if args.only == "network":
            print(json.dumps(network(args.variant, args.expressions, args.row)))
        else:
            print(json.dumps(evaluation(args.dataset, args.batch, args.row)))
        return
    words = ["--variant", args.variant, "--expressions", str(args.expressions)]
    words += ["--dataset", args.dataset, "--batch", str(args.batch)]
    if args.only != "evaluation":
        print(f"{args.variant}, one image, {args.expressions} expressions:\n")
        print("| images | s a sample | samples/s | ratio | peak memory, GB |\n|---|---|---|---|---|")
        rows = [measured(__file__, *words, "--only", "network", "--row", how) for how in HOWS]
        for how, row in zip(HOWS, rows, strict=True):
            rate = f"{row['seconds']:.2f} | {1 / row['seconds']:.4f} | {rows[0]['seconds'] / row['seconds']:.2f}"
            print(f"| {how} | {rate} | {row['peak'] / 1e9:.2f} |")
    if args.only != "network":
        rows = [measured(__file__, *words, "--only", "evaluation", "--row", how) for how in HOWS]
        held = f"{rows[0]['samples']} samples of {rows[0]['images']} images"
        print(f"\ntiny on {args.dataset}'s test split, {held}, batch {args.batch}; milliseconds a sample:\n")
        print("| images | load | network | count | network, ratio | all, ratio | peak memory, GB |")
        print("|---|---|---|---|---|---|---|")
        for how, row in zip(HOWS, rows, strict=True):
            parts = [1000 * row[part] / row["samples"] for part in ("load", "network", "count")]
            first = [1000 * rows[0][part] / row["samples"] for part in ("load", "network", "count")]
            ratios = f"{first[1] / parts[1]:.2f} | {sum(first) / sum(parts):.2f}"
            print(f"| {how} | {' | '.join(f'{part:.2f}' for part in parts)} | {ratios} | {row['peak'] / 1e9:.2f} |")


if __name__ == "__main__":
    main()
