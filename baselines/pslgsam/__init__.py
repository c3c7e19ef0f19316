"""PSLG-SAM (Li et al., arXiv 2506.10503): a box by language (LQVG), then SAM with a point of its own."""

from baselines.pslgsam.model import PSLGSAM

__all__ = ["PSLGSAM"]
