"""Every choice of PSLG-SAM."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from baselines.pslgsam.boundary import BoundaryChoices
from baselines.pslgsam.losses import MaskLoss
from baselines.pslgsam.point import PointChoices
from rrsis_bench.errors import UsageError
from rrsis_bench.nn.encoders.sam import Library
from rrsis_bench.nn.layers.boxes import Components

FILE = "file:"


@dataclass(frozen=True)
class PSLGSAMOptions:
    """The defaults are the published LQVG with SAM ViT-H; stage 2's numbers are ours.

    Attributes:
        boxes: stage 1: `lqvg`, or `file:PATH` of JSON lines with `sample_id`, `box` and `score`.
        encoders: LQVG's encoders: `resnet50+roberta`, or `clip` for a dual encoder.
        image_weights: base weights of ResNet-50; `random` has to be asked for, here and below.
        text_weights: base weights of RoBERTa.
        dual: dual encoder of `clip`, by its name in `rrsis_bench/nn/encoders/clip_dual.py`.
        dual_weights: its base weights.
        image_size: side in pixels of the squashed input.
        multi_scale: sides of which each training step draws one for LQVG; empty for the input's own.
        tokenizer: name of the tokenizer.
        tokenizer_path: its vocabulary, where it needs one.
        max_tokens: length the token ids are cut or padded to; as released, nothing is cut.
        text_width: width of RoBERTa.
        text_layers: its layers.
        text_heads: its attention heads.
        text_vocabulary: its token ids.
        text_positions: rows of its position table.
        width: width of the detector.
        heads: its attention heads, and those of the fusion.
        points: its sampling points per head and level.
        encoder_layers: its encoder's layers.
        decoder_layers: its decoder's layers.
        hidden: width inside its feed-forward parts.
        queries: its queries.
        dropout: rate inside it.
        components: parts of a truth mask that its box holds: `hull` of all, or the `largest`.
        class_weight: of the focal loss, in the matching too.
        l1_weight: of the boxes' distance.
        giou_weight: of their generalised IoU.
        image_rate: learning rate of the image encoder, as a factor of the base rate.
        text_rate: of the text encoder.
        offset_rate: of reference points and sampling offsets.
        segmenter: promptable segmenter, by a name of `SEGMENTERS` (`rrsis_bench/nn/encoders/build.py`).
        segmenter_library: `segment-anything` for SAM v1, or `transformers`.
        segmenter_weights: its base weights.
        prompt: `box`, with the point, or `point-clip`: the point alone, and nothing outside the box.
        clip_margin: with `point-clip`, the box grows by this share of its size on each side.
        expand: the box that SAM gets grows by this share of its size on each side.
        point: `cfpg`, the `centre` of the box, or `none`.
        point_space: see `PointChoices`, as for the other names that begin with `point_`.
        point_foreground: see there.
        point_tries: see there.
        point_seed: see there.
        point_opening: see there.
        point_peak: see there.
        point_grow: see there.
        point_min_area: see there.
        point_place: see there.
        point_max_crop: see there.
        mbo: move the mask's boundary by GrabCut; None for yes without decoder tuning and no with it.
        mbo_erode: see `BoundaryChoices`; None for 3 pixels at 512, in proportion to the input, at least 1.
        mbo_dilate: see there; None as above.
        mbo_rounds: see `BoundaryChoices`, as for the next four.
        mbo_margin: see there.
        mbo_change: see there.
        mbo_keep: see there.
        mbo_seed: see there.
        tune_decoder: train the mask decoder on masks.
        tune_prompts: with it, the embeddings of the foreground point and of the box's corners too.
        decoder_rate: learning rate of both, as a factor of the base rate; they have no weight decay.
        jitter: in training, each side of the truth's box moves by up to this share of the box's size.
        mask_loss: `bce-dice` (2 and 1) or `sam` (20 focal and 1 Dice).
        mask_share: share of the training samples whose masks the decoder sees, chosen by their ids.
    """

    boxes: str = "lqvg"
    encoders: Literal["resnet50+roberta", "clip"] = "resnet50+roberta"
    image_weights: str = ""
    text_weights: str = ""
    dual: str = "clip-nano"
    dual_weights: str = ""
    image_size: int = 800
    multi_scale: tuple[int, ...] = ()
    tokenizer: str = "rrsis_bench.nn.encoders.roberta:RobertaTokenizer"
    tokenizer_path: str | None = None
    max_tokens: int = 40
    text_width: int = 768
    text_layers: int = 12
    text_heads: int = 12
    text_vocabulary: int = 50_265
    text_positions: int = 514
    width: int = 256
    heads: int = 8
    points: int = 4
    encoder_layers: int = 4
    decoder_layers: int = 4
    hidden: int = 2048
    queries: int = 10
    dropout: float = 0.1
    components: Components = "hull"
    class_weight: float = 2.0
    l1_weight: float = 5.0
    giou_weight: float = 2.0
    image_rate: float = 0.5
    text_rate: float = 0.1
    offset_rate: float = 1.0
    segmenter: str = "sam-h"
    segmenter_library: Library = "segment-anything"
    segmenter_weights: str = ""
    prompt: Literal["box", "point-clip"] = "box"
    clip_margin: float = 0.1
    expand: float = 0.0
    point: Literal["cfpg", "centre", "none"] = "cfpg"
    point_space: Literal["rgb", "lab"] = "rgb"
    point_foreground: Literal["border", "ring", "centre", "minority"] = "border"
    point_tries: int = 3
    point_seed: int = 0
    point_opening: int = 1
    point_peak: float = 0.5
    point_grow: int = 2
    point_min_area: float = 0.2
    point_place: Literal["centroid", "deepest"] = "centroid"
    point_max_crop: int = 160
    mbo: bool | None = None
    mbo_erode: int | None = None
    mbo_dilate: int | None = None
    mbo_rounds: int = 10
    mbo_margin: int = 10
    mbo_change: float = 0.001
    mbo_keep: float = 0.0
    mbo_seed: int = 0
    tune_decoder: bool = False
    tune_prompts: bool = False
    decoder_rate: float = 1.0
    jitter: float = 0.1
    mask_loss: MaskLoss = "bce-dice"
    mask_share: float = 1.0

    def __post_init__(self) -> None:
        """Refuse values that cannot work together.

        Raises:
            UsageError: naming the option and what to set instead.
        """
        if self.boxes == "truth":
            raise UsageError(
                "pslgsam: boxes=truth would read the truth that it is scored by; as a diagnostic: "
                "python benchmarks/pslgsam.py --run DIR."
            )
        if self.boxes != "lqvg" and not self.box_file:
            raise UsageError(f"pslgsam: boxes is lqvg or file:PATH, not '{self.boxes}'.")
        if self.prompt == "point-clip" and self.point == "none":
            raise UsageError("pslgsam: prompt=point-clip needs a point; set point to cfpg or centre.")
        if self.tune_prompts and not self.tune_decoder:
            raise UsageError("pslgsam: tune_prompts trains with the mask decoder; set tune_decoder too.")
        for name in ("encoder_layers", "decoder_layers", "points", "queries", "point_tries", "mbo_rounds"):
            if getattr(self, name) < 1:
                raise UsageError(f"pslgsam: option '{name}' is at least 1, not {getattr(self, name)}.")
        if self.width % self.heads or self.width % 32:
            raise UsageError(f"pslgsam: width {self.width} must be a multiple of 32 and of heads ({self.heads}).")
        if not 0 < self.mask_share <= 1:
            raise UsageError(f"pslgsam: mask_share lies above 0 and up to 1, not {self.mask_share:g}.")
        if self.point_max_crop < 3:
            raise UsageError(f"pslgsam: point_max_crop is at least 3, not {self.point_max_crop}.")

    @property
    def refines(self) -> bool:
        """Whether masks get a moved boundary."""
        return not self.tune_decoder if self.mbo is None else self.mbo

    @property
    def box_file(self) -> str | None:
        """The file of boxes; None for LQVG."""
        return self.boxes.removeprefix(FILE) if self.boxes.startswith(FILE) else None

    @property
    def box_weights(self) -> dict[str, float]:
        """Weights of the box losses by name."""
        return {"cls": self.class_weight, "l1": self.l1_weight, "giou": self.giou_weight}

    def point_choices(self) -> PointChoices:
        """Choices of CFPG."""
        return PointChoices(
            self.point_space,
            self.point_foreground,
            self.point_tries,
            self.point_seed,
            self.point_opening,
            self.point_peak,
            self.point_grow,
            self.point_min_area,
            self.point_place,
            self.point_max_crop,
        )

    def boundary_choices(self, side: int) -> BoundaryChoices:
        """Choices of MBO for images of `side` pixels."""
        scaled = max(1, round(3 * side / 512))
        return BoundaryChoices(
            scaled if self.mbo_erode is None else self.mbo_erode,
            scaled if self.mbo_dilate is None else self.mbo_dilate,
            self.mbo_rounds,
            self.mbo_margin,
            self.mbo_change,
            self.mbo_keep,
            self.mbo_seed,
        )
