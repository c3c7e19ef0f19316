"""The boards of detail and of generalised segmentation: their numbers against `results explain` and naive loops."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import numpy as np
import pytest

from helpers.boards import METHODS, detail_of, fill, table_of
from helpers.results import make_result, make_table, write
from rrsis_bench.boards import leaderboard
from rrsis_bench.boards.board import BESIDE_BOARDS, Board, build_boards
from rrsis_bench.boards.collect import collect
from rrsis_bench.boards.collect import load as load_boards
from rrsis_bench.boards.render.charts import failures_svg
from rrsis_bench.results import record
from rrsis_bench.results.audit import judge, record_text
from rrsis_bench.results.explain import explain, load
from rrsis_bench.run.folder import RunFolder
from rrsis_bench.stats.failures import KINDS


def boards_of(results: Path) -> dict[str, Board]:
    runs, warnings = collect(results)
    assert warnings == []
    return {board.name: board for board in build_boards(runs)}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("boards") / "results"
    fill(root / "runs")
    return root


@pytest.mark.slow
def test_only_boards_with_rows_appear(results: Path, tmp_path: Path) -> None:
    write(tmp_path / "runs")
    assert not set(BESIDE_BOARDS) & set(boards_of(tmp_path))
    assert set(BESIDE_BOARDS) <= set(boards_of(results))


@pytest.mark.slow
def test_detail_is_what_explaining_each_seed_says(results: Path) -> None:
    failures, calibration, parts = boards_of(results)["detail"].beside
    for method in METHODS:
        seeds = [results / "runs" / "houston" / f"{method}@lite" / f"seed{seed}" for seed in (0, 1)]
        told = [explain(load(seed), 20) for seed in seeds]
        (row,) = (row for row in failures.rows if row["method"] == method)
        assert row["n_seeds"] == 2
        for kind in KINDS:
            assert row[kind] == pytest.approx(np.mean([one["kinds"][kind]["value"] for one in told]), abs=1e-12)
        low, high = row["intervals"]["right"]
        assert low < row["right"] < high
        (row,) = (row for row in calibration.rows if row["method"] == method)
        for name in ("ece", "pixel_ap", "miou", "miou_val_threshold", "gain_val_threshold", "miou_oracle"):
            assert row[name] == pytest.approx(np.mean([one["measures"][name]["value"] for one in told]), abs=1e-12)
        assert row["threshold"] == pytest.approx(np.mean([one["threshold"] for one in told]))
        for name in ("ece", "gain_val_threshold"):
            assert row["intervals"][name][0] < row[name] < row["intervals"][name][1]
        (row,) = (row for row in parts.rows if row["method"] == method)
        for by, name in (("size", "4-16%"), ("wording", "ordinal")):
            shares = [one["by"][by][name]["right"] for one in told]
            assert row["right"][name] == pytest.approx(np.mean(shares), abs=1e-12)
        few = [name for name, part in told[0]["by"]["size"].items() if part["n_images"] < 10]
        assert few
        assert not set(few) & set(row["right"]), "too few photographs to tell"
    assert [row["right"] for row in failures.rows] == sorted((row["right"] for row in failures.rows), reverse=True)
    assert [row["ece"] for row in calibration.rows] == sorted(row["ece"] for row in calibration.rows)
    assert {row["rank"] for row in failures.rows} == {1, 2, 3}


def test_a_single_seed_has_the_intervals_of_explaining_it(tmp_path: Path) -> None:
    table = table_of(1, 0.7)
    folder, detail = RunFolder(tmp_path / "runs" / "tiny" / "lavt@tiny" / "seed0"), detail_of(table, 1, val=False)
    record.write_run(folder, make_result(table, detail=detail.block()), table, "a: 1\n", detail=detail)
    told = explain(load(folder.path))
    failures, calibration, _ = boards_of(tmp_path)["detail"].beside
    assert failures.rows[0]["intervals"]["right"] == pytest.approx(told["kinds"]["right"]["interval"])
    assert calibration.rows[0]["intervals"]["ece"] == pytest.approx(told["measures"]["ece"]["interval"])
    assert calibration.rows[0]["reliability"] == {
        f"{point['probability']:.3f}": point["share"] for point in told["reliability"]
    }
    assert calibration.rows[0]["miou_val_threshold"] is None
    assert "no val split" in failures.remarks[0]


@pytest.mark.slow
def test_generalised_scores_are_the_results_own(results: Path) -> None:
    (table,) = boards_of(results)["generalised"].beside
    assert "(90 samples)" in table.caption
    assert [row["method"] for row in table.rows] == list(METHODS), "best first"
    runs, _ = collect(results)
    for row in table.rows:
        own = [run.result["metrics"]["generalised-v1"] for run in runs if run.folder in row["runs"]]
        for metric, value in row["scores"].items():
            assert value == pytest.approx(np.mean([block[metric]["value"] for block in own]))
            assert row["sd"][metric] == pytest.approx(np.std([block[metric]["value"] for block in own], ddof=1))
        assert row["interval"][0] < row["scores"]["giou"] < row["interval"][1]


@pytest.mark.slow
def test_every_format_shows_the_boards(results: Path) -> None:
    texts = leaderboard.pages(list(boards_of(results).values()), leaderboard.FORMATS)
    for name in BESIDE_BOARDS:
        assert {f"{name}.{suffix}" for suffix in ("md", "csv", "json", "tex")} <= set(texts)
        assert f'<section class="board" id="{name}"' in texts["index.html"]
    assert {"detail-houston-retrained-test-failures.svg", "detail-houston-retrained-test-calibration.svg"} <= set(texts)
    (line, *_) = csv.DictReader(io.StringIO(texts["detail.csv"]))
    assert float(line["intervals.right_low"]) < float(line["right"]) < float(line["intervals.right_high"])
    assert "seed0/on/tiny" in texts["transfer.md"]


def test_a_damaged_detail_is_named_and_the_result_stays(tmp_path: Path) -> None:
    table = make_table(30)
    folder, detail = RunFolder(tmp_path / "runs" / "tiny" / "lavt@tiny" / "seed0"), detail_of(table, 1)
    record.write_run(folder, make_result(table, detail=detail.block()), table, "a: 1\n", detail=detail)
    folder.detail_path.write_bytes(b"no table")
    runs, warnings = collect(tmp_path)
    assert len(runs) == len(warnings) == 1
    assert "detail.csv.gz" in warnings[0]
    assert [board.name for board in build_boards(runs) if board.measured] == ["smoke"]


def test_an_edited_record_of_an_audit_is_named_and_left_out(tmp_path: Path) -> None:
    line = np.arange(20)[None]
    verdict = judge(line > 12, [line < 10, line < 10])
    text = record_text("tiny", "test", ["lavt@tiny", "rmsin@tiny"], 400, [(k, f"s{k}", verdict) for k in range(101)])
    (tmp_path / "audits").mkdir()
    for name, content in (("a", text), ("b", text.replace("400", "401")), ("c", "{}"), ("d", "[")):
        (tmp_path / "audits" / f"{name}.json").write_text(content)
    boards, warnings = load_boards(tmp_path)
    assert [Path(re.findall(r"\S+\.json", warning)[0]).name for warning in warnings] == ["b.json", "c.json", "d.json"]
    board = boards[-1]
    audits, candidates = board.beside
    assert (len(audits.rows), len(candidates.rows)) == (1, 100)
    assert "100 clearest of 101" in candidates.remarks[0]
    assert "drawn scenes" in board.notice
    assert "101" in leaderboard.pages([board], ["csv"], whole=False)["audit.csv"]
    assert '<th scope="row" data-key="s0">s0</th>' in leaderboard.pages([board], ["html"], whole=False)["audit.html"]


def test_unknown_kinds_are_not_drawn() -> None:
    shares: dict[str, float | None] = {"right": 0.5, "rough": 0.25, "missed": 0.25, "spread": None}
    svg = failures_svg([{"label": "a <b>", "shares": shares}])
    assert "spread" not in svg
    assert svg.count("<title>") == 3
    assert "a &lt;b&gt;: right 50.00 %" in svg
