"""Pictures one can show a colleague: the referent tinted and outlined, the rest dimmed, the expression below.

Shape legend: `H W` pixels of the image, `H'` height of the picture (image and caption bar).
"""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]

# Magenta and cyan are absent from aerial scenes and stay apart for colour-blind readers.
PREDICTION_COLOUR = (255, 45, 149)
TRUTH_COLOUR = (0, 229, 255)
BAR_COLOUR = (24, 26, 31)
TEXT_COLOUR = (244, 244, 246)
NOTE_COLOUR = (168, 174, 186)

TINT = 0.38  # share of the prediction's colour over the referent
DIMMED = 0.75  # brightness of what is not the referent
BAND = 256  # rows that are coloured at once
MAX_BAR = 0.6  # largest height of the caption bar over that of the image, once three lines are given


def draw_overlay(
    image: Picture,
    mask: NDArray[Any],
    text: str,
    truth: NDArray[Any] | None = None,
    note: str | None = None,
    box: tuple[float, float, float, float] | None = None,
) -> Picture:
    """An image with its referent shown and its expression written below.

    Args:
        image: (H, W, 3) uint8 RGB.
        mask: (H, W), non-zero where the prediction is.
        text: the expression; wrapped, and cut with an ellipsis where it would outgrow the image.
        truth: (H, W), non-zero where the annotation is; outlined in a second colour, with the IoU in the caption.
        note: a second, smaller line of the caption; None for a legend made from the masks.
        box: left, top, right, bottom in pixels of a box to draw in the prediction's colour.

    Returns:
        (H', W, 3) uint8 RGB.

    Raises:
        ValueError: image and masks are not of one size.
    """
    height, width = image.shape[:2]
    for name, given in (("mask", mask), ("truth", truth)):
        if given is not None and given.shape != (height, width):
            raise ValueError(f"{name} is {given.shape}, but the image is {(height, width)}")
    predicted = np.asarray(mask) != 0
    annotated = None if truth is None else np.asarray(truth) != 0
    thickness = max(1, round(min(height, width) / 220))
    lines = [] if annotated is None else _lines(annotated, TRUTH_COLOUR, thickness)
    lines += _lines(predicted, PREDICTION_COLOUR, thickness)
    if box is not None:
        lines.append(_Line(_frame(box, (height, width), thickness), PREDICTION_COLOUR, np.float32(1)))
    lit = predicted if predicted.any() or annotated is None else annotated
    picture = np.empty_like(image)
    for top in range(0, height, BAND):
        rows = slice(top, top + BAND)
        shown = image[rows].astype(np.float32)
        if lit.any():
            tint = TINT if lit is predicted else 0.0
            shown = _highlight(shown, lit[rows], tint)
        for line in lines:
            at = line.pixels[rows]
            shown[at] = shown[at] * (1 - line.opacity) + np.asarray(line.colour, np.float32) * line.opacity
        picture[rows] = np.clip(np.rint(shown), 0, 255)
    legend = _legend(predicted, annotated) if note is None else [(note, NOTE_COLOUR)]
    return np.concatenate([picture, _caption(text, legend, width, height)], axis=0)


def enlarged(image: Picture, mask: NDArray[Any], shortest: int = 512) -> tuple[Picture, NDArray[Any]]:
    """Image and mask by the whole factor that brings the longer side to `shortest` pixels or more.

    A 128-pixel tile has no room for a sentence; larger images are returned as they are.

    Returns:
        (kH, kW, 3) uint8 and (kH, kW), k >= 1.
    """
    import cv2

    height, width = image.shape[:2]
    factor = max(1, -(-shortest // max(height, width)))
    if factor == 1:
        return image, mask
    size = (width * factor, height * factor)
    grown = cv2.resize(image, size, interpolation=cv2.INTER_CUBIC)
    return grown, np.kron(mask, np.ones((factor, factor), dtype=mask.dtype))


@dataclass(frozen=True)
class _Line:
    """Pixels (H, W) that a colour covers, in part or wholly."""

    pixels: NDArray[np.bool_]
    colour: tuple[int, int, int]
    opacity: np.float32


def _highlight(shown: NDArray[np.float32], mask: NDArray[np.bool_], tint: float) -> NDArray[np.float32]:
    """Tint the referent, dim the rest."""
    referent = shown * (1 - tint) + np.asarray(PREDICTION_COLOUR, dtype=np.float32) * tint
    return np.where(mask[..., None], referent, shown * DIMMED).astype(np.float32)


def _lines(mask: NDArray[np.bool_], colour: tuple[int, int, int], thickness: int) -> list[_Line]:
    """A line just outside the mask, so that small objects stay visible, with a dark rim against bright ground."""
    import cv2

    if not mask.any():
        return []
    inside = mask.astype(np.uint8)
    lines = []
    for extra, paint, opacity in ((max(1, thickness // 2), (0, 0, 0), 0.55), (0, colour, 1.0)):
        radius = thickness + extra
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
        lines.append(_Line((cv2.dilate(inside, kernel) - inside) != 0, paint, np.float32(opacity)))
    return lines


def _frame(box: tuple[float, float, float, float], size: tuple[int, int], thickness: int) -> NDArray[np.bool_]:
    """Pixels (H, W) of a rectangle's line, inside the image."""
    height, width = size
    left, top = min(max(0, round(box[0])), width - 1), min(max(0, round(box[1])), height - 1)
    right, bottom = max(left + 1, min(width, round(box[2]))), max(top + 1, min(height, round(box[3])))
    frame = np.zeros(size, np.bool_)
    frame[top:bottom, left:right] = True
    # A negative end would count from the other side.
    frame[top + thickness : max(0, bottom - thickness), left + thickness : max(0, right - thickness)] = False
    return frame


def _legend(
    predicted: NDArray[np.bool_], annotated: NDArray[np.bool_] | None
) -> list[tuple[str, tuple[int, int, int]]]:
    """Coloured words of the caption's second line."""
    if annotated is None:
        return [] if predicted.any() else [("nothing found", NOTE_COLOUR)]
    union = int(np.count_nonzero(predicted | annotated))
    iou = int(np.count_nonzero(predicted & annotated)) / union if union else 1.0
    first = ("prediction", PREDICTION_COLOUR) if predicted.any() else ("nothing found", PREDICTION_COLOUR)
    return [first, ("truth", TRUTH_COLOUR), (f"IoU {iou:.2f}", NOTE_COLOUR)]


def _caption(text: str, legend: list[tuple[str, tuple[int, int, int]]], width: int, image_height: int) -> Picture:
    """The bar below the image: (h, W, 3) uint8."""
    from PIL import Image, ImageDraw, ImageFont

    size = int(np.clip(width / 28, 11, 96))
    font = ImageFont.load_default(size)
    small = ImageFont.load_default(max(10, round(size * 0.78)))
    margin = max(4, size // 2)
    room = max(1, width - 2 * margin)
    line = round(size * 1.35)
    most = max(3, int(MAX_BAR * image_height) // line)
    lines = _wrap(" ".join(text.split()), font, room, most)

    words: list[tuple[str, tuple[int, int, int], int, int]] = []  # word, colour, left, row
    left, row, space = 0, 0, size
    for word, colour in legend:
        extent = int(small.getlength(word))
        if left and left + extent > room:
            left, row = 0, row + 1
        words.append((word, colour, left, row))
        left += extent + space
    rows = row + 1 if legend else 0

    bar = Image.new("RGB", (width, 2 * margin + line * (len(lines) + rows)), BAR_COLOUR)
    draw = ImageDraw.Draw(bar)
    for k, written in enumerate(lines):
        draw.text((margin, margin + k * line), written, font=font, fill=TEXT_COLOUR)
    for word, colour, left, row in words:
        draw.text((margin + left, margin + (len(lines) + row) * line), word, font=small, fill=colour)
    return np.asarray(bar, dtype=np.uint8)


def _prefix_length(font: Any, word: str, count: int) -> int:
    """Extent of a word's first `count` letters in whole pixels, rounded up."""
    return math.ceil(float(font.getlength(word[:count])))


def _wrap(text: str, font: Any, room: int, most: int) -> list[str]:
    """Lines of at most `room` pixels, a word longer than a line broken, at most `most` lines."""
    lines: list[str] = []
    current = ""
    for word in text.split(" "):
        longer = f"{current} {word}" if current else word
        if font.getlength(longer) <= room:
            current = longer
            continue
        if current:
            lines.append(current)
        while font.getlength(word) > room and len(word) > 1 and len(lines) <= most:
            # Bisection: measuring every prefix of a monster word would take minutes.
            fits = max(1, bisect_right(range(1, len(word)), room, key=partial(_prefix_length, font, word)))
            lines.append(word[:fits])
            word = word[fits:]
        current = word
        if len(lines) > most:
            break
    lines.append(current)
    if len(lines) <= most:
        return lines
    last = lines[most - 1]
    while last and font.getlength(last + "…") > room:
        last = last[:-1]
    return [*lines[: most - 1], last.rstrip() + "…"]
