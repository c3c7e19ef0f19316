"""LAVT (Yang et al., CVPR 2022): words join the visual encoder after each of its stages.

All of it is shared with the methods built on it: the flow is in `rrsis_bench/nn/lavt_family.py`, a stage's fusion in
`rrsis_bench/nn/lavt_stage.py`, the decoder in `rrsis_bench/nn/lavt_decoder.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from baselines.lavt.weights import RELEASED
from rrsis_bench.nn.lavt_family import FamilyOptions, LAVTFamily
from rrsis_bench.nn.lavt_names import NameMap
from rrsis_bench.nn.lavt_stage import LAVTStage


@dataclass(frozen=True)
class LAVTOptions(FamilyOptions):
    """The family's options; LAVT has none of its own."""


class LAVT(LAVTFamily):
    """The published network with Swin, and the same on a convolutional encoder for the light variant."""

    name: ClassVar[str] = "lavt"
    Options: ClassVar[type[Any]] = LAVTOptions
    released: ClassVar[NameMap] = RELEASED

    def build_stage(self, width: int, heads: int) -> nn.Module:
        """PWAM and the language gate."""
        return LAVTStage(width, self.options.text_width, heads, self.options.fusion_drop)
