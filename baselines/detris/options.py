"""All named choices of DETRIS. The defaults are the released base configuration; what is ours is in `card.yaml`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from rrsis_bench.families.detris.options import DetrisFamilyOptions
from rrsis_bench.nn.encoders.adapted import SentencePlace
from rrsis_bench.nn.encoders.dinov2 import PositionCodes
from rrsis_bench.types import Interpolation


@dataclass(frozen=True)
class DETRISOptions(DetrisFamilyOptions):
    """Choices and sizes of the family (`rrsis_bench/families/detris/options.py`), and DETRIS's own.

    Attributes:
        cross_width: channels of the cross-attention in the visual adapters.
        text_padding: `masked`, or `seen`, as released: both adapters treat padding like words. The released parameters
            learned this; a sample's output depends on L, which is fixed, but never on its batch.
        decoder_padding: the decoder's padding: tokens of the `zero-id`, as released (CLIP's "!" is one of them), or
            those outside the tokenizer's `mask`.
        sentence_at: where CLIP's sentence vector is read: at the `largest-id`, as released, which is the end token
            in CLIP's vocabulary; or at the `end` in any vocabulary. BERT's is always the first token.
        position_codes: see the family's options; `offset` as released.
        normalisation: mean and deviation of the images: `clip`, as released, or `imagenet`, DINOv2's own. An
            EfficientNet-Lite keeps its own in both cases.
        interpolation: image filter.
    """

    method: ClassVar[str] = "detris"

    cross_width: int = 128
    text_padding: Literal["seen", "masked"] = "seen"
    decoder_padding: Literal["zero-id", "mask"] = "zero-id"
    sentence_at: SentencePlace = "largest-id"
    position_codes: PositionCodes = "offset"
    normalisation: Literal["clip", "imagenet"] = "clip"
    interpolation: Interpolation = "cv2-cubic"

    def __post_init__(self) -> None:
        """Refuse what cannot work together.

        Raises:
            UsageError: naming the option and what to set instead.
        """
        super().__post_init__()
        for part in ("visual", "text"):
            channels = getattr(self, f"{part}_bottleneck")
            if channels % 4:
                raise self.error(f"{part}_bottleneck {channels} is no multiple of 4, as its three branches need.")
        heads = self.visual_adapter_heads
        if self.cross_width % heads:
            raise self.error(f"cross_width {self.cross_width} is no multiple of visual_adapter_heads {heads}.")
