"""Finds web addresses, arXiv numbers and DOIs in texts that name a paper or a page."""

from __future__ import annotations

import re
from collections.abc import Iterator

_ADDRESS = re.compile(
    r"(?P<url>https?://[^\s()<>\"']*[\w/])|(?P<github>\bgithub\.com/[\w.-]+/[\w.-]*\w)"
    r"|arXiv:(?P<arxiv>\d{4}\.\d{4,5})|(?P<doi>\b10\.\d{4,9}/[\w./;-]*\w)"
)
_WHERE = {"url": "", "github": "https://", "arxiv": "https://arxiv.org/abs/", "doi": "https://doi.org/"}


def addresses(text: str) -> Iterator[tuple[int, int, str]]:
    """Yield the beginning, the end and the web address of each place in a text that names one."""
    for found in _ADDRESS.finditer(text):
        kind = str(found.lastgroup)
        yield found.start(), found.end(), _WHERE[kind] + found[kind]


def first_address(text: str) -> str:
    """The first web address that a text names; "" if there is none."""
    return next((address for _, _, address in addresses(text)), "")
