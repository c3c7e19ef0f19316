"""The table of perturbations, and what `NAME[:SEVERITY]` names. Draws depend on seed, name and sample alone."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from rrsis_bench.data.mirror import flip_text
from rrsis_bench.data.perturb import images, words
from rrsis_bench.data.turn import turn_text
from rrsis_bench.errors import UsageError, did_you_mean

SEVERITIES = range(1, 6)
USUAL_SEVERITY = 3

Array = NDArray[Any]


@dataclass(frozen=True)
class Perturbation:
    """A named change of images or expressions that leaves what is meant.

    Attributes:
        name: of the object; with the severity it names the folder of a result.
        kind: `image` (pixels), `words`, or `turn` (image, truth and words).
        what: what it does, for the documentation.
        version: raised when its outcome changes; results state it.
        graded: whether it has severities 1 to 5; without, its severity is 1.
        of_one: whether it keeps only what names one object: "red ships" and "the red ship" may differ by an article.
        pixels: (image, severity, generator) -> image, for the kind `image`.
        text: (expression, severity, generator) -> expression, for the kind `words`.
        turned: expression -> turned expression or None, for the kind `turn`.
        moved: (H, W, ...) -> turned array, for the kind `turn`.
    """

    name: str
    kind: Literal["image", "words", "turn"]
    what: str
    version: int = 1
    graded: bool = True
    of_one: bool = False
    pixels: Callable[[images.Pixels, int, np.random.Generator], images.Pixels] | None = None
    text: Callable[[str, int, np.random.Generator], str] | None = None
    turned: Callable[[str], str | None] | None = None
    moved: Callable[[Array], Array] | None = None


def _quarters(count: int) -> Perturbation:
    return Perturbation(
        f"turn-{90 * count}",
        "turn",
        f"turned {90 * count} degrees clockwise; the words of place turn too",
        graded=False,
        turned=lambda text: turn_text(text, count),
        moved=lambda array: np.ascontiguousarray(np.rot90(array, -count)),
    )


_ALL = (
    Perturbation("jpeg", "image", "JPEG compression", pixels=images.jpeg),
    Perturbation("noise", "image", "sensor noise", pixels=images.noise),
    Perturbation("motion-blur", "image", "blur along a line", pixels=images.motion_blur),
    Perturbation("defocus-blur", "image", "blur of a lens out of focus", pixels=images.defocus),
    Perturbation("haze", "image", "haze", pixels=images.haze),
    Perturbation("thin-cloud", "image", "thin clouds with their shadows", pixels=images.cloud),
    Perturbation("low-sun", "image", "a low sun: darker and bluer", pixels=images.low_sun),
    Perturbation("colour-cast", "image", "the colour cast of another sensor", pixels=images.colour_cast),
    Perturbation("half-resolution", "image", "half the ground resolution", graded=False, pixels=images.half_resolution),
    Perturbation(
        "quarter-resolution", "image", "a quarter of the ground resolution", graded=False,
        pixels=images.quarter_resolution,
    ),
    _quarters(1),
    _quarters(2),
    _quarters(3),
    Perturbation(
        "mirror", "turn", "mirrored left to right; the words of place change too", graded=False, turned=flip_text,
        moved=lambda array: np.ascontiguousarray(array[:, ::-1]),
    ),
    Perturbation("typos", "words", "a slip in up to as many words as the severity", text=words.typos),
    Perturbation("case", "words", "capital letters, more with each severity", text=words.case),
    Perturbation("no-articles", "words", "a fifth of the articles dropped for each severity", of_one=True,
                 text=words.articles),
    Perturbation("spelling", "words", "British for American spelling, and the reverse", graded=False,
                 text=words.spelling),
    Perturbation("synonyms", "words", "another name for each class", graded=False, text=words.synonyms),
    Perturbation("polite", "words", "a polite request around the expression", text=words.polite),
    Perturbation("word-order", "words", "the place before the thing, or the attribute behind it", graded=False,
                 text=words.order),
    Perturbation("distractor", "words", "as many idle sentences as the severity", text=words.distractor),
)  # fmt: skip

PERTURBATIONS: Mapping[str, Perturbation] = {one.name: one for one in _ALL}
"""Name -> perturbation."""


@dataclass(frozen=True)
class Choice:
    """A perturbation with its severity.

    Attributes:
        name: key of `PERTURBATIONS`.
        severity: 1 to 5; 1 for a perturbation without severities.
    """

    name: str
    severity: int

    @property
    def of(self) -> Perturbation:
        """The perturbation."""
        return PERTURBATIONS[self.name]

    @property
    def label(self) -> str:
        """`<name>-<severity>`, the folder of its result."""
        return f"{self.name}-{self.severity}"

    def image(self, image: images.Pixels, key: tuple[str, str], seed: int) -> images.Pixels:
        """The perturbed image (H, W, 3); all samples that show the image get the same one.

        Args:
            image: (H, W, 3) uint8.
            key: what the image shows, see `Pair.shown`.
            seed: of the draws.
        """
        if self.of.moved is not None:
            return self.of.moved(image)
        return image if self.of.pixels is None else self.of.pixels(image, self.severity, self._drawn(seed, *key))

    def mask(self, mask: images.Pixels) -> images.Pixels:
        """The truth (H, W) of the perturbed image."""
        return mask if self.of.moved is None else self.of.moved(mask)

    def text(self, text: str, sample_id: str, seed: int) -> str | None:
        """The perturbed expression; None if it cannot be turned."""
        if self.of.turned is not None:
            return self.of.turned(text)
        return text if self.of.text is None else self.of.text(text, self.severity, self._drawn(seed, sample_id))

    def _drawn(self, seed: int, *key: str) -> np.random.Generator:
        """The generator of a sample. Severities share it: a worse image is the same one, worse."""
        digest = hashlib.sha256("\0".join((self.name, *key)).encode("utf-8")).digest()
        return np.random.default_rng((seed, int.from_bytes(digest[:8], "little")))


def chosen(text: str) -> Choice:
    """Read `NAME` or `NAME:SEVERITY`.

    Raises:
        UsageError: no such perturbation, or no such severity of it.
    """
    name, colon, degree = text.partition(":")
    found = PERTURBATIONS.get(name)
    if found is None:
        raise UsageError(
            f"unknown perturbation '{name}'.{did_you_mean(name, list(PERTURBATIONS))} "
            "`rrsis-bench data perturbations` describes them."
        )
    if not colon:
        return Choice(name, USUAL_SEVERITY if found.graded else 1)
    if not found.graded and degree != "1":
        raise UsageError(f"perturbation '{name}' has one severity: leave ':{degree}' out.")
    if degree not in {str(one) for one in SEVERITIES}:
        raise UsageError(f"perturbation '{text}': a severity is a whole number from 1 to 5, as in {name}:3.")
    return Choice(name, int(degree))


def choices(named: Sequence[str]) -> list[Choice]:
    """Read several of them.

    Raises:
        UsageError: see `chosen`; or one is named twice.
    """
    found = [chosen(text) for text in named]
    for choice in found:
        if found.count(choice) > 1:
            raise UsageError(f"perturbation {choice.label} is named twice; name it once.")
    return found
