"""BTDNet-style network: a reconstruction from what is known of BTDNet (Zhang et al., arXiv 2502.08486)."""

from baselines.btdnet.model import BTDNet

__all__ = ["BTDNet"]
