"""C3VG: Multi-task Visual Grounding with Coarse-to-Fine Consistency Constraints (AAAI 2025)."""

from baselines.c3vg.model import C3VG

__all__ = ["C3VG"]
