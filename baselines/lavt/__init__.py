"""LAVT: Language-Aware Vision Transformer for Referring Image Segmentation (Yang et al., CVPR 2022)."""

from baselines.lavt.model import LAVT

__all__ = ["LAVT"]
