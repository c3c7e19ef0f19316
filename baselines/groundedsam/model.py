"""Grounded SAM (arXiv 2401.14159): a detector finds boxes for the expression, a promptable segmenter outlines them.

Both networks come from libraries.

Legend: `B` samples, `U` different photographs, `S` side of the segmenter's input, `g` side of its map, `N` boxes.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from baselines.groundedsam.boxes import soft_box, target_boxes
from baselines.groundedsam.detectors import GroundingDino, build_detector
from baselines.groundedsam.options import GroundedSAMOptions
from rrsis_bench.methods.base import Method
from rrsis_bench.nn.encoders.build import build_segmenter
from rrsis_bench.nn.encoders.sam import ImageFeatures
from rrsis_bench.nn.layers.freezing import freeze, trainable
from rrsis_bench.nn.layers.losses import upsample
from rrsis_bench.nn.layers.recompute import blocks_of, recompute
from rrsis_bench.nn.promptable import FoundBoxes
from rrsis_bench.nn.weights.base import load_frozen
from rrsis_bench.types import Batch, InputSpec, MethodOutput


class GroundedSAM(Method):
    """Detector, then promptable segmenter; the detector trains, or nothing does.

    Args:
        options: all choices; the defaults are the published sizes.
    """

    name: ClassVar[str] = "groundedsam"
    Options: ClassVar[type[Any]] = GroundedSAMOptions
    shares_images: ClassVar[bool] = True

    def __init__(self, options: GroundedSAMOptions) -> None:
        super().__init__()
        self.options = options
        self.detector = build_detector(options.detector, options.detector_weights, options.detector_size)
        self.segmenter = build_segmenter(options.segmenter, options.segmenter_library)
        frozen = [self.segmenter, *self.detector.idle(options.proposals == "attached")]
        for part in [*frozen, self.detector] if options.policy == "zero-shot" else frozen:
            freeze(part)
        self.input_spec = input_spec(options, self.segmenter.image_size)

    def checkpoint_activations(self) -> None:
        """Run the blocks of the detector again in the backward pass; see `Method.checkpoint_activations`."""
        recompute(blocks_of(self.detector))

    def encode_images(self, images: Tensor) -> tuple[Tensor, ...]:
        """The segmenter's maps, then the detector's, for images (U, 3, H, W); neither depends on the text."""
        side = self.segmenter.image_size
        images = upsample(images, (side, side))
        outlined = self.segmenter.encode_image(images)
        return outlined.main, *outlined.fine, *self.detector.encode_images(images)

    def forward(self, batch: Batch) -> MethodOutput:
        """Logits at the input's size (B, 1, H, W).

        In training, the segmenter does not run: the logits are a soft map of the best box, and `aux` holds the
        detector's output.
        """
        size = (batch.images.shape[-2], batch.images.shape[-1])
        if self.training:
            maps = batch.encoded[self._levels() :] or self.detector.encode_images(batch.images)
            found = self.detector.respond(tuple(batch.per_sample(one) for one in maps), batch.tokens)
            best = self.detector.boxes(found).best()
            return MethodOutput(soft_box(best, size), {"found": found})
        encoded = self.encoded(batch)
        levels = self._levels()
        found = self.detector.respond(tuple(batch.per_sample(one) for one in encoded[levels:]), batch.tokens)
        features = ImageFeatures(encoded[0], tuple(encoded[1:levels]))
        if batch.image_of is not None:
            features = features.select(batch.image_of)
        return MethodOutput(upsample(self.outline(features, self.detector.boxes(found)), size))

    def _levels(self) -> int:
        """Number of the segmenter's maps in `encode_images`."""
        return 3 if self.options.segmenter.startswith("sam2") else 1

    def outline(self, features: ImageFeatures, found: FoundBoxes) -> Tensor:
        """Logits (B, 1, 4g, 4g): the mask of the best box, or the maximum over those of all chosen boxes.

        Args:
            features: the segmenter's, of B rows.
            found: boxes of the B expressions.
        """
        if self.options.boxes == "best":
            return self._masks(features, found.best())
        best = torch.nn.functional.one_hot(found.scores.argmax(1), found.scores.shape[1]).bool()
        above = found.scores > self.options.box_threshold
        chosen = torch.where(above.any(1, keepdim=True), above, best)
        rows, places = chosen.nonzero(as_tuple=True)
        merged: Tensor | None = None
        # As many boxes at once as there are samples, so that memory does not grow with the number of boxes.
        for part, place in zip(torch.split(rows, len(chosen)), torch.split(places, len(chosen)), strict=True):
            masks = self._masks(features.select(part), found.boxes[part, place])
            if merged is None:
                merged = masks.new_full((len(chosen), *masks.shape[1:]), -torch.inf)
            where = part[:, None, None, None].expand_as(masks)
            merged = merged.scatter_reduce(0, where, masks, "amax")
        assert merged is not None  # every sample has its best box
        return merged

    def _masks(self, features: ImageFeatures, boxes: Tensor) -> Tensor:
        """Logits (N, 1, 4g, 4g) for boxes (N, 4) in [0, 1], one for each row of the features."""
        pixels = boxes * self.segmenter.image_size
        middle = (pixels[:, None, :2] + pixels[:, None, 2:]) / 2
        kind = self.options.prompt
        points = None if kind == "box" else middle
        labels = None if points is None else points.new_ones(points.shape[:2])
        sparse, dense = self.segmenter.prompt(points, labels, None if kind == "point" else pixels)
        decode = self.segmenter.decode_best if self.options.multimask else self.segmenter.decode
        return decode(features, sparse, dense)

    def loss(self, output: MethodOutput, batch: Batch) -> dict[str, Tensor]:
        """The library's losses of the detector on the boxes of the masks."""
        assert isinstance(self.detector, GroundingDino)
        boxes = target_boxes(batch.masks, self.options.targets, self.options.smallest)
        return self.detector.losses(output.aux["found"], batch.tokens, boxes, self.options.proposals == "attached")

    def param_groups(self, base_lr: float, weight_decay: float) -> list[dict[str, Any]]:
        """The detector's backbone and text encoder have `encoder_rate` times the rate of the rest."""
        slow = trainable(p for part in self.detector.backbones() for p in part.parameters())
        known = {id(p) for p in slow}
        rest = [p for p in trainable(self.parameters()) if id(p) not in known]
        return [
            {"params": rest, "lr": base_lr, "weight_decay": weight_decay},
            {"params": slow, "lr": base_lr * self.options.encoder_rate, "weight_decay": weight_decay},
        ]

    def encoders(self) -> dict[str, nn.Module]:
        """The detector's two encoders and the segmenter's."""
        image, text = self.detector.backbones()
        return {"detecting": image, "segmenting": self.segmenter.encoder(), "text": text}

    def load_pretrained(self) -> dict[str, str]:
        """Load the weights of both networks; see `Method.load_pretrained`.

        Raises:
            UsageError: an option is empty; `random` is the word for a random start.
            MissingResourceError: a file is missing, unreadable or of another network.
        """
        loads = {"detector": self.detector.load_tensors, "segmenter": self.segmenter.load_tensors}
        if self.options.backbone_weights:
            loads["backbone"] = self.detector.load_backbone
        return load_frozen(self.name, self.options, loads)


def input_spec(options: GroundedSAMOptions, side: int) -> InputSpec:
    """The segmenter's input, a square of `side` pixels, and the detector's text."""
    captioned = options.detector.startswith(("grounding", "mm")) and ":" not in options.tokenizer
    return InputSpec(
        image_size=(side, side),
        tokenizer="baselines.groundedsam.text:CaptionTokenizer" if captioned else options.tokenizer,
        tokenizer_options={"base": options.tokenizer} if captioned else {},
        tokenizer_path=options.tokenizer_path,
        max_tokens=options.max_tokens,
    )
