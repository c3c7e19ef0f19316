"""The table of a sweep: rows in the order of the file, seeds averaged, each beside the first."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from statistics import fmean, stdev

import pytest
import yaml

from helpers.results import make_result, make_table
from rrsis_bench.boards.sweep_table import Member, rows
from rrsis_bench.cli import main
from rrsis_bench.errors import UserError
from rrsis_bench.results import record
from rrsis_bench.sweep.cell import Cell
from rrsis_bench.sweep.grid import read_sweep

FILE = """\
datasets: [tiny]
seeds: [0, 1]
cells:
  zero: {method: lavt, flags: {model.options.dice: none}}
  one: {method: lavt, flags: {model.options.dice: mean}}
  two: {method: lavt, flags: {model.options.dice: sum}}
"""


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RRSIS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("RRSIS_RUNS", str(tmp_path / "runs"))
    path = tmp_path / "mine.yaml"
    path.write_text(FILE)
    return path


def finish(cell: Cell, quality: float, **changes: object) -> float:
    """A finished run in its folder; returns its oIoU."""
    table = make_table(seed=cell.seed, quality=quality)
    efficiency = {"parameters": 900_000, "trainable_parameters": 760_000}
    result = make_result(table, variant=cell.variant, seed=cell.seed, efficiency=efficiency, **changes)
    config = {**cell.config, "trainer": {**cell.config["trainer"], "num_nodes": 1}}
    record.write_run(cell.folder, result, table, yaml.safe_dump(config))
    return float(result["metrics"]["native-v1"]["oiou"]["value"])


def cells(path: Path) -> dict[str, Cell]:
    return {cell.name.partition("+")[2]: cell for cell in read_sweep(str(path)).cells}


def test_the_table_in_both_forms(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    known = cells(sweep)
    scores = {
        name: finish(known[name], quality)
        for name, quality in (("zero/seed0", 0.5), ("zero/seed1", 0.5), ("one/seed0", 0.9), ("one/seed1", 0.9))
    }
    assert main(["results", "table", str(sweep), "--format", "csv"]) == 0
    out, err = capsys.readouterr()
    assert err.count("two/seed0 is missing and not in the table") == 1
    assert err.count("\n") == 2
    lines = list(csv.DictReader(io.StringIO(out)))
    assert [line["cell"] for line in lines] == ["zero", "one", "two"]
    zero, one, two = lines
    pair = [scores["zero/seed0"], scores["zero/seed1"]], [scores["one/seed0"], scores["one/seed1"]]
    assert float(one["oiou"]) == pytest.approx(fmean(pair[1]))
    assert float(one["oiou_sd"]) == pytest.approx(stdev(pair[1]))
    assert float(one["oiou_difference"]) == pytest.approx(fmean(pair[1]) - fmean(pair[0]))
    assert zero["oiou_difference"] == ""
    assert (one["trainable_parameters"], one["seeds_done"], one["seeds"]) == ("760000", "2", "2")
    assert (two["oiou"], two["oiou_sd"], two["oiou_difference"], two["seeds_done"]) == ("", "", "", "0")

    assert main(["results", "table", str(sweep)]) == 0
    out = capsys.readouterr().out
    assert out.startswith("**mine: lavt (from-code); tiny, drawn scenes**")
    header, _, first, second, third = [line for line in out.splitlines() if line.startswith("|")]
    assert header == "| cell | mIoU | oIoU | Pr@.5 | Pr@.7 | Pr@.9 | Δ mIoU | Δ oIoU | trained | seeds |"
    assert first.split(" | ")[2] == f"{100 * fmean(pair[0]):.2f} ± {100 * stdev(pair[0]):.2f}"
    assert second.split(" | ")[7] == f"{100 * (fmean(pair[1]) - fmean(pair[0])):+.2f}"
    assert third == "| two |  |  |  |  |  |  |  |  | 0 of 2 |"


def test_an_outdated_result_is_left_out(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    known = cells(sweep)
    finish(known["zero/seed0"], 0.5)
    finish(known["one/seed0"], 0.5)
    sweep.write_text(FILE.replace("dice: mean", "dice: mean, model.options.fusion_drop: 0.3"))
    assert main(["results", "table", str(sweep)]) == 0
    out, err = capsys.readouterr()
    assert "one/seed0 is outdated (model.options.fusion_drop was None and is 0.3 now)" in err
    (row,) = [line for line in out.splitlines() if line.startswith("| one")]
    assert row.endswith("| 0 of 2 |")
    (row,) = [line for line in out.splitlines() if line.startswith("| zero")]
    assert "±" not in row
    assert row.endswith("| 0.76 | 1 of 2 |")


def test_nothing_done_says_what_to_run(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["results", "table", str(sweep)]) == 2
    error = capsys.readouterr().err
    assert f"run it with: rrsis-bench sweep {sweep}" in error
    assert error.count("\n") == 1


def test_other_samples_do_not_stand_in_one_table() -> None:
    here = make_result()
    there = {**here, "dataset": {**here["dataset"], "content_hash": "d" * 64}}
    with pytest.raises(UserError, match="2 different test splits"):
        rows([Member("tiny", "a", (here,), 1), Member("tiny", "b", (there,), 1)])
    found = rows([Member("tiny", "a", (here,), 1), Member("small", "b", (there,), 1)])
    assert [row.difference for row in found] == [{"miou": None, "oiou": None}] * 2
