"""Builds the boards, which no format has set yet: pure functions of committed files.

A board is a data set's page. It holds one table for each split and kind of measured results, and one for each split of
what is published: kinds never mix. Published numbers have no rank, because each paper scores by rules of its own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from rrsis_bench.boards.audits import audit_tables
from rrsis_bench.boards.beside import BesideTable, robustness_tables, transfer_tables
from rrsis_bench.boards.detail import detail_tables
from rrsis_bench.boards.entries import Entry, ordinary
from rrsis_bench.boards.generalised import generalised_tables
from rrsis_bench.boards.gpus import gpu_tables
from rrsis_bench.boards.published import Published, PublishedCost, PublishedRow
from rrsis_bench.boards.rows import Table, cost_tables, score_tables
from rrsis_bench.cost.measured import Measured
from rrsis_bench.data.catalogue import benchmarks, describe
from rrsis_bench.data.info import Kind
from rrsis_bench.run.seal import is_synthetic

SMOKE, EFFICIENCY, AUDIT = "smoke", "efficiency", "audit"
NOTICES: Mapping[Kind, str] = {
    "benchmark": "",
    "development": "Development data: a small set to work with, not a benchmark of the field.",
    "synthetic": "Drawn scenes: nothing here says how methods compare on real imagery.",
    "own": "A data set of somebody's own: its rows compare with each other only.",
    "unknown": "Unknown data set: no configuration of this name says what it is.",
}
"""What a page says above its tables, by the kind of its data set."""

NOTICE_AUDIT = (
    "Labels that different methods agree against. A candidate is no verdict: methods that learn alike may err alike."
)
NOTICE_DRAWN = (
    "Some of these are drawn scenes: their numbers show that the suite works, and say nothing of real imagery."
)
BESIDE_BOARDS: Mapping[str, tuple[str, str, Callable[[Sequence[Entry]], Sequence[BesideTable]]]] = {
    "generalised": (
        "Nothing there, or many",
        "Expressions that fit nothing, one object or several, under `generalised-v1`.",
        generalised_tables,
    ),
    "detail": (
        "Failures and calibration",
        "Why scores are what they are: runs of `test --detail`. `results explain` says more of a single run.",
        detail_tables,
    ),
    "robustness": ("Robustness", "What perturbations of images and words take from a score.", robustness_tables),
    "transfer": ("Transfer", "What a run scores on other data sets than its own.", transfer_tables),
}
"""Boards of tables of their own: name -> title, notice, what makes the tables. One without rows does not appear."""
RESERVED = (EFFICIENCY, AUDIT, *BESIDE_BOARDS)
"""Names of boards that no data set may have; the data sets of the generator share the board `smoke`."""
NOTHING = Published({}, ())


@dataclass(frozen=True, eq=False)
class Board:
    """A page.

    Attributes:
        name: of its files.
        title: its heading.
        notice: to show above the tables.
        tables: of what was measured.
        published: what is published on the data set.
        costs: what is published of methods' costs; on the efficiency board only.
        layout: what the tables show.
        beside: tables of results that no ordinary board takes, and of what was measured on GPUs.
        pictures: row name -> sample id -> COCO RLE counts, for the gallery.
        made: when its results were made, and by which versions; "" without results.
    """

    name: str
    title: str
    notice: str
    tables: tuple[Table, ...]
    published: tuple[PublishedRow, ...] = ()
    costs: tuple[PublishedCost, ...] = ()
    layout: Literal["scores", "costs", "beside"] = "scores"
    beside: tuple[BesideTable, ...] = ()
    pictures: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    made: str = ""

    @property
    def measured(self) -> int:
        """Number of measured rows."""
        return sum(len(table.rows) for table in self.tables) + sum(len(table.rows) for table in self.beside)


def build_boards(
    runs: Sequence[Entry],
    numbers: Published = NOTHING,
    audits: Sequence[Mapping[str, Any]] = (),
    on_gpus: Sequence[Measured] = (),
) -> list[Board]:
    """Build all boards: smoke, the benchmarks, any other data set by name, efficiency.

    Args:
        runs: results from `collect`.
        numbers: what is published, from `published.read`.
        audits: records from `audits.collect_audits`.
        on_gpus: what was measured on GPUs, from `measured.read`.
    """
    by_name: dict[str, list[Entry]] = defaultdict(list)
    for run in ordinary(runs):
        dataset = run.result["dataset"]
        synthetic = is_synthetic(dataset)
        misplaced = run.result["kind"] != "zero-shot" and synthetic != (run.result["kind"] == SMOKE)
        if misplaced or (not synthetic and dataset["name"] in (SMOKE, *RESERVED)):
            continue  # `collect` has refused and named it; a caller's own list gets no further either.
        by_name[SMOKE if synthetic else dataset["name"]].append(run)
    # A benchmark, and a data set with published rows, has a board before anyone has a result for it.
    first = (SMOKE, *benchmarks())
    others = sorted({*by_name, *numbers.rows} - {*first})
    boards = [make_board(name, by_name[name], numbers) for name in (*first, *others)]
    real = [run for name, members in by_name.items() if name != SMOKE for run in members]
    efficiency = make_board(EFFICIENCY, real, numbers, on_gpus)
    return [*boards, efficiency, *_beside(runs), *_audit(audits)]


def _beside(runs: Sequence[Entry]) -> list[Board]:
    """The boards of what no ordinary board shows, as far as there is any."""
    found = []
    for name, (title, notice, make) in BESIDE_BOARDS.items():
        if tables := tuple(make(runs)):
            shown = {folder for table in tables for row in table.rows for folder in row["runs"]}
            members = [run for run in runs if run.folder in shown]
            trained = [{"name": (run.result.get("transfer") or {}).get("trained_on")} for run in members]
            drawn = any(is_synthetic(one) for one in (*trained, *(run.result["dataset"] for run in members)))
            said = f"{notice} {NOTICE_DRAWN}" if drawn else notice
            found.append(Board(name, title, said, (), layout="beside", beside=tables, made=_made(members)))
    return found


def _audit(records: Sequence[Mapping[str, Any]]) -> list[Board]:
    tables = tuple(audit_tables(records))
    drawn = any(is_synthetic({"name": record["dataset"]}) for record in records)
    notice = f"{NOTICE_AUDIT} {NOTICE_DRAWN}" if drawn else NOTICE_AUDIT
    return [Board(AUDIT, "Audit of labels", notice, (), layout="beside", beside=tables)] if tables else []


def make_board(
    name: str, runs: Sequence[Entry] = (), numbers: Published = NOTHING, on_gpus: Sequence[Measured] = ()
) -> Board:
    """Build a board with its title and notice.

    Args:
        name: a data set's name, `smoke` or `efficiency`.
        runs: its results.
        numbers: what is published.
        on_gpus: what was measured on GPUs; for the efficiency board.
    """
    if name == EFFICIENCY:
        costs = tuple(cost_tables(runs))
        beside, made = tuple(gpu_tables(on_gpus)), _made(runs)
        return Board(name, "Efficiency", _notice(name), costs, (), numbers.costs, "costs", beside=beside, made=made)
    tables, printed = tuple(score_tables(runs, numbers.rows)), numbers.rows.get(name, ())
    pictures = _gallery(runs, tables)
    return Board(name, _title(name), _notice(name), tables, printed, pictures=pictures, made=_made(runs))


def _made(runs: Sequence[Entry]) -> str:
    """Say when results were made and by which versions, as far as they say it themselves."""
    blocks = [run.result.get("provenance") or {} for run in runs]
    days = sorted(str(block["finished"])[:10] for block in blocks if block.get("finished"))
    programs = []
    for name, found in (
        ("rrsis_bench", {block.get("package") for block in blocks}),
        ("torch", {(block.get("versions") or {}).get("torch") for block in blocks}),
    ):
        if known := sorted(str(version) for version in found if version):
            programs.append(f"{name} {' and '.join(known)}")
    when = f" {' to '.join(dict.fromkeys((days[0], days[-1])))}" if days else ""
    by = f" with {', '.join(programs)}" if programs else ""
    return f"Measured{when}{by}." if when or by else ""


def _gallery(runs: Sequence[Entry], tables: Sequence[Table]) -> dict[str, Mapping[str, str]]:
    """Choose the pictures of each row: those of its first seed that has any."""
    kept = {run.folder: run.pictures for run in runs if run.pictures}
    found: dict[str, Mapping[str, str]] = {}
    for row in (row for table in tables for row in table.rows):
        shown = next((kept[folder] for folder in row.runs if folder in kept), None)
        if shown is not None:
            found.setdefault(row.name, shown)
    return found


def _title(name: str) -> str:
    return "Smoke: the synthetic split" if name == SMOKE else describe(name).title


def _notice(name: str) -> str:
    if name == SMOKE:
        return (
            "Drawn scenes, tiny networks, minutes of training: this table shows that the suite works. "
            "It says nothing about how methods compare on real imagery."
        )
    if name == EFFICIENCY:
        return (
            "Costs of methods that were run on real data. Measured GFLOPs count a multiply-add as 2, published ones as "
            "1 wherever the source does; measured and published figures come from different machines."
        )
    return NOTICES[describe(name).kind]
