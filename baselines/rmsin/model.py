"""RMSIN (Liu et al., CVPR 2024): LAVT with interaction inside and across scales and a decoder that rotates its kernels.

RMSIN's own parts are the stage (`iim.py`), the module between stages and decoder (`cim.py`) and the decoder (`arc.py`).
`rrsis_bench/families/lavt/` and `nn/layers/multiscale.py` hold the shared ones.
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
        dice: see `FamilyOptions`; RMSIN's is `sum`.
        cim_grid: side of CIM's grid, a part of its parameters' shapes. At 480 px it is the last map's own size.
        cim_heads: attention heads in CIM.
        cim_key: width of a head's queries and keys in CIM; values are twice as wide.
        cim_blocks: blocks in CIM.
        arc_kernels: rotated kernels per convolution.
        arc_degrees: largest angle to either side.
        arc_dropout: dropout rate before the layers that predict strength and angle.
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
    """The published network, for any image size and any stage widths divisible by 4; the released one takes 480 px."""

    name: ClassVar[str] = "rmsin"
    Options: ClassVar[type[Any]] = RMSINOptions
    released: ClassVar[NameMap] = RELEASED

    def build_stage(self, width: int, heads: int) -> nn.Module:
        """PWAM, the language gate, and the intra-scale branch with a gate of its own."""
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
