"""What `test --detail` adds to the time of an evaluation.

    python benchmarks/detail.py

evaluates a method's variant `tiny` with random weights on one core, and prints the processor time of each part in
milliseconds a sample: loading, network, counting by the protocols of `rrsis-bench test`, and counting the detail.
"""

from __future__ import annotations

import argparse
import time

import torch

from rrsis_bench.data.datamodule import ReferringDataModule
from rrsis_bench.engine.detail import DetailCounter
from rrsis_bench.engine.encoded import LastImage
from rrsis_bench.methods.build import build_method
from rrsis_bench.metrics.counts import count
from rrsis_bench.metrics.protocols import get
from rrsis_bench.run.request import RunRequest
from rrsis_bench.run.resolve import resolve

PARTS = ("load", "network", "count", "detail")


@torch.inference_mode()
def evaluation(name: str, dataset: str, batch_size: int) -> dict[str, float]:
    """Milliseconds of processor time a sample, by part."""
    chosen = resolve(RunRequest(name, dataset, "tiny")).config
    torch.manual_seed(0)
    method, _ = build_method(name, "tiny", chosen["model"]["options"], pretrained=False)
    views = list(dict.fromkeys(get(protocol).view for protocol in chosen["model"]["protocols"]))
    data = ReferringDataModule(**{**chosen["data"], "num_workers": 0, "eval_batch_size": batch_size})
    data.input_spec, data.shares_images = method.eval().input_spec, method.shares_images
    data.setup("test")
    loader, last, counter = iter(data.test_dataloader()), LastImage(), DetailCounter(data, "test")
    spent = dict.fromkeys(PARTS, 0.0)
    while True:
        times = [time.process_time()]
        if (batch := next(loader, None)) is None:
            break
        times.append(time.process_time())
        logits = method(last.complete(method, batch.blind())).logits
        times.append(time.process_time())
        count(logits, batch, method.input_spec.image_size, views)
        times.append(time.process_time())
        counter.add(logits, batch)
        times.append(time.process_time())
        for place, part in enumerate(PARTS):
            spent[part] += times[place + 1] - times[place]
    return {part: 1000 * seconds / len(data.test_dataset) for part, seconds in spent.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--methods", nargs="+", default=["lavt", "s4eca"], help="default: lavt s4eca")
    parser.add_argument("--dataset", default="tiny", help="default: tiny")
    parser.add_argument("--batch", type=int, default=8, help="samples in a batch (default: 8)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    print(f"| method | {' | '.join(PARTS)} | detail over the rest |\n|---|---|---|---|---|---|")
    for name in args.methods:
        found = evaluation(name, args.dataset, args.batch)
        share = found["detail"] / sum(found[part] for part in PARTS[:-1])
        print(f"| {name} | {' | '.join(f'{found[part]:.2f}' for part in PARTS)} | {share:.1%} |")


if __name__ == "__main__":
    main()
