"""SAM (arXiv 2304.02643) as a promptable segmenter, from segment-anything or from transformers.

Both libraries hold the same network under different names, and weights of either layout load into both. No other file
imports segment_anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import torch
from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
from segment_anything.modeling.prompt_encoder import PositionEmbeddingRandom
from torch import Tensor, nn
from transformers import SamConfig, SamModel

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
from rrsis_bench.nn.layers.lora import add_lora, fit_base, plain_names


@dataclass(frozen=True)
class SamSize:
    """Sizes of a SAM network; the released ones differ in the encoder's width, blocks, heads and global blocks."""

    width: int
    depth: int
    heads: int
    global_blocks: tuple[int, ...]
    image: int = 1024
    patch: int = 16
    window: int = 14
    prompt: int = 256
    decoder_hidden: int = 2048
    decoder_heads: int = 8


SIZES: Mapping[str, SamSize] = {
    "sam-b": SamSize(768, 12, 12, (2, 5, 8, 11)),
    "sam-l": SamSize(1024, 24, 16, (5, 11, 17, 23)),
    "sam-h": SamSize(1280, 32, 16, (7, 15, 23, 31)),
    # For the tiny variant.
    "sam-nano": SamSize(96, 4, 4, (1, 3), 128, 8, 8, 64, 128, 4),
}
NAMES: Rules = (
    (r"^image_encoder\.blocks\.(\d+)\.norm(\d)\.", r"vision_encoder.layers.\1.layer_norm\2."),
    (r"^image_encoder\.blocks\.", "vision_encoder.layers."),
    (r"^image_encoder\.patch_embed\.proj\.", "vision_encoder.patch_embed.projection."),
    (r"^image_encoder\.neck\.0\.", "vision_encoder.neck.conv1."),
    (r"^image_encoder\.neck\.1\.", "vision_encoder.neck.layer_norm1."),
    (r"^image_encoder\.neck\.2\.", "vision_encoder.neck.conv2."),
    (r"^image_encoder\.neck\.3\.", "vision_encoder.neck.layer_norm2."),
    (r"^image_encoder\.pos_embed$", "vision_encoder.pos_embed"),
    (r"^prompt_encoder\.pe_layer\.positional_encoding_gaussian_matrix$", "shared_image_embedding.positional_embedding"),
    (r"^prompt_encoder\.point_embeddings\.", "prompt_encoder.point_embed."),
    *MASK_DOWNSCALING,
    *DECODER,
)
"""segment-anything's names -> transformers'."""
SHARED = "prompt_encoder.shared_embedding.positional_embedding"
"""transformers' second copy of the position code; its files may lack it."""


class SamBase(PromptableSegmenter):
    """SAM, as far as both libraries agree.

    Attributes:
        targets: regular expression of the layers that LoRA adapts.
    """

    sizes = SIZES
    targets: str

    def __init__(self, name: str) -> None:
        super().__init__()
        self.size = SIZES[name]
        self.image_size, self.grid = self.size.image, self.size.image // self.size.patch
        self.width = self.size.prompt

    def add_lora(self, rank: int, alpha: float) -> None:
        """Adapt the qkv and output projections of all blocks, and the neck's two convolutions."""
        add_lora(self.encoder(), self.targets, rank, alpha)

    def idle(self) -> list[nn.Parameter]:
        """Point and no-mask embeddings, the IoU head and the networks of the three other masks."""
        prompts, decoder = self.network.prompt_encoder, self.network.mask_decoder
        points = getattr(prompts, "point_embed", None) or prompts.point_embeddings
        parts = [points, prompts.not_a_point_embed, prompts.no_mask_embed, decoder.iou_prediction_head]
        parts += list(decoder.output_hypernetworks_mlps[1:])
        return [parameter for part in parts for parameter in part.parameters()]


class PositionCode(PositionEmbeddingRandom):  # type: ignore[misc]
    """The library's random position code in any precision; the library's own casts coordinates to float32.

    Args:
        code: whose values it takes over; drawing others would change what is drawn after them.
    """

    def __init__(self, code: PositionEmbeddingRandom) -> None:
        nn.Module.__init__(self)
        self.register_buffer("positional_encoding_gaussian_matrix", code.positional_encoding_gaussian_matrix)

    def _pe_encoding(self, coords: Tensor) -> Tensor:
        encoded: Tensor = super()._pe_encoding(coords.to(self.positional_encoding_gaussian_matrix.dtype))
        return encoded


class SegmentAnything(SamBase):
    """SAM from segment-anything."""

    targets = r"blocks\.\d+\.attn\.(qkv|proj)|neck\.[02]"

    def __init__(self, name: str) -> None:
        super().__init__(name)
        size = self.size
        encoder = ImageEncoderViT(
            img_size=size.image,
            patch_size=size.patch,
            embed_dim=size.width,
            depth=size.depth,
            num_heads=size.heads,
            out_chans=size.prompt,
            norm_layer=partial(nn.LayerNorm, eps=1e-6),
            use_rel_pos=True,
            window_size=size.window,
            global_attn_indexes=size.global_blocks,
        )
        prompts = PromptEncoder(size.prompt, (self.grid, self.grid), (size.image, size.image), mask_in_chans=16)
        prompts.pe_layer = PositionCode(prompts.pe_layer)
        transformer = TwoWayTransformer(2, size.prompt, size.decoder_heads, size.decoder_hidden)
        decoder = MaskDecoder(transformer_dim=size.prompt, transformer=transformer, iou_head_hidden_dim=size.prompt)
        self.network = Sam(encoder, prompts, decoder)

    def encode_image(self, images: Tensor) -> ImageFeatures:
        """Encode; SAM has one map."""
        return ImageFeatures(self.network.image_encoder(images))

    def _prompt(self, points: Tensor | None, labels: Tensor | None, boxes: Tensor | None) -> tuple[Tensor, Tensor]:
        encoder = self.network.prompt_encoder
        code = encoder.pe_layer.positional_encoding_gaussian_matrix
        if code.is_meta:  # the library chooses embeddings by labels, which have no values there
            count = (0 if points is None else points.shape[1] + (boxes is None)) + (0 if boxes is None else 2)
            size = len(points) if points is not None else len(boxes) if boxes is not None else 0
            flat = encoder.no_mask_embed.weight.reshape(1, -1, 1, 1).expand(size, -1, self.grid, self.grid)
            return code.new_empty(size, count, self.width), flat
        given = None if points is None or labels is None else (points.to(code.dtype), labels)
        sparse, dense = encoder(points=given, boxes=None if boxes is None else boxes.to(code.dtype), masks=None)
        return sparse, dense

    def embed_mask(self, dense: Tensor) -> Tensor:
        """Embed mask logits, see `PromptableSegmenter.embed_mask`."""
        embedded: Tensor = self.network.prompt_encoder.mask_downscaling(dense)
        return embedded

    def decode(self, features: ImageFeatures, sparse: Tensor, embedded: Tensor) -> Tensor:
        """Decode, see `PromptableSegmenter.decode`.

        The library's decoder takes several prompts of one image. Here each image has its own prompts, and the decoder's
        parts are called one by one.
        """
        tokens, upscaled = self._transform(features, sparse, embedded)
        # Token 0 is the IoU token, token 1 that of the single mask, and the others are those of the three masks.
        weights = self.network.mask_decoder.output_hypernetworks_mlps[0](tokens[:, 1])
        return torch.einsum("bc,bchw->bhw", weights, upscaled)[:, None]

    def decode_three(self, features: ImageFeatures, sparse: Tensor, embedded: Tensor) -> tuple[Tensor, Tensor]:
        """Decode, see `PromptableSegmenter.decode_three`."""
        tokens, upscaled = self._transform(features, sparse, embedded)
        decoder = self.network.mask_decoder
        weights = [decoder.output_hypernetworks_mlps[k](tokens[:, 1 + k]) for k in (1, 2, 3)]
        masks = torch.einsum("bkc,bchw->bkhw", torch.stack(weights, 1), upscaled)
        return masks, decoder.iou_prediction_head(tokens[:, 0])[:, 1:]

    def _transform(self, features: ImageFeatures, sparse: Tensor, embedded: Tensor) -> tuple[Tensor, Tensor]:
        """The decoder's tokens and its upscaled map."""
        main, decoder = features.main, self.network.mask_decoder
        fixed = torch.cat((decoder.iou_token.weight, decoder.mask_tokens.weight)).expand(len(main), -1, -1)
        places = self.network.prompt_encoder.get_dense_pe().expand(len(main), -1, -1, -1)
        tokens, source = decoder.transformer(main + embedded, places, torch.cat((fixed, sparse), dim=1))
        return tokens, decoder.output_upscaling(source.transpose(1, 2).unflatten(-1, (self.grid, self.grid)))

    def encoder(self) -> nn.Module:
        """The vision transformer and its neck."""
        encoder: nn.Module = self.network.image_encoder
        return encoder

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Load a SAM checkpoint, see `PromptableSegmenter.load_tensors`."""
        if any(name.startswith("vision_encoder.") for name in tensors):
            theirs = {rename(name, NAMES): name for name in plain_names(self.network)}
            tensors = {theirs.get(name, name): value for name, value in tensors.items() if name != SHARED}
        fit_base(self.network, tensors, "SAM weights")

    def blocks(self) -> list[nn.Module]:
        """The encoder's blocks."""
        return list(self.network.image_encoder.blocks)


class SamHF(SamBase):
    """SAM from transformers."""

    targets = r"layers\.\d+\.attn\.(qkv|proj)|neck\.conv[12]"

    def __init__(self, name: str) -> None:
        super().__init__(name)
        size = self.size
        common = {"image_size": size.image, "patch_size": size.patch}
        vision = {
            **common,
            "hidden_size": size.width,
            "output_channels": size.prompt,
            "num_hidden_layers": size.depth,
            "num_attention_heads": size.heads,
            "window_size": size.window,
            "global_attn_indexes": list(size.global_blocks),
            "num_pos_feats": size.prompt // 2,
            "mlp_dim": 4 * size.width,
        }
        decoder = {
            "hidden_size": size.prompt,
            "mlp_dim": size.decoder_hidden,
            "num_attention_heads": size.decoder_heads,
            "iou_head_hidden_dim": size.prompt,
            # As in the weights' training; the library's default is 1e-6.
            "layer_norm_eps": 1e-5,
        }
        config = SamConfig(
            vision_config=vision,
            prompt_encoder_config={**common, "hidden_size": size.prompt},
            mask_decoder_config=decoder,
        )
        self.network = SamModel(config)
        tie_position_codes(self.network)

    def encode_image(self, images: Tensor) -> ImageFeatures:
        """Encode; SAM has one map."""
        return ImageFeatures(self.network.vision_encoder(images).last_hidden_state)

    def decode(self, features: ImageFeatures, sparse: Tensor, embedded: Tensor) -> Tensor:
        """Decode, see `PromptableSegmenter.decode`."""
        return decode(self.network, features, sparse, embedded)[0]

    def decode_three(self, features: ImageFeatures, sparse: Tensor, embedded: Tensor) -> tuple[Tensor, Tensor]:
        """Decode, see `PromptableSegmenter.decode_three`."""
        return decode(self.network, features, sparse, embedded, True)

    def encoder(self) -> nn.Module:
        """The vision transformer and its neck."""
        encoder: nn.Module = self.network.vision_encoder
        return encoder

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Load a SAM checkpoint, see `PromptableSegmenter.load_tensors`."""
        if any(name.startswith("image_encoder.") for name in tensors):
            tensors = {rename(name, NAMES): value for name, value in tensors.items()}
        code = tensors.get("shared_image_embedding.positional_embedding")
        if code is not None:
            tensors = {**tensors, SHARED: code}
        fit_base(self.network, tensors, "SAM weights")

    def blocks(self) -> list[nn.Module]:
        """The encoder's blocks."""
        return list(self.network.vision_encoder.layers)
