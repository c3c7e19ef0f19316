"""Published numbers: as printed, from named places, beside measured ones and never among them."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from helpers.results import write
from rrsis_bench.boards import published
from rrsis_bench.boards.board import build_boards, make_board
from rrsis_bench.boards.collect import collect, load
from rrsis_bench.boards.published import PublishedRow, counterpart, read, reference, verdict
from rrsis_bench.cli import main
from rrsis_bench.errors import UserError

COMMITTED = Path(__file__).resolve().parents[2] / "results"


def row(value=0.642, **changes):
    fields = {
        "method": "RMSIN", "split": "test", "values": {"miou": value}, "source": "paper", "table": "", "quoted_by": "",
        "link": "https://example.org", "note": "", "encoders": "", "registry": "rmsin", "variant": "base",
        "protocol": "paper-lavt480-v1", "own_paper": True,
    }  # fmt: skip
    return PublishedRow(**{**fields, **changes})


@pytest.mark.parametrize(
    ("difference", "sd", "expected"),
    [
        (0.010, None, "reproduced"), (-0.010, 0.001, "reproduced"), (0.0101, None, "above"), (-0.0101, 0.005, "below"),
        (-0.03, 0.015, "reproduced"), (-0.0301, 0.015, "below"), (0.6420 - 0.6320, None, "reproduced"),
    ],
)  # fmt: skip
def test_verdict_is_the_larger_of_one_point_and_two_sd(difference, sd, expected):
    assert verdict(difference, sd, "from-code") == expected


def test_a_reconstruction_reproduces_nothing():
    assert verdict(0.0, None, "reconstruction") == "reconstruction"


def test_the_papers_own_rules_are_compared():
    measured = {"native-v1": (0.70, None), "paper-lavt480-v1": (0.65, 0.002)}
    found = counterpart([row()], "rmsin", "base", "test", measured, "official-parity")
    assert (found.protocol, found.measured, found.verdict) == ("paper-lavt480-v1", 0.65, "reproduced")
    assert found.difference == pytest.approx(0.008)
    unknown = counterpart([row(protocol="")], "rmsin", "base", "test", measured, "official-parity")
    assert (unknown.protocol, unknown.verdict) == ("native-v1", "above")


def test_only_the_very_variant_and_split_is_compared():
    measured = {"paper-lavt480-v1": (0.65, None)}
    assert counterpart([row()], "rmsin", "lite", "test", measured, None) is None
    assert counterpart([row()], "rmsin", "base", "val", measured, None) is None
    assert counterpart([row()], "lavt", "base", "test", measured, None) is None
    assert counterpart([row(values={"oiou": 0.7})], "rmsin", "base", "test", measured, None) is None


def test_the_authors_number_goes_before_quotations_and_reruns_never_count():
    quoted = row(0.60, quoted_by="A survey", values={"miou": 0.60, "oiou": 0.7})
    rerun = row(0.50, own_paper=False, source="somebody's rerun")
    assert reference([rerun, quoted, row(0.642)], "rmsin", "base", "test").values["miou"] == 0.642
    assert reference([rerun, quoted], "rmsin", "base", "test") is quoted
    assert reference([rerun], "rmsin", "base", "test") is None
    found = counterpart([quoted, row()], "rmsin", "base", "test", {"paper-lavt480-v1": (0.6, None)}, None)
    assert found.others == 1


def test_committed_numbers_are_all_read_and_say_where_they_are_from():
    numbers = read(COMMITTED)
    with (COMMITTED / "published.csv").open(newline="") as stream:
        lines = list(csv.DictReader(stream))
    rows = [entry for rows in numbers.rows.values() for entry in rows]
    assert sum(len(entry.values) for entry in rows) == len(lines) > 700
    assert set(numbers.rows) == {"rrsisd", "refsegrs", "risbench", "nwpurefer"}
    assert {entry.split for entry in rows} == {"test", "val", "not stated"}
    assert all(entry.source and entry.note for entry in rows)
    (found,) = [entry for entry in numbers.rows["rrsisd"] if (entry.method, entry.split) == ("RMSIN", "test")]
    assert (found.values["miou"], found.values["oiou"], found.quoted_by) == (0.642, 0.7779, "DiCoR")
    for method in ("FIANet", "RSRefSeg-2"):
        assert all("selected_on: test" in entry.note for entry in rows if entry.method == method)
    assert not [entry for entry in rows if "S4ECA" in entry.method]
    assert all(entry.link.startswith("https://") for entry in (*rows, *numbers.costs))
    by = {(entry.method, entry.split, entry.table, entry.quoted_by): entry.link for entry in numbers.rows["refsegrs"]}
    # The page where the number was read, although the source and the paper have addresses too.
    assert by["RMSIN", "test", "DiCoR paper, tables I-III", "DiCoR"] == "https://arxiv.org/abs/2608.12980"
    # Of a page whose address is not known, the paper's.
    survey = "public survey README listing RRSIS results"
    assert by["RSRefSeg-2", "test", "", survey] == "https://arxiv.org/abs/2507.06231"
    (own,) = [entry for entry in numbers.rows["refsegrs"] if entry.method == "LSCF"]
    assert (own.values, own.quoted_by) == ({"miou": 0.7744, "oiou": 0.8327}, "")
    assert own.link == "https://github.com/chunbai1/LSCF"
    assert [cost.parameters_m for cost in numbers.costs if cost.method == "LAVT"] == [227.74]


def test_every_name_of_a_link_is_named_by_a_number():
    def column(name, *columns):
        with (COMMITTED / name).open(newline="") as stream:
            return {line[column] for line in csv.DictReader(stream) for column in columns}

    named = column(published.NUMBERS, "source", "table", "quoted_by") | column(published.COSTS, "source")
    assert column(published.LINKS, "name") <= named


def test_every_registry_name_of_a_published_method_is_known_when_installed():
    rows = [entry for rows in read(COMMITTED).rows.values() for entry in rows]
    assert {"lavt", "rmsin", "fianet", "lgce"} <= {entry.registry for entry in rows}
    assert all(entry.variant for entry in rows if entry.registry)


def test_without_a_measured_row_all_published_ones_stand_and_it_is_said(tmp_path, capsys):
    (tmp_path / "results" / "runs").mkdir(parents=True)
    assert main(["leaderboard", "--results", str(tmp_path / "results")]) == 0
    numbers = read(COMMITTED)
    for name in ("rrsisd", "refsegrs", "risbench"):
        board = json.loads((tmp_path / "results" / "leaderboard" / f"{name}.json").read_text())
        assert board["status"].startswith("None is measured here")
        assert len(board["published"]) == len(numbers.rows[name])
        text = (tmp_path / "results" / "leaderboard" / f"{name}.md").read_text()
        assert "**None is measured here" in text
        body = [line for line in text.splitlines() if line.startswith("| ") and not line.startswith("| :--")]
        headings = [line for line in body if line.startswith("| method")]
        assert len(body) - len(headings) == len(numbers.rows[name])
        assert "published only" in text


def test_published_values_share_no_column_with_measured_ones(tmp_path):
    results = tmp_path / "results"
    write(results / "runs", dataset="rrsisd", kind="retrained", variant="base")
    boards, warnings = load(results)
    assert warnings == []
    from rrsis_bench.boards.render import csv as page

    (board,) = [board for board in boards if board.name == "rrsisd"]
    for line in csv.DictReader(page.page(board).splitlines()):
        if line["kind"] == "published":
            assert line["miou"] == line["oiou"] == line["rank"] == ""
            assert line["verdict"] == "published only"
            assert line["source"]
        else:
            assert line["kind"] == "retrained"
            assert float(line["published_miou"]) == 0.6104
            assert line["published_protocol"] == "paper-lavt480-v1"
            assert line["verdict"] in {"reproduced", "above", "below"}


def test_a_smoke_row_has_no_published_number(tmp_path):
    write(tmp_path / "runs", variant="base")
    runs, _ = collect(tmp_path)
    (smoke,) = [board for board in build_boards(runs, read(COMMITTED)) if board.name == "smoke"]
    assert smoke.tables[0].rows[0].published is None
    assert smoke.published == ()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("LAVT,rrsisd,test,miou,61.04", "LAVT,rrsisd,test,miou,161.04", "between 0 and 100"),
        ("LAVT,rrsisd,test,miou,61.04", "LAVT,rrsisd,test,mean,61.04", "unknown metric 'mean'"),
        ("LAVT,rrsisd,test,miou,61.04", "LAVD,rrsisd,test,miou,61.04", "'LAVD' is not in published_methods.csv"),
        ("LAVT,rrsisd,test,oiou,77.19", "LAVT,rrsisd,test,miou,77.19", "twice"),
        ("LAVT,rrsisd,test,miou,61.04", "LAVT,rrsisd,test,miou,about 61", "not a number"),
        ("method,dataset", "Method,dataset", "must have the columns"),
        (
            'CVPR2020,"DiCoR paper, tables I-III"',
            "CVPR2020,a blog",
            "no address of 'a blog' or 'DiCoR' or 'CVPR2020' is known",
        ),
    ],
)
def test_a_damaged_line_is_named(old, new, said, tmp_path):
    for name in (published.NUMBERS, published.METHODS, published.COSTS, published.LINKS):
        text = (COMMITTED / name).read_text()
        (tmp_path / name).write_text(text.replace(old, new, 1) if name == published.NUMBERS else text)
    with pytest.raises(UserError, match=said) as caught:
        read(tmp_path)
    assert "published.csv" in str(caught.value)


def test_boards_without_published_files_still_work():
    assert read(None).rows == {}
    assert make_board("rrsisd").published == ()
