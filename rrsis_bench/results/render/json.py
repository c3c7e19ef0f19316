"""Boards as JSON: everything the tables know, fractions at full precision, null where not known."""

from __future__ import annotations

from dataclasses import asdict

from rrsis_bench.metrics.protocols import DEFAULT
from rrsis_bench.results.atomic import json_text
from rrsis_bench.results.board import Board
from rrsis_bench.results.render.columns import status


def page(board: Board) -> str:
    """The board as one JSON object; the gallery's pictures are in the HTML page only."""
    content = {key: value for key, value in asdict(board).items() if key != "pictures"}
    return json_text({**content, "protocol": DEFAULT, "status": status(board)})
