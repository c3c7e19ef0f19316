"""Columns of the boards: told apart by name, each in one place, and in every format once they stand there."""

from __future__ import annotations

import csv

import pytest

from helpers.results import write
from rrsis_bench.boards.leaderboard import outputs
from rrsis_bench.boards.render import columns
from rrsis_bench.boards.render.cells import Column, Field

TABLES = [
    columns.score_columns, columns.cost_columns, columns.published_columns, columns.published_cost_columns,
]  # fmt: skip


def test_names_and_titles_tell_the_columns_of_a_table_apart():
    for table in TABLES:
        for attribute in ("name", "title"):
            found = [getattr(column, attribute) for column in table()]
            assert len(found) == len(set(found)), (table.__name__, attribute)
    names = [field.name for field in columns.fields()]
    assert len(names) == len(set(names))


def test_a_name_is_the_same_column_wherever_methods_are_measured():
    scores, costs = ({column.name: column for column in table()} for table in TABLES[:2])
    shared = scores.keys() & costs.keys()
    assert {"method", "venue", "encoders", "fidelity", "trainable_parameters", "gflops", "runs"} <= shared
    assert all(scores[name] is costs[name] for name in shared)


@pytest.mark.parametrize("place", [0, 3, -1])
def test_a_further_column_is_in_every_format_wherever_it_stands(place, tmp_path, monkeypatch):
    write(tmp_path / "results" / "runs", method="lavt")
    write(tmp_path / "results" / "runs", method="s4eca", seed=1)

    def with_toy(known, toy):
        found = known()
        found.insert(place % (len(found) + 1), toy)
        return found

    toy = Column(
        "letters", "letters", lambda row: f"{len(row.method)} of them", lambda row: len(row.method), best="max"
    )
    field = Field("letters", lambda table, row: len(row.method))
    known_columns, known_fields = columns.score_columns, columns.fields
    monkeypatch.setattr("rrsis_bench.boards.render.views.score_columns", lambda: with_toy(known_columns, toy))
    monkeypatch.setattr("rrsis_bench.boards.render.csv.fields", lambda: with_toy(known_fields, field))
    files = {path.name: text for path, text in outputs(tmp_path / "results")[0].items()}
    for name in ("smoke.md", "smoke.tex", "index.html"):
        assert files[name].count("4 of them") == files[name].count("5 of them") == 1, name
    assert r"\textbf{5 of them}" in files["smoke.tex"]
    assert "<strong>5 of them</strong>" in files["index.html"]
    lines = list(csv.DictReader(files["smoke.csv"].splitlines()))
    assert [int(line["letters"]) for line in lines] == [len(line["method"]) for line in lines]
    grid = [[cell.strip() for cell in line.strip("|").split("|")] for line in files["smoke.md"].splitlines()]
    where = next(cells.index("letters") for cells in grid if "letters" in cells)
    assert {cells[where] for cells in grid if len(cells) > where} >= {"4 of them", "5 of them"}
    assert "letters" not in files["efficiency.md"]


def test_a_column_that_a_page_has_no_room_for_is_left_out_of_latex_only(tmp_path):
    write(tmp_path / "results" / "runs")
    files = {path.name: text for path, text in outputs(tmp_path / "results")[0].items()}
    assert "95 %" in files["smoke.md"]
    assert "95 %" in files["index.html"]
    assert r"95 \%" not in files["smoke.tex"]
