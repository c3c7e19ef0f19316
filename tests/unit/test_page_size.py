"""The HTML page stays below 5 MB, however many results there are, and says what it leaves out."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from helpers.gallery import gallery_run
from rrsis_bench.boards.beside import BesideTable
from rrsis_bench.boards.board import Board
from rrsis_bench.boards.collect import load
from rrsis_bench.boards.render import html, plots
from rrsis_bench.boards.render.drawings import fill
from rrsis_bench.errors import UserError


def grown(board: Board, rows: int) -> Board:
    """The board with copies of its rows, each of which has the pictures of the first."""
    tables = []
    for table in board.tables:
        (row,) = table.rows
        cards = [{**row.card, "title": f"method {k:04d}"} for k in range(rows)]
        tables.append(replace(table, rows=tuple(replace(row, card=card) for card in cards)))
    names = [row.name for table in tables for row in table.rows]
    plain = [{"name": name, "paper": "", "trained_on": "x" * 60, "runs": [f"runs/{name}"]} for name in names]
    scores = {key: {"there": 0.5} for key in ("scores", "differences", "shared", "unseen")}
    scores["intervals"] = {}
    moved = BesideTable("moved", ("there",), tuple({**row, **scores} for row in plain), (), "transfer")
    return replace(
        board, tables=tuple(tables), pictures=dict.fromkeys(names, board.pictures["LAVT (tiny)"]), beside=(moved,)
    )


def left_out(text: str) -> list[str]:
    return re.findall(r"The page shows the first \d+ of [\d,]+ rows", text)


@pytest.mark.slow
def test_a_thousand_rows_with_pictures_fit(tmp_path: Path) -> None:
    gallery_run(tmp_path / "runs", "lavt")
    (smoke,) = (board for board in load(tmp_path)[0] if board.name == "smoke")
    board = grown(smoke, 1000)
    text = fill(html.page([board]), plots.draw)
    assert 1_000_000 < len(text.encode("utf-8")) < 5_000_000
    assert left_out(text) == []
    assert text.count('<th scope="row"') == 2000
    assert "the best 40" in text, "the names of a thousand points could not be read"
    # Estimates of what matplotlib will draw are no smaller than what it draws.
    for data in plots.plots(board).values():
        assert len(plots.draw(data).encode("utf-8")) <= plots.room(data)


def test_a_page_that_would_be_too_large_shows_the_first_rows_and_says_it(tmp_path: Path) -> None:
    gallery_run(tmp_path / "runs", "lavt")
    (smoke,) = (board for board in load(tmp_path)[0] if board.name == "smoke")
    board = grown(smoke, 60)
    whole = len(html.page([board]).encode("utf-8"))
    text = html.page([board], largest=whole - 10_000)
    assert len(text.encode("utf-8")) < whole - 10_000
    assert left_out(text) == ["The page shows the first 20 of 60 rows"] * 2
    assert text.count('<th scope="row"') == 40
    data = json.loads(text.partition('id="data">')[2].partition("</script>")[0])["boards"]["smoke"]
    assert len(data["pictures"]) == len(data["tables"][0]["methods"]) == 20
    with pytest.raises(UserError, match=r"would have 0\.\d MB with 10 rows of each table.*--board NAME"):
        html.page([board], largest=50_000)
