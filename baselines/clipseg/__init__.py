"""CLIPSeg: Image Segmentation Using Text and Image Prompts (CVPR 2022), from transformers."""

from baselines.clipseg.model import CLIPSeg

__all__ = ["CLIPSeg"]
