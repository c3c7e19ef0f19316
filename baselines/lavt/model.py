"""LAVT (Yang et al., CVPR 2022): words enter the image encoder after each of its stages.

The methods built on LAVT share all of its parts, which lie in `rrsis_bench/families/lavt/`: the flow of a sample in
`family.py`, a stage's fusion in `stage.py`, the decoder in `decoder.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from baselines.lavt.weights import RELEASED
from rrsis_bench.families.lavt.family import FamilyOptions, LAVTFamily
from rrsis_bench.families.lavt.stage import LAVTStage
from rrsis_bench.nn.weights.name_map import NameMap


@dataclass(frozen=True)
class LAVTOptions(FamilyOptions):
    """The family's options and no others."""


class LAVT(LAVTFamily):
    """The published network with Swin, and the same network with other image encoders."""

    name: ClassVar[str] = "lavt"
    Options: ClassVar[type[Any]] = LAVTOptions
    released: ClassVar[NameMap] = RELEASED

    def build_stage(self, width: int, heads: int) -> nn.Module:
        """PWAM and the language gate."""
        return LAVTStage(width, self.options.text_width, heads, self.options.fusion_drop)
