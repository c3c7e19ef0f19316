"""DETRIS: densely connected adapters in frozen encoders (AAAI 2025)."""

from __future__ import annotations

from baselines.detris.model import DETRIS

__all__ = ["DETRIS"]
