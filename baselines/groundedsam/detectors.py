"""Detectors of transformers that find boxes for an expression, behind `nn.promptable.BoxSource`.

Legend: `B` samples, `U` different photographs, `Q` queries, `s` side of the detector's input.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.ops import box_convert

from baselines.groundedsam.options import DETECTORS, DetectorName, DetectorRow
from baselines.groundedsam.weights import from_timm
from rrsis_bench.nn.encoders.clip import OPENAI_INPUT
from rrsis_bench.nn.encoders.library import fit_library, folder_config, library_class
from rrsis_bench.nn.layers.losses import upsample
from rrsis_bench.nn.layers.precision import full_precision
from rrsis_bench.nn.promptable import FoundBoxes
from rrsis_bench.types import Batch, TextTokens

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
WEIGHTS = {"loss_ce": 2.0, "loss_bbox": 5.0, "loss_giou": 2.0}
"""The library's factors of its losses; those of the encoder's proposals have the same."""


@dataclass(frozen=True)
class Answer:
    """What OWLv2 answers: logits (B, Q, 1), and boxes (B, Q, 4) of centre and size in [0, 1]."""

    logits: Tensor
    pred_boxes: Tensor


class Detector(nn.Module):
    """A network of the library that finds boxes for expressions.

    Args:
        row: which network.
        weights: the option that names the weights; a local folder brings its own configuration.
        size: s.
    """

    network: Any

    def __init__(self, row: DetectorRow, weights: str, size: int) -> None:
        super().__init__()
        self.size = size
        kind = library_class(row.config, row.since)
        config = folder_config(kind, weights) or kind(**row.values)
        self.network = library_class(row.network, row.since)(config)

    def encode_images(self, images: Tensor) -> tuple[Tensor, ...]:
        """What the network computes of images (U, 3, H, W), normalised by ImageNet's values, without the text."""
        raise NotImplementedError

    def respond(self, maps: tuple[Tensor, ...], tokens: TextTokens) -> Any:
        """The network's own output for maps of B rows and their expressions."""
        raise NotImplementedError

    def boxes(self, found: Any) -> FoundBoxes:
        """The boxes of an output: a query's score is the maximum over the expression's tokens."""
        scores = found.logits.float().sigmoid().amax(-1)
        return FoundBoxes(box_convert(found.pred_boxes.float(), "cxcywh", "xyxy"), scores)

    def find(self, batch: Batch) -> FoundBoxes:
        """The boxes of each expression, see `BoxSource.find`."""
        maps = tuple(batch.per_sample(one) for one in self.encode_images(batch.images))
        return self.boxes(self.respond(maps, batch.tokens))

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Load a published checkpoint, strictly."""
        fit_library(self.network, tensors, "detector weights")

    def load_backbone(self, tensors: Mapping[str, Tensor]) -> None:
        """Load a DINOv2 into the image backbone, strictly."""
        fit_library(self.backbones()[0], from_timm(tensors), "backbone weights")

    def idle(self, attached: bool) -> list[nn.Module]:
        """Parts that no loss reaches; see `GroundingDino.losses`."""
        return []

    def backbones(self) -> list[nn.Module]:
        """The image backbone and the text encoder."""
        raise NotImplementedError


class KeptMaps(nn.Module):
    """Stands where the library runs the image backbone, and gives it maps that were computed before.

    Args:
        model: the backbone; it keeps its name in the network's state.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.kept: tuple[Tensor, ...] = ()

    def forward(self, images: Tensor, mask: Tensor) -> list[tuple[Tensor, Tensor]]:
        """The maps, each with a mask that has no padding."""
        return [(one, mask.new_ones((len(one), *one.shape[-2:]), dtype=torch.bool)) for one in self.kept]


class GroundingDino(Detector):
    """Grounding DINO (arXiv 2303.05499) and MM Grounding DINO (arXiv 2401.02361)."""

    def __init__(self, row: DetectorRow, weights: str, size: int) -> None:
        super().__init__(row, weights, size)
        model = self.network.model
        for name, parameter in model.backbone.named_parameters():
            if name.endswith("mask_token"):
                parameter.requires_grad_(False)  # no image is masked
        # The library makes this table by `torch.Tensor`, which stays on the CPU inside of `torch.device`.
        model.level_embed = nn.Parameter(model.level_embed.detach().to(model.query_position_embeddings.weight.device))
        with torch.no_grad():
            for layer in model.encoder.layers:
                # The library starts at 1e-4, with image and words apart: a start that suits long trainings only.
                nn.init.ones_(layer.fusion_layer.vision_param)
                nn.init.ones_(layer.fusion_layer.text_param)
        place = model.backbone
        place.conv_encoder = KeptMaps(place.conv_encoder.model)

    def encode_images(self, images: Tensor) -> tuple[Tensor, ...]:
        """The backbone's maps (U, C, h, w)."""
        backbone = self.network.model.backbone.conv_encoder.model
        return tuple(backbone(upsample(images, (self.size, self.size))).feature_maps)

    def respond(self, maps: tuple[Tensor, ...], tokens: TextTokens) -> Any:
        """See `Detector.respond`. Deformable attention samples in full precision."""
        keeper = self.network.model.backbone.conv_encoder
        keeper.kept = tuple(one.float() if one.dtype != torch.float64 else one for one in maps)
        blank = keeper.kept[0].new_zeros(1).expand(len(maps[0]), 3, self.size, self.size)
        try:
            with full_precision(blank.device), _unread(self.network, blank.is_meta):
                return self.network(blank, tokens.ids, attention_mask=tokens.mask.long())
        finally:
            keeper.kept = ()

    def losses(self, found: Any, tokens: TextTokens, boxes: list[Tensor], attached: bool) -> dict[str, Tensor]:
        """The library's losses with its factors.

        Args:
            found: what `respond` returned.
            tokens: the expressions.
            boxes: of each sample (K, 4), centre and size in [0, 1]; K may be 0.
            attached: the losses of the encoder's proposals train the heads that propose. The library detaches them.
        """
        library = import_module(type(self.network).__module__)
        with full_precision(found.logits.device):
            maps = library.build_label_maps(found.logits, tokens.ids)
            # One label a sample: all words of its expression, though full stops separate them.
            maps = tuple(one.sum(0, keepdim=True).clamp(max=1) for one in maps)
            # A text of signs alone has no words to learn a box for.
            boxes = [one if bool(words.any()) else one[:0] for one, words in zip(boxes, maps, strict=True)]
            labels = [{"class_labels": one.new_zeros(len(one), dtype=torch.int64), "boxes": one} for one in boxes]
            _, losses, _ = self.network.loss_function(
                found.logits, labels, found.logits.device, found.pred_boxes, self.network.config, maps,
                library.build_text_mask(found.logits, tokens.mask.long()),
                **(attached_proposals(found) if attached else detached_proposals(found)),
            )  # fmt: skip
        return {
            name.removeprefix("loss_"): WEIGHTS[name.removesuffix("_enc")] * value
            for name, value in losses.items()
            if name.removesuffix("_enc") in WEIGHTS and value.requires_grad
        }

    def idle(self, attached: bool) -> list[nn.Module]:
        """The parts of the backbone that nothing reads; without `attached`, also the heads that propose."""
        model = self.network.model
        backbone = model.backbone.conv_encoder.model
        idle: list[nn.Module] = [backbone.swin.layernorm] if hasattr(backbone, "swin") else []
        return idle if attached else [*idle, model.enc_output, model.enc_output_norm, model.encoder_output_bbox_embed]

    def backbones(self) -> list[nn.Module]:
        """Swin or DINOv2, and BERT."""
        return [self.network.model.backbone.conv_encoder.model, self.network.model.text_backbone]


@contextmanager
def _unread(network: nn.Module, meta: bool) -> Iterator[None]:
    """On meta tensors, which have no values, leave out the library's check that the maps' sizes add up."""
    library, name = import_module(type(network).__module__), "torch_compilable_check"
    own = getattr(library, name, None)
    if not meta or own is None:
        yield
        return
    setattr(library, name, lambda *_: None)
    try:
        yield
    finally:
        setattr(library, name, own)


def detached_proposals(found: Any) -> dict[str, Tensor]:
    """The proposals that the library hands to its losses: its own answer for the queries, boxes without gradient."""
    return {"encoder_logits": found.encoder_logits, "encoder_pred_boxes": found.encoder_pred_boxes}


def attached_proposals(found: Any) -> dict[str, Tensor]:
    """The best proposals of the encoder, as many as queries, with their gradient."""
    logits, boxes = found.enc_outputs_class, found.enc_outputs_coord_logits.sigmoid()
    best = logits.amax(-1).topk(found.logits.shape[1], dim=1).indices[..., None]
    return {
        "encoder_logits": logits.gather(1, best.expand(-1, -1, logits.shape[-1])),
        "encoder_pred_boxes": boxes.gather(1, best.expand(-1, -1, 4)),
    }


class Owlv2(Detector):
    """OWLv2 (arXiv 2306.09683), zero-shot only."""

    def encode_images(self, images: Tensor) -> tuple[Tensor, ...]:
        """The map of image embeddings (U, h, w, D). The weights want CLIP's mean and deviation."""
        own = [images.new_tensor(OPENAI_INPUT[key])[:, None, None] for key in ("mean", "std")]
        mean, std = (images.new_tensor(values)[:, None, None] for values in IMAGENET)
        images = (images * std + mean - own[0]) / own[1]
        return (self.network.image_embedder(upsample(images, (self.size, self.size)))[0],)

    def respond(self, maps: tuple[Tensor, ...], tokens: TextTokens) -> Any:
        """See `Detector.respond`."""
        (grid,) = maps
        # The text tower is causal: no word sees the padding behind it.
        words = self.network.owlv2.get_text_features(tokens.ids).pooler_output
        features = grid.flatten(1, 2)
        logits, _ = self.network.class_predictor(features, words[:, None], tokens.mask[:, :1])
        return Answer(logits, self.network.box_predictor(features, grid))

    def backbones(self) -> list[nn.Module]:
        """Both towers."""
        return [self.network.owlv2.vision_model, self.network.owlv2.text_model]


def build_detector(name: DetectorName, weights: str, size: int | None) -> Detector:
    """A detector by name, with random weights."""
    row = DETECTORS[name]
    kind = Owlv2 if name.startswith("owlv2") else GroundingDino
    return kind(row, weights, size or row.size)
