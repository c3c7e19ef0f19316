"""Makes a `result.json` from the integers of a split."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from rrsis_bench.metrics import protocols as rules
from rrsis_bench.metrics.definitions import metrics_of, monitored
from rrsis_bench.metrics.functional import scores
from rrsis_bench.results import detail as detail_file
from rrsis_bench.results import samples as table_file
from rrsis_bench.results.breakdown import breakdown, plain
from rrsis_bench.results.counts import scored_by
from rrsis_bench.results.detail import Detail
from rrsis_bench.results.samples import SampleTable
from rrsis_bench.run.folder import RunFolder
from rrsis_bench.run.layout import DETAIL, EXAMPLES, GALLERY
from rrsis_bench.run.seal import DETAIL_VERSION, SCHEMA_VERSION, Result, check_kind, is_synthetic, sealed
from rrsis_bench.stats import bootstrap


def language_control(table: SampleTable, permuted: SampleTable, protocol: str = rules.DEFAULT) -> dict[str, Any]:
    """The `language_control` block: the scores with permuted expressions, and their ratios to the true scores.

    Args:
        table: samples scored with their own expressions.
        permuted: the same samples scored with permuted expressions.
        protocol: name of the protocol to score by.

    Returns:
        `protocol`, `n`, `miou` and `oiou` with permuted expressions, and `miou_ratio` and `oiou_ratio`: these scores
        over the true ones (None if the true score is 0 or NaN). A generalised protocol's gIoU and cIoU stand in place
        of mIoU and oIoU, whose formulas they share.
    """
    view = rules.get(protocol).view.name
    true, control = (scores(part.view(view), protocol) for part in (table, permuted))
    block: dict[str, Any] = {"protocol": protocol, "n": int(control["n"])}
    for name in ("miou", "oiou"):
        own = monitored(name, protocol)
        block |= plain({name: control[own], f"{name}_ratio": _ratio(control[own], true[own])})
    return block


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else math.nan


def score_block(
    table: SampleTable, protocols: Iterable[str], dataset: Mapping[str, Any] = MappingProxyType({})
) -> dict[str, Any]:
    """The `metrics` block: protocol -> metric -> value and interval, `n`, `n_empty`, and the breakdowns `by`.

    A value that is NaN becomes None. An interval that cannot be computed is None.

    Args:
        table: the samples.
        protocols: names of the protocols.
        dataset: the result's `dataset` block; it says which protocols score samples without a target.
    """
    names = list(dict.fromkeys(protocols))
    block: dict[str, Any] = dict.fromkeys(names)
    for generalised in (False, True):
        of_kind = [name for name in names if rules.get(name).generalised == generalised]
        if of_kind:
            block |= _scored(scored_by(table, of_kind[0], dataset), of_kind)
    return block


def _scored(table: SampleTable, names: Sequence[str]) -> dict[str, Any]:
    counts = {name: table.view(rules.get(name).view.name) for name in names}
    spread = bootstrap.intervals(counts, table.image_id)
    block: dict[str, Any] = {}
    for name in names:
        values = plain(scores(counts[name], name))
        entry: dict[str, Any] = {"n": values["n"], "n_empty": values["n_empty"]}
        for metric in metrics_of(name):
            interval = spread[name][metric]
            entry[metric] = {"value": values[metric], "interval": None if interval is None else list(interval)}
        entry["by"] = breakdown(table, rules.get(name))
        block[name] = entry
    return block


def build_result(
    *,
    kind: str,
    status: str = "complete",
    method: Mapping[str, Any],
    dataset: Mapping[str, Any],
    samples: SampleTable,
    protocols: Iterable[str],
    selected_on: str,
    training: Mapping[str, Any] | None = None,
    efficiency: Mapping[str, Any] | None = None,
    language_control: Mapping[str, Any] | None = None,
    no_language_control: str | None = None,
    provenance: Mapping[str, Any] | None = None,
    detail: Mapping[str, Any] | None = None,
    beside: Mapping[str, Mapping[str, Any]] | None = None,
) -> Result:
    """Make a result from the integers of a split.

    Args:
        status: `complete`, `partial` (only a part of the split was scored) or `changed` (data or settings changed
            between the parts of a resumed training, or expressions were permuted). Boards show complete results only.
        kind: `retrained`, `official-weights`, `zero-shot`, `external`, or `smoke` for a synthetic data set.
        method: `name`, `variant`, `target` ("module:Class"), and what the card states: `card_sha256`, `fidelity`,
            `policy`, `venue`, `year`, `encoders`.
        dataset: `name`, `split`, `source`, `synthetic` (bool), `content_hash`, and optionally `revision` and
            `n_skipped` (reason -> number). This function adds the numbers of samples and images.
        samples: the integers of the split.
        protocols: names of the protocols to score by; boards show the first one.
        selected_on: split that the checkpoint was chosen on, or "none".
        training: the `training` block; None if the method was not trained here.
        efficiency: parameters, GFLOPs, latency and memory, as far as they were measured; None if nothing was.
        language_control: what the function `language_control` returned; None if there is none.
        no_language_control: why the language control could not be made, if it could not.
        provenance: what `provenance.provenance` returned.
        detail: the block `detail`; None if the samples were scored without detail.
        beside: the block `perturbation` or `transfer` of a result that no ordinary board takes; None for an
            ordinary result.

    Returns:
        the result with its checksum.

    Raises:
        UserError: the kind is unknown or does not fit the data set, or the samples cannot be scored.
    """
    check_kind(kind, dataset)
    names = list(dict.fromkeys(protocols))
    result: Result = {
        "schema": SCHEMA_VERSION if detail is None else DETAIL_VERSION,
        "kind": kind,
        "status": status,
        "method": dict(method),
        "dataset": {
            "n_skipped": {},
            **dataset,
            "synthetic": is_synthetic(dataset),
            "n_samples": len(samples),
            "n_images": len(set(samples.image_id)),
        },
        "protocols": names,
        "selected_on": selected_on,
        "metrics": score_block(samples, names, dataset),
        "bootstrap": {
            "unit": "image",
            "resamples": bootstrap.RESAMPLES,
            "seed": bootstrap.SEED,
            "level": bootstrap.LEVEL,
        },
        "samples_sha256": samples_sha256(samples),
        "language_control": _optional(language_control),
        "training": _optional(training),
        "efficiency": _optional(efficiency),
        "provenance": dict(provenance or {}),
        **({} if no_language_control is None else {"no_language_control": no_language_control}),
        **({} if detail is None else {"detail": dict(detail)}),
        **{name: dict(block) for name, block in (beside or {}).items()},
    }
    return sealed(result)


def _optional(block: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return None if block is None else dict(block)


def samples_sha256(table: SampleTable) -> str:
    """sha256 of the uncompressed sample table, which does not depend on the compressor's version."""
    return hashlib.sha256(table_file.text(table).encode("utf-8")).hexdigest()


def write_run(
    folder: RunFolder,
    result: Mapping[str, Any],
    samples: SampleTable,
    config_yaml: str,
    gallery: str | None = None,
    mark: bool = True,
    detail: Detail | None = None,
    examples: str | None = None,
) -> None:
    """Write the files of a run; see `RunFolder.write_result`."""
    table = None if detail is None else detail_file.encode(detail)
    further = {GALLERY: gallery, DETAIL: table, EXAMPLES: examples}
    known = {name: content for name, content in further.items() if content is not None}
    folder.write_result(dict(result), table_file.encode(samples), config_yaml, known, mark)
