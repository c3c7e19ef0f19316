"""Slots for plots in generated files, so that a drift gate can be exact without being at the mercy of a font.

The bytes a plotting library draws change with its version, which no project can promise. So a file is compared in two
parts. Its text, and the data of each plot in it, must be what the results give, byte for byte. The drawing between must
be the one that was made from that data: a checksum beside it says so, and a hand edit shows. A newer library draws the
same data differently, and that is no drift.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

_DRAWN = re.compile(r"<!-- plot:(.*?) -->\n(.*?)\n<!-- /plot:([0-9a-f]{64}) -->", re.DOTALL)
_SLOT = re.compile(r"<!-- plot:(.*?) -->")


def slot(data: Mapping[str, Any]) -> str:
    """What stands for a plot until it is drawn: its data, in a comment."""
    text = json.dumps(data, sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    # Two hyphens would end the comment, angle brackets confuse readers of HTML.
    for sign, written in (("--", "-\\u002d"), ("<", "\\u003c"), (">", "\\u003e")):
        text = text.replace(sign, written)
    return f"<!-- plot:{text} -->"


def bare(text: str) -> str:
    """A file's text with every sound drawing taken out again; a drawing that was changed stays, and so differs."""
    return _DRAWN.sub(
        lambda found: f"<!-- plot:{found[1]} -->" if _sha256(found[2]) == found[3] else found[0],
        text,
    )


def fill(text: str, draw: Callable[[Mapping[str, Any]], str]) -> str:
    """A text with a drawing in each of its slots.

    Args:
        text: from `slot` and whatever stands around it.
        draw: SVG of a plot's data.
    """

    def drawn(found: re.Match[str]) -> str:
        svg = draw(json.loads(found[1])).strip("\n")
        return f"{found[0]}\n{svg}\n<!-- /plot:{_sha256(svg)} -->"

    return _SLOT.sub(drawn, text)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()
