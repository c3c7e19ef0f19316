"""RS2-SAM2: Customized SAM2 for Referring Remote Sensing Image Segmentation (AAAI 2026)."""

from baselines.rs2sam2.model import RS2SAM2

__all__ = ["RS2SAM2"]
