"""The transfer board: the matrix, its differences against a naive reference, and what it keeps apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from helpers.results import make_result, make_table, write
from rrsis_bench.boards.board import build_boards
from rrsis_bench.boards.collect import collect
from rrsis_bench.boards.leaderboard import FORMATS, pages
from rrsis_bench.results import record
from rrsis_bench.results.samples import SampleTable
from rrsis_bench.run.folder import RunFolder
from rrsis_bench.stats.exact import FEWEST


def table_of(dataset_seed: int, seed: int, quality: float, n: int = 60) -> SampleTable:
    """Samples of a data set, whose truth is that of its seed, with a run's own predictions."""
    counts = make_table(n, seed=dataset_seed).counts.copy()
    rng = np.random.default_rng((dataset_seed, seed))
    counts[..., 2] = (counts[..., 0] * rng.random(counts.shape[:2]) ** (1 - quality)).astype(np.int64)
    counts[..., 1] = counts[..., 2] + 40
    return make_table(n, counts=counts)


def moved(folder: Path, table: SampleTable, on: str, trained_on: str, label: str = "", **changes: object) -> None:
    """File a result on another data set under a run."""
    block: dict[str, object] = {"trained_on": trained_on, "shared": ["ship"], "unseen": ["dam"]}
    if label:
        block["excluded"] = {"n_samples": 3, "list_sha256": "a" * 64}
    result = make_result(table, dataset=on, beside={"transfer": block}, language_control=None, **changes)
    record.write_run(RunFolder(folder).elsewhere(on + label), result, table, "a: 1\n")


def miou(table: SampleTable, rows: np.ndarray | slice = slice(None)) -> float:
    truth, pred, inter = table.view("native")[rows].T
    return float(np.mean(inter / (truth + pred - inter)))


@pytest.mark.slow
def test_the_matrix_and_its_differences(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    on_real, on_tiny = table_of(1, 0, 0.9), table_of(2, 0, 0.9)
    real = write(runs, dataset="houston", table=on_real, kind="retrained")
    write(runs, dataset="tiny", table=on_tiny)
    named = write(runs, dataset="houston", variant="tiny+other", table=table_of(1, 5, 0.2), kind="retrained")
    elsewhere = table_of(2, 1, 0.3)
    moved(real, elsewhere, "tiny", "houston")
    moved(named, table_of(2, 6, 0.1), "tiny", "houston", variant="tiny+other")
    left = elsewhere.rows(np.arange(3, len(elsewhere)))
    moved(real, left, "tiny", "houston", "-without-overlap")
    found, warnings = collect(tmp_path)
    assert warnings == []
    boards = {board.name: board for board in build_boards(found)}
    (table,) = boards["transfer"].beside
    rows = {(row["variant"], row["trained_on"]): row for row in table.rows}
    assert set(rows) == {("tiny", "houston"), ("tiny", "tiny"), ("tiny+other", "houston")}
    row = rows["tiny", "houston"]
    assert row["scores"] == pytest.approx(
        {"houston": miou(on_real), "tiny": miou(elsewhere), "tiny without overlap": miou(left)}
    )
    assert row["differences"]["tiny"] == pytest.approx(miou(elsewhere) - miou(on_tiny))
    assert row["differences"]["tiny without overlap"] == pytest.approx(miou(left) - miou(on_tiny, slice(3, None)))
    assert row["differences"]["houston"] is None
    ships = np.array([name == "ship" for name in elsewhere.category])
    dams = np.array([name == "dam" for name in elsewhere.category])
    assert row["shared"]["tiny"] == pytest.approx(miou(elsewhere, ships))
    assert row["unseen"]["tiny"] == pytest.approx(miou(elsewhere, dams))
    low, high = row["intervals"]["tiny"]
    assert low <= row["differences"]["tiny"] <= high
    assert len(set(elsewhere.image_id)) >= FEWEST
    # A named cell of a sweep has no diagonal of its own here, and does not lend its score to another.
    assert rows["tiny+other", "houston"]["differences"] == {"houston": None, "tiny": None}
    assert rows["tiny", "tiny"]["scores"] == pytest.approx({"tiny": miou(on_tiny)})
    texts = pages(list(boards.values()), FORMATS)
    assert "drawn scenes" in texts["transfer.md"]
    assert "tiny without overlap" in texts["transfer.csv"]
    assert "Transfer" in texts["index.html"]
    without = [run for run in found if "transfer" not in run.result]
    for name in ("smoke.md", "houston.md", "efficiency.csv"):
        assert pages(build_boards(without), ["md", "csv"], whole=False)[name] == texts[name]


def test_without_the_split_itself_or_of_another_run_it_is_left_out(tmp_path: Path) -> None:
    real = write(tmp_path / "runs", dataset="houston", table=table_of(1, 0, 0.9), kind="retrained")
    moved(real, table_of(2, 1, 0.3), "tiny", "rrsisd")
    moved(tmp_path / "runs" / "houston" / "lavt@tiny" / "seed7", table_of(2, 2, 0.3), "tiny", "houston")
    found, warnings = collect(tmp_path)
    assert len(found) == 1
    assert "of a run on rrsisd, but lies under another" in " ".join(warnings)
    assert "no result of the split itself" in " ".join(warnings)
    assert "transfer" not in {board.name for board in build_boards(found)}
