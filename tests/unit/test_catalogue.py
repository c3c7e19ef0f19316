"""What is known of a data set stands in one place, and everything that shows it reads it there."""

from __future__ import annotations

import hashlib
import inspect
import json
import sys
import textwrap
from pathlib import Path

import pytest

from helpers.results import write
from rrsis_bench.boards.board import NOTICES
from rrsis_bench.boards.collect import load
from rrsis_bench.cli import main
from rrsis_bench.data import sources
from rrsis_bench.data.catalogue import SETTINGS, benchmarks, describe, settings
from rrsis_bench.data.classes import class_names
from rrsis_bench.errors import UsageError

TOY = """
    from rrsis_bench.data.info import SourceInfo
    from rrsis_bench.data.verify import ScannedSource


    class Toy(ScannedSource):
        name = "toy"
        info = SourceInfo(
            title="Toy-RRSIS", where="https://example.org/toy", licence="CC0", layout="toy.txt", counts={"test": 7},
            kind="benchmark", classes=("raft", "kiln"),
        )

        def key_files(self, root):
            from rrsis_bench.data.sources.base import require

            return require([root / "toy.txt"], root, self.name, self.info)
"""


@pytest.fixture
def configs(tmp_path, monkeypatch):
    """A user's own folder of data set files, searched first."""
    (tmp_path / "mine" / "datasets").mkdir(parents=True)
    monkeypatch.setenv("RRSIS_CONFIGS", str(tmp_path / "mine"))
    monkeypatch.setenv("RRSIS_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("RRSIS_CACHE", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path / "mine" / "datasets"


@pytest.fixture
def toy(tmp_path, configs, monkeypatch):
    """A new source as CONTRIBUTING.md asks for it: its file, a line in the table, and a YAML file."""
    monkeypatch.delitem(sys.modules, "toy_source", raising=False)
    (tmp_path / "toy_source.py").write_text(textwrap.dedent(TOY))
    monkeypatch.setitem(sources.SOURCES, "toy", "toy_source:Toy")
    (configs / "toy.yaml").write_text("# A toy.\ndata: {source: toy}\n")


def board(results: Path, name: str):
    return next(board for board in load(results)[0] if board.name == name)


def test_a_new_source_is_listed_and_has_a_board(toy, tmp_path, capsys):
    assert main(["data", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    row = next(line for line in lines if line.startswith("toy "))
    assert row.split()[:4] == ["toy", "Toy-RRSIS", "benchmark", "7"]
    assert "toy: licence: CC0" in lines
    assert "  Of the objects in an annotation file, only one has a mask." in lines
    assert main(["data", "verify", "toy"]) == 3
    assert "https://example.org/toy (licence: CC0)" in capsys.readouterr().err
    assert benchmarks() == ["rrsisd", "refsegrs", "risbench", "toy"]
    (tmp_path / "results" / "runs").mkdir(parents=True)
    assert (board(tmp_path / "results", "toy").title, board(tmp_path / "results", "toy").tables) == ("Toy-RRSIS", ())
    write(tmp_path / "results" / "runs", dataset="toy", kind="retrained")
    shown = board(tmp_path / "results", "toy")
    assert (shown.title, shown.notice, shown.measured) == ("Toy-RRSIS", "", 1)
    assert class_names("toy") == ("raft", "kiln")
    assert class_names("any")[-2:] == ("raft", "kiln")


def test_somebody_elses_data_set_states_its_title_and_kind(configs, tmp_path):
    (tmp_path / "their_source.py").write_text(textwrap.dedent(TOY))
    (configs / "theirs.yaml").write_text(
        "info: {title: The Others, kind: benchmark, classes: [Raft]}\ndata: {source: 'their_source:Toy'}\n"
    )
    found = describe("theirs")
    assert (found.title, found.kind, found.licence, found.counts) == ("The Others", "benchmark", "CC0", {})
    assert class_names("theirs") == ("raft",)
    write(tmp_path / "results" / "runs", dataset="theirs", kind="retrained")
    assert (board(tmp_path / "results", "theirs").title, board(tmp_path / "results", "theirs").notice) == (
        "The Others", "",
    )  # fmt: skip
    # Without their package the page still says what their file says.
    (configs / "theirs.yaml").write_text("info: {title: The Others, kind: benchmark}\ndata: {source: 'nowhere:Toy'}\n")
    assert board(tmp_path / "results", "theirs").title == "The Others"


@pytest.mark.parametrize(
    ("file", "kind"),
    [
        (None, "unknown"),
        ("data: {source: manifest}\n", "own"),
        # Under another name a benchmark's source may read anything.
        ("data: {source: rrsisd}\n", "own"),
        ("info: {kind: development}\ndata: {source: coco}\n", "development"),
        ("data: {source: 'nowhere:Toy'}\n", "unknown"),
    ],
)
def test_a_page_says_what_is_known_of_its_data_set(file, kind, configs, tmp_path):
    if file is not None:
        (configs / "mine.yaml").write_text(file)
    write(tmp_path / "results" / "runs", dataset="mine", kind="retrained")
    shown = board(tmp_path / "results", "mine")
    assert (shown.title, shown.notice) == ("mine", NOTICES[kind])
    assert "not a benchmark" not in shown.notice or kind == "development"


def test_a_file_says_nothing_of_what_another_source_reads(configs):
    assert describe("rrsisd", "rrsisd").kind == "benchmark"
    assert describe("rrsisd", "manifest").kind == "unknown"


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("dta: {source: manifest}\n", "unknown key 'dta'. Did you mean 'data'?"),
        ("data: {sorce: manifest}\n", "unknown key 'data.sorce'. Did you mean 'source'?"),
        ("data: {source: rrsisd, generator: {name: tiny, sed: 3}}\n", "'data.generator.sed'. Did you mean 'seed'?"),
        ("info: {tilte: A}\n", "unknown key 'info.tilte'. Did you mean 'title'?"),
        ("info: {kind: benchmrk}\n", "unknown info.kind 'benchmrk'. Did you mean 'benchmark'?"),
        ("info: {kind: unknown}\n", "unknown info.kind 'unknown'."),
        ("info: {classes: ship}\n", "info.classes must be a list"),
        ("info: {notes: Mind the gap.}\n", "info.notes must be a list of sentences"),
        ("info: {counts: {test: many}}\n", "info.counts"),
        ("info: {title: 3}\n", "info.title must be text"),
        ("data: [source]\n", "data must be a mapping"),
        ("data: {source: coco, source_options: {imags: a}}\n", "the option 'imags'. Did you mean 'images'?"),
    ],
)
def test_a_key_that_nothing_reads_is_refused(file, message, configs, tmp_path, capsys):
    (configs / "mine.yaml").write_text(file)
    (tmp_path / "none.jsonl").write_text("")
    for words in (
        ["data", "prepare", "mine"],
        ["results", "score", str(tmp_path / "none.jsonl"), "--dataset", "mine", "--method", "m"],
    ):
        assert main(words) == 2
        shown = capsys.readouterr().err
        assert message in shown
        assert len(shown.splitlines()) == 1


def test_the_settings_are_those_of_the_data_module():
    from rrsis_bench.data.datamodule import ReferringDataModule

    assert set(SETTINGS) == set(inspect.signature(ReferringDataModule).parameters)


def test_settings_name_their_data_set():
    assert settings("tiny") == {"dataset": "tiny", "source": "rrsisd", "generator": {"name": "tiny"}, "num_workers": 1}
    with pytest.raises(UsageError, match="Did you mean 'rrsisd'"):
        settings("rrsis")


def test_any_stands_for_the_classes_it_always_stood_for():
    """FIANet and BTDNet may be trained with `classes: any`: another list is another input, marked **score**."""
    names = class_names("any")
    assert len(names) == 40
    assert hashlib.sha256(json.dumps(names).encode()).hexdigest()[:16] == "a52cefcb25f777a0"
    assert class_names(["boat"]) == ("boat",)
    with pytest.raises(UsageError, match="no classes of 'rrsis'\\. Did you mean 'rrsisd'"):
        class_names("rrsis")


def test_a_users_file_does_not_change_what_trained_networks_saw(configs):
    before = class_names("rrsisd")
    (configs / "rrsisd.yaml").write_text("info: {classes: [ship]}\ndata: {source: rrsisd}\n")
    assert describe("rrsisd").classes == ("ship",)
    assert class_names("rrsisd") == before
