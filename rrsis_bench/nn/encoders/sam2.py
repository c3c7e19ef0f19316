"""SAM 2.1 (arXiv 2408.00714) from transformers as a promptable segmenter of single images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import Sam2Config, Sam2HieraDetConfig, Sam2Model, Sam2VisionConfig

from rrsis_bench.errors import MissingResourceError
from rrsis_bench.nn.encoders.sam import (
    DECODER,
    MASK_DOWNSCALING,
    ImageFeatures,
    PromptableSegmenter,
    Rules,
    decode,
    rename,
    tie_position_codes,
)
from rrsis_bench.nn.layers.lora import add_lora, fit_base


@dataclass(frozen=True)
class Sam2Size:
    """Sizes of a SAM 2.1 network: Hiera's, then those of prompts and mask decoder."""

    width: int
    heads: int
    depths: tuple[int, ...]
    global_blocks: tuple[int, ...]
    windows: tuple[int, ...] = (8, 4, 14, 7)
    background: int = 7
    image: int = 1024
    prompt: int = 256
    decoder_hidden: int = 2048
    decoder_heads: int = 8
    iou_hidden: int = 0
    """Width inside the head of predicted IoUs; 0 for the prompts' width."""


SIZES: Mapping[str, Sam2Size] = {
    "sam2.1-t": Sam2Size(96, 1, (1, 2, 7, 2), (5, 7, 9)),
    "sam2.1-s": Sam2Size(96, 1, (1, 2, 11, 2), (7, 10, 13)),
    "sam2.1-b+": Sam2Size(112, 2, (2, 3, 16, 3), (12, 16, 20), background=14),
    "sam2.1-l": Sam2Size(144, 2, (2, 6, 36, 4), (23, 33, 43), (8, 4, 16, 8)),
    # For tests.
    "sam2.1-nano": Sam2Size(16, 1, (1, 1, 2, 1), (3,), (4, 2, 2, 2), 4, 64, 32, 48, 4),
}
TARGETS = r"backbone\.blocks\.\d+\.attn\.(qkv|proj)|neck\.convs\.\d+"
MEMORY = (
    "memory_",
    "mask_downsample",
    "object_pointer_proj",
    "temporal_positional_encoding_projection_layer",
    "no_memory_positional_encoding",
    "no_object_pointer",
    "occlusion_spatial_embedding_parameter",
    # The authors' names of the same.
    "maskmem_tpos_enc",
    "no_mem_pos_enc",
    "no_obj_ptr",
    "no_obj_embed_spatial",
    "obj_ptr_tpos_proj",
    "obj_ptr_proj",
)
"""Prefixes of the video memory's parameters, which single images do not need."""
TRUNK: Rules = (
    (r"^image_encoder\.trunk\.", "vision_encoder.backbone."),
    (r"^image_encoder\.neck\.convs\.(\d+)\.conv\.", r"vision_encoder.neck.convs.\1."),
    (r"patch_embed\.proj\.", "patch_embed.projection."),
    (r"(blocks\.\d+)\.norm(\d)\.", r"\1.layer_norm\2."),
    (r"(blocks\.\d+\.mlp)\.layers\.0\.", r"\1.proj_in."),
    (r"(blocks\.\d+\.mlp)\.layers\.1\.", r"\1.proj_out."),
)
PROMPTS: Rules = (
    (r"^sam_prompt_encoder\.", "prompt_encoder."),
    (r"pe_layer\.positional_encoding_gaussian_matrix", "shared_embedding.positional_embedding"),
    *MASK_DOWNSCALING,
)
HEADS: Rules = (
    (r"^sam_mask_decoder\.", "mask_decoder."),
    (r"^no_mem_embed$", "no_memory_embedding"),
    (r"(mask_decoder\.transformer\..*attn.*)\.out_proj\.", r"\1.o_proj."),
    (r"(mask_decoder\.transformer\.layers\.\d+\.mlp)\.layers\.0\.", r"\1.proj_in."),
    (r"(mask_decoder\.transformer\.layers\.\d+\.mlp)\.layers\.1\.", r"\1.proj_out."),
    *DECODER,
)


class Sam2(PromptableSegmenter):
    """The image part of SAM 2.1."""

    sizes = SIZES

    def __init__(self, name: str) -> None:
        super().__init__()
        size = SIZES[name]
        self.image_size, self.grid, self.width = size.image, size.image // 16, size.prompt
        self.network = build_sam2(size)

    def encode_image(self, images: Tensor) -> ImageFeatures:
        """Encode; the no-memory embedding is added to the main map."""
        model = self.network
        finest, finer, main = model.vision_encoder(images).fpn_hidden_states
        decoder = model.mask_decoder
        main = main + model.no_memory_embedding.reshape(1, -1, 1, 1)
        return ImageFeatures(main, (decoder.conv_s0(finest), decoder.conv_s1(finer)))

    def decode(self, features: ImageFeatures, sparse: Tensor, embedded: Tensor) -> Tensor:
        """Decode, see `PromptableSegmenter.decode`."""
        self.network.mask_decoder.dynamic_multimask_via_stability = self.stability
        return decode(self.network, features, sparse, embedded, high_resolution_features=list(features.fine))[0]

    def decode_three(self, features: ImageFeatures, sparse: Tensor, embedded: Tensor) -> tuple[Tensor, Tensor]:
        """Decode, see `PromptableSegmenter.decode_three`."""
        return decode(self.network, features, sparse, embedded, True, high_resolution_features=list(features.fine))

    def encoder(self) -> nn.Module:
        """Hiera and its neck."""
        encoder: nn.Module = self.network.vision_encoder
        return encoder

    def add_lora(self, rank: int, alpha: float) -> None:
        """Adapt the qkv and output projections of all blocks, and the neck's four convolutions."""
        add_lora(self.encoder(), TARGETS, rank, alpha)

    def idle(self) -> list[nn.Parameter]:
        """Point and no-mask embeddings, IoU and object heads, and the networks of the three other masks."""
        prompts, decoder = self.network.prompt_encoder, self.network.mask_decoder
        parts = [prompts.point_embed, prompts.not_a_point_embed, prompts.no_mask_embed, decoder.iou_prediction_head]
        parts += [decoder.pred_obj_score_head, *decoder.output_hypernetworks_mlps[1:]]
        return [parameter for part in parts for parameter in part.parameters()]

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Load a SAM 2.1 checkpoint in transformers' or the authors' layout; the video memory's parts are left out."""
        fit_base(self.network, image_part(tensors), "SAM 2 weights")

    def blocks(self) -> list[nn.Module]:
        """Hiera's blocks."""
        return list(self.network.vision_encoder.backbone.blocks)


def build_sam2(size: Sam2Size) -> Sam2Model:
    """The image part of a SAM 2 network of the given sizes, with random weights."""
    stages = range(len(size.depths))
    widths = [size.width << k for k in stages]
    hiera = Sam2HieraDetConfig(
        hidden_size=size.width,
        num_attention_heads=size.heads,
        image_size=[size.image, size.image],
        blocks_per_stage=list(size.depths),
        embed_dim_per_stage=widths,
        num_attention_heads_per_stage=[size.heads << k for k in stages],
        window_size_per_stage=list(size.windows),
        global_attention_blocks=list(size.global_blocks),
        window_positional_embedding_background_size=[size.background] * 2,
    )
    vision = Sam2VisionConfig(
        backbone_config=hiera,
        backbone_channel_list=widths[::-1],
        backbone_feature_sizes=[[size.image // stride] * 2 for stride in (4, 8, 16)],
        fpn_hidden_size=size.prompt,
    )
    prompts = {"hidden_size": size.prompt, "image_size": size.image}
    decoder = {
        "hidden_size": size.prompt,
        "mlp_dim": size.decoder_hidden,
        "num_attention_heads": size.decoder_heads,
        "iou_head_hidden_dim": size.iou_hidden or size.prompt,
        "dynamic_multimask_via_stability": True,
    }
    config = Sam2Config(vision_config=vision, prompt_encoder_config=prompts, mask_decoder_config=decoder)
    network = Sam2Model(config)
    tie_position_codes(network)
    return network


def image_part(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a SAM 2 checkpoint under transformers' names, without those of the video memory.

    Args:
        tensors: values in transformers' or the authors' layout.

    Raises:
        MissingResourceError: a point embedding is missing.
    """
    kept = {name: value for name, value in tensors.items() if not name.startswith(MEMORY)}
    return from_authors(kept, "SAM 2 weights") if any(name.startswith("sam_mask_decoder.") for name in kept) else kept


def from_authors(tensors: Mapping[str, Tensor], what: str) -> dict[str, Tensor]:
    """Rename and reshape the authors' tensors for transformers.

    Four point embeddings become one table, and the position code gets a second copy.

    Args:
        tensors: values by the authors' names.
        what: names the tensors in the message.

    Raises:
        MissingResourceError: a point embedding is missing.
    """
    converted: dict[str, Tensor] = {}
    points: dict[int, Tensor] = {}
    for name, value in tensors.items():
        ours = rename(name, (*TRUNK, *PROMPTS, *HEADS))
        table, _, number = ours.removesuffix(".weight").rpartition(".")
        if table == "prompt_encoder.point_embeddings":
            points[int(number)] = value
        else:
            converted[ours] = value
    if sorted(points) != [0, 1, 2, 3]:
        raise MissingResourceError(f"{what} do not fit SAM 2: it needs four point embeddings, found {len(points)}.")
    converted["prompt_encoder.point_embed.weight"] = torch.cat([points[k] for k in range(4)])
    code = converted.get("prompt_encoder.shared_embedding.positional_embedding")
    if code is not None:
        converted["shared_image_embedding.positional_embedding"] = code
    return converted
