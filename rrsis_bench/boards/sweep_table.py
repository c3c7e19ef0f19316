"""One table of a sweep: its cells in the order of the file, each beside the first, such as an ablation."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev
from typing import Any

from rrsis_bench.boards.tables import TITLES
from rrsis_bench.errors import UserError
from rrsis_bench.metrics.protocols import DEFAULT

SHOWN = ("oiou", "miou", "pr50", "pr70", "pr90")
DIFFERENCES = ("oiou", "miou")


@dataclass(frozen=True)
class Member:
    """A cell of a sweep with all its seeds.

    Attributes:
        dataset: data set by name.
        label: what the row is called.
        results: contents of `result.json`, one for each seed that is done.
        planned: number of seeds in the file.
    """

    dataset: str
    label: str
    results: tuple[Mapping[str, Any], ...]
    planned: int


@dataclass(frozen=True)
class CellRow:
    """A row; what is not known is None.

    Attributes:
        dataset: data set by name.
        label: name of the cell.
        done: number of seeds that are done.
        planned: number of seeds in the file.
        mean: metric -> mean over seeds, as a fraction.
        sd: metric -> standard deviation over seeds (ddof 1); None for a single seed.
        difference: metric -> mean less that of the first row of the data set.
        trainable: number of trained parameters.
    """

    dataset: str
    label: str
    done: int
    planned: int
    mean: Mapping[str, float | None]
    sd: Mapping[str, float | None]
    difference: Mapping[str, float | None]
    trainable: int | None


def rows(members: Sequence[Member]) -> list[CellRow]:
    """The rows of a sweep, under `native-v1`, in the order given.

    Raises:
        UserError: results of one data set are not of the same samples.
    """
    first: dict[str, CellRow] = {}
    found = []
    for member in members:
        _check_same(member.dataset, [other for other in members if other.dataset == member.dataset])
        values = {name: [result["metrics"][DEFAULT][name]["value"] for result in member.results] for name in SHOWN}
        mean = {name: fmean(known) if known and None not in known else None for name, known in values.items()}
        sd = {name: stdev(known) if len(known) > 1 and None not in known else None for name, known in values.items()}
        sizes = {(result.get("efficiency") or {}).get("trainable_parameters") for result in member.results}
        row = CellRow(
            member.dataset, member.label, len(member.results), member.planned, mean, sd, {},
            sizes.pop() if len(sizes) == 1 else None,
        )  # fmt: skip
        against = first.setdefault(member.dataset, row)
        found.append(_beside(row, against))
    return found


def _beside(row: CellRow, first: CellRow) -> CellRow:
    gaps = {name: None if row is first else _gap(row.mean[name], first.mean[name]) for name in DIFFERENCES}
    return replace(row, difference=gaps)


def _gap(here: float | None, there: float | None) -> float | None:
    return None if here is None or there is None else here - there


def _check_same(dataset: str, members: Sequence[Member]) -> None:
    scored = {
        (result["dataset"].get("content_hash"), result["dataset"].get("n_samples"))
        for member in members
        for result in member.results
    }
    if len(scored) > 1:
        raise UserError(
            f"the results on {dataset} are of {len(scored)} different test splits and cannot stand in one table; "
            "run the sweep again, which makes the outdated ones anew."
        )


def markdown(title: str, found: Sequence[CellRow]) -> str:
    """A table in percent, with its caption and what the columns mean."""
    several = len({row.dataset for row in found}) > 1
    heads = ["cell", *(TITLES[name] for name in SHOWN), *(f"Δ {TITLES[name]}" for name in DIFFERENCES)]
    heads += ["trained", "seeds"]
    lines = [heads, [":---", *["---:"] * (len(heads) - 1)]]
    if several:
        lines = [["data set", *lines[0]], [":---", *lines[1]]]
    for row in found:
        cells = [row.label, *(_shown(row.mean[name], row.sd[name]) for name in SHOWN)]
        cells += ["" if gap is None else f"{100 * gap:+.2f}" for gap in row.difference.values()]
        cells.append("" if row.trainable is None else f"{row.trainable / 1e6:.2f}")
        cells.append(str(row.done) if row.done == row.planned else f"{row.done} of {row.planned}")
        lines.append([row.dataset, *cells] if several else cells)
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    legend = (
        f"Percent under `{DEFAULT}`, test split; mean over seeds, ± standard deviation where there is more than one. "
        "Δ: difference to the first row. Trained: parameters in millions. An empty cell is not known."
    )
    return f"**{title}**\n\n{table}\n\n{legend}\n"


def _shown(mean: float | None, sd: float | None) -> str:
    spread = "" if sd is None else f" ± {100 * sd:.2f}"
    return "" if mean is None else f"{100 * mean:.2f}{spread}"


def csv_text(found: Sequence[CellRow]) -> str:
    """The same as CSV: fractions at full precision, empty where not known."""
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    spreads = [f"{name}_sd" for name in SHOWN]
    gaps = [f"{name}_difference" for name in DIFFERENCES]
    writer.writerow(["dataset", "cell", *SHOWN, *spreads, *gaps, "trainable_parameters", "seeds_done", "seeds"])
    for row in found:
        values = [*row.mean.values(), *row.sd.values(), *row.difference.values(), row.trainable]
        writer.writerow([row.dataset, row.label, *("" if v is None else v for v in values), row.done, row.planned])
    return stream.getvalue()


def title(name: str, members: Sequence[Member]) -> str:
    """What the table is of: the sweep, its methods with their fidelity, and whether the scenes are drawn."""
    methods: dict[str, str] = {}
    kinds: dict[str, None] = {}
    for member in members:
        for result in member.results:
            method = result["method"]
            methods[str(method.get("title") or method["name"])] = str(method.get("fidelity") or "")
            kinds[f"{member.dataset}{', drawn scenes' if result['kind'] == 'smoke' else ''}"] = None
    told = "; ".join(f"{label} ({fidelity})" if fidelity else label for label, fidelity in methods.items())
    return f"{name}: {told}; {', '.join(kinds)}"
