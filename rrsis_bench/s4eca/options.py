"""All named choices of S4ECA. The defaults are the reconstruction's base size; what is known is in `card.yaml`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rrsis_bench.errors import UsageError

Encoders = Literal["dinov2+clip", "swin+bert", "efficientnet+bert"]


@dataclass(frozen=True)
class S4ECAOptions:
    """Choices and sizes.

    Attributes:
        encoders: visual and textual encoder. `dinov2+clip` is the reconstruction's; the others have stages.
        image_size: side of the square input in pixels, a multiple of the patch.
        tokenizer: name of the tokenizer.
        max_tokens: token sequence length L.
        visual_weights: weights file of the visual encoder; "" for a random start.
        text_weights: weights file of the text encoder; "" for a random start.
        vit_width: channels of the vision transformer.
        vit_depth: its blocks.
        vit_heads: its attention heads.
        vit_patch: side of its patches in pixels.
        vit_grid: side of its grid of position codes in patches.
        vit_registers: its register tokens.
        swin_width: channels of Swin's first stage.
        swin_depths: Swin's blocks per stage.
        swin_heads: Swin's heads per stage.
        swin_window: side of Swin's windows.
        text_width: channels of the text encoder.
        text_depth: its blocks.
        text_heads: its attention heads.
        text_vocabulary: its number of token ids.
        text_context: its number of positions.
        sentence_width: width of the sentence vector (CLIP's projection; BERT's is `text_width`).
        visual_layers: blocks (0-based) of the vision transformer with an adapter; stages always have one each.
        text_layers: blocks (0-based) of the text encoder with an adapter.
        taps: two blocks (0-based) whose outputs the neck sees beside the final one.
        visual_bottleneck: channels of the visual adapters; with stages the most, a quarter of the stage's otherwise.
        text_bottleneck: channels of the textual adapters and the proxies.
        reduction: width of the reductions in the dense extractor.
        scale_hidden: width of the scale selection's joint code.
        queries: number of learnable queries, so of proxies.
        text_adapter_heads: attention heads in the textual adapters.
        visual_adapter_heads: attention heads in the visual adapters.
        adapter_dropout: dropout of the adapters' attention weights.
        residual_scale: fixed factor of the adapters' outputs.
        zero_init: up-projections start at zero; off, Kaiming-normal, damped by `residual_scale` alone.
        extractor_norm: `batch`, or `group` for fewer than 8 samples per device.
        text_adapter: `queries` (the reconstruction), `dense` (DETRIS's convolutions) or `none` (ablation).
        proxies: `carried` (each adapter refines those before; the last set goes to all visual adapters), `per-level`
            (the k-th set goes to the k-th visual adapter only), `final` (one set from the final words) or `mean`
            (mean-pooled words in place of proxies, an ablation).
        spatial_source: the keys of the spatial selection: `proxies`, or `words` (ablation).
        scale_selection: off, the scales are summed (ablation).
        spatial_selection: off, no spatial selection (ablation).
        width: channels of neck and decoder.
        heads: attention heads of neck and decoder.
        ffn: hidden width of the decoder's feed-forward parts.
        decoder_layers: layers of the decoder.
        dropout: dropout of the decoder.
        head: `detris` (neck, decoder, projector; of stages the last three, at the finest one's resolution) or `lavt`
            (top-down decoder over all stages, language in the adapters alone).
        neck_gate: `attention` keeps the published parameters, `linear` only those with an effect.
        loss: `bce` on the logits' own grid, truth by exact nearest; `bce-dice` on logits upsampled to the input.
        dice_weight: share of the Dice term in `bce-dice`.
    """

    encoders: Encoders = "dinov2+clip"
    image_size: int = 448
    tokenizer: str = "clip"
    max_tokens: int = 22
    visual_weights: str = ""
    text_weights: str = ""
    vit_width: int = 768
    vit_depth: int = 12
    vit_heads: int = 12
    vit_patch: int = 14
    vit_grid: int = 37
    vit_registers: int = 4
    swin_width: int = 128
    swin_depths: tuple[int, ...] = (2, 2, 18, 2)
    swin_heads: tuple[int, ...] = (4, 8, 16, 32)
    swin_window: int = 12
    text_width: int = 512
    text_depth: int = 12
    text_heads: int = 8
    text_vocabulary: int = 49_408
    text_context: int = 77
    sentence_width: int = 512
    visual_layers: tuple[int, ...] = (1, 3, 5, 7, 9, 11)
    text_layers: tuple[int, ...] = (1, 3, 5, 7, 9, 11)
    taps: tuple[int, ...] = (4, 8)
    visual_bottleneck: int = 128
    text_bottleneck: int = 64
    reduction: int = 24
    scale_hidden: int = 32
    queries: int = 8
    text_adapter_heads: int = 4
    visual_adapter_heads: int = 8
    adapter_dropout: float = 0.1
    residual_scale: float = 0.2
    zero_init: bool = True
    extractor_norm: Literal["batch", "group"] = "batch"
    text_adapter: Literal["queries", "dense", "none"] = "queries"
    proxies: Literal["carried", "per-level", "final", "mean"] = "carried"
    spatial_source: Literal["proxies", "words"] = "proxies"
    scale_selection: bool = True
    spatial_selection: bool = True
    width: int = 512
    heads: int = 8
    ffn: int = 512
    decoder_layers: int = 3
    dropout: float = 0.1
    head: Literal["detris", "lavt"] = "detris"
    neck_gate: Literal["attention", "linear"] = "attention"
    loss: Literal["bce", "bce-dice"] = "bce"
    dice_weight: float = 0.1

    def __post_init__(self) -> None:
        """Refuse what cannot work together.

        Raises:
            UsageError: naming the option and what to set instead.
        """
        if self.text_adapter != "queries" and self.proxies in {"carried", "per-level"} and self.needs_proxies:
            raise UsageError(
                f"s4eca: text_adapter={self.text_adapter} makes no proxies, so proxies={self.proxies} has none to use; "
                "set proxies to final or mean, or spatial_source to words."
            )
        if self.proxies == "per-level" and self.encoders != "dinov2+clip":
            raise UsageError("s4eca: proxies=per-level needs as many visual as textual adapters; stages have others.")
        if self.proxies == "per-level" and len(self.visual_layers) != len(self.text_layers):
            raise UsageError("s4eca: proxies=per-level needs as many visual_layers as text_layers.")
        if self.encoders == "dinov2+clip":
            if self.head == "lavt":
                raise UsageError("s4eca: head=lavt needs maps of several resolutions; dinov2+clip has one.")
            if self.image_size % self.vit_patch:
                raise UsageError(f"s4eca: image_size {self.image_size} is no multiple of vit_patch {self.vit_patch}.")
            if len(self.taps) != 2:
                raise UsageError(f"s4eca: taps names {len(self.taps)} blocks; the neck takes 2 besides the final one.")
            layers = max((*self.visual_layers, *self.taps), default=0)
            if layers >= self.vit_depth:
                raise UsageError(f"s4eca: visual block {layers} is named, but vit_depth is {self.vit_depth}.")
        if max(self.text_layers, default=0) >= self.text_depth:
            raise UsageError(
                f"s4eca: text block {max(self.text_layers)} is named, but text_depth is {self.text_depth}."
            )

    @property
    def needs_proxies(self) -> bool:
        """Whether the visual adapters read proxies."""
        return self.spatial_selection and self.spatial_source == "proxies"
