"""Which samples of a split the language control scores: all of a small split, a stratified draw from a large one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rrsis_bench.data.manifest import Manifest, Pair

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
