"""Grounded SAM: a box by language (Grounding DINO and others), a mask by box (SAM), from libraries."""

from baselines.groundedsam.model import GroundedSAM

__all__ = ["GroundedSAM"]
