"""DETRIS's head (AAAI 2025, arXiv 2501.08580) for encoders of any widths: neck, decoder and projector."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from rrsis_bench.families.detris.decoder import DetrisDecoder
from rrsis_bench.families.detris.neck import DetrisNeck
from rrsis_bench.families.detris.options import DetrisFamilyOptions
from rrsis_bench.families.detris.projector import DetrisProjector
from rrsis_bench.nn.layers.losses import upsample


class DetrisHead(nn.Module):
    """DETRIS's neck, decoder and projector on the last three maps, all resized to the first one's resolution.

    Args:
        options: the method's options.
        channels: widths of the three maps.
        sentence: width of the sentence vector.
    """

    def __init__(self, options: DetrisFamilyOptions, channels: tuple[int, ...], sentence: int) -> None:
        super().__init__()
        self.neck = DetrisNeck(channels, options.width, sentence, options.heads, options.neck_gate)
        # DETRIS's words have the decoder's width already.
        same = options.text_width == options.width
        self.words = nn.Identity() if same else nn.Linear(options.text_width, options.width)
        self.decoder = DetrisDecoder(options.width, options.heads, options.ffn, options.decoder_layers, options.dropout)
        self.projector = DetrisProjector(options.width, sentence)

    def forward(self, maps: Sequence[Tensor], words: Tensor, padding: Tensor, sentence: Tensor) -> Tensor:
        """Make mask logits.

        Args:
            maps: three or more (B, C_i, h_i, w_i), shallow to deep.
            words: (B, L, C).
            padding: (B, L) bool, True where a word is padding.
            sentence: (B, S).

        Returns:
            logits (B, 1, 4h, 4w), h w of the third-last map.
        """
        size = (maps[-3].shape[-2], maps[-3].shape[-1])
        first, second, third = (upsample(one, size) for one in maps[-3:])
        fused = self.neck((first, second, third), sentence)
        decoded = self.decoder(fused, self.words(words), padding)
        logits: Tensor = self.projector(decoded, sentence)
        return logits
