"""Boards as JSON: everything the tables know, fractions at full precision, null where not known."""

from __future__ import annotations

from dataclasses import asdict

from rrsis_bench.results.atomic import json_text
from rrsis_bench.results.board import Board


def page(board: Board) -> str:
    """The board as one JSON object."""
    return json_text({**asdict(board), "protocol": "native-v1"})
