"""Every choice of RSRefSeg 2, and which of them the released code makes otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

from baselines.rsrefseg2.dense import Norm
from rrsis_bench.errors import UsageError
from rrsis_bench.nn.encoders.sam import Library

OFFICIAL: Mapping[str, Any] = {
    "text_padding": "longest",
    "lower_case": False,
    "pooling_head_lora": True,
    "train_idle": True,
    "stability": True,
    "dense_norm": "batch",
    "contrast_label": "threshold",
    "contrast_duplicates": True,
    "decay_all": True,
    "clamp_scales": False,
}
"""What `official: true` sets."""


@dataclass(frozen=True)
class RSRefSeg2Options:
    """The defaults are the published network with our answers to what its code leaves open or does doubtfully.

    Attributes:
        official: make every choice of `OFFICIAL` as the released code does, whatever the options say.
        dual: dual encoder, by a name of `DUAL_ENCODERS` (`rrsis_bench/nn/encoders/build.py`).
        dual_image_size: side in pixels of its images; None for that of its weights.
        dual_weights: base weights; `random` has to be asked for.
        segmenter: promptable segmenter, by a name of `SEGMENTERS` (same file).
        segmenter_library: `transformers`, or `segment-anything` for SAM v1.
        segmenter_weights: base weights; `random` has to be asked for.
        tokenizer: name of the tokenizer; empty for the dual encoder's own.
        tokenizer_path: its vocabulary, where it needs one.
        max_tokens: length the token ids are cut or padded to.
        text_padding: `masked` (the dual encoder pads as it was trained, and the prompter sees real words only) or
            `longest` (cut to the longest of the batch, padding seen everywhere).
        lower_case: tokenise in lower case, as SigLIP 2 was trained.
        lora_rank: r of the updates of all three encoders.
        lora_alpha: they are scaled by lora_alpha / lora_rank.
        pooling_head_lora: also adapt SigLIP's pooling head, whose output is not used.
        train_idle: leave parameters that never get a gradient trainable.
        queries: text queries of each of the two sets.
        prompts: sparse prompts.
        heads: attention heads of the prompter.
        inner: width of its attention.
        hidden: width inside its MLPs.
        depth: layers of each of its three stages.
        dense_norm: norm in the dense branch: `batch`, or `group` for fewer than 8 samples per device.
        low_memory: compute the dense prompt without upsampled features; the numbers are the same.
        stability: in evaluation, SAM 2 may answer with another of its masks; those are not trained here.
        bce_weight: of the cross-entropy.
        dice_weight: of the Dice loss.
        diversity_weight: of the decorrelation of the query sets.
        contrast_weight: of the contrastive loss.
        contrast_label: mask of a place in the contrastive loss: its `area` covered, or `threshold` as released, where
            small objects vanish.
        contrast_duplicates: count another sample with the same sentence or image as a negative.
        clamp_scales: keep both learned factors of cosines at 120 or below.
        decay_all: weight decay on norms, biases, position tables and scalars too.
    """

    official: bool = False
    dual: str = "siglip2-so400m-p16-512"
    dual_image_size: int | None = None
    dual_weights: str = ""
    segmenter: str = "sam2.1-l"
    segmenter_library: Library = "transformers"
    segmenter_weights: str = ""
    tokenizer: str = ""
    tokenizer_path: str | None = None
    max_tokens: int = 64
    text_padding: Literal["masked", "longest"] = "masked"
    lower_case: bool = True
    lora_rank: int = 16
    lora_alpha: float = 16.0
    pooling_head_lora: bool = False
    train_idle: bool = False
    queries: int = 3
    prompts: int = 9
    heads: int = 8
    inner: int = 512
    hidden: int = 512
    depth: int = 2
    dense_norm: Norm = "batch"
    low_memory: bool = True
    stability: bool = False
    bce_weight: float = 5.0
    dice_weight: float = 5.0
    diversity_weight: float = 0.5
    contrast_weight: float = 0.5
    contrast_label: Literal["area", "threshold"] = "area"
    contrast_duplicates: bool = False
    clamp_scales: bool = True
    decay_all: bool = False

    def __post_init__(self) -> None:
        """Refuse values that cannot work together.

        Raises:
            UsageError: naming the option and what to set instead.
        """
        if self.inner % self.heads:
            raise UsageError(f"rsrefseg2: inner {self.inner} is no multiple of heads {self.heads}.")
        if self.depth < 1 or self.queries < 1 or self.prompts < 1:
            raise UsageError("rsrefseg2: depth, queries and prompts are at least 1.")

    def settled(self) -> Self:
        """The options with `OFFICIAL` in place where `official` is set."""
        return replace(self, **OFFICIAL) if self.official else self
