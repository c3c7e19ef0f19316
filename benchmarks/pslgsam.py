"""PSLG-SAM's second stage with its parts exchanged: which point, with and without MBO, and on the truth's boxes.

    python benchmarks/pslgsam.py --run runs/tiny/pslgsam@tiny/seed0

prints a Markdown table, and writes nothing. The rows with the truth's boxes read the truth: they show the most that
stage 1 could bring, and are no result. All rows share one run, one pass of both encoders, and one protocol.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from baselines.pslgsam import PSLGSAM
from baselines.pslgsam.model import rows_of
from baselines.pslgsam.outline import outline
from rrsis_bench.data.datamodule import ReferringDataModule
from rrsis_bench.engine.device import pick_device
from rrsis_bench.engine.load import load_run
from rrsis_bench.errors import UsageError, UserError
from rrsis_bench.metrics.counts import count
from rrsis_bench.metrics.functional import scores
from rrsis_bench.metrics.metric import SampleCounts
from rrsis_bench.metrics.protocols import DEFAULT
from rrsis_bench.metrics.protocols import get as get_protocol
from rrsis_bench.nn.encoders.sam import ImageFeatures
from rrsis_bench.nn.layers.boxes import boxes_of_masks, overlaps
from rrsis_bench.run.folder import RunFolder
from rrsis_bench.types import Batch


@dataclass(frozen=True)
class Control:
    """One row.

    Attributes:
        boxes: `found` or `truth`.
        point: see `PSLGSAMOptions.point`.
        mbo: whether the boundary is moved.
    """

    boxes: str
    point: str
    mbo: bool


def controls(method: PSLGSAM) -> list[Control]:
    """All rows; the tiny variant prompts by points and has none without."""
    points = ["cfpg", "centre"] + ["none"] * (method.options.prompt == "box")
    return [Control(boxes, point, mbo) for boxes in ("found", "truth") for point in points for mbo in (False, True)]


@torch.inference_mode()
def outlined(method: PSLGSAM, batch: Batch, rows: list[Control]) -> Iterator[tuple[Control, Tensor, Tensor]]:
    """Each row's logits (B, 1, H, W) and boxes (B, 4) of a batch with its truth; both encoders run once."""
    blind = replace(batch, encoded=method.encode_images(batch.images)).blind()
    main, *fine = blind.encoded[method.levels :]
    truths, valid = boxes_of_masks(batch.masks, method.options.components)
    found = method.find(blind).best()
    boxes = {"found": found, "truth": torch.where(valid[:, None], truths, found.float())}
    for row in rows:
        options = replace(method.options, point=row.point, mbo=row.mbo)  # type: ignore[arg-type]
        own = boxes[row.boxes]
        features = ImageFeatures(main, tuple(fine))
        logits = outline(method.segmenter, batch.images, features, own, rows_of(batch), options, method.input_spec)
        yield row, logits, own


def measure(run: Path, split: str, limit: int | None) -> list[str]:
    """The table's lines."""
    device = pick_device("auto")
    trained = load_run(RunFolder(run), device)
    method = trained.method
    if not isinstance(method, PSLGSAM):
        raise UsageError(f"{run} is a run of {method.name}; name one of pslgsam.")
    settings = {**trained.config["data"], "limit": None if limit is None else {split: limit}}
    data = ReferringDataModule(**settings)
    data.input_spec, data.shares_images = method.input_spec, True
    data.prepare_data()
    data.setup("test" if split == "test" else "validate")
    protocol, rows = get_protocol(DEFAULT), controls(method)
    counts = {row: SampleCounts() for row in rows}
    overlap: dict[str, list[Tensor]] = {"found": [], "truth": []}
    for batch in data.test_dataloader() if split == "test" else data.val_dataloader():
        moved = batch.to(device)
        truths, _ = boxes_of_masks(moved.masks)
        for row, logits, boxes in outlined(method, moved, rows):
            counts[row].update(moved.indices, count(logits, moved, method.input_spec.image_size, [protocol.view]))
            if row == Control(row.boxes, rows[0].point, False):
                overlap[row.boxes].append(overlaps(boxes.float(), truths)[0].cpu())
    lines = ["| boxes | point | MBO | mIoU | oIoU | Pr@0.5 | Pr@0.9 | box accuracy | box IoU |", "|" + "---|" * 9]
    for row in rows:
        _, integers = counts[row].compute()
        found = scores(integers.cpu().numpy()[:, 0], protocol)
        iou = torch.cat(overlap[row.boxes])
        shown = [found[name] for name in ("miou", "oiou", "pr50", "pr90")]
        shown += [float((iou > 0.5).float().mean()), float(iou.mean())]
        name = "truth (diagnostic)" if row.boxes == "truth" else "found"
        numbers = " | ".join(f"{100 * value:.2f}" for value in shown)
        lines.append(f"| {name} | {row.point} | {'yes' if row.mbo else 'no'} | {numbers} |")
    return lines


def main() -> int:
    """Print the table of a run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="run folder of fit --method pslgsam")
    parser.add_argument("--split", choices=("val", "test"), default="test", help="split to score")
    parser.add_argument("--limit", type=int, help="score only the first samples of the split")
    chosen = parser.parse_args()
    try:
        print("\n".join(measure(chosen.run, chosen.split, chosen.limit)))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
