"""Makes the rows of tables from result files: seeds averaged, ranks shared, published numbers beside them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from math import fsum, sqrt
from statistics import fmean
from typing import Any
from unicodedata import category

from rrsis_bench import registry
from rrsis_bench.boards.entries import Entry, by_method, by_split, ordinary
from rrsis_bench.boards.published import Counterpart, PublishedRow, counterpart
from rrsis_bench.data.empty_truth import only_generalised
from rrsis_bench.errors import UserError
from rrsis_bench.metrics.definitions import shown
from rrsis_bench.metrics.protocols import DEFAULT
from rrsis_bench.results.breakdown import PARTS
from rrsis_bench.run.seal import KINDS
from rrsis_bench.stats.ranks import Placement, rank_groups

RANKED_BY = "miou"
"""Metric, under `native-v1`, that orders and ranks the rows of a table."""

EFFICIENCY = (
    "trainable_parameters", "parameters", "encoder_trainable_share", "gflops", "latency_ms", "latency_p95_ms",
    "throughput", "memory_mb", "training_memory_mb",
)  # fmt: skip
"""Fields of a result's `efficiency` block that the tables show; latency is p50 at batch 1, memory peak at inference."""

_UNSEEN = {"Cc", "Cf", "Cs", "Co", "Cn"}

CARD_FIELDS = ("title", "venue", "year", "encoders", "fidelity")


@dataclass(frozen=True)
class Row:
    """A method in a table. Whatever is not known is None, never 0.

    Attributes:
        rank: its rank group, see `stats.ranks`; None where it cannot be ranked.
        method: registry name.
        variant: which of the method's variants.
        card: title, venue, year, encoders and fidelity, as far as known.
        mean: metric -> mean over seeds.
        sd: metric -> standard deviation over seeds (ddof 1); None for a single seed.
        interval: 95 % bounds over images of the mean mIoU.
        control: mean ratio of oIoU with permuted expressions to oIoU.
        n_seeds: number of runs.
        published: the published number beside the measured one.
        efficiency: the fields of `EFFICIENCY`.
        measured_on: device and precision that latency and memory were measured with; "" if neither was measured.
        selected_on: split the checkpoint was chosen on.
        parts: breakdown (category, size) -> part -> mean mIoU over seeds.
        runs: folders of the runs.
        paper: address of the method's paper or page; "" if none is known.
    """

    rank: int | None
    method: str
    variant: str
    card: Mapping[str, str | None]
    mean: Mapping[str, float | None]
    sd: Mapping[str, float | None]
    interval: tuple[float, float] | None
    control: float | None
    n_seeds: int
    published: Counterpart | None
    efficiency: Mapping[str, float | None]
    measured_on: str
    selected_on: str
    parts: Mapping[str, Mapping[str, float | None]]
    runs: tuple[str, ...]
    paper: str

    @property
    def name(self) -> str:
        """Short name with the variant, as tables show it."""
        return f"{self.card['title'] or self.method} ({self.variant})"


@dataclass(frozen=True)
class Table:
    """The rows of one kind on one split of one data set.

    Attributes:
        dataset: name of the data set; "" for costs, which belong to none.
        split: name of the split; "" for costs.
        kind: kind of every row.
        n_samples: numbers of samples scored; several if the rows differ, which the page says.
        contents: content hashes of the data scored; several if rows were scored on different data.
        rows: best first.
    """

    dataset: str
    split: str
    kind: str
    n_samples: tuple[int, ...]
    contents: tuple[str, ...]
    rows: tuple[Row, ...]


def score_tables(runs: Iterable[Entry], published: Mapping[str, Sequence[PublishedRow]]) -> list[Table]:
    """Make one table for each data set, kind and split.

    Args:
        runs: sound results.
        published: data set -> published rows, to stand beside the measured ones.
    """
    return [
        Table(
            dataset=name,
            split=split,
            kind=kind,
            n_samples=tuple(sorted({n_scored(run.result) for run in members})),
            contents=tuple(sorted({str(run.result["dataset"].get("content_hash") or "") for run in members} - {""})),
            rows=_score_rows(members, published.get(name, ()), split),
        )
        for (name, kind, split), members in by_split(ordinary(runs)).items()
    ]


def n_scored(result: Mapping[str, Any], protocol: str = DEFAULT) -> int:
    """Number of samples that a protocol scores."""
    dataset = result["dataset"]
    return int(result["metrics"][protocol]["n"] if only_generalised(dataset) else dataset["n_samples"])


def cost_tables(runs: Iterable[Entry]) -> list[Table]:
    """Make one table of costs for each kind; the runs of a variant on all data sets are one row."""
    parts: dict[int, dict[tuple[str, str], list[Entry]]] = defaultdict(lambda: defaultdict(list))
    for run in ordinary(runs):
        if run.result.get("efficiency"):
            method = run.result["method"]
            parts[KINDS.index(run.result["kind"])][method["name"], method["variant"]].append(run)
    found = []
    for kind, groups in sorted(parts.items()):
        nothing = dict.fromkeys(metric.name for metric in shown("tables"))
        rows = [
            replace(_row(members, None, ()), mean=nothing, sd=nothing, interval=None, control=None, parts={})
            for members in groups.values()
        ]
        rows.sort(key=lambda row: (row.efficiency["parameters"] or 0.0, row.method, row.variant))
        found.append(Table("", "", KINDS[kind], (), (), tuple(rows)))
    return found


def _score_rows(runs: Iterable[Entry], published: Sequence[PublishedRow], split: str) -> tuple[Row, ...]:
    groups = by_method(runs)
    rows = {key: _row(members, split, published) for key, members in groups.items()}
    for key, placed in _placed(groups).items():
        rows[key] = replace(rows[key], rank=placed.rank, interval=placed.interval)
    return tuple(
        sorted(
            rows.values(),
            key=lambda row: (
                row.mean[RANKED_BY] is None,
                -(row.mean[RANKED_BY] or 0.0),
                row.method,
                row.variant,
                row.selected_on,
            ),
        )
    )


def _placed(groups: Mapping[str, Sequence[Entry]]) -> dict[str, Placement]:
    entries = {
        key: [run.counts for run in members if run.counts is not None]
        for key, members in groups.items()
        if all(run.counts is not None for run in members)
    }
    return rank_groups(entries, RANKED_BY)


def _row(runs: Sequence[Entry], split: str | None, published: Sequence[PublishedRow]) -> Row:
    ordered = sorted(runs, key=lambda run: (len(run.folder), run.folder))
    results = [run.result for run in ordered]
    first, whole = results[0], len(results)
    blocks = [result["metrics"][DEFAULT] for result in results]
    names = [metric.name for metric in shown("tables")]
    scores = {name: over_seeds([block.get(name, {}).get("value") for block in blocks]) for name in names}
    controls = _known((result.get("language_control") or {}).get("oiou_ratio") for result in results)
    spent = [result.get("efficiency") or {} for result in results]
    costs = {name: _known(block.get(name) for block in spent) for name in EFFICIENCY}
    devices = {f"{block['device']}, {block.get('precision')}" for block in spent if block.get("device")}
    method, card = first["method"], _card(first["method"])
    return Row(
        rank=None,
        method=method["name"],
        variant=method["variant"],
        card=card,
        mean={name: mean for name, (mean, _) in scores.items()},
        sd={name: sd for name, (_, sd) in scores.items()},
        interval=None,
        control=fmean(controls) if controls and len(controls) == whole else None,
        n_seeds=whole,
        published=None
        if split is None or first["kind"] == "smoke" or not published
        else counterpart(published, method["name"], method["variant"], split, _by_protocol(results), card["fidelity"]),
        efficiency={name: fmean(known) if known else None for name, known in costs.items()},
        measured_on="; ".join(sorted(devices)),
        selected_on=str(first.get("selected_on") or ""),
        parts={kind: _part_means(blocks, kind) for kind in PARTS},
        runs=tuple(run.folder for run in ordered),
        paper=_paper(method),
    )


def _by_protocol(results: Sequence[Mapping[str, Any]]) -> dict[str, tuple[float, float | None]]:
    """Protocol -> mean and standard deviation of mIoU, where every run has one."""
    found: dict[str, tuple[float, float | None]] = {}
    for name in results[0]["metrics"]:
        blocks = [result["metrics"].get(name) or {} for result in results]
        mean, sd = over_seeds([block.get(RANKED_BY, {}).get("value") for block in blocks])
        if mean is not None:
            found[name] = (mean, sd)
    return found


def _part_means(blocks: Sequence[Mapping[str, Any]], kind: str) -> dict[str, float | None]:
    parts = [(block.get("by") or {}).get(kind) or {} for block in blocks]
    means: dict[str, float | None] = {}
    for name in dict.fromkeys(name for part in parts for name in part):
        known = _known((part.get(name) or {}).get("miou") for part in parts)
        means[name] = fmean(known) if len(known) == len(parts) else None
    return means


def over_seeds(values: Sequence[float | None]) -> tuple[float | None, float | None]:
    """Compute mean and standard deviation (ddof 1) over seeds.

    Returns:
        the mean, None without seeds or where a seed's value is not known; the deviation, None for a single seed too.
    """
    known = _known(values)
    if not known or len(known) < len(values):
        return None, None
    mean = fmean(known)
    # Forty times as fast as `statistics.stdev`, with the same result.
    return mean, sqrt(fsum((value - mean) ** 2 for value in known) / (len(known) - 1)) if len(known) > 1 else None


def _known(values: Iterable[Any]) -> list[float]:
    return [float(value) for value in values if value is not None]


def _plain(text: str) -> str:
    """One line without signs that control a terminal or turn the order of the letters."""
    kept = (" " if sign.isspace() else sign for sign in text if sign.isspace() or category(sign) not in _UNSEEN)
    return " ".join("".join(kept).split())


@cache
def _installed_card(name: str) -> Mapping[str, Any]:
    try:
        return registry.card(name)
    except UserError:
        return {}


def _renamed(method: Mapping[str, Any]) -> dict[str, Any]:
    """The name that the card gives a method of the suite today. A result keeps the name of its day."""
    name = _installed_card(method["name"]).get("name") if method.get("target") else None
    return {"title": name} if name else {}


def _paper(method: Mapping[str, Any]) -> str:
    """Address of a method's paper or page: as its result says, else as its card does."""
    known = method.get("url") or (_installed_card(method["name"]).get("paper") if method.get("target") else None)
    return str(known) if re.match(r"https?://[^\s/]", str(known)) else ""


def card_of(method: Mapping[str, Any]) -> dict[str, Any]:
    """A method's row in a table of plain values: its names and the address of its paper."""
    card = _card(method)
    title = f"{card['title'] or method['name']} ({method['variant']})"
    return {"name": title, "method": method["name"], "variant": method["variant"], "paper": _paper(method)}


def _card(method: Mapping[str, Any]) -> dict[str, str | None]:
    """Collect what is known of a method: from its result, and the rest from its card where it is installed."""
    missing = any(name not in method for name in CARD_FIELDS)
    card = dict(_installed_card(method["name"])) if missing else {}
    # Tables show a method's short name; a card's `title` is that of its paper.
    card["title"] = card.get("name") or card.get("title")
    method = {**method, **_renamed(method)}
    found = {}
    for name in CARD_FIELDS:
        value = method.get(name, card.get(name))
        if isinstance(value, Mapping):
            # By variant ({tiny: ..., base: ...}), or by role ({visual: ..., text: ...}).
            value = value[method["variant"]] if method["variant"] in value else [str(part) for part in value.values()]
        if isinstance(value, list | tuple):
            value = " + ".join(map(str, value))
        found[name] = None if value in (None, "") else _plain(str(value))
    return found
