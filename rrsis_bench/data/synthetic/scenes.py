"""Synthetic aerial scenes, a pure function of a seed.

Each seed is one scene; ranges of seeds keep the splits and the encoders' pre-training apart (`seed_range`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from rrsis_bench.data.info import SPLITS
from rrsis_bench.data.synthetic.drawing import COLOURS, SHAPES, Colour, Points, Shape, fill, fill_mask, place, tone
from rrsis_bench.data.synthetic.grammar import Thing

PRETRAIN = range(0, 100_000_000)
"""Seeds for pre-training encoders; no split ever uses one of them."""
_BLOCK, _SPLIT_STEP = 100_000_000, 10_000_000

GROUNDS: dict[str, Colour] = {
    "field": (98, 126, 74),
    "water": (44, 78, 96),
    "soil": (150, 122, 90),
    "asphalt": (108, 108, 112),
}
DUPLICATE_SHARE = 0.8
"""Share of scenes planned with two or three objects of one category."""
_DASH = np.array([[0, -0.08], [0.045, -0.08], [0.045, 0.08], [0, 0.08]], np.float32)
_DASHES = np.stack([_DASH + np.array([start, 0], np.float32) for start in np.linspace(-1.5, 1.5, 34)])
"""(34, 4, 2): the broken line along a road; units are the image side along it and the road's half width across."""
ATTEMPTS = 24
"""Tries to find a free place for an object before another is drawn instead."""


def seed_range(split: str, seed: int = 0) -> range:
    """Scene seeds of a split of the data set made with `seed`; disjoint between splits, seeds and `PRETRAIN`."""
    start = (seed + 1) * _BLOCK + SPLITS.index(split) * _SPLIT_STEP
    return range(start, start + _SPLIT_STEP)


@dataclass(frozen=True)
class SceneObject(Thing):
    """A drawn object.

    Attributes:
        mask: (H, W) uint8 in {0, 1}.
    """

    mask: NDArray[np.uint8] = field(kw_only=True, repr=False, compare=False)


@dataclass(frozen=True)
class Scene:
    """A drawn scene.

    Attributes:
        seed: what it was drawn from.
        image: (H, W, 3) uint8 RGB.
        objects: three to six objects that do not overlap.
        ground: key of `GROUNDS`.
    """

    seed: int
    image: NDArray[np.uint8]
    objects: tuple[SceneObject, ...]
    ground: str

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return int(self.image.shape[0]), int(self.image.shape[1])


@dataclass(frozen=True)
class _Placed:
    category: str
    colour: str
    paint: Colour
    shape: Shape
    centre: tuple[float, float]
    scale: tuple[float, float]
    angle: float
    outline: list[Points]
    mask: NDArray[np.uint8]

    def put(self, points: Points) -> Points:
        return place(points, self.centre, self.scale, self.angle)


def sample_scenes(seeds: Iterable[int], size: int = 128) -> Iterator[Scene]:
    """The scenes of some seeds, in order, `size` x `size` pixels."""
    for seed in seeds:
        yield draw_scene(seed, size)


def draw_scene(seed: int, size: int = 128) -> Scene:
    """The scene of a seed, `size` x `size` pixels."""
    rng = np.random.default_rng(seed)
    ground = list(GROUNDS)[int(rng.choice(len(GROUNDS), p=[0.35, 0.2, 0.2, 0.25]))]
    placed = _arrange(rng, size)
    image = _texture(rng, GROUNDS[ground], size)
    _draw_roads(image, rng, ground)
    for item in placed:
        _draw_apron(image, item, ground, rng)
    image = _cast_shadows(image, placed, rng)
    for item in placed:
        _draw_object(image, item)
    return Scene(seed, _expose(image, rng), tuple(_describe(item) for item in placed), ground)


def _plan(rng: np.random.Generator) -> list[str]:
    """Categories of a scene's objects. Mostly one occurs two or three times: a name alone is then not enough."""
    count = int(rng.integers(3, 7))
    names = list(SHAPES)
    others = [names[i] for i in rng.permutation(len(names))]
    if rng.random() >= DUPLICATE_SHARE:
        return others[:count]
    same = 3 if count > 4 and rng.random() < 0.4 else 2
    return others[:1] * same + others[1 : 1 + count - same]


def _arrange(rng: np.random.Generator, size: int) -> list[_Placed]:
    """Objects at free places. An object without a free place is left out; fewer than three objects are planned anew."""
    while True:
        taken = np.zeros((size, size), np.uint8)
        placed: list[_Placed] = []
        colours = list(COLOURS)
        for category in _plan(rng):
            colour = colours[int(rng.integers(len(colours)))]
            for _ in range(ATTEMPTS):
                item = _try_place(rng, category, colour, taken)
                if item is not None:
                    placed.append(item)
                    taken |= cv2.dilate(item.mask, _gap_kernel(size))
                    break
        if len(placed) >= 3:
            order = rng.permutation(len(placed))
            return [placed[i] for i in order]


@lru_cache(maxsize=8)
def _gap_kernel(size: int) -> NDArray[np.uint8]:
    """Structuring element that keeps objects 2-3 % of the image side apart."""
    radius = max(2, round(0.025 * size))
    return np.ones((2 * radius + 1, 2 * radius + 1), np.uint8)


def _try_place(rng: np.random.Generator, category: str, colour: str, taken: NDArray[np.uint8]) -> _Placed | None:
    size = taken.shape[0]
    shape = SHAPES[category]
    low, high = shape.length
    length = size * low * (high / low) ** rng.random()
    scale = (length / 2, length / 2 * rng.uniform(0.9, 1.1))
    angle = rng.uniform(0, 2 * np.pi)
    centre = (rng.uniform(0.06, 0.94) * size, rng.uniform(0.06, 0.94) * size)
    outline = [place(points, centre, scale, angle) for points in shape.outline]
    corners = np.concatenate(outline)
    if corners.min() < 2 or corners.max() > size - 3:
        return None
    mask = np.zeros_like(taken)
    fill_mask(mask, outline)
    if np.any(mask & taken):
        return None
    jitter = rng.integers(-10, 11, 3)
    red, green, blue = (int(np.clip(value + step, 0, 255)) for value, step in zip(COLOURS[colour], jitter, strict=True))
    return _Placed(category, colour, (red, green, blue), shape, centre, scale, angle, outline, mask)


def _texture(rng: np.random.Generator, base: Colour, size: int) -> NDArray[np.uint8]:
    """(size, size, 3) ground: two scales of smooth blotches in brightness, one in tint, and now and then furrows."""
    brightness = np.zeros((size, size), np.float32)
    for cells, strength in ((4, 9.0), (20, 6.0)):
        grid = rng.standard_normal((cells, cells), dtype=np.float32) * strength
        brightness += cv2.resize(grid, (size, size), interpolation=cv2.INTER_CUBIC)
    if rng.random() < 0.35:
        angle, period = rng.uniform(0, np.pi), rng.uniform(0.03, 0.07) * size
        axis = np.arange(size, dtype=np.float32) * np.float32(2 * np.pi / period)
        brightness += 5 * np.sin(axis[None] * np.cos(angle) + axis[:, None] * np.sin(angle)).astype(np.float32)
    tint = cv2.resize(
        rng.standard_normal((3, 3, 3), dtype=np.float32) * 5, (size, size), interpolation=cv2.INTER_LINEAR
    )
    ground: NDArray[np.float32] = np.array(base, np.float32) + tint + brightness[..., None]
    return np.clip(ground, 0, 255).astype(np.uint8)


def _draw_roads(image: NDArray[np.uint8], rng: np.random.Generator, ground: str) -> None:
    """One or two straight roads right across, lighter on asphalt; none on water."""
    size = image.shape[0]
    surface = (136, 134, 130) if ground == "asphalt" else (118, 116, 114)
    for _ in range(0 if ground == "water" else int(rng.integers(1, 3))):
        angle, half = rng.uniform(0, np.pi), rng.uniform(0.02, 0.045) * size
        centre = (rng.uniform(0.15, 0.85) * size, rng.uniform(0.15, 0.85) * size)
        road = np.array([[-2, -1], [2, -1], [2, 1], [-2, 1]], np.float32)
        fill(image, place(road, centre, (size, half), angle), surface)
        dashes = place(_DASHES.reshape(-1, 2), centre, (size, half), angle).reshape(_DASHES.shape)
        fill(image, dashes, (188, 186, 178))


def _draw_apron(image: NDArray[np.uint8], item: _Placed, ground: str, rng: np.random.Generator) -> None:
    """Water under objects that swim or span, land under objects that stand, where the scene's ground differs."""
    if (item.shape.habitat == "water") == (ground == "water"):
        return
    surface = GROUNDS["water" if item.shape.habitat == "water" else "soil"]
    angle = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    reach = rng.uniform(0.95, 1.2, 16)
    lobes = np.stack([1.15 * reach * np.cos(angle), 0.8 * reach * np.sin(angle)], 1).astype(np.float32)
    fill(image, place(lobes, item.centre, (item.scale[0], item.scale[0]), item.angle), surface)


def _cast_shadows(image: NDArray[np.uint8], placed: list[_Placed], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Darken where objects stand between the sun, which is the same for the whole scene, and the ground."""
    sun = rng.uniform(0, 2 * np.pi)
    shade = np.zeros(image.shape[:2], np.uint8)
    for item in placed:
        length = 2 * item.scale[0] * item.shape.height
        offset = np.array([np.cos(sun), np.sin(sun)], np.float32) * length
        fill_mask(shade, [points + offset for points in item.outline])
    soft = cv2.GaussianBlur(shade * np.uint8(255), (3, 3), 0)
    factor = cv2.merge([255 - (soft // 5) * 2] * 3)
    shaded: NDArray[np.uint8] = cv2.multiply(image, factor, scale=1 / 255)
    return shaded


def _draw_object(image: NDArray[np.uint8], item: _Placed) -> None:
    for points in item.outline:
        fill(image, points, item.paint)
    for points, name in item.shape.details:
        fill(image, item.put(points), tone(name, item.paint))


def _expose(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Overall brightness and sensor noise."""
    grain = rng.standard_normal(image.shape[:2], dtype=np.float32) * np.float32(rng.uniform(2, 6))
    exposed = image.astype(np.float32) * np.float32(rng.uniform(0.85, 1.08)) + grain[..., None]
    return np.clip(exposed, 0, 255).astype(np.uint8)


def _describe(item: _Placed) -> SceneObject:
    moments = cv2.moments(item.mask, binaryImage=True)
    x, y, width, height = cv2.boundingRect(item.mask)
    return SceneObject(
        item.category,
        item.colour,
        float(moments["m00"]),
        (x, y, x + width, y + height),
        (moments["m10"] / moments["m00"], moments["m01"] / moments["m00"]),
        outline=np.concatenate(item.outline),
        mask=item.mask,
    )
