"""DiCoR: decoupled referent disambiguation and contour recalibration (Gao et al., preprint of 2026)."""

from baselines.dicor.model import DiCoR

__all__ = ["DiCoR"]
