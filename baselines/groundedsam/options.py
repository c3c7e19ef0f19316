"""Every choice of Grounded SAM, and the sizes of its detectors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from rrsis_bench.errors import UsageError
from rrsis_bench.nn.encoders.sam import Library

DetectorName = Literal[
    "grounding-dino-tiny",
    "grounding-dino-base",
    "mm-grounding-dino-tiny",
    "owlv2-b16-ensemble",
    "mm-grounding-dino-nano",
]


@dataclass(frozen=True)
class DetectorRow:
    """A detector of the library.

    Attributes:
        config: the library's class of configurations.
        network: the library's class of the network.
        since: first version of transformers that has them.
        size: side in pixels of its square input.
        values: where its configuration differs from the library's default.
    """

    config: str
    network: str
    since: str
    size: int
    values: Mapping[str, Any]


_MM = ("MMGroundingDinoConfig", "MMGroundingDinoForObjectDetection", "4.55")
_GDINO = ("GroundingDinoConfig", "GroundingDinoForObjectDetection", "4.40")
_SWIN_B = {
    "model_type": "swin",
    "embed_dim": 128,
    "depths": [2, 2, 18, 2],
    "num_heads": [4, 8, 16, 32],
    "window_size": 12,
    "image_size": 384,
    "out_indices": [2, 3, 4],
}
_NANO = {
    "backbone_config": {
        "model_type": "dinov2_with_registers",
        "image_size": 128,
        "patch_size": 8,
        "hidden_size": 96,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "out_features": ["stage4"],
    },
    "text_config": {
        "model_type": "bert",
        "vocab_size": 1030,  # holds the ids by which the library knows BERT's special tokens
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 128,
        "max_position_embeddings": 64,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "initializer_range": 0.08,
    },
    "num_queries": 10,
    "encoder_layers": 2,
    "encoder_ffn_dim": 128,
    "encoder_attention_heads": 4,
    "decoder_layers": 2,
    "decoder_ffn_dim": 128,
    "decoder_attention_heads": 4,
    "d_model": 64,
    "dropout": 0.0,
    "num_feature_levels": 3,
    "fusion_droppath": 0.0,
    "max_text_len": 32,
    "init_std": 0.1,  # of these widths; the library's 0.02 is that of published ones
}
DETECTORS: Mapping[DetectorName, DetectorRow] = {
    "grounding-dino-tiny": DetectorRow(*_GDINO, 800, {}),
    "grounding-dino-base": DetectorRow(*_GDINO, 800, {"backbone_config": _SWIN_B}),
    "mm-grounding-dino-tiny": DetectorRow(*_MM, 800, {}),
    "owlv2-b16-ensemble": DetectorRow(
        "Owlv2Config", "Owlv2ForObjectDetection", "4.35", 960, {"vision_config": {"image_size": 960, "patch_size": 16}}
    ),
    # For the tiny variant: MM Grounding DINO scales its scores, so that it trains from random weights. The backbone has
    # the size of the suite's tiny DINOv2.
    "mm-grounding-dino-nano": DetectorRow(*_MM, 128, _NANO),
}


@dataclass(frozen=True)
class GroundedSAMOptions:
    """The defaults are Grounding DINO (Swin-T), tuned, with a frozen SAM ViT-B.

    Attributes:
        policy: `zero-shot` takes the weights as they are; `tuned` trains the detector.
        detector: which detector, by a name of `DETECTORS`. A local folder in `detector_weights` brings its own
            configuration.
        detector_weights: its weights, or `random`.
        backbone_weights: weights of the image backbone alone, below a detector with random weights: a DINOv2 in timm's
            layout, for `mm-grounding-dino-nano`.
        detector_size: side in pixels of the detector's input, to which the segmenter's is resized; None for its own.
        segmenter: promptable segmenter, by a name of `SEGMENTERS` (`rrsis_bench/nn/encoders/build.py`).
        segmenter_library: `transformers`, or `segment-anything` for SAM v1.
        segmenter_weights: its weights, or `random`.
        boxes: the box of the `best` score, or `all` boxes with a score above `box_threshold`, whose masks' maximum is
            the answer; the best one if there is none.
        box_threshold: see `boxes`.
        prompt: what the segmenter gets of a box: the `box`, the `point` in its middle, or `both`.
        multimask: take the mask of the highest predicted IoU of SAM's three; else its single mask.
        targets: boxes to learn: one around the `whole` mask, or one for each of its connected `regions`.
        smallest: pixels at input size below which a region is no target.
        proposals: the losses of the encoder's proposals are `detached` from the heads that propose, as in the library,
            and these heads stay as they are; or `attached`, as a training from random weights needs it.
        encoder_rate: factor of the learning rate in the detector's backbone and text encoder.
        tokenizer: tokenizer of the expression, which gets a full stop for Grounding DINO.
        tokenizer_path: its vocabulary, where it needs one.
        max_tokens: length the token ids are cut or padded to.
    """

    policy: Literal["zero-shot", "tuned"] = "tuned"
    detector: DetectorName = "grounding-dino-tiny"
    detector_weights: str = ""
    backbone_weights: str = ""
    detector_size: int | None = None
    segmenter: str = "sam-b"
    segmenter_library: Library = "transformers"
    segmenter_weights: str = ""
    boxes: Literal["best", "all"] = "best"
    box_threshold: float = 0.25
    prompt: Literal["box", "point", "both"] = "box"
    multimask: bool = True
    targets: Literal["whole", "regions"] = "whole"
    smallest: int = 16
    proposals: Literal["detached", "attached"] = "detached"
    encoder_rate: float = 0.1
    tokenizer: str = "bert"
    tokenizer_path: str | None = None
    max_tokens: int = 256

    def __post_init__(self) -> None:
        """Refuse options that contradict each other.

        Raises:
            UsageError: naming the options and what to set instead.
        """
        if self.policy == "tuned" and self.detector.startswith("owlv2"):
            raise UsageError("groundedsam: the library has no loss for OWLv2; set policy: zero-shot.")
        if self.backbone_weights and self.detector_weights != "random":
            raise UsageError("groundedsam: backbone_weights starts a detector with detector_weights: random alone.")
