"""What LAVT's family adds behind each stage of its visual encoder (Yang et al., CVPR 2022, sections 3.2 and 3.3).

Legend: `B` batch, `h w` map, `C` its channels, `T` words, `Ct` their width.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from rrsis_bench.nn.layers.fusion import PWAM, LanguageGate
from rrsis_bench.nn.layers.init import init_transformer


@dataclass(frozen=True)
class TextFeatures:
    """A text as the stages read it.

    Attributes:
        states: (B, T, Ct) hidden states of the text encoder.
        mask: (B, T), true or 1 for words that may be read.
    """

    states: Tensor
    mask: Tensor


Texts = Mapping[str, TextFeatures]
"""The texts of a batch by name; `CONTEXT`, the whole expression, is always there."""
CONTEXT = "context"


class LAVTStage(nn.Module):
    """PWAM, the language gate and the norm of the map for the decoder; LAVT and LGCE have no more.

    Args:
        width: channels C of the stage.
        text_width: width Ct of the words.
        heads: heads of the word attention.
        dropout: rate inside the fusion.
    """

    def __init__(self, width: int, text_width: int, heads: int = 1, dropout: float = 0.0) -> None:
        super().__init__()
        self.pwam = PWAM(width, text_width, heads, dropout)
        self.gate = LanguageGate(width)
        self.norm = nn.LayerNorm(width)
        # The released initialisation walks over linear layers and norms only; PWAM's projections are 1x1 convolutions
        # there and keep PyTorch's default, which for a linear layer is the same.
        self.gate.apply(init_transformer)

    def fuse(self, features: Tensor, texts: Texts) -> Tensor:
        """Multi-modal features (B, h, w, C) of a map (B, h, w, C) and the whole expression."""
        words = texts[CONTEXT]
        fused: Tensor = self.pwam(features.flatten(1, 2), words.states, words.mask).unflatten(1, features.shape[1:3])
        return fused

    def to_map(self, fused: Tensor) -> Tensor:
        """The decoder's map (B, C, h, w); it holds the fused features alone, not the visual stream."""
        ordered: Tensor = self.norm(fused).permute(0, 3, 1, 2)
        return ordered

    def forward(self, features: Tensor, texts: Texts) -> tuple[Tensor, Tensor, Texts]:
        """Fuse.

        Args:
            features: (B, h, w, C) of the stage.
            texts: the texts of the batch.

        Returns:
            what flows on (B, h, w, C), the decoder's map (B, C, h, w), and the texts for the next stage.
        """
        fused = self.fuse(features, texts)
        return features + self.gate(fused), self.to_map(fused), texts
