"""Slots for plots in generated files. They let a drift check be exact although fonts and libraries draw differently.

A plotting library draws other bytes in another version. A file is therefore compared in two parts. Its text, and the
data of each plot in it, must be what the results give, byte for byte. The drawing between them must be the one that was
made from the data: a checksum beside it proves it, and a hand edit shows. A newer library's drawing is no drift.
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
    """Write what stands for a plot until it is drawn: its data, in a comment."""
    text = json.dumps(data, sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    # Two hyphens would end the comment, angle brackets confuse readers of HTML.
    for sign, written in (("--", "-\\u002d"), ("<", "\\u003c"), (">", "\\u003e")):
        text = text.replace(sign, written)
    return f"<!-- plot:{text} -->"


def bare(text: str) -> str:
    """Take every sound drawing out of a file's text again; a changed drawing stays, and shows as a difference."""
    return _DRAWN.sub(
        lambda found: f"<!-- plot:{found[1]} -->" if _sha256(found[2]) == found[3] else found[0],
        text,
    )


def fill(text: str, draw: Callable[[Mapping[str, Any]], str]) -> str:
    """Draw in each slot of a text.

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
