"""Scores predictions of any framework, and writes a result of kind `external`.

Binary masks at native size are enough for the protocols of the native view (`protocols.of_masks`). The other protocols
need logits or probabilities: `paper-lavt480-v1` resizes the *logits* to 480 x 480, and `paper-detris-v1` thresholds the
*probability* at 0.35. A result of masks leaves these protocols out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from rrsis_bench import config
from rrsis_bench.data import empty_truth
from rrsis_bench.data.catalogue import settings
from rrsis_bench.data.info import SPLITS
from rrsis_bench.data.manifest import Manifest
from rrsis_bench.data.prepare import ensure_manifest, locate, manifest_origin
from rrsis_bench.errors import MissingResourceError, UsageError, did_you_mean
from rrsis_bench.metrics.protocols import NATIVE, PROTOCOLS, of_masks
from rrsis_bench.results import record
from rrsis_bench.results.predictions import Predictions, count_predictions, refuse_absent
from rrsis_bench.results.provenance import Start, provenance
from rrsis_bench.results.samples import SampleTable
from rrsis_bench.run.folder import RunFolder
from rrsis_bench.run.seal import is_synthetic

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class External:
    """The method that made the predictions, as the user describes it.

    Attributes:
        method: name of the method, for its row of the boards.
        variant: name of the method's variant.
        seed: seed of the training.
        selected_on: split that the checkpoint was chosen on (`val`, `test`, `none`), or `unknown`.
        about: some of `title`, `venue`, `year`, `encoders`, `url`.
        parameters: number of the method's parameters; None if unknown.
        trainable_parameters: number of parameters that were trained; None if unknown.
    """

    method: str
    variant: str = "external"
    seed: int = 0
    selected_on: str = "unknown"
    about: Mapping[str, Any] = field(default_factory=dict)
    parameters: int | None = None
    trainable_parameters: int | None = None


def score_predictions(
    predictions: Predictions,
    dataset: str,
    external: External,
    split: str = "test",
    data: Mapping[str, Any] | None = None,
    out: Path | None = None,
    overwrite: bool = False,
) -> RunFolder:
    """Score predictions and write the three files of a run.

    Args:
        predictions: see `predictions.count_predictions`.
        dataset: name of the data set.
        external: the method that made the predictions.
        split: name of the split.
        data: values of the `data` block to override, such as `root` or `manifest`.
        out: run folder; None for `<runs>/<dataset>/<method>@<variant>/seed<k>`.
        overwrite: replace a result that the folder holds.

    Returns:
        the run folder.

    Raises:
        UsageError: the name of method or variant has a character that is not allowed. Or data set or split are unknown,
            or the folder holds a result or foreign files.
        MissingResourceError: the data set is missing, or its split is empty.
        PredictionError: the predictions cannot be scored; nothing is written.
    """
    started = Start()
    for what, name in (("--method", external.method), ("--variant", external.variant)):
        if not _NAME.fullmatch(name):
            raise UsageError(f"{what}: '{name}' cannot be a name; use letters, digits, '.', '_' and '-'.")
    if split not in SPLITS:
        raise UsageError(f"--split: there is no split '{split}'.{did_you_mean(split, list(SPLITS))}")
    refuse_absent(predictions)
    configured = config.merge(settings(dataset), data or {})
    usual = RunFolder.of(dataset, external.method, external.variant, external.seed)
    folder = usual if out is None else RunFolder(out)
    folder.check_usable()
    if folder.is_finished and not overwrite:
        raise UsageError(f"{folder} already holds a result; pass --overwrite, or another --seed or --out.")
    folder.prove_writable()
    if configured.get("leave_out"):
        raise UsageError("predictions of another framework are scored on the whole split; leave data.leave_out out.")
    located = locate(configured)
    path = ensure_manifest(located)
    manifest = Manifest.open(path, split, located.empty_truth)
    if not len(manifest):
        raise MissingResourceError(f"data set '{dataset}' in {located.root} has no sample in split '{split}'.")
    pairs = list(manifest)
    n_skipped = 0 if located.empty_truth == "keep" else manifest.n_empty
    skips = n_skipped and located.empty_truth == "skip"
    unscored = {pair.sample_id for pair in Manifest.open(path, split, "keep") if pair.empty} if skips else set()
    protocols = of_masks(located.empty_truth == "no-target")
    counts = count_predictions(predictions, pairs, unscored)
    table = SampleTable.build(
        sample_id=[pair.sample_id for pair in pairs],
        image_id=[pair.image_id for pair in pairs],
        category=[pair.category for pair in pairs],
        text=[pair.text for pair in pairs],
        height=[pair.height for pair in pairs],
        width=[pair.width for pair in pairs],
        views=[NATIVE.name],
        counts=counts[:, None],
    )
    block = {
        "name": dataset,
        "split": split,
        "source": configured.get("source") or dataset,
        "synthetic": configured.get("generator") is not None,
        "content_hash": manifest.content_hash(located.root),
        "n_skipped": empty_truth.skipped(n_skipped),
        **({} if (fetched := manifest_origin(path)) is None else {"revision": str(fetched)}),
        **empty_truth.stated(located.empty_truth),
    }
    text = _config_text(predictions, dataset, split, external, protocols)
    costs = {"parameters": external.parameters, "trainable_parameters": external.trainable_parameters}
    result = record.build_result(
        kind="smoke" if is_synthetic(block) else "external",
        method={
            **{key: value for key, value in external.about.items() if value is not None},
            "name": external.method,
            "variant": external.variant,
            "target": None,
            "fidelity": None,
        },
        dataset=block,
        samples=table,
        protocols=protocols,
        selected_on=external.selected_on,
        training={"seed": external.seed},
        efficiency=costs if any(value is not None for value in costs.values()) else None,
        provenance=provenance(config_yaml=text, started=started),
    )
    record.write_run(folder, result, table, text)
    return folder


def left_out() -> list[str]:
    """Names of the protocols by which predictions of another framework cannot be scored."""
    return [name for name in PROTOCOLS if name not in of_masks(generalised=True)]


def _config_text(
    predictions: Predictions, dataset: str, split: str, external: External, protocols: Sequence[str]
) -> str:
    source = "in memory" if isinstance(predictions, Mapping) else Path(predictions).name
    content = {
        "scored": {"predictions": source, "protocols": list(protocols), "left_out": left_out()},
        "data": {"dataset": dataset, "split": split},
        "model": {"method": external.method, "variant": external.variant, "seed": external.seed},
    }
    return yaml.safe_dump(content, sort_keys=False)
