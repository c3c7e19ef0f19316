"""C3VG (Dai et al., AAAI 2025): a rough box and mask from BEiT-3's states, then a second pair that reads the first.

Legend: `B` batch, `H W` pixels of the input, `S` side of BEiT-3's image, `g` = S / 16, `L` words, `D` width.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.c3vg.idle import IdleParts
from baselines.c3vg.interaction import Interaction
from baselines.c3vg.layers import DynamicHead, Stack, ThreeLayers
from baselines.c3vg.losses import box_distance, consistency, mask_loss
from baselines.c3vg.options import C3VGOptions
from baselines.c3vg.pyramid import Decoder, Pyramid
from baselines.c3vg.weights import convert
from rrsis_bench.families.lavt.decoder import upsample_aligned
from rrsis_bench.methods.base import Method
from rrsis_bench.nn.encoders.beit3 import Beit3, JointStates, start_larger
from rrsis_bench.nn.layers.boxes import boxes_of_masks, to_cxcywh, to_xyxy
from rrsis_bench.nn.layers.freezing import trainable
from rrsis_bench.nn.layers.losses import reduce_mask, upsample
from rrsis_bench.nn.layers.positions import counted_sine_2d, sine_1d
from rrsis_bench.nn.layers.precision import at_least_float32, full_precision
from rrsis_bench.nn.layers.recompute import recompute
from rrsis_bench.nn.weights.base import load_base
from rrsis_bench.nn.weights.files import fit, load_tensors, naming_the_file, strip_prefixes
from rrsis_bench.nn.weights.refs import sha256_file
from rrsis_bench.types import Batch, InputSpec, MethodOutput


@dataclass(frozen=True)
class Found:
    """What both stages find.

    Attributes:
        query: (B, D), the first box's query.
        first_box: (B, 4) cxcywh in [0, 1].
        first_mask: (B, 1, g, g) logits.
        box_state: (B, D), the second box's query.
        map: (B, D, g, g), refined.
        decoded: (B, D, 4g, 4g).
        box: (B, 4) as `first_box`.
        mask: (B, 1, 4g, 4g) logits.
    """

    query: Tensor
    first_box: Tensor
    first_mask: Tensor
    box_state: Tensor
    map: Tensor
    decoded: Tensor
    box: Tensor
    mask: Tensor


class C3VG(Method):
    """BEiT-3, and a box and a mask in two stages.

    Args:
        options: all choices; the defaults are the published sizes.
    """

    name: ClassVar[str] = "c3vg"
    Options: ClassVar[type[Any]] = C3VGOptions

    def __init__(self, options: C3VGOptions) -> None:
        super().__init__()
        self.options = options = options.settled()
        width, attention = options.width, (options.width, options.heads, options.hidden, options.dropout)
        self.beit3 = Beit3(options.beit, options.image_size, options.drop_path)
        if options.larger_start:
            start_larger(self.beit3)
        self.words = nn.Linear(options.beit_width, width, bias=False)
        self.places = nn.Conv2d(options.beit_width, width, 1, bias=False)
        self.query = nn.Linear(options.beit_width, width, bias=False)
        self.query_position = nn.Embedding(1, width)
        self.query_reads_words = Stack(1, *attention)
        self.query_reads_places = Stack(1, *attention)
        self.first_box = ThreeLayers(width, width, 4)
        self.pixels = DynamicHead(width)
        self.interaction = Interaction(*attention, options.box_pooling)
        self.second_box = ThreeLayers(width, width, 4)
        self.pyramid = Pyramid(width)
        self.decoder = Decoder(width)
        if options.idle_parts:
            self.idle = IdleParts(width, options.heads, options.hidden)
        self.input_spec = InputSpec(
            image_size=(options.image_size, options.image_size),
            interpolation="cv2-linear",
            tokenizer=options.tokenizer,
            max_tokens=options.max_tokens,
            tokenizer_path=options.tokenizer_path,
        )
        if not options.train_idle:
            for parameter in self._unreached():
                parameter.requires_grad_(False)

    def _unreached(self) -> Iterator[nn.Parameter]:
        """Parameters that no step reaches."""
        yield self.beit3.vision_embed.mask_token
        if self.options.idle_parts:
            yield from self.idle.parameters()

    def checkpoint_activations(self) -> None:
        """Run BEiT-3's layers again in the backward pass; see `Method.checkpoint_activations`."""
        recompute(self.beit3.blocks())

    def sentence(self, words: Tensor, mask: Tensor) -> Tensor:
        """The sentence vector (B, D) of projected words (B, L, D).

        Released code means to take the maximum over real words. But its integer mask, inverted bit by bit, is used as
        an index: -1 for words, -2 for padding. So the vector is the maximum of the two last positions, or the last one
        in a sentence without padding. Both positions of a shorter sentence hold BEiT-3's blank query, which has read
        image and words. `blank` takes that query for every sentence, whatever its padding.
        """
        if self.options.sentence == "max":
            return words.masked_fill(~mask[..., None], float("-inf")).amax(1)
        last = words[:, -1]
        if self.options.sentence == "blank":
            return last
        return torch.where(mask.all(1, keepdim=True), last, torch.maximum(last, words[:, -2]))

    def word_code(self, words: Tensor) -> Tensor:
        """Position code (L, D) of words (B, L, D).

        Released frequencies are cut to whole numbers, so that all but the first are 0.
        """
        length, width = words.shape[1:]
        if self.options.word_positions == "sine":
            return sine_1d(length, width, words)
        place = torch.arange(length, device=words.device, dtype=torch.promote_types(words.dtype, torch.float32))
        angles = place[:, None] * (torch.arange(width // 2, device=words.device) == 0)
        return torch.stack((angles.sin(), angles.cos()), -1).flatten(1).to(words.dtype)

    def place_code(self, maps: Tensor) -> Tensor:
        """Position code (1, g^2, D) of a map's places (B, D, g, g): DETR's, not shifted to the cells' centres."""
        cells = torch.zeros(1, *maps.shape[-2:], dtype=torch.bool, device=maps.device)
        return counted_sine_2d(cells, maps.shape[1], maps, shift=0.0).flatten(1, 2)

    def find(self, states: JointStates, mask: Tensor) -> Found:
        """Both stages.

        Args:
            states: of image and words.
            mask: (B, L) bool, True for real words.
        """
        words, padding = self.words(states.words), ~mask
        side = self.options.image_size // 16
        maps = self.places(states.patches.transpose(1, 2).reshape(len(mask), -1, side, side))
        sentence, code = self.sentence(words, mask), self.place_code(maps)
        asking = (self.query(states.sentence) + self.query_position.weight)[:, None]
        nothing = torch.zeros_like(asking)
        position = self.query_reads_words(nothing, words, asking, self.word_code(words), padding)
        query = self.query_reads_places(nothing, maps.flatten(2).transpose(1, 2), position, code)[:, 0]
        first_box = box_of(self.first_box, query)
        first_mask = self.pixels(maps, sentence)
        state, refined = self.interaction(maps, first_box, first_mask, words, padding, code)
        decoded = self.decoder(self.pyramid(refined))
        box = box_of(self.second_box, state)
        return Found(query, first_box, first_mask, state, refined, decoded, box, self.pixels(decoded, sentence))

    def forward(self, batch: Batch) -> MethodOutput:
        """Logits of the second mask at the input's size (B, 1, H, W).

        `aux` holds the first mask's logits (B, 1, g, g), both boxes as cxcywh, and the second as `boxes` xyxy. Images
        of any size are resized to BEiT-3's.
        """
        # One more position of padding is the blank query, which no other position reads.
        blank = int(self.options.sentence == "blank")
        ids, mask = F.pad(batch.tokens.ids, (0, blank)), F.pad(batch.tokens.mask.bool(), (0, blank))
        images = upsample(batch.images, (self.options.image_size,) * 2)
        found = self.find(self.beit3(images, ids, mask), mask)
        logits = upsample_aligned(at_least_float32(found.mask), (batch.images.shape[-2], batch.images.shape[-1]))
        aux = {
            "first_mask": at_least_float32(found.first_mask),
            "first_box": found.first_box,
            "box": found.box,
            "boxes": to_xyxy(found.box).clamp(0, 1),
        }
        return MethodOutput(logits, aux)

    def loss(self, output: MethodOutput, batch: Batch) -> dict[str, Tensor]:
        """Weighted losses `mask`, `box` and `consistency` of both stages.

        A sample with an empty truth has no box, and adds nothing to `box` and `consistency`.
        """
        options, logits = self.options, output.logits
        size = (logits.shape[-2], logits.shape[-1])
        with full_precision(logits.device):
            target = reduce_mask(batch.masks, size).to(logits.dtype)
            corners, valid = boxes_of_masks(batch.masks, dtype=logits.dtype)
            truths = to_cxcywh(corners)
            share = valid.to(logits.dtype) / valid.sum().clamp(min=1)
            stages = {
                "first": (options.first_weight, upsample_aligned(output.aux["first_mask"], size), "first_box"),
                "second": (1.0, logits, "box"),
            }
            losses: dict[str, Tensor] = {}
            for stage, (weight, mask, name) in stages.items():
                box = at_least_float32(output.aux[name])
                agreement = consistency(mask, box, options.soft_consistency)
                losses |= {
                    f"mask_{stage}": options.mask_weight * weight * mask_loss(mask, target),
                    f"box_{stage}": options.box_weight * weight * (box_distance(box, truths) * share).sum(),
                    f"consistency_{stage}": options.consistency_weight * weight * (agreement * share).sum(),
                }
        return losses

    def param_groups(self, base_lr: float, weight_decay: float) -> list[dict[str, Any]]:
        """BEiT-3 at `beit_rate` times the rate, the other parts at the rate."""
        rest: list[nn.Parameter] = []
        encoder: list[nn.Parameter] = []
        for name, parameter in self.named_parameters():
            (encoder if name.startswith("beit3.") else rest).append(parameter)
        return [
            {"params": trainable(rest), "lr": base_lr, "weight_decay": weight_decay},
            {"params": trainable(encoder), "lr": self.options.beit_rate * base_lr, "weight_decay": weight_decay},
        ]

    def encoders(self) -> dict[str, nn.Module]:
        """BEiT-3."""
        return {"joint": self.beit3}

    def load_pretrained(self) -> dict[str, str]:
        """Load BEiT-3's base weights, if the options name any; see `Method.load_pretrained`."""
        ref = self.options.beit_weights
        return {"beit": load_base(ref, self.beit3.load_tensors)} if ref else {}

    def load_official(self, path: Path) -> str:
        """Load a released checkpoint, strictly; see `Method.load_official`.

        The authors' own import falls back to what fits, in silence.
        """
        with naming_the_file(path):
            official = strip_prefixes(load_tensors(path), ("module.",))
            fit(self, convert(official, self, self.options.idle_parts), "its parameters")
        return sha256_file(path)


def box_of(head: nn.Module, query: Tensor) -> Tensor:
    """A box (B, 4) cxcywh in [0, 1] from its query (B, D); half precision would move it by pixels."""
    with full_precision(query.device):
        box: Tensor = head(at_least_float32(query)).sigmoid()
    return box
