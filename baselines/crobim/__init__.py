"""CroBIM-style network: cross-modal bidirectional interaction, a reconstruction (Dong et al., arXiv 2410.08613)."""

from baselines.crobim.model import CroBIM

__all__ = ["CroBIM"]
