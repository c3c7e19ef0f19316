"""Promptable segmenters of the SAM family: an image encoder, and a mask decoder that reads prompts.

Legend: `B` batch, `S` side of the input, `P` width of prompts, `g` side of the main map, `M` sparse prompts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from rrsis_bench.nn.layers.precision import full_precision

Library = Literal["transformers", "segment-anything"]
"""Whose code runs SAM v1; SAM 2 runs on `transformers` alone."""
Rules = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class ImageFeatures:
    """Images as the mask decoder reads them.

    Attributes:
        main: (B, P, g, g).
        fine: maps of higher resolution, finest first: (B, P / 8, 4g, 4g) and (B, P / 4, 2g, 2g), or none.
    """

    main: Tensor
    fine: tuple[Tensor, ...] = ()

    def select(self, index: Tensor) -> ImageFeatures:
        """The features of some images, an image once for each prompt that asks for it.

        Args:
            index: (N,) int64 positions in the batch.
        """
        return ImageFeatures(self.main[index], tuple(level[index] for level in self.fine))


class PromptableSegmenter(nn.Module):
    """A frozen image encoder with LoRA; the prompt encoder and the mask decoder train wholly.

    `nn/encoders/build.py` makes one by name. A subclass is built as `Class(name)` with random weights.

    Args:
        name: of `sizes`.

    Attributes:
        sizes: names of the released networks, and their sizes.
        image_size: S, side in pixels of its images, which are normalised by ImageNet's mean and deviation.
        grid: g.
        width: P.
        network: the library's model that holds all parts.
        stability: in evaluation, SAM 2 replaces a mask that a small shift of the threshold would change by the best of
            its three other masks. SAM ignores it.
    """

    sizes: ClassVar[Mapping[str, Any]]
    image_size: int
    grid: int
    width: int
    network: Any
    stability: bool = False

    @property
    def prompt_size(self) -> tuple[int, int]:
        """Size of the dense prompt and of the mask logits."""
        return 4 * self.grid, 4 * self.grid

    def encode_image(self, images: Tensor) -> ImageFeatures:
        """Encode normalised images (B, 3, S, S) for the mask decoder."""
        raise NotImplementedError

    def segment(self, features: ImageFeatures, sparse: Tensor, dense: Tensor) -> Tensor:
        """One mask for each image.

        Args:
            features: from `encode_image`.
            sparse: (B, M, P) prompts in the place of the prompt encoder's output.
            dense: (B, 1, 4g, 4g) mask logits as a prompt.

        Returns:
            logits (B, 1, 4g, 4g).
        """
        return self.decode(features, sparse, self.embed_mask(dense))

    def prompt(self, points: Tensor | None, labels: Tensor | None, boxes: Tensor | None) -> tuple[Tensor, Tensor]:
        """Embed points and boxes by the library's own prompt encoder, one prompt set for each of B images.

        Coordinates are x before y, in pixels of the S x S input, and count from the middle of the first pixel: the
        libraries add 0.5 to points and to boxes.

        Args:
            points: (B, N, 2); None for a box alone. Without a box, the library adds one padding point.
            labels: (B, N) 1 for foreground, 0 for background, -1 for a place that is no point.
            boxes: (B, 4) left, top, right, bottom; None for points alone.

        Returns:
            sparse prompts (B, M, P) and the embedded dense prompt "no mask" (B, P, g, g), for `decode`.

        Raises:
            ValueError: neither points nor boxes are given, or points without labels.
        """
        if (points is None) != (labels is None) or (points is None and boxes is None):
            raise ValueError("a prompt needs points with their labels, a box, or both.")
        given = points if points is not None else boxes
        assert given is not None
        # In half precision, the random position code would give neighbouring pixels one value.
        with full_precision(given.device):
            return self._prompt(points, labels, boxes)

    def _prompt(self, points: Tensor | None, labels: Tensor | None, boxes: Tensor | None) -> tuple[Tensor, Tensor]:
        """The prompts of `prompt`, as transformers' models embed them: with an axis of prompts per image."""
        code = self.network.prompt_encoder.shared_embedding.positional_embedding
        sparse, dense = self.network.prompt_encoder(
            None if points is None else points[:, None].to(code.dtype),
            None if labels is None else labels[:, None].to(torch.int32),
            None if boxes is None else boxes[:, None].to(code.dtype),
            None,
        )
        return sparse[:, 0], dense

    def embed_mask(self, dense: Tensor) -> Tensor:
        """Embed mask logits (B, 1, 4g, 4g) as a dense prompt (B, P, g, g)."""
        embedded: Tensor = self.network.prompt_encoder.mask_embed(dense)
        return embedded

    def decode(self, features: ImageFeatures, sparse: Tensor, embedded: Tensor) -> Tensor:
        """One mask for each image from prompts that are already embedded.

        Args:
            features: from `encode_image`.
            sparse: (B, M, P).
            embedded: (B, P, g, g), from `prompt` or `embed_mask`.

        Returns:
            logits (B, 1, 4g, 4g).
        """
        raise NotImplementedError

    def decode_three(self, features: ImageFeatures, sparse: Tensor, embedded: Tensor) -> tuple[Tensor, Tensor]:
        """The three masks that answer an ambiguous prompt, see `decode`.

        Returns:
            logits (B, 3, 4g, 4g) and their predicted IoU (B, 3).
        """
        raise NotImplementedError

    def decode_best(self, features: ImageFeatures, sparse: Tensor, embedded: Tensor) -> Tensor:
        """Logits (B, 1, 4g, 4g) of the mask of the highest predicted IoU among three, see `decode_three`."""
        masks, quality = self.decode_three(features, sparse, embedded)
        best = quality.argmax(1)
        return masks[torch.arange(len(best), device=best.device), best][:, None]

    def segment_prompted(
        self, features: ImageFeatures, points: Tensor | None, labels: Tensor | None, boxes: Tensor | None
    ) -> Tensor:
        """Logits (B, 1, 4g, 4g) of the mask that points and boxes ask for; see `prompt`."""
        return self.decode(features, *self.prompt(points, labels, boxes))

    def encoder(self) -> nn.Module:
        """The image encoder."""
        raise NotImplementedError

    def add_lora(self, rank: int, alpha: float) -> None:
        """Freeze the image encoder and add low-rank updates to its attention and to its neck's convolutions."""
        raise NotImplementedError

    def idle(self) -> list[nn.Parameter]:
        """Parameters that get no gradient from a single mask of these prompts."""
        raise NotImplementedError

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Load base weights in any layout they are published in.

        Raises:
            MissingResourceError: the tensors are not this network's; the message names the first that do not fit.
        """
        raise NotImplementedError

    def blocks(self) -> list[nn.Module]:
        """The image encoder's blocks; activation checkpointing runs each of them twice."""
        raise NotImplementedError


def decode(
    model: Any, features: ImageFeatures, sparse: Tensor, embedded: Tensor, three: bool = False, **maps: Any
) -> tuple[Tensor, Tensor]:
    """Decode with a model from transformers; its mask decoder gets `maps` too.

    Returns:
        logits (B, 1, 4g, 4g), or (B, 3, 4g, 4g) with `three`, and the predicted IoU of each.
    """
    masks, quality = model.mask_decoder(
        image_embeddings=features.main,
        image_positional_embeddings=model.get_image_wide_positional_embeddings().expand(len(sparse), -1, -1, -1),
        sparse_prompt_embeddings=sparse[:, None],
        dense_prompt_embeddings=embedded,
        multimask_output=three,
        **maps,
    )[:2]
    return masks[:, 0], quality[:, 0]


def tie_position_codes(network: Any) -> None:
    """Give both copies of the random position code in a transformers model the same values, as in all weights."""
    network.prompt_encoder.shared_embedding.positional_embedding.data.copy_(
        network.shared_image_embedding.positional_embedding
    )


def rename(name: str, rules: Rules) -> str:
    """Apply all rules (pattern, replacement) to a parameter's name, in turn."""
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


MASK_DOWNSCALING: Rules = (
    (r"mask_downscaling\.0\.", "mask_embed.conv1."),
    (r"mask_downscaling\.1\.", "mask_embed.layer_norm1."),
    (r"mask_downscaling\.3\.", "mask_embed.conv2."),
    (r"mask_downscaling\.4\.", "mask_embed.layer_norm2."),
    (r"mask_downscaling\.6\.", "mask_embed.conv3."),
)
DECODER: Rules = (
    (r"output_upscaling\.0\.", "upscale_conv1."),
    (r"output_upscaling\.1\.", "upscale_layer_norm."),
    (r"output_upscaling\.3\.", "upscale_conv2."),
    (r"transformer\.norm_final_attn\.", "transformer.layer_norm_final_attn."),
    (r"(transformer\.layers\.\d+)\.norm(\d)\.", r"\1.layer_norm\2."),
    # MLPs of three layers: first, middle, last.
    (r"((?:mlps\.\d+)|(?:_head))\.layers\.0\.", r"\1.proj_in."),
    (r"((?:mlps\.\d+)|(?:_head))\.layers\.2\.", r"\1.proj_out."),
    (r"((?:mlps\.\d+)|(?:_head))\.layers\.1\.", r"\1.layers.0."),
)
"""Authors' names -> transformers' names, for the mask decoder that SAM and SAM 2 share."""
