"""LGCE: Language-Guided Cross-scale Enhancement, the method released with RefSegRS (Yuan et al., TGRS 2024)."""

from baselines.lgce.model import LGCE

__all__ = ["LGCE"]
