"""A referee of expressions: it reads a sentence, judges every object by its mask, and shares no code with the grammar.

Its conditions are strict for the referent and lenient for rivals: every object that a reader could mean counts.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

SENTENCE = re.compile(
    r"^the (?:(?P<super>largest|smallest|leftmost|rightmost|topmost|bottommost) )?"
    r"(?P<name>.+?)"
    r"(?: (?P<place>on the left|on the right|at the top|at the bottom|in the middle"
    r"|in the upper left|in the upper right|in the lower left|in the lower right)"
    r"| (?P<relation>next to|above|below|to the left of|to the right of) the (?P<anchor>.+))?$"
)


@dataclass
class Seen:
    """One object: its mask, and the names of its colour and category."""

    category: str
    colours: frozenset[str]
    mask: np.ndarray

    def __post_init__(self):
        self.ys, self.xs = np.nonzero(self.mask)
        self.pixels = len(self.xs)
        self.x, self.y = self.xs.mean() + 0.5, self.ys.mean() + 0.5


def called(name: str, things: Sequence[Seen]) -> list[int]:
    """Objects that "[colour] category" could mean."""
    return [
        i
        for i, thing in enumerate(things)
        if name == thing.category or any(name == f"{colour} {thing.category}" for colour in thing.colours)
    ]


def meant(text: str, things: Sequence[Seen]) -> list[int]:
    """Indices of all objects that a reader of the sentence could mean."""
    found = SENTENCE.match(text)
    assert found, f"not a sentence of the grammar: {text}"
    height, width = things[0].mask.shape
    pool = called(found["name"], things)
    if found["super"] in {"largest", "smallest"}:
        sign = -1 if found["super"] == "largest" else 1
        best = min(sign * things[i].pixels for i in pool)
        # Anything within a third of the winner's area could be mistaken for it.
        return [i for i in pool if abs(things[i].pixels - abs(best)) <= 0.33 * abs(best)]
    if found["super"]:
        along = {"leftmost": "x", "rightmost": "x", "topmost": "y", "bottommost": "y"}[found["super"]]
        sign = 1 if found["super"] in {"leftmost", "topmost"} else -1
        values = {i: sign * getattr(things[i], along) for i in pool}
        return [i for i in pool if values[i] <= min(values.values()) + 0.09 * min(height, width)]
    if found["place"]:
        return [i for i in pool if _could_be_at(found["place"], things[i].x / width, things[i].y / height)]
    if found["relation"]:
        anchors = called(found["anchor"], things)
        assert len(anchors) == 1, f"anchor of '{text}' could be any of {anchors}"
        anchor = things[anchors[0]]
        return [i for i in pool if i != anchors[0] and _could_relate(found["relation"], things[i], anchor)]
    return pool


def _could_be_at(place: str, x: float, y: float) -> bool:
    if place == "in the middle":
        return 0.3 < x < 0.7 and 0.3 < y < 0.7
    near = 0.45
    tests = {"left": x < near, "right": x > 1 - near, "top": y < near, "upper": y < near, "bottom": y > 1 - near}
    tests["lower"] = tests["bottom"]
    return all(tests[word] for word in place.split() if word in tests)


def _could_relate(relation: str, thing: Seen, anchor: Seen) -> bool:
    if relation == "next to":
        side = min(thing.mask.shape)
        a = np.stack([thing.xs, thing.ys], 1)[::3]
        b = np.stack([anchor.xs, anchor.ys], 1)[::3]
        return bool(np.sqrt(((a[:, None] - b[None]) ** 2).sum(-1)).min() < 0.13 * side)
    dx, dy = thing.x - anchor.x, thing.y - anchor.y
    ahead, aside = {
        "above": (-dy, abs(dx)),
        "below": (dy, abs(dx)),
        "to the left of": (-dx, abs(dy)),
        "to the right of": (dx, abs(dy)),
    }[relation]
    return bool(ahead > 0 and aside <= 1.5 * ahead)
