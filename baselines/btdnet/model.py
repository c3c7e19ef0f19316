"""BTDNet-style network: LAVT's flow with three parts after BTDNet (Zhang et al., arXiv 2502.08486).

A reconstruction: only the paper's abstract is available to us. The authors name the three parts and their purposes; the
insides are ours, each choice is an option (`options.py`, `card.yaml`). `rrsis_bench/families/lavt/family.py` holds the
flow of a sample, `bsc.py` the stage, `decoder.py` the decoder, `dmols.py` the rebuilding in training, `text.py` the
object's words.

Legend: `B` batch, `H W` input pixels, `T` words, `Ct` their width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from baselines.btdnet.bsc import START, BSCStage
from baselines.btdnet.decoder import Laterals, TwinStreamDecoder
from baselines.btdnet.dmols import ObjectLearning, RebuildInputs, choose_words
from baselines.btdnet.options import BTDNetOptions
from baselines.btdnet.text import OBJECT, WORD
from rrsis_bench.families.lavt.family import FamilyFeatures, LAVTFamily
from rrsis_bench.families.lavt.stage import CONTEXT, LAVTStage, Texts
from rrsis_bench.nn.layers.freezing import trainable
from rrsis_bench.nn.layers.losses import binary_cross_entropy, dice_loss, reduce_mask, upsample
from rrsis_bench.types import Batch, InputSpec, MethodOutput, TextTokens


@dataclass(frozen=True)
class TwinFeatures(FamilyFeatures):
    """Intermediate results of a forward pass.

    Attributes:
        streams: last maps of background and target stream, or of the only stream.
    """

    streams: tuple[Tensor, ...]


class BTDNet(LAVTFamily):
    """The reconstruction."""

    name: ClassVar[str] = "btdnet"
    Options: ClassVar[type[Any]] = BTDNetOptions
    training_only: ClassVar[tuple[str, ...]] = ("rebuild.",)

    options: BTDNetOptions

    def __init__(self, options: BTDNetOptions) -> None:
        super().__init__(options)
        self.rebuild: ObjectLearning | None = None
        if options.dmols != "none":
            self.rebuild = ObjectLearning(
                cell_width=self._width(),
                text_width=options.text_width,
                max_tokens=options.max_tokens,
                width=options.rebuild_width,
                layers=options.rebuild_layers,
                heads=options.rebuild_heads,
                dropout=options.rebuild_dropout,
                branches=options.dmols,
                vocabulary=options.text_vocabulary if options.text_target == "ids" else None,
                colours=options.image_target == "colours",
                share=options.mask_object,
                rest=options.mask_rest,
            )
        self._ramp = 1.0

    # --- what the family asks for ---------------------------------------------------------------------------------

    def build_stage(self, width: int, heads: int) -> nn.Module:
        """BSC, or LAVT's fusion for comparison."""
        options = self.options
        if options.fusion == "pwam":
            return LAVTStage(width, options.text_width, heads, options.fusion_drop)
        last = width == self.encoder.channels[-1]
        return BSCStage(
            width,
            options.text_width,
            options.head_width,
            options.dilations,
            updates=options.text_update == "pass" or (options.text_update == "reset" and last),
            separate=options.correlation == "separate",
            expansion=options.text_expansion,
            gain=options.text_gain,
            gated=options.bsc_place == "inside",
            gate_zero=options.gate_zero,
            reset=options.text_update == "reset",
            normed=options.stage_norm,
        )

    def build_refine(self, widths: Sequence[int]) -> nn.Module:
        """The laterals, which both streams and D-MOLS read."""
        return Laterals(widths, self._width())

    def build_decoder(self, widths: Sequence[int], width: int) -> nn.Module:
        """T-BTD, or its target stream only."""
        options = self.options
        return TwinStreamDecoder(
            len(widths), width, options.text_width, options.streams == "two", options.exchange, options.background_text
        )

    def build_input_spec(self) -> InputSpec:
        """The family's input; the tokenizer is wrapped to mark the object's words."""
        options = self.options
        return replace(
            super().build_input_spec(),
            tokenizer="baselines.btdnet.text:BTDNetTokenizer",
            tokenizer_options={
                "base": options.tokenizer, "classes": options.classes, "rule": options.object_rule,
            },
        )  # fmt: skip

    def encode_texts(self, tokens: TextTokens) -> Texts:
        """Encode the expression once, under two names: the stages change `CONTEXT`, `START` stays."""
        texts = super().encode_texts(tokens)
        return {**texts, START: texts[CONTEXT]}

    def _width(self) -> int:
        return self.options.decoder_width or self.encoder.channels[-1] // 2

    # --- the Method contract --------------------------------------------------------------------------------------

    def features(
        self, images: Tensor, ids: Tensor, mask: Tensor, parts: Mapping[str, Tensor] | None = None
    ) -> TwinFeatures:
        """Run the network up to the decoder's logits; arguments as for `LAVTFamily.encode`."""
        maps, texts = self.encode(images, ids, mask, parts)
        decoded = self.decoder(maps, texts[CONTEXT].mean())
        return TwinFeatures(texts, maps, decoded.classes, decoded.streams)

    def forward(self, batch: Batch) -> MethodOutput:
        """Logits, target minus background, at input size (B, 1, H, W).

        `aux` holds `classes` (B, 2, H, W) and the `features`. In training `watched` holds the mean cosine of the two
        streams' last maps; near 1, the streams have collapsed into one.
        """
        tokens = batch.tokens
        found = self.features(batch.images, tokens.ids, tokens.mask)
        classes = upsample(found.classes, (batch.images.shape[-2], batch.images.shape[-1]))
        aux: dict[str, Any] = {"classes": classes, "features": found}
        if self.training and len(found.streams) == 2:
            background, target = (stream.detach().float() for stream in found.streams)
            aux["watched"] = {"stream_cosine": F.cosine_similarity(background, target).mean()}
        return MethodOutput(classes[:, 1:] - classes[:, :1], aux)

    def loss(self, output: MethodOutput, batch: Batch) -> dict[str, Tensor]:
        """The family's joint losses, each stream's own loss, and in training D-MOLS's losses.

        `background` and `target` are multiplied by `stream_weight`; `rebuild_text` and `rebuild_image` by
        `rebuild_weight`, which rises over the first epochs.
        """
        options = self.options
        losses = super().loss(output, batch)
        if options.streams == "two":
            classes: Tensor = output.aux["classes"]
            truth = reduce_mask(batch.masks, (classes.shape[-2], classes.shape[-1]))
            for index, (name, target) in enumerate((("background", 1 - truth), ("target", truth))):
                logits = classes[:, index : index + 1]
                own = binary_cross_entropy(logits, target) + dice_loss(logits, target)
                losses[name] = options.stream_weight * own
        if self.training and self.rebuild is not None:
            weight = options.rebuild_weight * self._ramp
            rebuilt = self.rebuild(self._rebuild_inputs(output.aux["features"], batch))
            losses |= {name: weight * loss for name, loss in rebuilt.items()}
        return losses

    def _rebuild_inputs(self, found: FamilyFeatures, batch: Batch) -> RebuildInputs:
        tokens = batch.tokens
        return RebuildInputs(
            cells=found.maps[self.options.rebuild_level - 1],
            words=found.texts[CONTEXT].states,
            start=found.texts[START].states,
            ids=tokens.ids,
            present=tokens.mask.bool(),
            named=choose_words(tokens.parts[OBJECT], tokens.parts[WORD], tokens.mask),
            masks=batch.masks,
            images=batch.images,
        )

    def progress(self, epochs: float) -> None:
        """Raise the weight of D-MOLS's losses from 0 over the first `rebuild_ramp` epochs."""
        ramp = self.options.rebuild_ramp
        self._ramp = min(1.0, epochs / ramp) if ramp > 0 else 1.0

    def param_groups(self, base_lr: float, weight_decay: float) -> list[dict[str, Any]]:
        """The family's groups, and one for D-MOLS, at one learning rate."""
        groups = super().param_groups(base_lr, weight_decay)
        if self.rebuild is not None:
            extra = trainable(self.rebuild.parameters())
            groups.append({"params": extra, "lr": base_lr, "weight_decay": weight_decay})
        return groups
