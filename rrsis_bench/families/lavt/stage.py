"""The word fusion behind each stage of LAVT's image encoder (Yang et al., CVPR 2022, sections 3.2 and 3.3).

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
    """A batch of encoded texts, as the stages read them.

    Attributes:
        states: (B, T, Ct) hidden states of the text encoder.
        mask: (B, T), true or 1 for words that may be read.
    """

    states: Tensor
    mask: Tensor

    def mean(self) -> Tensor:
        """Mean (B, Ct) of each text's real words."""
        present = self.mask.to(self.states.dtype)[..., None]
        return (self.states * present).sum(1) / present.sum(1).clamp(min=1)


Texts = Mapping[str, TextFeatures]
"""The encoded texts of a batch by name; `CONTEXT` is the whole expression, which every method has."""
CONTEXT = "context"


class LAVTStage(nn.Module):
    """PWAM, the language gate and the norm of the decoder's map: the whole fusion of LAVT and LGCE.

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
        # PWAM keeps PyTorch's initialisation: its layers are 1x1 convolutions in the released code, whose own
        # initialisation covers linear layers and norms only.
        self.gate.apply(init_transformer)

    def fuse(self, features: Tensor, texts: Texts) -> Tensor:
        """Fuse a map (B, h, w, C) with the whole expression to multi-modal features (B, h, w, C)."""
        words = texts[CONTEXT]
        fused: Tensor = self.pwam(features.flatten(1, 2), words.states, words.mask).unflatten(1, features.shape[1:3])
        return fused

    def to_map(self, fused: Tensor) -> Tensor:
        """Norm the fused features (B, h, w, C) as the decoder's map (B, C, h, w)."""
        ordered: Tensor = self.norm(fused).permute(0, 3, 1, 2)
        return ordered

    def forward(self, features: Tensor, texts: Texts) -> tuple[Tensor, Tensor, Texts]:
        """Fuse a stage's map with the words.

        Args:
            features: (B, h, w, C), the stage's map.
            texts: the encoded texts of the batch.

        Returns:
            the next stage's input before its reduction (B, h, w, C), the decoder's map (B, C, h, w), and the texts for
            the next stage.
        """
        fused = self.fuse(features, texts)
        return features + self.gate(fused), self.to_map(fused), texts
