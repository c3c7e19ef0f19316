"""Referring expressions that are checked to fit exactly one object of their scene.

The grammar sees a scene as a list of `Thing`s (category, colour, area, place), drawn or from the instance masks of
photographs. Each predicate answers True, False, or None for "a person might say yes": a borderline colour, a centre
near the edge of a third, an anchor that is only nearly above. The grammar gives an expression for an object only if
the expression surely fits that object and surely fits no other.

Margins, as shares of the image side unless said otherwise, are the constants below.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

SIZE_RATIO = 1.5
"""The largest (smallest) has at least this many times the area of the next (the reverse)."""
THIRD, NOT_THIRD = 0.32, 0.5
"""A centre within the first `THIRD` is surely on that side, beyond `NOT_THIRD` surely not."""
MIDDLE, NOT_MIDDLE = 0.13, 0.22
"""Largest distance of a surely central centre from the image's; smallest of a surely not central one."""
EXTREME_GAP = 0.1
"""The leftmost (…) centre lies at least this far before the next."""
NEAR, NOT_NEAR = 0.06, 0.16
"""Largest gap between things next to each other; smallest between things that are not."""
SLOPE, NOT_SLOPE = 0.5, 1.6
"""Surely above another: shifted sideways by at most `SLOPE` times the rise; from `NOT_SLOPE` times on surely not."""

POSITIONS: dict[str, tuple[int, int]] = {
    "on the left": (-1, 0),
    "on the right": (1, 0),
    "at the top": (0, -1),
    "at the bottom": (0, 1),
    "in the upper left": (-1, -1),
    "in the upper right": (1, -1),
    "in the lower left": (-1, 1),
    "in the lower right": (1, 1),
    "in the middle": (0, 0),
}
"""Wording of a position -> side in x and in y (0: no matter, except for the middle)."""
EXTREMES: dict[str, tuple[int, int]] = {
    "leftmost": (0, 1),
    "rightmost": (0, -1),
    "topmost": (1, 1),
    "bottommost": (1, -1),
}
"""Wording of an extreme -> axis, sign."""
DIRECTIONS: dict[str, tuple[int, int]] = {
    "to the left of": (0, -1),
    "to the right of": (0, 1),
    "above": (1, -1),
    "below": (1, 1),
}
"""Wording of a direction from the anchor -> axis, sign."""
SIZES: dict[str, int] = {"largest": 1, "smallest": -1}
NEXT_TO = "next to"

KINDS: dict[str, float] = {"plain": 0.4, "colour": 1.0, "size": 1.2, "position": 1.4, "extreme": 0.7, "relation": 1.4}
"""Kinds of expressions and their weights in the draw."""


@dataclass(frozen=True)
class Thing:
    """One object as the grammar sees it.

    Attributes:
        category: its class name, as it is said.
        colour: its colour where clear, else None.
        area: pixels.
        box: x0, y0, x1, y1 in pixels, ends exclusive.
        centre: x, y of its centroid in pixels.
        maybe: further colours somebody might give it.
        outline: (N, 2) points of its outline; gaps between things are measured on them.
        group: whether it stands for several objects that lie anywhere in its box. No expression refers to a group or
            names one as an anchor, and none may fit one of its members.
    """

    category: str
    colour: str | None
    area: float
    box: tuple[float, float, float, float]
    centre: tuple[float, float]
    maybe: frozenset[str] = frozenset()
    outline: NDArray[np.float32] = field(
        default_factory=lambda: np.zeros((0, 2), np.float32), repr=False, compare=False
    )
    group: bool = False

    def reaches(self, axis: int, sign: int) -> float:
        """The coordinate of its centre; of a group, that of its box's edge towards lower (-1) or higher (1) values."""
        if not self.group:
            return self.centre[axis]
        return self.box[axis] if sign < 0 else self.box[axis + 2]


class Described(Protocol):
    """Anything that has things in a frame."""

    @property
    def objects(self) -> Sequence[Thing]:
        """The things."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the frame in pixels."""


@dataclass(frozen=True)
class Expression:
    """A sentence that fits one object only.

    Attributes:
        text: the sentence, lower-case.
        index: which object of the scene.
        kind: one of `KINDS`.
    """

    text: str
    index: int
    kind: str


Truth = bool | None


def both(first: Truth, second: Truth) -> Truth:
    """Kleene's and: False wins over None, None over True."""
    if first is False or second is False:
        return False
    return None if first is None or second is None else True


def _graded(value: float, yes: float, no: float) -> Truth:
    """True up to `yes`, False from `no` on (both inclusive), None between."""
    return True if value <= yes else False if value >= no else None


def has_colour(thing: Thing, colour: str) -> Truth:
    """Whether a thing has a colour."""
    return True if thing.colour == colour else None if colour in thing.maybe else False


def at_position(thing: Thing, side: tuple[int, int], size: tuple[int, int]) -> Truth:
    """Whether a thing's centre lies on the side(s) of the image, or in its middle for (0, 0)."""
    extent = (size[1], size[0])
    if side == (0, 0):
        # The point of a group's box that is nearest to the middle; of a single thing, its centre.
        low, high = (tuple(thing.reaches(axis, sign) / extent[axis] for axis in (0, 1)) for sign in (-1, 1))
        off = max(max(a - 0.5, 0.5 - b) for a, b in zip(low, high, strict=True))
        return _of_group(thing, _graded(off, MIDDLE, NOT_MIDDLE))
    truth: Truth = True
    for axis, sign in enumerate(side):
        if sign:
            value = thing.reaches(axis, sign) / extent[axis]
            truth = both(truth, _graded(value if sign < 0 else 1 - value, THIRD, NOT_THIRD))
    return _of_group(thing, truth)


def _of_group(thing: Thing, truth: Truth) -> Truth:
    """What is true of the best place in a group's box may be true of some member."""
    return None if thing.group and truth is True else truth


def next_to(thing: Thing, anchor: Thing, size: tuple[int, int]) -> Truth:
    """Whether the gap between two things is small.

    The gap is bounded from above by their outlines' points and from below by their boxes, each used where it is safe.
    """
    side = min(size)
    apart_x = max(thing.box[0] - anchor.box[2], anchor.box[0] - thing.box[2], 0.0)
    apart_y = max(thing.box[1] - anchor.box[3], anchor.box[1] - thing.box[3], 0.0)
    if apart_x * apart_x + apart_y * apart_y >= (NOT_NEAR * side) ** 2:
        return False
    if not len(thing.outline) or not len(anchor.outline):
        return None
    steps = thing.outline[:, None] - anchor.outline[None]
    nearest = float(np.einsum("ijk,ijk->ij", steps, steps).min()) ** 0.5
    return True if nearest <= NEAR * side else None


def in_direction(thing: Thing, anchor: Thing, axis: int, sign: int) -> Truth:
    """Whether a thing lies left of (0, -1), right of (0, 1), above (1, -1) or below (1, 1) another."""
    if thing.group:
        return None if sign * (thing.reaches(axis, sign) - anchor.centre[axis]) > 0 else False
    ahead = sign * (thing.centre[axis] - anchor.centre[axis])
    sideways = abs(thing.centre[1 - axis] - anchor.centre[1 - axis])
    if ahead <= 0 or sideways >= NOT_SLOPE * ahead:
        return False
    gap = thing.box[axis] - anchor.box[axis + 2] if sign > 0 else anchor.box[axis] - thing.box[axis + 2]
    return True if sideways <= SLOPE * ahead and gap >= 0 else None


def _unique(truths: Sequence[Truth], index: int) -> bool:
    return truths[index] is True and all(truth is False for i, truth in enumerate(truths) if i != index)


def said(category: str, colour: str | None, before: str = "") -> str:
    """The noun phrase "the [before] [colour] category"."""
    return " ".join(word for word in ("the", before, colour, category) if word)


class Judged:
    """A scene with the truth tables that many expressions share."""

    def __init__(self, scene: Described) -> None:
        self.things = scene.objects
        self.size = scene.size
        self._named: dict[tuple[str, str | None], list[Truth]] = {}

    def named(self, category: str, colour: str | None) -> list[Truth]:
        """Whether "[colour] category" fits each thing."""
        key = (category, colour)
        if key not in self._named:
            self._named[key] = [
                both(thing.category == category, True if colour is None else has_colour(thing, colour))
                for thing in self.things
            ]
        return self._named[key]

    def fits(self, named: Sequence[Truth], index: int, predicate: Callable[[Thing], Truth]) -> bool:
        """Whether name and predicate together surely fit `index` and surely nothing else."""
        return predicate(self.things[index]) is True and all(
            truth is False or predicate(self.things[i]) is False for i, truth in enumerate(named) if i != index
        )

    def rivals(self, named: Sequence[Truth], index: int) -> list[Thing]:
        """The other things that a name may mean."""
        return [self.things[i] for i, truth in enumerate(named) if truth is not False and i != index]

    def anchors(self, category: str) -> Iterator[tuple[str, Thing]]:
        """Things of another category than this one with a name that is theirs alone, shortest name first."""
        for i, anchor in enumerate(self.things):
            if anchor.group or anchor.category == category:
                continue
            for colour in (None, anchor.colour):
                if _unique(self.named(anchor.category, colour), i):
                    yield said(anchor.category, colour), anchor
                    break


def _superlatives(scene: Judged, thing: Thing, rivals: Sequence[Thing]) -> Iterator[tuple[str, str]]:
    # A member of a group may be of any size, and may lie anywhere in the group's box.
    if not rivals or any(rival.group for rival in rivals):
        return
    areas = [rival.area for rival in rivals]
    if thing.area >= SIZE_RATIO * max(areas):
        yield "size", "largest"
    if thing.area * SIZE_RATIO <= min(areas):
        yield "size", "smallest"
    for word, (axis, sign) in EXTREMES.items():
        extent = scene.size[1 - axis]
        if all(sign * (rival.centre[axis] - thing.centre[axis]) >= EXTREME_GAP * extent for rival in rivals):
            yield "extreme", word


def _places(scene: Judged, named: Sequence[Truth], index: int) -> Iterator[tuple[str, str]]:
    for words, side in POSITIONS.items():
        if scene.fits(named, index, lambda thing, side=side: at_position(thing, side, scene.size)):  # type: ignore[misc]
            yield "position", words
    for name, anchor in scene.anchors(scene.things[index].category):
        for words, (axis, sign) in DIRECTIONS.items():

            def lies(thing: Thing, anchor: Thing = anchor, axis: int = axis, sign: int = sign) -> Truth:
                return False if thing is anchor else in_direction(thing, anchor, axis, sign)

            if scene.fits(named, index, lies):
                yield "relation", f"{words} {name}"

        def touches(thing: Thing, anchor: Thing = anchor) -> Truth:
            return False if thing is anchor else next_to(thing, anchor, scene.size)

        if scene.fits(named, index, touches):
            yield "relation", f"{NEXT_TO} {name}"


def candidates(scene: Described, index: int) -> list[Expression]:
    """Every expression of the grammar that is unambiguous for one object, in a fixed order."""
    return list(_candidates(Judged(scene), index))


def _candidates(scene: Judged, index: int) -> Iterator[Expression]:
    thing = scene.things[index]
    if thing.group:
        return
    for colour in (None, thing.colour) if thing.colour else (None,):
        named = scene.named(thing.category, colour)
        if _unique(named, index):
            kind = "colour" if colour else "plain"
            yield Expression(said(thing.category, colour), index, kind)
        for kind, word in _superlatives(scene, thing, scene.rivals(named, index)):
            yield Expression(said(thing.category, colour, word), index, kind)
        for kind, words in _places(scene, named, index):
            yield Expression(f"{said(thing.category, colour)} {words}", index, kind)


def expressions(
    scene: Described,
    rng: np.random.Generator,
    per_object: int = 1,
    eligible: Sequence[int] | None = None,
) -> list[Expression]:
    """Unambiguous expressions for the objects of a scene, of varied kinds.

    Args:
        scene: the things and their frame; every thing counts as a rival, whether eligible or not.
        rng: draws the kinds and wordings; the same state gives the same expressions.
        per_object: most expressions of an object, each of another kind where there are enough.
        eligible: indices of objects that may be referred to; None for all.

    Returns:
        expressions ordered by object. Objects that no expression singles out have none.
    """
    prepared = Judged(scene)
    chosen: list[Expression] = []
    for index in range(len(prepared.things)) if eligible is None else eligible:
        pool = list(_candidates(prepared, index))
        for _ in range(per_object):
            if not pool:
                break
            kinds = list(dict.fromkeys(candidate.kind for candidate in pool))
            weights = np.array([KINDS[kind] for kind in kinds])
            kind = kinds[int(rng.choice(len(kinds), p=weights / weights.sum()))]
            same = [candidate for candidate in pool if candidate.kind == kind]
            chosen.append(same[int(rng.integers(len(same)))])
            pool = [candidate for candidate in pool if candidate.kind != kind]
    return chosen


def words(categories: Sequence[str], colours: Sequence[str]) -> list[str]:
    """All words, lower-case and sorted, of expressions about these categories and colours."""
    phrases = ["the", NEXT_TO, *POSITIONS, *EXTREMES, *DIRECTIONS, *SIZES, *categories, *colours]
    return sorted({word for phrase in phrases for word in phrase.lower().split()})


def vocabulary() -> list[str]:
    """All words of the synthetic scenes' expressions, lower-case and sorted."""
    from rrsis_bench.data.synthetic.drawing import COLOURS, SHAPES

    return words(list(SHAPES), list(COLOURS))
