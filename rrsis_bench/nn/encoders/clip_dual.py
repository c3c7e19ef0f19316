"""CLIP (arXiv 2103.00020) as a dual encoder whose patches, words and sentence lie in one space.

CLIP trains two projections, for its class token and its end token. Here they project every patch and every word, and
both towers give the same width.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rrsis_bench.nn.encoders.clip import OPENAI_INPUT, build_clip_text, build_clip_vision, encode_plain, text_part
from rrsis_bench.nn.encoders.dual_encoder import DualEncoder, EncodedText
from rrsis_bench.nn.encoders.siglip import resize_table
from rrsis_bench.nn.layers.lora import add_lora, fit_base


@dataclass(frozen=True)
class ClipSize:
    """Sizes of a CLIP network: image and patch in pixels, vision tower, text tower, common width, vocabulary."""

    image: int
    patch: int
    width: int
    depth: int
    heads: int
    text_width: int
    text_depth: int
    text_heads: int
    output: int
    vocabulary: int = 49_408
    context: int = 77
    quick_gelu: bool = True


SIZES: Mapping[str, ClipSize] = {
    "clip-b16": ClipSize(224, 16, 768, 12, 12, 512, 12, 8, 512),
    "clip-l14": ClipSize(224, 14, 1024, 24, 16, 768, 12, 12, 768),
    "clip-l14-336": ClipSize(336, 14, 1024, 24, 16, 768, 12, 12, 768),
    # For the tiny variant; the text tower is that of `tiny_clip.safetensors`.
    "clip-nano": ClipSize(128, 8, 96, 4, 4, 64, 4, 4, 64, vocabulary=64, context=32),
}
TARGETS = r"transformer\.resblocks\.\d+\.attn\.(q|k|v|out)_proj"


class SplitAttention(nn.Module):
    """`nn.MultiheadAttention` on one sequence, with separate input projections, each of which LoRA can adapt."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(width, width) for _ in range(4))

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, need_weights: bool = False, attn_mask: Tensor | None = None
    ) -> tuple[Tensor, None]:
        """Attend as open_clip's blocks ask: three tensors (B, L, C) and an additive mask (L, L) to (B, L, C)."""
        q, k, v = (
            layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for layer, x in ((self.q_proj, query), (self.k_proj, key), (self.v_proj, value))
        )
        mask = None if attn_mask is None else attn_mask.to(q.dtype)
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.out_proj(attended.transpose(1, 2).flatten(2)), None


def split_attention(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A CLIP state whose joint input projections are split into three each."""
    split: dict[str, Tensor] = {}
    for name, value in tensors.items():
        stem, found, kind = name.partition("attn.in_proj_")
        if found:
            split |= {f"{stem}attn.{x}_proj.{kind}": part for x, part in zip("qkv", value.chunk(3), strict=True)}
        else:
            split[name] = value
    return split


class ClipDual(DualEncoder):
    """Both towers, see `DualEncoder`."""

    sizes = SIZES
    tokenizer = cased_tokenizer = "clip"
    mean = OPENAI_INPUT["mean"]
    std = OPENAI_INPUT["std"]

    def __init__(self, name: str, image_size: int | None = None) -> None:
        super().__init__()
        size = SIZES[name]
        self.width, self.patch, self.context = size.output, size.patch, size.context
        self.image_size = image_size or size.image
        self.vision = build_clip_vision(
            self.image_size, size.patch, size.width, size.depth, size.heads, size.output, size.quick_gelu
        )
        self.text = build_clip_text(
            size.text_width,
            size.text_depth,
            size.text_heads,
            size.vocabulary,
            size.context,
            size.output,
            size.quick_gelu,
        )
        for tower, width, heads in (
            (self.vision, size.width, size.heads),
            (self.text, size.text_width, size.text_heads),
        ):
            for block in tower.transformer.resblocks:
                block.attn = SplitAttention(width, heads)
        self.log_scale = nn.Parameter(torch.full((1,), 100.0).log())
        # CLIP has no bias: zero changes nothing.
        self.bias = nn.Parameter(torch.zeros(1))

    def patches(self, images: Tensor) -> Tensor:
        """The last block's patch tokens (B, h w, C), normed, before the projection; C is the image tower's width."""
        vision = self.vision
        patches = vision.conv1(images).flatten(2).transpose(1, 2)
        first = vision.class_embedding.to(patches.dtype).expand(len(patches), 1, -1)
        tokens = vision.ln_pre(torch.cat((first, patches), dim=1) + vision.positional_embedding)
        normed: Tensor = vision.ln_post(vision.transformer(tokens))[:, 1:]
        return normed

    def encode_image(self, images: Tensor) -> Tensor:
        """Patch features (B, D, h, w): patch tokens, projected as the class token is."""
        features: Tensor = (self.patches(images) @ self.vision.proj).transpose(1, 2)
        return features.reshape(len(images), self.width, self.grid, self.grid)

    def encode_text(self, ids: Tensor, mask: Tensor, padded: bool = True) -> EncodedText:
        """Words and sentence in the common space. The tower is causal: no token sees the padding behind it."""
        words, sentence = encode_plain(self.text, ids, mask)
        return EncodedText(words @ self.text.text_projection, sentence, mask)

    def add_lora(self, rank: int, alpha: float, pooling_head: bool = False) -> None:
        """Adapt q, k, v and output projections of both towers; CLIP has no pooling head."""
        add_lora(self.vision, TARGETS, rank, alpha)
        add_lora(self.text, TARGETS, rank, alpha)

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Load a checkpoint of OpenAI's or open_clip's layout, see `DualEncoder.load_tensors`."""
        tensors = split_attention(tensors)
        vision = {name.removeprefix("visual."): value for name, value in tensors.items() if name.startswith("visual.")}
        if "positional_embedding" in vision:
            vision["positional_embedding"] = resize_table(vision["positional_embedding"], self.grid, prefix=1)
        fit_base(self.vision, vision, "CLIP vision weights")
        fit_base(self.text, text_part(tensors), "CLIP text weights")
        with torch.no_grad():
            if "logit_scale" in tensors:
                self.log_scale.copy_(tensors["logit_scale"].reshape(1))
            if "logit_bias" in tensors:
                self.bias.copy_(tensors["logit_bias"].reshape(1))

    def blocks(self) -> list[nn.Module]:
        """All blocks of both towers."""
        return [*self.vision.transformer.resblocks, *self.text.transformer.resblocks]
