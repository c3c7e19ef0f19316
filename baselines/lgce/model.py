"""LGCE (Yuan et al., TGRS 2024): LAVT whose two coarsest maps attend to themselves beside a language token.

We know of no official code of the network. This one follows the released training script and public copies of the
modules that it imports, which probably are the authors' (README.md). `rrsis_bench/families/lavt/` holds what it shares
with LAVT.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from torch import nn

from baselines.lgce.guidance import CrossScale, LanguageGuided
from baselines.lgce.weights import names_for
from rrsis_bench.errors import UsageError
from rrsis_bench.families.lavt.family import FamilyOptions, LAVTFamily
from rrsis_bench.families.lavt.names import load_official
from rrsis_bench.families.lavt.stage import LAVTStage
from rrsis_bench.nn.layers.freezing import trainable
from rrsis_bench.nn.weights.name_map import NameMap


@dataclass(frozen=True)
class LGCEOptions(FamilyOptions):
    """The family's options and LGCE's own; the defaults are the network as it was found.

    Attributes:
        guide_heads: attention heads over the third and the fourth map.
        guide_depths: transformer blocks over the third and the fourth map.
        cross_scale: the exchange between the scales. In the released code its parts never reach the output. `kept`
            builds these parts, so that released files load. `none` leaves them out, with the same outputs. `acting`
            uses them, in a way of our choice.
        masked_guide: leave padding out of the mean that makes the language token.
    """

    guide_heads: tuple[int, int] = (8, 16)
    guide_depths: tuple[int, int] = (1, 3)
    cross_scale: CrossScale = "kept"
    masked_guide: bool = False


class LGCE(LAVTFamily):
    """LAVT with the language-guided module between stages and decoder."""

    name: ClassVar[str] = "lgce"
    Options: ClassVar[type[Any]] = LGCEOptions
    released: ClassVar[NameMap] = names_for("kept")

    def build_stage(self, width: int, heads: int) -> nn.Module:
        """LAVT's stage: PWAM and the language gate."""
        return LAVTStage(width, self.options.text_width, heads, self.options.fusion_drop)

    def build_refine(self, widths: Sequence[int]) -> nn.Module:
        """The language-guided module."""
        options = self.options
        for width, heads in zip(widths[-2:], options.guide_heads, strict=True):
            if width % heads:
                raise UsageError(f"{self.name}: option 'guide_heads': {heads} heads do not divide {width} channels.")
        return LanguageGuided(
            widths,
            options.text_width,
            options.guide_heads,
            options.guide_depths,
            options.cross_scale,
            options.masked_guide,
        )

    def load_official(self, path: Path) -> str:
        """Load a checkpoint under the names of `weights.py`; see `Method.load_official`."""
        return load_official(self, path, names_for(self.options.cross_scale))

    def param_groups(self, base_lr: float, weight_decay: float) -> list[dict[str, Any]]:
        """LAVT's groups, with the language-guided module in the decoder's group, where the found code has it."""
        backbone, *others = super().param_groups(base_lr, weight_decay)
        assert self.refine is not None
        own = trainable(self.refine.parameters())
        known = {id(parameter) for parameter in own}
        groups = [backbone, *others]
        for group in groups:
            group["params"] = [parameter for parameter in group["params"] if id(parameter) not in known]
        groups[2]["params"] += own
        return groups
