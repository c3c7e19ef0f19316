"""PSLG-SAM (Li et al., arXiv 2506.10503): LQVG finds a box by language, SAM outlines what the box holds.

Legend: `U` photographs, `B` samples, `H W` pixels of the input.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.pslgsam.detector import Detected
from baselines.pslgsam.grounding import LQVG, ClipFront, ResNetRoberta
from baselines.pslgsam.losses import box_losses, mask_losses
from baselines.pslgsam.options import PSLGSAMOptions
from baselines.pslgsam.outline import outline, prompt_segmenter, tuned_parameters
from baselines.pslgsam.weights import RELEASED
from rrsis_bench.errors import UsageError
from rrsis_bench.methods.base import Method
from rrsis_bench.nn.encoders.build import build_segmenter
from rrsis_bench.nn.encoders.roberta import load_roberta
from rrsis_bench.nn.encoders.sam import ImageFeatures
from rrsis_bench.nn.layers.boxes import boxes_of_masks, overlaps, to_cxcywh, to_xyxy
from rrsis_bench.nn.layers.freezing import freeze, trainable
from rrsis_bench.nn.layers.losses import reduce_mask, upsample
from rrsis_bench.nn.layers.precision import at_least_float32, full_precision
from rrsis_bench.nn.layers.recompute import recompute
from rrsis_bench.nn.promptable import BoxFile, FoundBoxes
from rrsis_bench.nn.weights.base import Load, load_frozen
from rrsis_bench.nn.weights.files import fit, load_tensors, naming_the_file, strip_prefixes
from rrsis_bench.nn.weights.refs import sha256_file
from rrsis_bench.types import Batch, InputSpec, MethodOutput


class PSLGSAM(Method):
    """Grounding network or file of boxes, then a promptable segmenter.

    Args:
        options: all choices; the defaults are the published sizes.
    """

    name: ClassVar[str] = "pslgsam"
    Options: ClassVar[type[Any]] = PSLGSAMOptions
    shares_images: ClassVar[bool] = True
    scores_on_host: ClassVar[bool] = True

    def __init__(self, options: PSLGSAMOptions) -> None:
        super().__init__()
        self.options = options
        self.input_spec = InputSpec(
            image_size=(options.image_size, options.image_size),
            tokenizer=options.tokenizer,
            max_tokens=options.max_tokens,
            tokenizer_path=options.tokenizer_path,
        )
        self.file = None if options.box_file is None else BoxFile(options.box_file)
        self.grounder = self._build_grounder() if self.file is None else None
        self.segmenter = build_segmenter(options.segmenter, options.segmenter_library)
        freeze(self.segmenter)
        if options.tune_decoder:
            for parameter in tuned_parameters(self.segmenter, options.tune_prompts):
                parameter.requires_grad_(True)

    def _build_grounder(self) -> LQVG:
        options, spec = self.options, self.input_spec
        text = (
            options.text_width,
            options.text_layers,
            options.text_heads,
            options.text_vocabulary,
            options.text_positions,
        )
        front = (
            ClipFront(options.dual, options.width, spec.mean, spec.std)
            if options.encoders == "clip"
            else ResNetRoberta(options.width, text)
        )
        return LQVG(
            front,
            options.width,
            options.heads,
            options.points,
            (options.encoder_layers, options.decoder_layers),
            options.hidden,
            options.queries,
            options.dropout,
        )

    def train(self, mode: bool = True) -> Self:
        """Set the mode of the grounding network; the segmenter never leaves evaluation mode."""
        super().train(mode)
        self.segmenter.eval()
        return self

    def checkpoint_activations(self) -> None:
        """Run the blocks of the grounder again in the backward pass; see `Method.checkpoint_activations`."""
        if self.grounder is not None:
            recompute(self.grounder.blocks())

    def find(self, batch: Batch) -> FoundBoxes:
        """The boxes of each expression and their scores; see `BoxSource`."""
        if self.file is not None:
            return self.file.find(batch)
        maps = self._maps(batch.images) if not batch.encoded else batch.encoded[: self.levels]
        found = self._detect(batch, maps)
        return FoundBoxes(to_xyxy(at_least_float32(found.boxes[-1])), at_least_float32(found.scores[-1]))

    @property
    def levels(self) -> int:
        """Number of LQVG's maps."""
        return 0 if self.grounder is None else self.grounder.front.levels

    def _maps(self, images: Tensor) -> Sequence[Tensor]:
        """LQVG's maps (U, D, h, w) of photographs."""
        return [] if self.grounder is None else self.grounder.front.encode_image(images)[1]

    def _detect(self, batch: Batch, maps: Sequence[Tensor]) -> Detected:
        assert self.grounder is not None
        own = [batch.per_sample(one) for one in maps]
        found: Detected = self.grounder(own, batch.tokens.ids, batch.tokens.mask).found
        return found

    def features(self, images: Tensor) -> ImageFeatures:
        """Photographs (U, 3, H, W) of any size as the mask decoder reads them; the encoder is always frozen."""
        side = self.segmenter.image_size
        with torch.no_grad():
            return self.segmenter.encode_image(upsample(images, (side, side)))

    def encode_images(self, images: Tensor) -> tuple[Tensor, ...]:
        """Encode photographs (U, 3, H, W): LQVG's maps, then the segmenter's."""
        features = self.features(images)
        return *self._maps(images), features.main, *features.fine

    def forward(self, batch: Batch) -> MethodOutput:
        """Logits at the input's size (B, 1, H, W).

        In evaluation, `aux["boxes"]` holds the boxes (B, 4) xyxy in [0, 1]. In training without decoder tuning SAM does
        not run: the logits are a map of the best box, which no loss reads.
        """
        if self.training:
            return self._train(batch)
        batch = replace(batch, encoded=self.encoded(batch))
        boxes = self.find(batch).best()
        main, *fine = batch.encoded[self.levels :]
        features = ImageFeatures(main, tuple(fine))
        logits = outline(self.segmenter, batch.images, features, boxes, rows_of(batch), self.options, self.input_spec)
        return MethodOutput(logits, {"boxes": boxes})

    def _train(self, batch: Batch) -> MethodOutput:
        truths, valid = boxes_of_masks(batch.masks, self.options.components)
        size = (batch.images.shape[-2], batch.images.shape[-1])
        aux: dict[str, Any] = {"truths": truths, "valid": valid}
        logits = torch.zeros(len(batch), 1, *size, device=batch.images.device)
        if self.grounder is not None:
            found = self._detect(batch, self._maps(self.rescaled(batch.images)))
            best = FoundBoxes(to_xyxy(at_least_float32(found.boxes[-1].detach())), found.scores[-1].detach()).best()
            iou, _ = overlaps(best, truths.to(best.dtype))
            count = valid.sum().clamp(min=1)
            aux["found"] = found
            aux["watched"] = {
                "box_iou": (iou * valid).sum() / count,
                "box_acc50": ((iou > 0.5) & valid).sum() / count,
            }
            logits = box_logits(best, size)
        if self.options.tune_decoder:
            logits = self._outline_truths(batch, truths, valid)
        return MethodOutput(logits, aux)

    def rescaled(self, images: Tensor) -> Tensor:
        """Images at a side that is drawn for this step."""
        sides = self.options.multi_scale
        if not sides:
            return images
        side = random.choice(sides)
        return F.interpolate(images, (side, side), mode="bilinear", antialias=True)

    def _outline_truths(self, batch: Batch, truths: Tensor, valid: Tensor) -> Tensor:
        """Logits (B, 1, 16g, 16g) of SAM on disturbed boxes of the truth and random pixels in it."""
        height, width = batch.images.shape[-2:]
        sides = truths.new_tensor((width, height, width, height))
        lengths = (truths[:, 2:] - truths[:, :2]).repeat(1, 2)
        moved = (truths + (2 * torch.rand_like(truths) - 1) * self.options.jitter * lengths) * sides
        # An empty mask has no pixel to draw, and its loss does not count.
        weights = batch.masks.flatten(1).float() + (~valid)[:, None]
        drawn = torch.multinomial(weights, 1)[:, 0]
        pixels = torch.stack((drawn % width, drawn // width), -1) + 0.5
        points = None if self.options.point == "none" else pixels
        factor = moved.new_tensor((self.segmenter.image_size / width, self.segmenter.image_size / height))
        features = self.features(batch.images).select(rows_of(batch))
        logits = prompt_segmenter(self.segmenter, features, points, moved, factor, self.options)
        return upsample(logits, (4 * logits.shape[-2], 4 * logits.shape[-1]))

    def loss(self, output: MethodOutput, batch: Batch) -> dict[str, Tensor]:
        """Weighted losses: `cls`, `l1` and `giou` of all decoder layers; with decoder tuning, those of the mask too."""
        aux = output.aux
        losses: dict[str, Tensor] = {}
        with full_precision(output.logits.device):
            if self.grounder is not None:
                found: Detected = aux["found"]
                scores, boxes = at_least_float32(found.scores), at_least_float32(found.boxes)
                truths = to_cxcywh(aux["truths"]).to(boxes.dtype)
                losses, _ = box_losses(scores, boxes, truths, aux["valid"], self.options.box_weights)
            if self.options.tune_decoder:
                losses |= self._mask_losses(output.logits, batch, aux["valid"])
        return losses or {"nothing": output.logits.new_zeros(())}

    def _mask_losses(self, logits: Tensor, batch: Batch, valid: Tensor) -> dict[str, Tensor]:
        target = reduce_mask(batch.masks, (logits.shape[-2], logits.shape[-1]))
        shown = [share_of(name) < self.options.mask_share for name in batch.sample_ids]
        kept = valid & torch.tensor(shown, device=valid.device)
        if bool(kept.any()):
            return mask_losses(logits[kept], target[kept], self.options.mask_loss)
        return {name: 0.0 * term for name, term in mask_losses(logits, target, self.options.mask_loss).items()}

    def param_groups(self, base_lr: float, weight_decay: float) -> list[dict[str, Any]]:
        """LQVG's four groups, and the tuned parts of the segmenter, which have no weight decay."""
        options = self.options
        rates = {
            "rest": 1.0,
            "image": options.image_rate,
            "text": options.text_rate,
            "offsets": options.offset_rate,
            "segmenter": options.decoder_rate,
        }
        members: dict[str, list[nn.Parameter]] = {group: [] for group in rates}
        for name, parameter in self.named_parameters():
            members[group_of(name)].append(parameter)
        return [
            {
                "params": trainable(members[group]),
                "lr": base_lr * rate,
                "weight_decay": 0.0 if group == "segmenter" else weight_decay,
            }
            for group, rate in rates.items()
        ]

    def encoders(self) -> dict[str, nn.Module]:
        """LQVG's encoders and SAM's."""
        found: dict[str, nn.Module] = {}
        if self.grounder is not None:
            front = self.grounder.front
            if isinstance(front, ClipFront):
                found = {"image": front.dual.vision, "text": front.dual.text}
            elif isinstance(front, ResNetRoberta):
                found = {"image": front.image, "text": front.text}
        return {**found, "segmenting": self.segmenter.encoder()}

    def load_pretrained(self) -> dict[str, str]:
        """Load the base weights of all encoders; see `Method.load_pretrained`. A file of boxes has its digest too.

        Raises:
            UsageError: an option is empty; `random` is the word for a random start.
            MissingResourceError: a file is missing, unreadable or of another network.
        """
        loads: dict[str, Load] = {}
        front = None if self.grounder is None else self.grounder.front
        if isinstance(front, ClipFront):
            loads["dual"] = front.dual.load_tensors
        elif isinstance(front, ResNetRoberta):
            text = front.text
            loads |= {"image": front.image.load_tensors, "text": lambda tensors: load_roberta(text, tensors)}
        loads["segmenter"] = self.segmenter.load_tensors
        digests = load_frozen(self.name, self.options, loads)
        return digests if self.file is None else {**digests, "boxes": self.file.sha256()}

    def load_official(self, path: Path) -> str:
        """Load a checkpoint of LQVG's authors; the segmenter gets its base weights. See `Method.load_official`.

        Raises:
            UsageError: the boxes come from a file, or LQVG has other encoders than the released one.
            MissingResourceError: see `Method.load_official`.
        """
        if self.grounder is None or not isinstance(self.grounder.front, ResNetRoberta):
            raise UsageError(
                "pslgsam has no released weights for this variant: LQVG's are of ResNet-50 and RoBERTa; train it "
                "(rrsis-bench fit --method pslgsam)."
            )
        with naming_the_file(path):
            official = strip_prefixes(load_tensors(path), ("module.",))
            fit(self.grounder, RELEASED.convert(official, self.grounder), "its parameters")
        load_frozen(self.name, self.options, {"segmenter": self.segmenter.load_tensors})
        return sha256_file(path)


def rows_of(batch: Batch) -> Tensor:
    """The row (B,) of the images that each sample sees."""
    return torch.arange(len(batch), device=batch.images.device) if batch.image_of is None else batch.image_of


def group_of(name: str) -> str:
    """The optimiser group of a parameter."""
    if name.startswith("segmenter."):
        return "segmenter"
    if name.startswith(("grounder.front.image.", "grounder.front.dual.vision.")):
        return "image"
    if name.startswith(("grounder.front.text.", "grounder.front.dual.text.")):
        return "text"
    return "offsets" if "reference_points" in name or "sampling_offsets" in name else "rest"


def share_of(name: str) -> float:
    """A number in [0, 1) that belongs to a sample's id."""
    return int.from_bytes(blake2b(name.encode(), digest_size=6).digest(), "big") / 2**48


def box_logits(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Boxes (B, 4) xyxy in [0, 1] as logits (B, 1, H, W): the distance to the nearest edge, positive inside."""
    x = (torch.arange(size[1], device=boxes.device, dtype=boxes.dtype) + 0.5) / size[1]
    y = (torch.arange(size[0], device=boxes.device, dtype=boxes.dtype) + 0.5) / size[0]
    left, top, right, bottom = boxes[:, :, None].unbind(1)
    columns = torch.minimum(x - left, right - x)[:, None]
    rows = torch.minimum(y - top, bottom - y)[:, :, None]
    return (32 * torch.minimum(rows, columns))[:, None].clamp(-8, 8)
