"""MBO: a mask's boundary moved to the image's edges by GrabCut (Rother et al., SIGGRAPH 2004).

The paper names the order of the steps; every number is ours (`BoundaryChoices`).

Legend: `H W` pixels of the image.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Grey = NDArray[np.uint8]

LEAST = 10  # pixels that a colour model needs


@dataclass(frozen=True)
class BoundaryChoices:
    """Choices of MBO.

    Attributes:
        erode: radius in pixels of the erosion that leaves sure foreground.
        dilate: radius in pixels of the dilation beyond which all is sure background.
        rounds: most rounds of GrabCut.
        margin: pixels that the window holds round the mask, beside `dilate`.
        change: share of the mask's pixels; when no more change, the rounds end.
        keep: keep the old mask if its IoU with the new one is below this.
        seed: of OpenCV's generator.
    """

    erode: int = 3
    dilate: int = 3
    rounds: int = 10
    margin: int = 10
    change: float = 0.001
    keep: float = 0.0
    seed: int = 0


def refine(image: Grey, mask: NDArray[np.bool_], choices: BoundaryChoices) -> NDArray[np.bool_] | None:
    """Move a mask's boundary.

    Args:
        image: (H, W, 3) uint8 RGB.
        mask: (H, W).
        choices: of the steps.

    Returns:
        (H, W); None where the mask has to stay as it is.
    """
    if int(mask.sum()) < LEAST:
        return None
    window = window_of(mask, choices)
    inside = np.ascontiguousarray(mask[window], np.uint8)
    far = cv2.dilate(inside, _square(choices.dilate)) == 0
    if int(far.sum()) < LEAST:
        return None
    labels = np.where(inside > 0, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    labels[_core(inside, choices.erode) > 0] = cv2.GC_FGD
    labels[far] = cv2.GC_BGD
    cut = _cut(np.ascontiguousarray(image[window][..., ::-1]), labels, choices)
    if not cut.any():
        return None
    refined = np.zeros_like(mask)
    refined[window] = cut
    union = int((mask | refined).sum())
    return None if int((mask & refined).sum()) < choices.keep * union else refined


def window_of(mask: NDArray[np.bool_], choices: BoundaryChoices) -> tuple[slice, slice]:
    """Rows and columns round a mask (H, W), which is not empty, that `refine` looks at."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    reach = choices.margin + choices.dilate
    return (
        slice(max(0, int(rows[0]) - reach), int(rows[-1]) + 1 + reach),
        slice(max(0, int(columns[0]) - reach), int(columns[-1]) + 1 + reach),
    )


def _square(radius: int) -> Grey:
    return np.ones((2 * radius + 1, 2 * radius + 1), np.uint8)


def _core(inside: Grey, radius: int) -> Grey:
    """The mask eroded by the largest radius that leaves enough pixels."""
    while radius > 0:
        core: Grey = cv2.erode(inside, _square(radius))
        if int(core.sum()) >= LEAST:
            return core
        radius -= 1
    return inside


def _cut(image: Grey, labels: Grey, choices: BoundaryChoices) -> NDArray[np.bool_]:
    """Rounds of GrabCut on a window, until the foreground stands still."""
    cv2.setRNGSeed(choices.seed)
    background, foreground = np.zeros((1, 65)), np.zeros((1, 65))
    now = _foreground(labels)
    for number in range(choices.rounds):
        mode = cv2.GC_EVAL if number else cv2.GC_INIT_WITH_MASK
        cv2.grabCut(image, labels, None, background, foreground, 1, mode)
        before, now = now, _foreground(labels)
        if int((before ^ now).sum()) <= choices.change * max(1, int(before.sum())):
            break
    return now


def _foreground(labels: Grey) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = (labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)
    return found
