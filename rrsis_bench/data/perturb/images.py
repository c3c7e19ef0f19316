"""Perturbations of an image's pixels: each takes (H, W, 3) uint8 RGB, a severity and a random generator.

Lengths follow the shorter side of the image: a method resizes images, so that fixed pixels would mean other blurs.
Where albumentations has the effect, it makes it. Its fog is that of a street scene, and it has no cloud: haze, cloud
and low sun are made here.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from rrsis_bench.data.transforms import albumentation

Pixels = NDArray[np.uint8]

_QUALITY = (60, 40, 25, 15, 8)
_NOISE = (0.03, 0.05, 0.08, 0.12, 0.18)
_MOTION = (0.012, 0.02, 0.032, 0.05, 0.08)
_DEFOCUS = (0.004, 0.007, 0.011, 0.017, 0.026)
_HAZE = (0.85, 0.7, 0.56, 0.43, 0.3)
_CLOUD = (0.25, 0.4, 0.55, 0.7, 0.85)
_SUN = (0.8, 0.65, 0.52, 0.4, 0.3)
_CAST = (10, 18, 28, 40, 55)
AIRLIGHT = (226, 232, 240)
"""RGB of haze: nearly white, a little blue."""


@lru_cache(maxsize=64)
def _transform(name: str, settings: tuple[tuple[str, Any], ...]) -> Any:
    return albumentation(
        name, **{key: dict(value) if key == "interpolation_pair" else value for key, value in settings}
    )


def _applied(name: str, image: Pixels, rng: np.random.Generator, **settings: Any) -> Pixels:
    transform = _transform(name, tuple(settings.items()))
    transform.set_random_seed(int(rng.integers(2**31)))
    done: Pixels = transform(image=image)["image"]
    return done


def jpeg(image: Pixels, severity: int, rng: np.random.Generator) -> Pixels:
    """JPEG of quality 60 to 8."""
    quality = _QUALITY[severity - 1]
    return _applied("ImageCompression", image, rng, compression_type="jpeg", quality_range=(quality, quality))


def noise(image: Pixels, severity: int, rng: np.random.Generator) -> Pixels:
    """Sensor noise: Gaussian, in each channel, of 3 % to 18 % of the range."""
    std = _NOISE[severity - 1]
    return _applied("GaussNoise", image, rng, std_range=(std, std), per_channel=True)


def motion_blur(image: Pixels, severity: int, rng: np.random.Generator) -> Pixels:
    """Blur along a line of 1.2 % to 8 % of the shorter side, at least 3 to 11 pixels, in any direction."""
    length = 2 * max(severity, round(_MOTION[severity - 1] * min(image.shape[:2]) / 2)) + 1
    settings = {"blur_limit": (length, length), "allow_shifted": False, "direction_range": (0.0, 0.0)}
    return _applied("MotionBlur", image, rng, **settings)


def defocus(image: Pixels, severity: int, rng: np.random.Generator) -> Pixels:
    """Blur by a disk whose radius is 0.4 % to 2.6 % of the shorter side, at least 1 to 5 pixels."""
    radius = max(severity, round(_DEFOCUS[severity - 1] * min(image.shape[:2])))
    return _applied("Defocus", image, rng, radius=(radius, radius), alias_blur=(0.1, 0.1))


def haze(image: Pixels, severity: int, rng: np.random.Generator) -> Pixels:
    """Haze of transmission 0.85 to 0.3, a little uneven: I t + A (1 - t) (Koschmieder)."""
    uneven = 0.08 * (_smooth(image.shape[:2], (3,), rng) - 0.5)
    t = np.clip(_HAZE[severity - 1] + uneven, 0.05, 1)[..., None]
    return _rounded(image * t + np.array(AIRLIGHT, np.float32) * (1 - t))


def cloud(image: Pixels, severity: int, rng: np.random.Generator) -> Pixels:
    """Thin clouds of opacity up to 0.25 to 0.85 over part of the image, and their shadows beside them."""
    height, width = image.shape[:2]
    field = _smooth((height, width), (3, 6, 12, 24), rng)
    low, high = np.quantile(field, [0.5, 0.95])
    cover = np.clip((field - low) / max(float(high - low), 1e-6), 0, 1)
    angle = rng.uniform(0, 2 * np.pi)
    shift = np.array([np.cos(angle), np.sin(angle)]) * 0.15 * min(height, width)
    move = np.array([[1, 0, shift[0]], [0, 1, shift[1]]], np.float32)
    shadow = cv2.warpAffine(cover, move, (width, height), borderMode=cv2.BORDER_REFLECT)
    strength = _CLOUD[severity - 1]
    shaded = image * (1 - 0.6 * strength * shadow)[..., None]
    alpha = (strength * cover)[..., None]
    return _rounded(shaded * (1 - alpha) + 245 * alpha)


def low_sun(image: Pixels, severity: int, rng: np.random.Generator) -> Pixels:
    """A low sun: light of 0.8 to 0.3 of the day's, and bluer, since the sky gives more of it."""
    light = _SUN[severity - 1]
    gains = np.array([light * (0.85 + 0.15 * light), light, light + 0.5 * light * (1 - light)], np.float32)
    return _rounded(image * gains)


def colour_cast(image: Pixels, severity: int, rng: np.random.Generator) -> Pixels:
    """The cast of another sensor: red up, blue down by 10 to 55 of 255 levels, green by a third of it up."""
    step = float(_CAST[severity - 1])
    shifts = {"r_shift_limit": (step, step), "g_shift_limit": (step / 3, step / 3), "b_shift_limit": (-step, -step)}
    return _applied("RGBShift", image, rng, **shifts)


def half_resolution(image: Pixels, severity: int, rng: np.random.Generator) -> Pixels:
    """Half the ground resolution, at the same size."""
    return _downscaled(image, 0.5, rng)


def quarter_resolution(image: Pixels, severity: int, rng: np.random.Generator) -> Pixels:
    """A quarter of the ground resolution, at the same size."""
    return _downscaled(image, 0.25, rng)


def _downscaled(image: Pixels, scale: float, rng: np.random.Generator) -> Pixels:
    ways = (("downscale", cv2.INTER_AREA), ("upscale", cv2.INTER_LINEAR))
    return _applied("Downscale", image, rng, scale_range=(scale, scale), interpolation_pair=ways)


def _smooth(size: tuple[int, ...], cells: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float32]:
    """(H, W) smooth noise in 0..1: a sum of grids, each finer one weaker."""
    height, width = size
    total = np.zeros((height, width), np.float32)
    for octave, count in enumerate(cells):
        grid = rng.random((count, count), dtype=np.float32)
        total += cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC) / 2**octave
    low, high = float(total.min()), float(total.max())
    scaled: NDArray[np.float32] = (total - low) / max(high - low, 1e-6)
    return scaled


def _rounded(values: NDArray[Any]) -> Pixels:
    rounded: Pixels = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return rounded
