"""LAVT (Yang et al., CVPR 2022): words join the visual encoder after each of its stages.

The methods built on it share all of it. In `rrsis_bench/families/lavt/`, `family.py` holds the flow of a sample,
`stage.py` a stage's fusion and `decoder.py` the decoder.
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
    """The family's options; LAVT has none of its own."""


class LAVT(LAVTFamily):
    """The published network with Swin, and the same on a convolutional encoder for the light variant."""

    name: ClassVar[str] = "lavt"
    Options: ClassVar[type[Any]] = LAVTOptions
    released: ClassVar[NameMap] = RELEASED

    def build_stage(self, width: int, heads: int) -> nn.Module:
        """PWAM and the language gate."""
        return LAVTStage(width, self.options.text_width, heads, self.options.fusion_drop)
