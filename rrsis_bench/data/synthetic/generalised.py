"""Expressions of drawn scenes that fit nothing, one object, or several.

An expression with "the" means one object. An expression without an article, such as "red ship on the left", means every
object that it fits, as in RefSegRS. The vocabulary of the tiny encoders has no plural. Each expression is checked: no
object might fit one without a target, and the targets of another surely fit while all else surely does not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from rrsis_bench.data.synthetic.drawing import COLOURS, SHAPES
from rrsis_bench.data.synthetic.grammar import (
    DIRECTIONS,
    NEXT_TO,
    POSITIONS,
    Described,
    Expression,
    Judged,
    Thing,
    Truth,
    at_position,
    both,
    expressions,
    in_direction,
    next_to,
    said,
)

SHARES = {"one": 0.5, "many": 0.25, "none": 0.25}
"""Kinds of expressions by their number of targets, and their shares in the draw."""
ABSENT_SHARE = 0.3
"""Share of expressions without a target whose category the scene lacks; the others differ by colour or place."""
ATTEMPTS = 30
"""Phrases drawn in search of one that fits nothing."""

Place = tuple[str, Callable[[Thing], Truth]]


@dataclass(frozen=True)
class SetExpression:
    """A sentence with all objects that it fits.

    Attributes:
        text: the sentence, lower-case.
        category: the category that it names.
        indices: the objects of the scene that it fits; none for an expression without a target.
    """

    text: str
    category: str
    indices: tuple[int, ...]

    @property
    def kind(self) -> str:
        """`none`, `one` or `many`."""
        return ("none", "one", "many")[min(len(self.indices), 2)]


def of_one(scene: Described, expression: Expression) -> SetExpression:
    """An expression of the grammar, which fits one object."""
    return SetExpression(expression.text, scene.objects[expression.index].category, (expression.index,))


def set_expressions(scene: Described, rng: np.random.Generator, most: int) -> list[SetExpression]:
    """Draw expressions of a scene.

    Args:
        scene: the things and their frame; none of them is a group.
        rng: draws kinds and wordings.
        most: the largest number of expressions.

    Returns:
        up to `most` expressions, each of another wording and another set of objects, unless that set is empty.
    """
    ones = [of_one(scene, one) for one in expressions(scene, rng)]
    manys = list(_many(Judged(scene)))
    found: list[SetExpression] = []
    for _ in range(most):
        kind = str(rng.choice(list(SHARES), p=list(SHARES.values())))
        pool = {"one": ones, "many": manys, "none": _none(scene, rng)}[kind]
        texts, targets = {one.text for one in found}, {one.indices for one in found if one.indices}
        pool = [one for one in pool if one.text not in texts and one.indices not in targets]
        if pool:
            found.append(pool[int(rng.integers(len(pool)))])
    return found


def _many(judged: Judged) -> Iterator[SetExpression]:
    """Every phrase without an article that fits two objects or more."""
    categories = [thing.category for thing in judged.things]
    for category in sorted({name for name in categories if categories.count(name) > 1}):
        colours = sorted({thing.colour for thing in judged.things if thing.category == category and thing.colour})
        for colour in (None, *colours):
            for words, lies in _places(judged, category):
                indices = _fitting(judged, category, colour, lies)
                if indices is not None and len(indices) > 1:
                    yield SetExpression(_phrase("", category, colour, words), category, indices)


def _none(scene: Described, rng: np.random.Generator) -> list[SetExpression]:
    """A phrase that fits nothing, with or without "the"; an empty list if none was drawn."""
    judged = Judged(scene)
    present = sorted({thing.category for thing in scene.objects})
    absent = sorted(set(SHAPES) - set(present))
    for _ in range(ATTEMPTS):
        names = absent if absent and rng.random() < ABSENT_SHARE else present
        category = names[int(rng.integers(len(names)))]
        colour = (None, *COLOURS)[int(rng.integers(len(COLOURS) + 1))]
        places = list(_places(judged, category))
        words, lies = places[int(rng.integers(len(places)))] if rng.random() < 0.7 else places[0]
        if _fitting(judged, category, colour, lies) == ():
            article = "the" if rng.random() < 2 / 3 else ""
            return [SetExpression(_phrase(article, category, colour, words), category, ())]
    return []


def _places(judged: Judged, category: str) -> Iterator[Place]:
    """No place at all, each position, and each relation to a thing that another name singles out."""
    yield "", lambda thing: True
    for words, side in POSITIONS.items():
        yield words, lambda thing, side=side: at_position(thing, side, judged.size)  # type: ignore[misc]
    for name, anchor in judged.anchors(category):
        for words, (axis, sign) in DIRECTIONS.items():
            yield (
                f"{words} {name}",
                lambda thing, anchor=anchor, axis=axis, sign=sign: in_direction(thing, anchor, axis, sign),  # type: ignore[misc]
            )
        yield f"{NEXT_TO} {name}", lambda thing, anchor=anchor: next_to(thing, anchor, judged.size)  # type: ignore[misc]


def _fitting(
    judged: Judged, category: str, colour: str | None, lies: Callable[[Thing], Truth]
) -> tuple[int, ...] | None:
    """The objects that a phrase surely fits; None if a person might doubt one."""
    named = judged.named(category, colour)
    truths = [
        False if name is False else both(name, lies(thing)) for name, thing in zip(named, judged.things, strict=True)
    ]
    return None if None in truths else tuple(index for index, truth in enumerate(truths) if truth)


def _phrase(article: str, category: str, colour: str | None, words: str) -> str:
    noun = said(category, colour)
    return " ".join(part for part in (noun if article else noun.removeprefix("the "), words) if part)
