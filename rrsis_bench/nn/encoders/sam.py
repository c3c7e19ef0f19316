"""Promptable segmenters of the SAM family: an image encoder, and a mask decoder that reads prompts.

Legend: `B` batch, `S` side of the input, `P` width of prompts, `g` side of the main map, `M` sparse prompts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

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
        raise NotImplementedError

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


def decode(model: Any, features: ImageFeatures, sparse: Tensor, dense: Tensor, **maps: Any) -> Tensor:
    """Decode with a model from transformers, see `PromptableSegmenter.segment`; its mask decoder gets `maps` too."""
    _, embedded = model.prompt_encoder(input_points=None, input_labels=None, input_boxes=None, input_masks=dense)
    masks = model.mask_decoder(
        image_embeddings=features.main,
        image_positional_embeddings=model.get_image_wide_positional_embeddings().expand(len(dense), -1, -1, -1),
        sparse_prompt_embeddings=sparse[:, None],
        dense_prompt_embeddings=embedded,
        multimask_output=False,
        **maps,
    )[0]
    logits: Tensor = masks[:, 0]
    return logits


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
