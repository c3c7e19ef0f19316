"""`data audit`: runs predict a split again, and a page shows the samples whose labels may be wrong.

Result files hold integers, not masks, and saved galleries hold ten scenes. The checkpoints of the runs therefore
predict again, with the pixels, tokens and threshold of a test under `native-v1`.

Shape legend: `B` batch, `h w` pixels of the logits, `H W` native pixels.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from rrsis_bench.boards.render.templating import environment
from rrsis_bench.data.collate import collate
from rrsis_bench.data.datamodule import ReferringDataModule
from rrsis_bench.data.dataset import ReferringDataset
from rrsis_bench.data.masks import Rle, decode, encode
from rrsis_bench.data.pixels import encoded
from rrsis_bench.engine.device import pick_device
from rrsis_bench.engine.load import TrainedMethod, load_run
from rrsis_bench.engine.overlay import draw_overlay, enlarged
from rrsis_bench.errors import MissingResourceError, UsageError
from rrsis_bench.metrics.counts import binarise
from rrsis_bench.metrics.protocols import NATIVE
from rrsis_bench.nearest import resize_mask
from rrsis_bench.results.audit import AGREE, DISAGREE, Verdict, judge, record_text
from rrsis_bench.run.folder import RunFolder

SIDE = 512
"""Longest side of a picture in pixels; a smaller image is enlarged by a whole factor."""
MOST = 100
"""Largest number of candidates with a picture: the page stays below 10 MB."""


@dataclass(frozen=True)
class Candidate:
    """A sample whose label may be wrong.

    Attributes:
        index: position in the split.
        sample_id: id of the sample.
        text: the expression.
        verdict: what the masks say.
    """

    index: int
    sample_id: str
    text: str
    verdict: Verdict


@dataclass(frozen=True)
class Audit:
    """The candidates of a split, the clearest ones first.

    Attributes:
        candidates: the candidates.
        n_samples: number of samples that were judged.
        methods: `method@variant` of each run.
        dataset: the split.
    """

    candidates: tuple[Candidate, ...]
    n_samples: int
    methods: tuple[str, ...]
    dataset: ReferringDataset


def check_runs(runs: Sequence[RunFolder], dataset: str) -> None:
    """Check, before any data is read, that runs can be audited with.

    Raises:
        UsageError: a folder is no run, has no checkpoint or is of another data set; or all runs are of one method.
    """
    methods = set()
    for run in runs:
        config = run.config()
        if config["data"]["dataset"] != dataset:
            raise UsageError(f"--run {run} is a run of {config['data']['dataset']}, not of {dataset}.")
        run.checkpoint()
        methods.add(config["model"]["method"])
    if len(methods) < 2:
        raise UsageError(
            f"data audit compares different methods, but all runs are of {', '.join(sorted(methods)) or 'none'}; name "
            "runs of two methods or more: --run R1 R2 R3."
        )


def audit(runs: Sequence[RunFolder], data: Mapping[str, Any], split: str = "test", device: str = "auto") -> Audit:
    """Predict a split by each run and find the candidates for wrong labels.

    Args:
        runs: run folders, of two different methods or more.
        data: the `data` block of the data set.
        split: `train`, `val` or `test`. Networks learn the labels of the split they train on by heart.
        device: `auto`, `cpu`, `cuda`, `cuda:1` or `mps`.

    Raises:
        UsageError: see `check_runs`; or a device that this machine lacks.
        MissingResourceError: the data set is missing, or its split is empty.
    """
    check_runs(runs, str(data["dataset"]))
    chosen = pick_device(device)
    made: list[dict[int, Rle]] = []
    names = []
    for run in runs:
        loaded = load_run(run, chosen)
        dataset = _opened(loaded, data, split)
        made.append(dict(_predictions(loaded, dataset, chosen)))
        names.append(f"{loaded.config['model']['method']}@{loaded.config['model']['variant']}")
    found = []
    for index, pair in enumerate(dataset.manifest):
        verdict = judge(decode(pair.rle), [decode(masks[index]) for masks in made])
        if verdict.is_candidate:
            found.append(Candidate(index, pair.sample_id, pair.text, verdict))
    found.sort(key=lambda one: (-one.verdict.gap, one.sample_id))
    return Audit(tuple(found), len(dataset), tuple(names), dataset)


def _opened(loaded: TrainedMethod, data: Mapping[str, Any], split: str) -> ReferringDataset:
    module = ReferringDataModule(**{**data, "augment": None, "permute_expressions": False})
    module.input_spec = loaded.method.input_spec
    module.prepare_data()
    dataset = module.open_split(split)
    if not len(dataset):
        raise MissingResourceError(f"data set '{module.dataset}' in {module.root} has no sample in split '{split}'.")
    return dataset


@torch.inference_mode()
def _predictions(
    loaded: TrainedMethod, dataset: ReferringDataset, device: torch.device, batch_size: int = 8
) -> Iterator[tuple[int, Rle]]:
    """Yield the position and the native mask of each sample."""
    spec = loaded.method.input_spec
    loader = DataLoader(dataset, batch_size, collate_fn=partial(collate, shares_images=loaded.method.shares_images))
    for batch in loader:
        logits = loaded.method(batch.to(device).blind()).logits.float()
        for position, size in enumerate(batch.sizes):
            mask = binarise(logits[position : position + 1], size, spec.image_size, NATIVE)[0]
            yield int(batch.indices[position]), encode(mask.cpu().numpy())


def record_of(found: Audit, name: str, split: str) -> str:
    """Write which samples are candidates, for the board of audits.

    Args:
        found: what `audit` returned.
        name: of the data set.
        split: name of the split.
    """
    candidates = [(one.index, one.sample_id, one.verdict) for one in found.candidates]
    return record_text(name, split, found.methods, found.n_samples, candidates)


def page(found: Audit, name: str, split: str) -> str:
    """Write the candidates as one HTML file with its pictures, which needs no network.

    Args:
        found: what `audit` returned.
        name: of the data set.
        split: name of the split.
    """
    shown = [
        {
            "sample_id": one.sample_id,
            "text": one.text,
            "agreement": f"{one.verdict.agreement:.2f}",
            "with_truth": f"{one.verdict.with_truth:.2f}",
            "jpeg": base64.b64encode(_picture(found.dataset, one)).decode("ascii"),
        }
        for one in found.candidates[:MOST]
    ]
    template = environment("html").get_template("audit.html.j2")
    return template.render(
        name=name,
        split=split,
        methods=found.methods,
        n_samples=f"{found.n_samples:,}",
        n_candidates=f"{len(found.candidates):,}",
        left_out=max(0, len(found.candidates) - MOST),
        agree=AGREE,
        disagree=DISAGREE,
        shown=shown,
    )


def _picture(dataset: ReferringDataset, one: Candidate) -> bytes:
    import cv2

    sample = dataset.sample(one.index)
    image = sample.image
    longest = max(image.shape[:2])
    if longest > SIDE:
        width, height = (max(1, round(side * SIDE / longest)) for side in (image.shape[1], image.shape[0]))
        image = np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    grown, consensus = enlarged(image, _fitted(one.verdict.consensus, image), SIDE)
    _, truth = enlarged(image, _fitted(sample.mask, image), SIDE)
    return encoded(".jpg", draw_overlay(grown, consensus, one.text, truth))


def _fitted(mask: NDArray[Any], image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return resize_mask(np.asarray(mask != 0, np.uint8), (image.shape[0], image.shape[1]))
