"""RMSIN (Liu et al., CVPR 2024): LAVT with interaction inside and across scales and a decoder that turns its kernels.

What it shares with LAVT is in `rrsis_bench/families/lavt/` and `nn/layers/multiscale.py`; its own
parts are `iim.py` (stage), `cim.py` (between stages and decoder) and `arc.py` (decoder).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from baselines.rmsin.arc import ARCDecoder
from baselines.rmsin.cim import CIM
from baselines.rmsin.iim import RMSINStage
from baselines.rmsin.weights import RELEASED
from rrsis_bench.errors import UsageError
from rrsis_bench.families.lavt.family import Dice, FamilyOptions, LAVTFamily
from rrsis_bench.nn.weights.name_map import NameMap


@dataclass(frozen=True)
class RMSINOptions(FamilyOptions):
    """The family's options and RMSIN's own; the defaults are the published network.

    Attributes:
        dice: see `FamilyOptions`; RMSIN sums it.
        cim_grid: side of the grid on which the scales meet; part of the parameters' shapes. At 480 px it is the last
            map's own size.
        cim_heads: attention heads there.
        cim_key: width of a head's queries and keys; values are twice as wide.
        cim_blocks: blocks there.
        arc_kernels: rotated kernels of each convolution.
        arc_degrees: largest angle to either side.
        arc_dropout: dropout rate before strength and angle are read off.
    """

    dice: Dice = "sum"
    cim_grid: int = 15
    cim_heads: int = 8
    cim_key: int = 32
    cim_blocks: int = 1
    arc_kernels: int = 1
    arc_degrees: float = 40.0
    arc_dropout: float = 0.2


class RMSIN(LAVTFamily):
    """The published network; unlike the released one it takes any image size and any width divisible by 4."""

    name: ClassVar[str] = "rmsin"
    Options: ClassVar[type[Any]] = RMSINOptions
    released: ClassVar[NameMap] = RELEASED

    def build_stage(self, width: int, heads: int) -> nn.Module:
        """PWAM, the language gate, and the intra-scale branch with its gate."""
        return RMSINStage(width, self.options.text_width, heads, self.options.fusion_drop)

    def build_refine(self, widths: Sequence[int]) -> nn.Module:
        """The cross-scale interaction module."""
        options = self.options
        if any(width % 4 for width in widths):
            raise UsageError(f"{self.name}: the stages' widths must be multiples of 4, not {tuple(widths)}.")
        return CIM(widths, options.cim_grid, options.cim_heads, options.cim_key, options.cim_blocks)

    def build_decoder(self, widths: Sequence[int], width: int) -> nn.Module:
        """LAVT's decoder with adaptive rotated convolutions."""
        options = self.options
        return ARCDecoder(widths, width, options.arc_kernels, options.arc_degrees, options.arc_dropout)
