"""Boards: who is on them, who can never be, and whether the files say what the results say."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

from helpers.results import edit, make_result, make_table, write
from rrsis_bench.boards import leaderboard
from rrsis_bench.boards.board import Entry, build_boards
from rrsis_bench.boards.collect import collect
from rrsis_bench.boards.leaderboard import FORMATS, inject, outputs, pages
from rrsis_bench.cli import main
from rrsis_bench.errors import UsageError, UserError
from rrsis_bench.metrics.protocols import PROTOCOLS, views
from rrsis_bench.run.seal import sealed


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    root = tmp_path_factory.mktemp("template")
    for seed in (0, 1, 2):
        write(root / "runs", seed=seed, table=make_table(seed=seed, quality=0.9))
    write(root / "runs", method="s4eca")
    write(root / "runs", dataset="houston", kind="retrained", variant="lite")
    write(root / "runs", dataset="rrsisd", kind="retrained", variant="base")
    write(root / "runs", dataset="rrsisd", kind="official-weights", variant="base", seed=7)
    return root


@pytest.fixture
def results(template, tmp_path):
    """A copy of its own for each test."""
    return shutil.copytree(template, tmp_path / "results")


def texts(results, *words):
    """`rrsis-bench leaderboard` without what holds plots: drawing them takes seconds."""
    return main(["leaderboard", "--results", str(results), "--format", "md", "csv", "json", "tex", *words])


def boards_of(root):
    runs, warnings = collect(root)
    return {board.name: board for board in build_boards(runs)}, warnings


def test_boards_tables_and_rows(results):
    boards, warnings = boards_of(results)
    assert warnings == []
    assert list(boards) == ["smoke", "rrsisd", "refsegrs", "risbench", "houston", "efficiency"]
    (smoke,) = boards["smoke"].tables
    assert [(row.method, row.n_seeds) for row in smoke.rows] == [("lavt", 3), ("s4eca", 1)]
    assert smoke.rows[0].sd["miou"] > 0
    assert smoke.rows[1].sd["miou"] is None
    assert [table.kind for table in boards["rrsisd"].tables] == ["retrained", "official-weights"]
    assert "Development data" in boards["houston"].notice
    assert boards["refsegrs"].tables == ()


def prediction(quality, luck, n=60):
    """The same truth for everyone, and a share of it found, with a little luck."""
    truth = np.random.default_rng(0).integers(200, 1000, (n, 3))
    noise = np.random.default_rng(luck).normal(0, 0.02, (n, 3))
    inter = (truth * np.clip(quality + noise, 0, 1)).astype(np.int64)
    native = np.stack([truth, inter, inter], -1)[:, :1]
    counts = np.repeat(native, len(views(PROTOCOLS)), axis=1)
    return make_table(n, counts=counts, image_id=[f"i{k}" for k in range(n)])


def test_methods_that_cannot_be_told_apart_share_a_rank(tmp_path):
    for luck, (method, quality) in enumerate({"best": 0.8, "close": 0.8, "worse": 0.6}.items()):
        write(tmp_path / "runs", method=method, table=prediction(quality, luck))
    boards, _ = boards_of(tmp_path)
    rows = {row.method: row for row in boards["smoke"].tables[0].rows}
    assert rows["best"].interval[0] < rows["best"].mean["miou"] < rows["best"].interval[1]
    assert {name: row.rank for name, row in rows.items()} == {"best": 1, "close": 1, "worse": 3}
    write(tmp_path / "runs", method="twin", seed=1, table=prediction(0.6, 9))
    rows = {row.method: row for row in boards_of(tmp_path)[0]["smoke"].tables[0].rows}
    assert rows["twin"].rank == rows["worse"].rank == 3


def test_unknown_is_empty(results, tmp_path):
    write(results / "runs", method="other", seed=3, table=make_table(seed=0), efficiency=None, language_control=None)
    boards, _ = boards_of(results)
    rows = {row.method: row for row in boards["smoke"].tables[0].rows}
    assert rows["other"].efficiency["parameters"] is None
    line = next(
        line for line in csv.DictReader(outputs(results)[0][results / "leaderboard" / "smoke.csv"].splitlines())
        if line["method"] == "other"
    )  # fmt: skip
    assert line["parameters"] == line["permuted_oiou_ratio"] == line["miou_sd"] == ""


@pytest.mark.parametrize(("target", "title", "name", "paper"), [
    ("baselines.prior:PriorText", "prior (no image)", "prior-text (tiny)", ""),
    (None, "prior (no image)", "prior (no image) (tiny)", ""),
])  # fmt: skip
def test_a_method_of_the_suite_has_the_name_that_it_has_today(target, title, name, paper, tmp_path):
    method = {"name": "prior-text", "variant": "tiny", "target": target, "title": title}
    result = make_result() | {"method": method}
    (board, *_) = build_boards([Entry("runs/x", result)])
    (row,) = board.tables[0].rows
    assert (row.name, row.paper) == (name, paper)


@pytest.mark.parametrize(("url", "paper"), [
    ("https://x.org/p", "https://x.org/p"), ("javascript:alert(1)", ""), ("data:text/html,x", ""), (None, ""), (7, ""),
    (" https://x.org", ""), ("https:///x", ""),
])  # fmt: skip
def test_a_foreign_methods_page_is_linked_if_it_is_an_address(url, paper):
    result = make_result() | {"method": {"name": "theirs", "variant": "x", "target": None, "url": url}}
    (board, *_) = build_boards([Entry("runs/x", result)])
    assert board.tables[0].rows[0].paper == paper


def reseal(result):
    result["sha256"] = sealed(result)["sha256"]


def to_real_kind(result):
    result["kind"] = "retrained"


def to_real_kind_resealed(result):
    to_real_kind(result)
    reseal(result)


def to_real_everything_resealed(result):
    to_real_kind(result)
    result["dataset"] |= {"name": "rrsisd", "synthetic": False, "source": "rrsisd"}
    reseal(result)


@pytest.mark.parametrize("change", [to_real_kind, to_real_kind_resealed, to_real_everything_resealed])
def test_a_smoke_row_never_reaches_a_real_board(change, results, capsys):
    path = results / "runs" / "tiny" / "s4eca@tiny" / "seed0" / "result.json"
    edit(path, change)
    boards, warnings = boards_of(results)
    assert len(warnings) == 1
    assert str(path) in warnings[0]
    for name, board in boards.items():
        assert all(row.method != "s4eca" for table in board.tables for row in table.rows), name
    assert texts(results) == 0
    assert str(path) in capsys.readouterr().err


def test_not_even_from_a_callers_own_list():
    result = {**make_result(), "kind": "retrained"}
    real = {**make_result(dataset="rrsisd", kind="retrained"), "kind": "smoke"}
    assert all(not board.tables for board in build_boards([Entry("a", result), Entry("b", real)]))


def test_not_even_when_moved_by_hand_into_a_real_folder(results, capsys):
    smoke, real = results / "runs" / "tiny" / "s4eca@tiny", results / "runs" / "rrsisd" / "s4eca@tiny"
    smoke.rename(real)
    assert texts(results) == 0
    assert str(real / "seed0" / "result.json") in capsys.readouterr().err
    for path in (results / "leaderboard").glob("rrsisd.*"):
        assert "s4eca@tiny" not in path.read_text(), path.name
        assert "S4ECA (tiny)" not in path.read_text(), path.name
    # Not even by giving it a folder name of another depth, which no data set is read from.
    real.rename(results / "runs" / "rrsisd" / "seven")
    boards, _ = boards_of(results)
    assert {row.method for table in boards["rrsisd"].tables for row in table.rows} == {"lavt"}
    assert {row.method for table in boards["efficiency"].tables for row in table.rows} == {"lavt"}
    assert all(table.kind == "smoke" for table in boards["smoke"].tables)


def test_a_result_whose_samples_were_changed_is_named_and_left_out(results, capsys):
    folder = results / "runs" / "tiny" / "lavt@tiny"
    (folder / "seed0" / "samples.csv.gz").write_bytes((folder / "seed1" / "samples.csv.gz").read_bytes())
    (folder / "seed2" / "samples.csv.gz").unlink()
    boards, warnings = boards_of(results)
    assert ["seed0" in text or "seed2" in text for text in warnings] == [True, True]
    assert all("samples.csv.gz" in text for text in warnings)
    assert boards["smoke"].tables[0].rows[0].n_seeds == 1


def test_a_seed_counts_once_though_it_was_scored_again(results):
    clean = boards_of(results)[0]["smoke"].tables[0].rows[0]
    write(results / "runs" / "again", seed=1, table=make_table(seed=8))
    boards, (warning,) = boards_of(results)
    usual = "runs/tiny/lavt@tiny/seed1"
    assert warning == f"runs/again/tiny/lavt@tiny/seed1 is of seed 1, as is {usual}. A row counts each seed once."
    row = boards["smoke"].tables[0].rows[0]
    assert (row.n_seeds, row.mean, row.sd) == (3, clean.mean, clean.sd)


def test_truncated_results_and_copies_are_named_and_left_out(results, capsys):
    broken = results / "runs" / "tiny" / "lavt@tiny" / "seed1" / "result.json"
    broken.write_text(broken.read_text()[:1000])
    copy = results / "runs" / "tiny" / "lavt@tiny" / "seed5"
    copy.mkdir()
    (copy / "result.json").write_bytes((broken.parent.parent / "seed0" / "result.json").read_bytes())
    assert texts(results) == 0
    shown = capsys.readouterr().err
    assert str(broken) in shown
    assert "truncated" in shown
    assert "seed5" in shown
    boards, _ = boards_of(results)
    assert boards["smoke"].tables[0].rows[0].n_seeds == 2


def test_check_finds_drift_and_regenerating_mends_it(results, capsys):
    assert texts(results, "--check") == 4
    assert texts(results) == 0
    assert texts(results, "--check") == 0
    assert "leaderboard: up to date" in capsys.readouterr().out
    page = results / "leaderboard" / "smoke.md"
    page.write_text(page.read_text().replace("lavt", "best"))
    (results / "leaderboard" / "houston.json").unlink()
    assert texts(results, "--check") == 4
    shown = capsys.readouterr().err
    assert "smoke.md" in shown
    assert "houston.json" in shown
    assert "rrsisd" not in shown


def test_pages_are_a_pure_function_of_the_results(results):
    runs, _ = collect(results)
    first = pages(build_boards(runs), FORMATS)
    assert first == pages(build_boards(runs[::-1]), FORMATS[::-1])
    for name, text in first.items():
        assert text.endswith("\n"), name
        assert str(results) not in text
    parsed = json.loads(first["rrsisd.json"])
    assert [table["kind"] for table in parsed["tables"]] == ["retrained", "official-weights"]
    assert "[seed0](../runs/houston/lavt@lite/seed0)" in first["houston.md"]


def test_kinds_stand_in_tables_of_their_own(results):
    text = outputs(results)[0][results / "leaderboard" / "rrsisd.md"]
    assert text.count("| # | method") == 2
    assert "retrained by this project" in text
    assert "the authors' own weights" in text


def test_tables_go_between_the_readmes_markers(results, tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text(
        "a\n<!-- leaderboard:smoke -->\nold\n<!-- /leaderboard:smoke -->\nb\n"
        "<!-- leaderboard:nothing -->\n<!-- /leaderboard:nothing -->\n"
    )
    assert texts(results) == 0
    text = readme.read_text()
    assert text.startswith("a\n<!-- leaderboard:smoke -->\n")
    assert "old" not in text
    assert "(results/runs/tiny/s4eca@tiny/seed0)" in text
    assert text.count("No results yet.") == 1
    assert texts(results, "--check") == 0
    readme.write_text(text.replace("s4eca", "S4"))
    assert texts(results, "--check") == 4


def test_a_marker_that_is_never_closed_is_named(results):
    boards, _ = boards_of(results)
    with pytest.raises(UserError, match="add the closing marker"):
        inject("<!-- leaderboard:smoke -->", boards.values(), "")


def test_run_folders_are_read_too_and_no_readme_is_touched(tmp_path, capsys):
    write(tmp_path / "runs")
    readme = tmp_path / "README.md"
    readme.write_text("<!-- leaderboard:smoke -->\n<!-- /leaderboard:smoke -->\n")
    before = readme.read_text()
    assert main(["leaderboard", "--results", str(tmp_path / "runs"), "--board", "smoke", "--format", "md"]) == 0
    assert readme.read_text() == before
    assert [path.name for path in (tmp_path / "runs" / "leaderboard").iterdir()] == ["smoke.md"]
    assert "| 1 |" in capsys.readouterr().out


def test_a_user_s_file_is_not_replaced(results, tmp_path):
    out = tmp_path / "site"
    files, _, _ = outputs(results, "smoke", ("md", "csv", "json", "tex"), out)
    assert {path.suffix for path in files} == {".md", ".csv", ".json", ".tex"}
    out.mkdir()
    for path in files:
        path.write_text("mine")
        with pytest.raises(UsageError, match="is not a file that rrsis-bench leaderboard made"):
            leaderboard.write(files)
        assert [(one.name, one.read_text()) for one in out.iterdir()] == [(path.name, "mine")]
        path.unlink()
    leaderboard.write(files)
    for path, text in files.items():
        path.write_text(f"{text}\nedited\n")
    assert leaderboard.write(files) == list(files)
    assert {path: path.read_text() for path in files} == files


def test_nothing_there_is_said_plainly(tmp_path, capsys, monkeypatch):
    for words in (["--results", str(tmp_path / "results")], ["--check"], []):
        monkeypatch.chdir(tmp_path)
        assert main(["leaderboard", *words]) == 2
        assert "there is no folder" in capsys.readouterr().err
    assert main(["results", "check"]) == 2
    assert not list(tmp_path.iterdir())
    (tmp_path / "results" / "runs").mkdir(parents=True)
    assert main(["leaderboard", "--results", str(tmp_path / "results")]) == 0
    assert "none is measured here" in capsys.readouterr().out
    assert "None is measured here" in (tmp_path / "results" / "leaderboard" / "rrsisd.md").read_text()


def test_unknown_board_lists_the_known(results, capsys):
    assert main(["leaderboard", "--results", str(results), "--board", "rrsis"]) == 2
    assert "Did you mean 'rrsisd'" in capsys.readouterr().err


def test_no_torch(tmp_path):
    """With all formats, plots too."""
    results = tmp_path / "results"
    write(results / "runs")
    code = (
        "import sys; from rrsis_bench.cli import main; "
        f"main(['leaderboard', '--results', {str(results)!r}]); main(['results', 'check', {str(results)!r}]); "
        "assert 'torch' not in sys.modules and 'lightning' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
