"""RSRefSeg 2 (Chen et al., TGRS 2026): a dual encoder locates the referent, a promptable segmenter outlines it.

Legend: `B` samples of a batch, `U` its images, `H W` pixels of the input, `h w` map of the dual encoder, `D` its width,
`L` words, `P` width of the segmenter's prompts.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.rsrefseg2.losses import contrastive, decorrelation, duplicate_keys, region_features, squared_dice
from baselines.rsrefseg2.options import RSRefSeg2Options
from baselines.rsrefseg2.prompter import CascadedPrompter
from baselines.rsrefseg2.weights import load_official
from rrsis_bench.errors import UsageError
from rrsis_bench.methods.base import Method
from rrsis_bench.nn.encoders.build import build_dual_encoder, build_segmenter
from rrsis_bench.nn.encoders.dual_encoder import DualEncoder, EncodedText
from rrsis_bench.nn.encoders.sam import ImageFeatures
from rrsis_bench.nn.layers.freezing import trainable
from rrsis_bench.nn.layers.losses import binary_cross_entropy, reduce_mask, upsample
from rrsis_bench.nn.layers.precision import full_precision
from rrsis_bench.nn.layers.recompute import recompute
from rrsis_bench.nn.weights.base import load_frozen
from rrsis_bench.types import Batch, InputSpec, MethodOutput

LARGEST_SCALE = math.log(120.0)
TABLES = ("_position", "prompt_start", "_token", "tokens", "embed")
"""Parts of the names of tables, which have no weight decay by default."""


class Contrast(nn.Module):
    """Scale and bias of the contrastive loss; the first pair serves losses that the published recipe switches off."""

    def __init__(self) -> None:
        super().__init__()
        self.log_scale1, self.log_scale2 = (nn.Parameter(torch.full((1,), math.log(1 / 0.07))) for _ in range(2))
        self.bias1, self.bias2 = (nn.Parameter(torch.full((1,), math.log(0.5))) for _ in range(2))

    def idle(self) -> list[nn.Parameter]:
        """All parameters but the scale that affects the softmax."""
        return [parameter for name, parameter in self.named_parameters() if name != "log_scale2"]


class RSRefSeg2(Method):
    """Dual encoder, cascaded prompter, promptable segmenter.

    Args:
        options: all choices; the defaults are the published sizes.
    """

    name: ClassVar[str] = "rsrefseg2"
    Options: ClassVar[type[Any]] = RSRefSeg2Options
    shares_images: ClassVar[bool] = True
    colours: Tensor

    def __init__(self, options: RSRefSeg2Options) -> None:
        super().__init__()
        self.options = options = options.settled()
        self.dual = build_dual_encoder(options.dual, options.dual_image_size)
        self.segmenter = build_segmenter(options.segmenter, options.segmenter_library)
        self.segmenter.stability = options.stability
        self.prompter = CascadedPrompter(
            self.dual.width,
            self.segmenter.width,
            self.dual.grid,
            options.queries,
            options.prompts,
            options.heads,
            options.inner,
            options.hidden,
            options.depth,
            options.dense_norm,
        )
        self.contrast = Contrast()
        self.input_spec = spec = input_spec(options, self.segmenter.image_size, self.dual)
        # A buffer moves with the network; numbers made in each step would make the host wait for the device.
        colours = torch.tensor((spec.mean, spec.std, self.dual.mean, self.dual.std))
        self.register_buffer("colours", colours[..., None, None], persistent=False)
        self.dual.add_lora(options.lora_rank, options.lora_alpha, options.pooling_head_lora)
        self.segmenter.add_lora(options.lora_rank, options.lora_alpha)
        if not options.train_idle:
            for parameter in (*self.segmenter.idle(), *self.contrast.idle()):
                parameter.requires_grad_(False)

    def checkpoint_activations(self) -> None:
        """Recompute the encoders' blocks in the backward pass instead of keeping their activations."""
        recompute([*self.dual.blocks(), *self.segmenter.blocks()])

    def encode_text(self, batch: Batch) -> tuple[EncodedText, Tensor | None]:
        """Encode the expressions; the mask (B, L) is None if padding counts as words."""
        ids, mask = batch.tokens.ids, batch.tokens.mask
        if self.options.text_padding == "masked":
            text = self.dual.encode_text(ids, mask)
            return text, text.mask
        # Only this released form makes the host wait for a number of the device.
        longest = int(mask.sum(1).max())
        return self.dual.encode_text(ids[:, :longest], mask[:, :longest], padded=False), None

    def for_dual(self, images: Tensor) -> Tensor:
        """Rescale and resize images from the segmenter's input to the dual encoder's."""
        mean, std, dual_mean, dual_std = self.colours.to(images.dtype)
        scaled = (images * std + mean - dual_mean) / dual_std
        return upsample(scaled, (self.dual.image_size, self.dual.image_size))

    def encode_images(self, images: Tensor) -> tuple[Tensor, ...]:
        """Encode images (U, 3, H, W): the dual encoder's map (U, D, h, w), then the segmenter's maps."""
        side = self.segmenter.image_size
        images = upsample(images, (side, side))
        outlined = self.segmenter.encode_image(images)
        return self.dual.encode_image(self.for_dual(images)), outlined.main, *outlined.fine

    def forward(self, batch: Batch) -> MethodOutput:
        """Logits at the input's size (B, 1, H, W); `aux` holds the features that the losses read.

        Images of any size are resized to the encoders' own sizes.
        """
        size = (batch.images.shape[-2], batch.images.shape[-1])
        features, main, *fine = (batch.per_sample(one) for one in self.encoded(batch))
        text, mask = self.encode_text(batch)
        grid = (features.shape[-2], features.shape[-1])
        prompts = self.prompter(features.flatten(2).transpose(1, 2), text.words, grid, mask)
        refined = prompts.refined.transpose(1, 2).unflatten(-1, grid)
        dense = self.prompter.dense(
            refined,
            text.sentence,
            self._clamped(self.dual.log_scale),
            self.dual.bias,
            self.segmenter.prompt_size,
            self.options.low_memory,
        )
        logits = self.segmenter.segment(ImageFeatures(main, tuple(fine)), prompts.sparse, dense)
        aux = {"image": features, "first": prompts.first, "second": prompts.second, "dense": dense}
        return MethodOutput(upsample(logits, size), aux)

    def _clamped(self, log_scale: Tensor) -> Tensor:
        return log_scale.clamp(max=LARGEST_SCALE) if self.options.clamp_scales else log_scale

    def loss(self, output: MethodOutput, batch: Batch) -> dict[str, Tensor]:
        """Weighted losses: cross-entropy and Dice of the mask, decorrelation of the query sets, contrast."""
        options, aux = self.options, output.aux
        target = reduce_mask(batch.masks, (output.logits.shape[-2], output.logits.shape[-1]))
        keys = None
        if not options.contrast_duplicates:
            keys = duplicate_keys(batch.texts, batch.image_ids, output.logits.device)
        with full_precision(output.logits.device):
            regions = region_features(aux["image"], batch.masks, options.contrast_label)
            queries = F.normalize(aux["second"].float().mean(1), dim=-1)
            scale = self._clamped(self.contrast.log_scale2)
            return {
                "bce": options.bce_weight * binary_cross_entropy(output.logits, target),
                "dice": options.dice_weight * squared_dice(output.logits, target),
                "diversity": options.diversity_weight * decorrelation(aux["first"], aux["second"]),
                "contrast": options.contrast_weight * contrastive(regions, queries, scale, self.contrast.bias2, keys),
            }

    def param_groups(self, base_lr: float, weight_decay: float) -> list[dict[str, Any]]:
        """One learning rate. Matrices decay; norms, biases, tables and scalars decay only with `decay_all`."""
        if self.options.decay_all:
            return super().param_groups(base_lr, weight_decay)
        decayed: list[nn.Parameter] = []
        plain: list[nn.Parameter] = []
        for name, parameter in self.named_parameters():
            spared = parameter.ndim < 2 or any(part in name for part in TABLES)
            (plain if spared else decayed).append(parameter)
        return [
            {"params": trainable(decayed), "lr": base_lr, "weight_decay": weight_decay},
            {"params": trainable(plain), "lr": base_lr, "weight_decay": 0.0},
        ]

    def encoders(self) -> dict[str, nn.Module]:
        """The three encoders with their LoRA updates."""
        return {"localising": self.dual.vision, "segmenting": self.segmenter.encoder(), "text": self.dual.text}

    def load_pretrained(self) -> dict[str, str]:
        """Load the base weights of both models; see `Method.load_pretrained`.

        Raises:
            UsageError: an option is empty; `random` is the word for a random start.
            MissingResourceError: a file is missing, unreadable or of another network.
        """
        return load_frozen(
            self.name, self.options, {"dual": self.dual.load_tensors, "segmenter": self.segmenter.load_tensors}
        )

    def load_official(self, path: Path) -> str:
        """Load a released checkpoint (`weights.py`) and print the number of tensors per part; see `Method`."""
        placed = load_official(self, path)
        print(placed, flush=True)
        return placed.sha256


def input_spec(options: RSRefSeg2Options, side: int, dual: DualEncoder) -> InputSpec:
    """The segmenter's input, a square of `side` pixels, and the dual encoder's tokenizer."""
    if options.max_tokens > dual.context:
        raise UsageError(
            f"rsrefseg2: max_tokens {options.max_tokens}, but {options.dual} takes {dual.context} at most."
        )
    own = dual.tokenizer if options.lower_case else dual.cased_tokenizer
    return InputSpec(
        image_size=(side, side),
        tokenizer=options.tokenizer or own,
        max_tokens=options.max_tokens,
        interpolation="cv2-linear",
        tokenizer_path=options.tokenizer_path,
    )
