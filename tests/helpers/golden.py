"""Deterministic parameters and inputs of the golden fixtures.

A value depends only on the seed, the official parameter name and the shape, so that a fixture needs no weights. A test
fills a network with these numbers, runs it in float64, and compares its outputs with the stored ones.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Generator, Tensor

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures" / "golden"
TOLERANCE = 1e-9
"""Largest difference over the largest value of a stored tensor, in float64."""


@contextmanager
def float64_draws() -> Iterator[None]:
    """Draw in float64, as the makers of some fixtures did: the generator gives other numbers than in float32."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def official_tensor(key: str, shape: tuple[int, ...], seed: int) -> Tensor:
    """One floating-point parameter or BatchNorm statistic by its official name, float32."""
    draw = Generator().manual_seed(int.from_bytes(sha256(f"{seed}:{key}".encode()).digest()[:7], "big"))
    if key.endswith("running_var"):
        return torch.rand(shape, generator=draw) + 0.5
    if len(shape) == 1 and key.endswith("weight"):
        return torch.rand(shape, generator=draw) * 0.8 + 0.6
    normal = torch.randn(shape, generator=draw)
    if key.endswith("running_mean") or len(shape) == 1:
        return normal * 0.1
    if "relative_position_bias_table" in key:
        return normal * 0.5
    if "embeddings" in key:
        return normal
    fan_in = max(1, torch.Size(shape[2:] if len(shape) >= 5 else shape[1:]).numel())
    gain = 0.5 if "encoder.layer" in key else 1.5
    return normal * (gain / fan_in**0.5)


def official_state(shapes: Mapping[str, tuple[int, ...]], seed: int, prefix: str = "") -> dict[str, Tensor]:
    """`official_tensor` for every name. The values are those of `prefix` + name; the keys are the names alone."""
    return {name: official_tensor(prefix + name, tuple(shape), seed) for name, shape in shapes.items()}


def golden_image(batch: int, size: int | tuple[int, int], seed: int) -> Tensor:
    """The normalised input images (B, 3, H, W) of a fixture; their sum is its metadata's `image_sum`."""
    height, width = (size, size) if isinstance(size, int) else size
    return torch.randn(batch, 3, height, width, generator=Generator().manual_seed(1000 + seed))


def load_golden(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """A fixture's tensors and its metadata (`options` decoded from JSON)."""
    with safe_open(path, framework="pt") as opened:
        metadata: dict[str, Any] = dict(opened.metadata())
        tensors = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118 - no mapping
    if "options" in metadata:
        metadata["options"] = json.loads(metadata["options"])
    return tensors, metadata


def assert_stored(name: str, found: Tensor, expected: Tensor) -> None:
    """Assert that a tensor has the shape of a stored one, and its values within `TOLERANCE`."""
    assert found.shape == expected.shape, name
    expected = expected.double()
    scale = float(expected.abs().max()) or 1.0
    assert float((found.double() - expected).abs().max()) <= TOLERANCE * scale, name
