"""S4ECA (arXiv 2606.30244): language proxies, multi-scale extraction, scale and spatial selection in frozen encoders.

A reconstruction: the paper's body is not available to us. Names, purposes and the 2.4 % of trained encoder parameters
are the authors'; the insides are ours, each choice an option (`options.py`, `card.yaml`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from rrsis_bench.errors import UsageError
from rrsis_bench.methods.base import Method
from rrsis_bench.nn import weights
from rrsis_bench.nn.bert import load_bert
from rrsis_bench.nn.clip import AdaptedClipText, text_part
from rrsis_bench.nn.detris_decoder import DetrisDecoder
from rrsis_bench.nn.detris_neck import DetrisNeck
from rrsis_bench.nn.detris_projector import DetrisProjector
from rrsis_bench.nn.dinov2 import load_dinov2
from rrsis_bench.nn.lavt_decoder import LAVTDecoder
from rrsis_bench.nn.losses import binary_cross_entropy, dice_loss, reduce_mask, upsample
from rrsis_bench.s4eca.language import Language, LanguageSide
from rrsis_bench.s4eca.options import S4ECAOptions
from rrsis_bench.s4eca.vision import PlainVision, StagedVision, build_staged
from rrsis_bench.s4eca.visual_adapter import ScaleSelection, SpatialSelection
from rrsis_bench.types import Batch, InputSpec, MethodOutput


class DetrisHead(nn.Module):
    """DETRIS's neck, decoder and projector on the last three maps, brought to the resolution of the first of them.

    Args:
        options: the method's options.
        channels: widths of the three maps.
        sentence: width of the sentence vector.
    """

    def __init__(self, options: S4ECAOptions, channels: tuple[int, ...], sentence: int) -> None:
        super().__init__()
        self.neck = DetrisNeck(channels, options.width, sentence, options.heads, options.neck_gate)
        # DETRIS's words have the decoder's width already.
        same = options.text_width == options.width
        self.words = nn.Identity() if same else nn.Linear(options.text_width, options.width)
        self.decoder = DetrisDecoder(options.width, options.heads, options.ffn, options.decoder_layers, options.dropout)
        self.projector = DetrisProjector(options.width, sentence)

    def forward(self, maps: list[Tensor], language: Language) -> Tensor:
        """Three or more maps (B, C_i, h_i, w_i) and language -> logits (B, 1, 4h, 4w), h w of the third-last map."""
        size = (maps[-3].shape[-2], maps[-3].shape[-1])
        first, second, third = (upsample(one, size) for one in maps[-3:])
        fused = self.neck((first, second, third), language.sentence)
        decoded = self.decoder(fused, self.words(language.words), ~language.mask)
        logits: Tensor = self.projector(decoded, language.sentence)
        return logits


class LAVTHead(LAVTDecoder):
    """LAVT's top-down decoder on the maps of all stages; language has entered in the adapters."""

    def forward(self, maps: list[Tensor], language: Language) -> Tensor:  # type: ignore[override]
        """Maps (B, C_i, h_i, w_i), finest first -> logits (B, 1, h_1, w_1)."""
        return super().forward(maps)


def input_spec(options: S4ECAOptions) -> InputSpec:
    """What the encoders want to be fed: ImageNet's mean and deviation, or EfficientNet-Lite's own scaling."""
    scaling: Mapping[str, Any] = {}
    if options.encoders == "efficientnet+bert":
        from rrsis_bench.nn.efficientnet import EFFICIENTNET_INPUT

        scaling = EFFICIENTNET_INPUT
    return InputSpec(
        image_size=(options.image_size, options.image_size),
        tokenizer=options.tokenizer,
        max_tokens=options.max_tokens,
        interpolation="pil-bicubic",
        **scaling,
    )


class S4ECA(Method):
    """Frozen dual encoders with textual and visual adapters, and a light head.

    Args:
        options: all choices; the defaults are the base size.
    """

    name: ClassVar[str] = "s4eca"
    Options: ClassVar[type[Any]] = S4ECAOptions

    def __init__(self, options: S4ECAOptions) -> None:
        super().__init__()
        self.options = options
        self.input_spec = input_spec(options)
        self.text = LanguageSide(options)
        sentence, keys = self.text.sentence_width, self.text.key_width
        self.vision: PlainVision | StagedVision
        self.head: DetrisHead | LAVTHead
        if options.encoders == "dinov2+clip":
            self.vision = PlainVision(options, sentence, keys)
            channels: tuple[int, ...] = (options.vit_width,) * 3
        else:
            trunk = build_staged(options)
            self.vision = StagedVision(trunk, options, sentence, keys)
            channels = trunk.channels
        if options.head == "detris":
            self.head = DetrisHead(options, channels[-3:], sentence)
        else:
            self.head = LAVTHead(channels, options.width, classes=1)

    def forward(self, batch: Batch) -> MethodOutput:
        """Logits (B, 1, h, w): 4 / patch of the input's resolution, or that of the first stage."""
        language = self.text(batch.tokens)
        maps = self.vision.look(batch.images, language)
        return MethodOutput(self.head(maps, language))

    def loss(self, output: MethodOutput, batch: Batch) -> dict[str, Tensor]:
        """Binary cross-entropy on the logits' grid, or 0.9 of it and 0.1 Dice on logits upsampled to the input."""
        if self.options.loss == "bce":
            size = (output.logits.shape[-2], output.logits.shape[-1])
            return {"bce": binary_cross_entropy(output.logits, reduce_mask(batch.masks, size))}
        size = (batch.masks.shape[-2], batch.masks.shape[-1])
        logits, target = upsample(output.logits, size), reduce_mask(batch.masks, size)
        share = self.options.dice_weight
        return {
            "bce": (1 - share) * binary_cross_entropy(logits, target),
            "dice": share * dice_loss(logits, target),
        }

    def encoders(self) -> dict[str, nn.Module]:
        """Both encoders with their adapters."""
        return {"visual": self.vision, "text": self.text}

    def load_pretrained(self) -> dict[str, str]:
        """Load the base weights that `visual_weights` and `text_weights` name.

        Returns:
            `visual` and `text` -> sha256 of the file.

        Raises:
            UsageError: an option is empty; a random start has to be asked for (`random`).
            MissingResourceError: a file is not there, or is not the one meant.
        """
        digests = {}
        for encoder in ("visual", "text"):
            named: str = getattr(self.options, f"{encoder}_weights")
            if not named:
                raise UsageError(
                    f"s4eca: {encoder}_weights names no file for the frozen {encoder} encoder; "
                    "set it in model.options (see configs/methods/s4eca.yaml)."
                )
            if named == "random":
                continue
            path = weights.resolve(named)
            tensors = {key: value.float() for key, value in weights.load_tensors(path).items()}
            if encoder == "visual":
                trunk = self.vision.trunk
                trunk.load_tensors(tensors) if isinstance(self.vision, StagedVision) else load_dinov2(trunk, tensors)
            elif isinstance(self.text.encoder, AdaptedClipText):
                weights.fit(self.text.encoder.trunk, text_part(tensors), f"text weights of {path}")
            else:
                load_bert(self.text.encoder.trunk, tensors, f"text weights of {path}")
            digests[encoder] = weights.sha256_file(path)
        return digests

    @torch.no_grad()
    def selections(self, batch: Batch) -> dict[str, Tensor]:
        """What the adapters select for a batch, to see whether the mechanism works.

        Returns:
            `scales` (K, B, 3): weight of each kernel, mean over channels, of K adapters, and `gates` (K, B): mean gate;
            each only where that selection is on.
        """
        scales: list[Tensor] = []
        gates: list[Tensor] = []
        hooks = []
        for module in self.vision.modules():
            if isinstance(module, ScaleSelection):
                hooks.append(module.register_forward_hook(lambda _m, _i, out: scales.append(out[1].mean(-1))))
            elif isinstance(module, SpatialSelection):
                hooks.append(module.register_forward_hook(lambda _m, _i, out: gates.append(out[1].mean((1, 2, 3)))))
        try:
            self(batch)
        finally:
            for hook in hooks:
                hook.remove()
        return {name: torch.stack(found) for name, found in (("scales", scales), ("gates", gates)) if found}
