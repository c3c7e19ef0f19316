"""RMSIN: Rotated Multi-Scale Interaction Network for Referring Remote Sensing Segmentation (Liu et al., CVPR 2024)."""

from baselines.rmsin.model import RMSIN

__all__ = ["RMSIN"]
