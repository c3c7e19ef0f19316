"""SAM 3: Segment Anything with Concepts (Meta, 2025), from transformers."""

from baselines.sam3.model import SAM3

__all__ = ["SAM3"]
