"""The language control: the samples it scores, and the expressions they are scored with.

It scores all of a small split, and a stratified draw from a large one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from copy import copy
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rrsis_bench.data.dataset import ReferringDataset
from rrsis_bench.data.manifest import Manifest, Pair
from rrsis_bench.errors import UserError

LIMIT = 800
"""Most samples that are drawn unless `data.control_samples` says otherwise: 0.23 of RRSIS-D's 3,481 test samples."""
RULE = "whole images in a seeded order, each class in its share of the images; the last image may be cut"
UNWANTED = "data.control_samples is none"

Size = int | Literal["full", "none"] | None
"""Value of `data.control_samples`."""


def draw(
    pairs: Manifest | Sequence[Pair], images: NDArray[np.int64], scored: NDArray[np.int64], size: Size, seed: int
) -> NDArray[np.int64] | None:
    """Draw the samples of the language control.

    A method that encodes an image once for all of its expressions pays by the image, hence whole images. An image's
    class is that of its first sample.

    Args:
        pairs: the N pairs of the split.
        images: (N,) a number for each sample, equal for samples of one image.
        scored: ascending positions of the samples that have a score.
        size: most samples; None for `LIMIT`, `full` for all.
        seed: of the draw.

    Returns:
        ascending positions, a part of `scored`; None for all of them.
    """
    most = LIMIT if size is None else size
    if not isinstance(most, int) or len(scored) <= most:
        return None
    rng = np.random.default_rng((seed, 0x64726177))
    _, first, image = np.unique(images[scored], return_index=True, return_inverse=True)
    classes = np.unique([pairs[int(scored[at])].category for at in first], return_inverse=True)[1].ravel()
    # Each class is spread evenly over the order from 0 to 1, so that every beginning of it has all classes' shares.
    place = np.empty(len(first))
    for number in range(classes.max() + 1):
        members = rng.permutation(np.flatnonzero(classes == number))
        place[members] = (np.arange(len(members)) + rng.random()) / len(members)
    order = np.argsort(place[image.ravel()], kind="stable")
    return np.sort(scored[order[:most]])


def why_not_permuted(pairs: Sequence[Pair]) -> str | None:
    """Say why the language control of a split cannot be made; None if it can.

    Every sample needs the expression of another photograph or category. If more than half of the samples are of one
    photograph and category, the others have too few expressions for them; else there are always enough.

    Args:
        pairs: all pairs of the split.
    """
    (image, category), most = Counter((pair.image_id, pair.category) for pair in pairs).most_common(1)[0]
    if 2 * most <= len(pairs):
        return None
    named = f"'{image}'" + (f" and of the category '{category}'" if category else "")
    return (
        f"{most} of {len(pairs)} samples are of the photograph {named}; where these are more than half, not every "
        "sample can get the expression of another photograph or category"
    )


def permuted(dataset: ReferringDataset, seed: int, positions: NDArray[np.int64] | None = None) -> ReferringDataset:
    """The same pictures and truths, each with the expression of another sample.

    Every sample gets the expression of another image or another category; an expression is never right by accident.
    Unknown categories count as equal.

    Args:
        dataset: the split to permute.
        seed: of the permutation.
        positions: keep the samples at these positions only, with the expressions that the whole permutation gives them.

    Raises:
        UserError: there is no such permutation; see `why_not_permuted`.
    """
    pairs = list(dataset.manifest)
    if (reason := why_not_permuted(pairs)) is not None:
        raise UserError(f"expressions of {dataset.manifest.path} cannot be permuted: {reason}.")
    names = np.array([f"{pair.image_id}\0{pair.category}" for pair in pairs])
    codes = np.unique(names, return_inverse=True)[1].ravel()
    shuffled = copy(dataset)
    shuffled.text_from = _order_without_clashes(codes, np.random.default_rng((seed, 0x7065726D)))
    if positions is not None:
        shuffled.manifest = dataset.manifest.take(positions.tolist())
        shuffled.text_from = shuffled.text_from[positions]
        shuffled.__dict__.pop("images", None)  # cached for the whole split
    return shuffled


def _order_without_clashes(codes: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw a permutation of (N,) codes that leaves no code where it was; no code may have more than half of them."""
    order = rng.permutation(len(codes))
    for _ in range(1000):
        clashes = np.flatnonzero(codes[order] == codes)
        if clashes.size == 0:
            return order.astype(np.int64)
        for place in clashes:
            other = int(rng.integers(len(order)))
            order[place], order[other] = order[other], order[place]
    # Exchanges at random hardly ever find one of the few permutations of a code that has (almost) half of the places.
    # Turning the sorted codes by the number of the commonest code moves every code off its own places.
    mixed = rng.permutation(len(codes))
    placed = mixed[np.argsort(codes[mixed], kind="stable")]
    order[placed] = np.roll(placed, -np.bincount(codes).max())
    return order.astype(np.int64)
