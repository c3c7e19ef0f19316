"""Reads the templates of the pages, each format with its own marks."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).with_name("templates")


@cache
def environment(kind: str) -> Environment:
    """Make a strict environment. `html` escapes all text; `tex` has marks that LaTeX itself does not use."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # 0.1 s: only where a page is made of templates

    marks: dict[str, Any] = {}
    if kind == "tex":
        marks = {
            "block_start_string": "((*", "block_end_string": "*))", "variable_start_string": "(((",
            "variable_end_string": ")))", "comment_start_string": "((=", "comment_end_string": "=))",
        }  # fmt: skip
    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=kind == "html",
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        **marks,
    )
