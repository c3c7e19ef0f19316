"""RSRefSeg 2: Decoupling Referring Remote Sensing Image Segmentation with Foundation Models (TGRS 2026)."""

from baselines.rsrefseg2.model import RSRefSeg2

__all__ = ["RSRefSeg2"]
