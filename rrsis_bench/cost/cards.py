"""Cards that a run can be forecast for, with the figures of their makers' data sheets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Card:
    """A GPU.

    Attributes:
        title: name.
        memory_gib: memory in GiB as a program sees it, rounded down.
        float32: peak in TFLOP/s in float32, without TF32. torch's convolutions use TF32 by default, products do not.
        half: peak in TFLOP/s of dense bf16 products with float32 sums; of float16 where the card has no bf16.
        bf16: whether the card computes bf16.
        pattern: the name by which torch knows the card, as a regular expression; "" if it is not known.
    """

    title: str
    memory_gib: int
    float32: float
    half: float
    bf16: bool = True
    pattern: str = ""


CARDS: Mapping[str, Card] = {
    "h200": Card("H200 SXM", 139, 67.0, 989.0, pattern="NVIDIA H200"),
    "h100": Card("H100 SXM 80 GB", 79, 67.0, 989.0, pattern="NVIDIA H100 80GB HBM3"),
    "a100-80": Card("A100 80 GB", 79, 19.5, 312.0, pattern="NVIDIA A100[- ].*80GB.*"),
    "a100": Card("A100 40 GB", 39, 19.5, 312.0, pattern="NVIDIA A100.*40GB.*"),
    "l40s": Card("L40S", 44, 91.6, 362.0, pattern="NVIDIA L40S"),
    "a6000": Card("RTX A6000", 47, 38.7, 154.8, pattern="(NVIDIA )?RTX A6000"),
    "4090": Card("RTX 4090", 23, 82.6, 165.2, pattern="NVIDIA GeForce RTX 4090"),
    "3090": Card("RTX 3090", 23, 35.6, 71.0, pattern="NVIDIA GeForce RTX 3090"),
    "4060": Card("RTX 4060 8 GB", 7, 15.1, 30.2, pattern="NVIDIA GeForce RTX 4060"),
    "v100": Card("V100 32 GB", 31, 15.7, 125.0, bf16=False, pattern="Tesla V100-.*32GB.*"),
    "t4": Card("T4", 14, 8.1, 65.0, bf16=False, pattern="(NVIDIA )?Tesla T4"),
}
"""Name on the command line -> card."""
