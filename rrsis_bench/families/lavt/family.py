"""What LAVT and the methods built on it share: options, the flow of a sample, loss, optimiser groups, checkpoints.

LAVT, LGCE, RMSIN and FIANet are four editions of one code base. Each fuses words into every stage of the image encoder,
decodes one fused map per stage, and learns two classes. A method fills in three parts: the stage (`build_stage`), a
module on the maps before the decoder (`build_refine`), and the decoder (`build_decoder`).

Legend: `B` batch, `H W` input pixels, `h w` map, `C` its channels, `T` words, `Ct` their width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from rrsis_bench.errors import UsageError
from rrsis_bench.families.lavt.decoder import LAVTDecoder, two_class_cross_entropy, two_class_dice, upsample_aligned
from rrsis_bench.families.lavt.names import load_official
from rrsis_bench.families.lavt.stage import CONTEXT, TextFeatures, Texts
from rrsis_bench.methods.base import Method
from rrsis_bench.nn.encoders.bert import encode_words
from rrsis_bench.nn.encoders.staged_and_bert import (
    EncoderOptions,
    build_staged_encoder,
    build_text_encoder,
    encoder_input,
    load_base_weights,
    recompute_blocks,
)
from rrsis_bench.nn.layers.freezing import trainable
from rrsis_bench.nn.weights.name_map import NameMap
from rrsis_bench.types import Batch, InputSpec, MethodOutput, TextTokens

Dice = Literal["none", "sum", "mean"]
SPARED = ("norm", "absolute_pos_embed", "relative_position_bias_table")
"""Parts of the names of backbone parameters without weight decay, as released."""


@dataclass(frozen=True)
class FamilyOptions(EncoderOptions):
    """The choices of the whole family; the defaults are LAVT's published network.

    Attributes:
        mha: heads of the word attention per stage.
        fusion_drop: dropout rate inside the fusion.
        decoder_width: hidden channels of the decoder; None is half of the last stage's, as released.
        class_weights: weights of background and object in the cross entropy.
        dice: a Dice loss over both classes beside the cross entropy: `none`; `sum` over samples and classes, which
            grows with the batch, as released with RMSIN and FIANet; or `mean`.
    """

    mha: tuple[int, ...] = (1, 1, 1, 1)
    fusion_drop: float = 0.0
    decoder_width: int | None = None
    class_weights: tuple[float, float] = (0.9, 1.1)
    dice: Dice = "none"


@dataclass(frozen=True)
class FamilyFeatures:
    """Intermediate results of a forward pass.

    Attributes:
        texts: the texts by name, as the last stage left them.
        maps: the decoder's inputs (B, C_i, h_i, w_i), finest first.
        classes: (B, 2, h_1, w_1) the decoder's logits of background and object.
    """

    texts: Texts
    maps: tuple[Tensor, ...]
    classes: Tensor


class LAVTFamily(Method):
    """An image encoder in stages with word fusion between them, a text encoder and a two-class decoder.

    `LAVTStage.forward` (`stage.py`) documents how a stage is called and what it returns.
    """

    Options: ClassVar[type[Any]] = FamilyOptions
    released: ClassVar[NameMap | None] = None
    """Official parameter names -> ours; None if no weights were released."""

    options: Any

    def __init__(self, options: Any) -> None:
        super().__init__()
        self.options = options
        self.encoder = build_staged_encoder(options)
        self.input_spec = self.build_input_spec()
        widths = self.encoder.channels
        if len(options.mha) != len(widths):
            raise UsageError(f"{self.name}: option 'mha' needs {len(widths)} numbers of heads, one per stage.")
        self.stages = nn.ModuleList(
            self.build_stage(width, heads) for width, heads in zip(widths, options.mha, strict=True)
        )
        self.refine = self.build_refine(widths)
        self.decoder = self.build_decoder(widths, options.decoder_width or widths[-1] // 2)
        self.text = build_text_encoder(options)

    # --- what a method fills in -----------------------------------------------------------------------------------

    def build_stage(self, width: int, heads: int) -> nn.Module:
        """Build the fusion behind a stage of `width` channels, with `heads` attention heads; see `LAVTStage`."""
        raise NotImplementedError

    def build_refine(self, widths: Sequence[int]) -> nn.Module | None:
        """Build a module `(maps, texts) -> maps` before the decoder, a part of the backbone; None for none."""
        return None

    def build_decoder(self, widths: Sequence[int], width: int) -> nn.Module:
        """Build a module from maps (B, C_i, h_i, w_i), finest first, to class logits (B, 2, h_1, w_1)."""
        return LAVTDecoder(widths, width)

    def build_input_spec(self) -> InputSpec:
        """Input of the square size and token length that the options name, normalised as the encoder wants it."""
        return encoder_input(self.options)

    def encode_texts(self, tokens: TextTokens) -> Texts:
        """Encode the texts that the stages read."""
        return {CONTEXT: TextFeatures(encode_words(self.text, tokens.ids, tokens.mask), tokens.mask)}

    # --- the Method contract --------------------------------------------------------------------------------------

    def load_pretrained(self) -> dict[str, str]:
        """Load the encoders' base weights that the options name; see `Method.load_pretrained`."""
        return load_base_weights(self.options, self.encoder, self.text)

    def checkpoint_activations(self) -> None:
        """Run the blocks of both encoders again in the backward pass; see `Method.checkpoint_activations`."""
        recompute_blocks(self.encoder, self.text)

    def load_official(self, path: Path) -> str:
        """Load a checkpoint of the released code, in either of its forms (`names.py`); see `Method.load_official`."""
        return super().load_official(path) if self.released is None else load_official(self, path, self.released)

    def stage_maps(
        self, images: Tensor, ids: Tensor, mask: Tensor, parts: Mapping[str, Tensor] | None = None
    ) -> tuple[list[Tensor], Texts]:
        """Run the encoders and the fusion of every stage.

        Args:
            images: (B, 3, H, W), of any size.
            ids: (B, T) token ids; the text encoder needs T positions.
            mask: (B, T), true or 1 for words.
            parts: further masks (B, T) by name, if the method reads parts of the expression.

        Returns:
            the stages' maps (B, C_i, h_i, w_i), finest first, and the texts as the last stage left them.
        """
        texts = self.encode_texts(TextTokens(ids, mask, parts or {}))
        flowing = self.encoder.stem(images)
        maps: list[Tensor] = []
        for index, stage in enumerate(self.stages):
            if index:
                flowing = self.encoder.downsample(index - 1, flowing)
            flowing, fused, texts = stage(self.encoder.stage(index, flowing), texts)
            maps.append(fused)
        return maps, texts

    def encode(
        self, images: Tensor, ids: Tensor, mask: Tensor, parts: Mapping[str, Tensor] | None = None
    ) -> tuple[tuple[Tensor, ...], Texts]:
        """Run the network up to its decoder; arguments as for `stage_maps`.

        Returns:
            the decoder's inputs (B, C_i, h_i, w_i), finest first, and the texts as the last stage left them.
        """
        maps, texts = self.stage_maps(images, ids, mask, parts)
        return tuple(maps if self.refine is None else self.refine(maps, texts)), texts

    def features(
        self, images: Tensor, ids: Tensor, mask: Tensor, parts: Mapping[str, Tensor] | None = None
    ) -> FamilyFeatures:
        """Run the network up to the decoder's logits; arguments as for `stage_maps`."""
        maps, texts = self.encode(images, ids, mask, parts)
        return FamilyFeatures(texts, maps, self.decoder(maps))

    def forward(self, batch: Batch) -> MethodOutput:
        """Logits, object minus background, at input size (B, 1, H, W); `aux["classes"]` holds both (B, 2, H, W)."""
        tokens = batch.tokens
        decoded = self.features(batch.images, tokens.ids, tokens.mask, tokens.parts).classes
        classes = upsample_aligned(decoded, (batch.images.shape[-2], batch.images.shape[-1]))
        return MethodOutput(classes[:, 1:] - classes[:, :1], {"classes": classes})

    def loss(self, output: MethodOutput, batch: Batch) -> dict[str, Tensor]:
        """Weighted cross entropy over the two classes at input resolution, and Dice if the options name one."""
        classes = output.aux["classes"]
        losses = {"ce": two_class_cross_entropy(classes, batch.masks, self.options.class_weights)}
        if self.options.dice != "none":
            losses["dice"] = two_class_dice(classes, batch.masks, self.options.dice)
        return losses

    def param_groups(self, base_lr: float, weight_decay: float) -> list[dict[str, Any]]:
        """The released four groups at one learning rate; all but the backbone's norms and bias tables decay."""
        plain: list[nn.Parameter] = []
        decayed: list[nn.Parameter] = []
        for part in (self.encoder, self.stages, self.refine):
            for name, parameter in part.named_parameters() if part is not None else ():
                (plain if any(word in name for word in SPARED) else decayed).append(parameter)
        groups = [
            (plain, 0.0),
            (decayed, weight_decay),
            (list(self.decoder.parameters()), weight_decay),
            (list(self.text.parameters()), weight_decay),
        ]
        return [{"params": trainable(parameters), "lr": base_lr, "weight_decay": decay} for parameters, decay in groups]

    def encoders(self) -> dict[str, nn.Module]:
        """The visual and the text encoder."""
        return {"visual": self.encoder, "text": self.text}
