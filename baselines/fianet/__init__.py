"""FIANet: fine-grained image-text alignment for referring remote sensing image segmentation (Lei et al., TGRS 2024)."""

from baselines.fianet.model import FIANet

__all__ = ["FIANet"]
