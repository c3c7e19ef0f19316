"""Makes one table of a sweep, such as an ablation: its cells in the order of the file, each beside the first."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rrsis_bench.boards.render.cells import Column, number, sheet, spread
from rrsis_bench.boards.render.markdown import escape
from rrsis_bench.boards.rows import over_seeds
from rrsis_bench.errors import UserError
from rrsis_bench.metrics.definitions import Metric, shown
from rrsis_bench.metrics.protocols import DEFAULT


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
    """Make the rows of a sweep, under `native-v1`, in the order given.

    Raises:
        UserError: results of one data set are not of the same samples.
    """
    names = [metric.name for metric in shown("tables")]
    first: dict[str, CellRow] = {}
    found = []
    for member in members:
        _check_same(member.dataset, [other for other in members if other.dataset == member.dataset])
        blocks = [result["metrics"][DEFAULT] for result in member.results]
        scores = {name: over_seeds([block.get(name, {}).get("value") for block in blocks]) for name in names}
        sizes = {(result.get("efficiency") or {}).get("trainable_parameters") for result in member.results}
        row = CellRow(
            dataset=member.dataset,
            label=member.label,
            done=len(member.results),
            planned=member.planned,
            mean={name: mean for name, (mean, _) in scores.items()},
            sd={name: sd for name, (_, sd) in scores.items()},
            difference={},
            trainable=sizes.pop() if len(sizes) == 1 else None,
        )
        against = first.setdefault(member.dataset, row)
        found.append(_beside(row, against))
    return found


def _beside(row: CellRow, first: CellRow) -> CellRow:
    names = [metric.name for metric in shown("headline")]
    return replace(
        row, difference={name: None if row is first else _gap(row.mean[name], first.mean[name]) for name in names}
    )


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


def _mean(metric: Metric) -> Column:
    name = metric.name
    return Column(name, metric.title, lambda row: spread(row.mean[name], row.sd[name]), lambda row: row.mean[name])


def _difference(metric: Metric) -> Column:
    def text(row: CellRow) -> str:
        gap = row.difference[metric.name]
        return "" if gap is None else f"{100 * gap:+.2f}"

    return Column(f"{metric.name}_difference", f"Δ {metric.title}", text, lambda row: row.difference[metric.name])


def _columns() -> list[Column]:
    """List the columns that people read."""
    return [
        Column("dataset", "data set", lambda row: row.dataset, lambda row: row.dataset, left=True),
        Column("cell", "cell", lambda row: row.label, lambda row: row.label, left=True),
        *(_mean(metric) for metric in shown("tables")),
        *(_difference(metric) for metric in shown("headline")),
        Column(
            "trainable_parameters",
            "trained",
            lambda row: number(row.trainable, 1e-6, 2),
            lambda row: row.trainable,
        ),
        Column(
            "seeds",
            "seeds",
            lambda row: str(row.done) if row.done == row.planned else f"{row.done} of {row.planned}",
            lambda row: row.done,
        ),
    ]


def markdown(title: str, found: Sequence[CellRow]) -> str:
    """Write the table in percent, with its caption and what the columns mean."""
    several = len({row.dataset for row in found}) > 1
    columns = [column for column in _columns() if several or column.name != "dataset"]
    lines = [[column.title for column in columns], [":---" if column.left else "---:" for column in columns]]
    lines += [[escape(column.text(row)) for column in columns] for row in found]
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    legend = (
        f"Percent under `{DEFAULT}`, test split; mean over seeds, ± standard deviation where there is more than one. "
        "Δ: difference to the first row. Trained: parameters in millions. An empty cell is not known."
    )
    return f"**{escape(title)}**\n\n{table}\n\n{legend}\n"


def _values(row: CellRow) -> dict[str, Any]:
    """List what programs read of a row."""
    return {
        "dataset": row.dataset,
        "cell": row.label,
        **row.mean,
        **{f"{name}_sd": value for name, value in row.sd.items()},
        **{f"{name}_difference": value for name, value in row.difference.items()},
        "trainable_parameters": row.trainable,
        "seeds_done": row.done,
        "seeds": row.planned,
    }


def csv_text(found: Sequence[CellRow]) -> str:
    """Write the table as CSV: fractions at full precision, empty where not known."""
    lines = [{name: sheet(value) for name, value in _values(row).items()} for row in found]
    stream = io.StringIO(newline="")
    writer = csv.DictWriter(stream, lines[0] if lines else (), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return stream.getvalue()


def title(name: str, members: Sequence[Member]) -> str:
    """Name the sweep, its methods with their fidelity, and its data sets; say where scenes are drawn."""
    methods: dict[str, str] = {}
    kinds: dict[str, None] = {}
    for member in members:
        for result in member.results:
            method = result["method"]
            methods[str(method.get("title") or method["name"])] = str(method.get("fidelity") or "")
            kinds[f"{member.dataset}{', drawn scenes' if result['kind'] == 'smoke' else ''}"] = None
    named = "; ".join(f"{label} ({fidelity})" if fidelity else label for label, fidelity in methods.items())
    return f"{name}: {named}; {', '.join(kinds)}"
