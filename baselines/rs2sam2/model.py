"""RS2-SAM2 (Rong et al., AAAI 2026): BEiT-3 reads image and words, and prompts a SAM 2 whose encoder reads the words.

Legend: `B` batch, `H W` pixels of the input, `S` side of SAM 2's image, `g` = S / 16, `N` patches of BEiT-3, `L` words,
`D` BEiT-3's width, `P` the prompts' width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from baselines.rs2sam2.adapters import CrossAttention, add_adapters, run_block
from baselines.rs2sam2.idle import idle_parts
from baselines.rs2sam2.losses import boundary, two_class_dice, weighted_cross_entropy
from baselines.rs2sam2.options import RS2SAM2Options
from baselines.rs2sam2.weights import load_official
from rrsis_bench.errors import UsageError
from rrsis_bench.methods.base import Method
from rrsis_bench.nn.encoders.beit3 import Beit3, JointStates, start_larger
from rrsis_bench.nn.encoders.sam import ImageFeatures
from rrsis_bench.nn.encoders.sam2 import build_sam2, image_part
from rrsis_bench.nn.encoders.spm import UNKNOWN
from rrsis_bench.nn.layers.freezing import freeze, trainable
from rrsis_bench.nn.layers.losses import reduce_mask, upsample
from rrsis_bench.nn.layers.precision import at_least_float32, full_precision
from rrsis_bench.nn.layers.recompute import again, call, recompute
from rrsis_bench.nn.weights.base import load_base
from rrsis_bench.nn.weights.files import fit
from rrsis_bench.types import Batch, InputSpec, MethodOutput

ADAPTER = ("space_adapter.", "mlp_adapter.")
NEW = (*ADAPTER, "fusion.", "generator.")
"""Parts of the names of new parameters, which train at a higher rate."""
HEADS = 8


class MaskPromptGenerator(nn.Module):
    """A coarse mask from BEiT-3's class token and patches.

    Args:
        width: D.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.read_image = CrossAttention(width, HEADS)
        self.linear = nn.Linear(width, width)
        self.product = nn.Linear(width, 1)

    def forward(self, states: JointStates) -> Tensor:
        """Probabilities (B, 1, n, n) on the square grid of the N patches."""
        sentence, patches = states.sentence[:, None], states.patches
        key = self.linear(sentence * self.read_image(sentence, patches))
        side = round(patches.shape[1] ** 0.5)
        mask: Tensor = self.product(patches * key).sigmoid().transpose(1, 2).unflatten(2, (side, side))
        return mask


class RS2SAM2(Method):
    """BEiT-3, mask prompt generator, and SAM 2 with text adapters.

    Args:
        options: all choices; the defaults are the published sizes.
    """

    name: ClassVar[str] = "rs2sam2"
    Options: ClassVar[type[Any]] = RS2SAM2Options

    def __init__(self, options: RS2SAM2Options) -> None:
        super().__init__()
        self.options = options = options.settled()
        joint, width = options.beit_width, options.prompt_width
        self.beit3 = Beit3(options.beit, options.beit_image_size)
        self.generator = MaskPromptGenerator(joint)
        self.sparse = nn.Sequential(nn.Linear(joint, joint), nn.ReLU(), nn.Linear(joint, width))
        self.words = nn.Linear(joint, width)
        self.edge = nn.Linear(width, 1)
        self.sam = build_sam2(options.sam)
        self.sam.mask_decoder.dynamic_multimask_via_stability = False
        if options.train_trunk:
            # SAM 2's own deviations of 0.02 leave the three-layer networks of the mask decoder near zero.
            start_larger(self.beit3, self.sam)
            nn.init.normal_(self.hiera.pos_embed, std=0.5)
        add_adapters(self.hiera, width, options.adapter_heads, options.zero_start)
        self.fusion = CrossAttention(width, HEADS)
        if options.idle_parts:
            self.idle = idle_parts(width, joint)
        self.run: Callable[..., Any] = call
        self.input_spec = InputSpec(
            image_size=(options.image_size, options.image_size),
            tokenizer=options.tokenizer,
            max_tokens=options.max_tokens,
            tokenizer_path=options.tokenizer_path,
        )
        if not options.train_trunk:
            freeze(self.sam.vision_encoder)
            for name, parameter in self.sam.vision_encoder.named_parameters():
                parameter.requires_grad_(any(part in name for part in ADAPTER))
        if not options.train_idle:
            for parameter in self._unreached():
                parameter.requires_grad_(False)

    @property
    def hiera(self) -> Any:
        """SAM 2's trunk."""
        return self.sam.vision_encoder.backbone

    def _unreached(self) -> Iterator[nn.Parameter]:
        """Parameters that no step reaches."""
        prompts, decoder = self.sam.prompt_encoder, self.sam.mask_decoder
        parts = [prompts.point_embed, prompts.not_a_point_embed, prompts.no_mask_embed, decoder.iou_prediction_head]
        parts += [decoder.pred_obj_score_head, *decoder.output_hypernetworks_mlps[1:]]
        parts += [] if self.options.boundary_weight else [self.edge]
        parts += [self.idle] if self.options.idle_parts else []
        for part in parts:
            yield from part.parameters()
        yield from self.hiera.blocks[-1].space_adapter.idle()
        yield self.beit3.vision_embed.mask_token

    def checkpoint_activations(self) -> None:
        """Run the blocks of both encoders again in the backward pass; see `Method.checkpoint_activations`."""
        self.run = again
        recompute(self.beit3.blocks())

    def read(self, images: Tensor, ids: Tensor, mask: Tensor) -> JointStates:
        """Encode image and words together.

        Args:
            images: (B, 3, n, n), n the side of BEiT-3's image.
            ids: (B, L).
            mask: (B, L) bool, True for real tokens. BEiT-3 takes an unknown word for padding, whose id it shares.
        """
        states: JointStates = self.beit3(images, ids, mask & (ids != UNKNOWN))
        return states

    def trunk(self, images: Tensor, words: Tensor, mask: Tensor | None) -> Iterator[tuple[Tensor, Tensor]]:
        """Run Hiera block by block.

        Args:
            images: (B, 3, S, S).
            words: (B, L, P).
            mask: (B, L) bool, True for words that the adapters read; None for all.

        Yields:
            the map (B, h, w, C) and the words (B, L, P) after each block.
        """
        x = self.hiera.patch_embed(images)
        x = x + self.hiera._get_pos_embed(x.shape[1:3])
        for block in self.hiera.blocks:
            x, words = self.run(run_block, block, x, words, mask)
            yield x, words

    def neck(self, maps: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Bring the maps of the four stages to P channels; that of stride 32 is added to that of stride 16.

        The library's own neck rounds to float32 in between.

        Args:
            maps: (B, h, w, C) of strides 4, 8, 16, 32.

        Returns:
            (B, P, h, w) of strides 4, 8, 16.
        """
        laterals = reversed(self.sam.vision_encoder.neck.convs)
        finest, finer, main, coarse = (conv(x.permute(0, 3, 1, 2)) for conv, x in zip(laterals, maps, strict=True))
        return finest, finer, main + coarse.repeat_interleave(2, -2).repeat_interleave(2, -1)

    def fuse(self, main: Tensor, words: Tensor, mask: Tensor | None) -> Tensor:
        """Multiply the main map (B, P, g, g) by what its places read from the words (B, L, P), without a residual."""
        places = main.flatten(2).transpose(1, 2)
        code: Tensor = self.sam.get_image_wide_positional_embeddings().flatten(2).transpose(1, 2)
        read: Tensor = self.fusion(places + code, words, mask)
        return (places * read).transpose(1, 2).reshape(main.shape)

    def decode(self, features: ImageFeatures, sparse: Tensor, dense: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The first of SAM 2's masks.

        Args:
            features: the fused main map, and the two fine maps.
            sparse: (B, 1, P), the only sparse prompt.
            dense: (B, P, g, g).

        Returns:
            mask (B, 1, 4g, 4g), predicted IoU (B, 1), score of an object (B, 1).
        """
        masks, iou, _, score = self.sam.mask_decoder(
            image_embeddings=features.main,
            image_positional_embeddings=self.sam.get_image_wide_positional_embeddings().expand(len(dense), -1, -1, -1),
            sparse_prompt_embeddings=sparse[:, None],
            dense_prompt_embeddings=dense,
            multimask_output=False,
            high_resolution_features=list(features.fine),
        )
        return masks[:, 0], iou[:, 0], score[:, 0]

    def dense_prompt(self, states: JointStates) -> Tensor:
        """The coarse mask as SAM 2's dense prompt (B, P, g, g); its values are probabilities, not logits."""
        size = 4 * self.options.image_size // 16
        dense: Tensor = self.sam.prompt_encoder.mask_embed(upsample(self.generator(states), (size, size)))
        return dense

    def segment(self, images: Tensor, states: JointStates, words: Tensor, mask: Tensor | None) -> Tensor:
        """SAM 2's mask m (B, 1, 4g, 4g) at a quarter of its image's size.

        Args:
            images: (B, 3, S, S).
            states: from `read`.
            words: (B, L, P), T.
            mask: (B, L) bool, True for words that adapters and decoder read; None for all.
        """
        ends = set(self.hiera.stage_ends)
        maps = [x for number, (x, _) in enumerate(self.trunk(images, words, mask)) if number in ends]
        finest, finer, main = self.neck(maps)
        main = self.fuse(main + self.sam.no_memory_embedding.reshape(1, -1, 1, 1), words, mask)
        decoder = self.sam.mask_decoder
        features = ImageFeatures(main, (decoder.conv_s0(finest), decoder.conv_s1(finer)))
        return self.decode(features, self.sparse(states.sentence)[:, None], self.dense_prompt(states))[0]

    def forward(self, batch: Batch) -> MethodOutput:
        """Logits z = 2 m - 1 at the input's size (B, 1, H, W): the released prediction m > 0.5 is z > 0.

        `aux` holds m and the boundary loss's weight (B,) if that loss is on. Images of any size are resized to the
        encoders' own sizes.
        """
        options = self.options
        ids, mask = batch.tokens.ids, batch.tokens.mask
        masked = options.text_padding == "masked"
        if not masked:
            # Only this released form makes the host wait for a number of the device.
            longest = int(mask.sum(1).max())
            ids, mask = ids[:, :longest], mask[:, :longest]
        side = (options.beit_image_size,) * 2
        small = F.interpolate(batch.images, side, mode="bilinear", align_corners=False, antialias=True)
        states = self.read(small, ids, mask)
        words = self.words(states.words)
        images = upsample(batch.images, (options.image_size,) * 2)
        low = self.segment(images, states, words, mask if masked else None)
        m = upsample(at_least_float32(low), (batch.images.shape[-2], batch.images.shape[-1]))
        aux = {"mask": m, "edge": self.edge(words[:, 0])[:, 0]} if options.boundary_weight else {}
        return MethodOutput(2 * m - 1, aux)

    def loss(self, output: MethodOutput, batch: Batch) -> dict[str, Tensor]:
        """Weighted losses: cross-entropy and Dice of two classes, and the boundary loss if it is on."""
        options, logits = self.options, output.logits
        target = reduce_mask(batch.masks, (logits.shape[-2], logits.shape[-1])).to(logits.dtype)
        with full_precision(logits.device):
            losses = {
                "ce": options.ce_weight * weighted_cross_entropy(logits, target).mean(),
                "dice": options.dice_weight * two_class_dice(logits, target).mean(),
            }
            if options.boundary_weight:
                weight = at_least_float32(output.aux["edge"])
                losses["boundary"] = options.boundary_weight * boundary(output.aux["mask"], target, weight).mean()
        return losses

    def param_groups(self, base_lr: float, weight_decay: float) -> list[dict[str, Any]]:
        """New parts, and a trunk that starts from random values, at `new_rate` times the rate; all parameters decay."""
        new: list[nn.Parameter] = []
        given: list[nn.Parameter] = []
        for name, parameter in self.named_parameters():
            mine = any(part in name for part in NEW) or name.startswith("sam.vision_encoder.")
            (new if mine else given).append(parameter)
        return [
            {"params": trainable(new), "lr": self.options.new_rate * base_lr, "weight_decay": weight_decay},
            {"params": trainable(given), "lr": base_lr, "weight_decay": weight_decay},
        ]

    def encoders(self) -> dict[str, nn.Module]:
        """BEiT-3, and SAM 2's image encoder with its adapters."""
        return {"joint": self.beit3, "segmenting": self.sam.vision_encoder}

    def load_pretrained(self) -> dict[str, str]:
        """Load the base weights of BEiT-3 and SAM 2; see `Method.load_pretrained`.

        Raises:
            UsageError: no weights are named for a trunk that stays frozen.
            MissingResourceError: a file is missing, unreadable or of another network.
        """
        options = self.options
        if not options.segmenter_weights and not options.train_trunk:
            raise UsageError(
                "rs2sam2: segmenter_weights names no file for the frozen trunk; set it in model.options "
                "(see configs/methods/rs2sam2.yaml)."
            )
        named = {
            "beit": (options.beit_weights, self.beit3.load_tensors),
            "segmenter": (options.segmenter_weights, self._load_segmenter),
        }
        return {part: load_base(ref, load) for part, (ref, load) in named.items() if ref}

    def _load_segmenter(self, tensors: Mapping[str, Tensor]) -> None:
        own = {name: x for name, x in self.sam.state_dict().items() if any(part in name for part in ADAPTER)}
        fit(self.sam, {**image_part(tensors), **own}, "SAM 2 weights")

    def load_official(self, path: Path) -> str:
        """Load a released checkpoint (`weights.py`); see `Method`."""
        return load_official(self, path, self.options.idle_parts)
