"""SigLIP 2 (arXiv 2502.14786) from transformers as a dual encoder, and its tokenizer.

The text tower was trained on texts padded to 64 tokens: it attends to padding, and reads the sentence vector at the
last position.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import SiglipConfig, SiglipModel

from rrsis_bench.errors import MissingResourceError, UsageError
from rrsis_bench.nn.encoders.dual_encoder import DualEncoder, EncodedText
from rrsis_bench.nn.layers.lora import add_lora, fit_base
from rrsis_bench.nn.weights.refs import resolve
from rrsis_bench.types import InputSpec, Tokenized


@dataclass(frozen=True)
class SiglipSize:
    """Sizes of a SigLIP 2 network: image and patch in pixels, both towers, token ids, positions."""

    image: int
    patch: int
    width: int = 1152
    depth: int = 27
    heads: int = 16
    hidden: int = 4304
    vocabulary: int = 256_000
    context: int = 64


SIZES: Mapping[str, SiglipSize] = {
    "siglip2-so400m-p16-512": SiglipSize(512, 16),
    "siglip2-so400m-p16-384": SiglipSize(384, 16),
    "siglip2-so400m-p16-256": SiglipSize(256, 16),
    "siglip2-so400m-p14-384": SiglipSize(378, 14),
    "siglip2-so400m-p14-224": SiglipSize(224, 14),
    # For tests.
    "siglip2-nano": SiglipSize(64, 16, 32, 2, 2, 48, 64, 16),
}
ATTENTION = r"encoder\.layers\.\d+\.self_attn\.(q|k|v|out)_proj"
POOLING_HEAD = r"head\.attention\.out_proj|head\.mlp\.fc[12]"


class Siglip(DualEncoder):
    """Both towers, see `DualEncoder`."""

    sizes = SIZES
    tokenizer = "rrsis_bench.nn.encoders.siglip:SiglipTokenizer"
    cased_tokenizer = "rrsis_bench.nn.encoders.siglip:CasedSiglipTokenizer"
    mean = (0.5, 0.5, 0.5)
    std = (0.5, 0.5, 0.5)

    def __init__(self, name: str, image_size: int | None = None) -> None:
        super().__init__()
        size = SIZES[name]
        self.width, self.patch, self.context = size.width, size.patch, size.context
        self.image_size = image_size or size.image
        shared = {
            "hidden_size": size.width,
            "intermediate_size": size.hidden,
            "num_hidden_layers": size.depth,
            "num_attention_heads": size.heads,
        }
        vision = {**shared, "image_size": self.image_size, "patch_size": size.patch}
        text = {
            **shared,
            "vocab_size": size.vocabulary,
            "max_position_embeddings": size.context,
            "projection_size": size.width,
        }
        model = SiglipModel(SiglipConfig(vision_config=vision, text_config=text))
        self.vision = model.vision_model
        self.text = model.text_model
        # Where SigLIP's training starts; released weights bring their own values.
        self.log_scale = nn.Parameter(torch.full((1,), 4.7))
        self.bias = nn.Parameter(torch.full((1,), -17.0))

    def encode_image(self, images: Tensor) -> Tensor:
        """Patch features (B, D, h, w): the last block's tokens after the final LayerNorm, without the pooling head."""
        vision = self.vision
        tokens = vision.encoder(inputs_embeds=vision.embeddings(images)).last_hidden_state
        patches: Tensor = vision.post_layernorm(tokens).transpose(1, 2)
        return patches.reshape(len(images), self.width, self.grid, self.grid)

    def encode_text(self, ids: Tensor, mask: Tensor, padded: bool = True) -> EncodedText:
        """Words and sentence vector, see `DualEncoder.encode_text`; padding gets id 0."""
        if padded:
            missing = self.context - ids.shape[1]
            ids, mask = F.pad(ids * mask, (0, missing)), F.pad(mask, (0, missing))
        text = self.text
        words = text.encoder(inputs_embeds=text.embeddings(input_ids=ids)).last_hidden_state
        words = text.final_layer_norm(words)
        return EncodedText(words, text.head(words[:, -1]), mask)

    def add_lora(self, rank: int, alpha: float, pooling_head: bool = False) -> None:
        """Adapt q, k, v and output projections of both towers, and the text head; see `DualEncoder.add_lora`."""
        add_lora(self.vision, f"{ATTENTION}|{POOLING_HEAD}" if pooling_head else ATTENTION, rank, alpha)
        add_lora(self.text, f"{ATTENTION}|head", rank, alpha)

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Load a checkpoint of transformers' SiglipModel, see `DualEncoder.load_tensors`."""
        parts: dict[str, dict[str, Tensor]] = {"vision_model": {}, "text_model": {}}
        scalars = {}
        for name, value in tensors.items():
            top, _, rest = name.partition(".")
            if top in parts:
                parts[top][rest] = value
            elif name in ("logit_scale", "logit_bias"):
                scalars[name] = value
            else:
                raise MissingResourceError(f"SigLIP weights do not fit the network: it does not know {name}.")
        if len(scalars) != 2:
            raise MissingResourceError("SigLIP weights do not fit the network: logit_scale or logit_bias is missing.")
        table = "embeddings.position_embedding.weight"
        if table in parts["vision_model"]:
            parts["vision_model"][table] = resize_table(parts["vision_model"][table], self.grid)
        for part in parts.values():
            part.pop("embeddings.position_ids", None)
        fit_base(self.vision, parts["vision_model"], "SigLIP vision weights")
        fit_base(self.text, parts["text_model"], "SigLIP text weights")
        with torch.no_grad():
            self.log_scale.copy_(scalars["logit_scale"].reshape(1))
            self.bias.copy_(scalars["logit_bias"].reshape(1))

    def blocks(self) -> list[nn.Module]:
        """All blocks of both towers."""
        return [*self.vision.encoder.layers, *self.text.encoder.layers]


def resize_table(table: Tensor, grid: int, prefix: int = 0) -> Tensor:
    """Resize a position table (prefix + n * n, C) to another grid, bicubically with antialiasing.

    Args:
        table: the first `prefix` rows belong to tokens before the grid and stay as they are.
        grid: side of the other grid.
        prefix: number of those rows.
    """
    side = round((len(table) - prefix) ** 0.5)
    if side == grid:
        return table
    places = table[prefix:].T.reshape(1, -1, side, side).float()
    resized = F.interpolate(places, (grid, grid), mode="bicubic", antialias=True, align_corners=False)
    return torch.cat((table[:prefix], resized[0].flatten(1).T.to(table.dtype)))


@cache
def read_tokenizer(path: Path) -> Tokenizer:
    """Read a `tokenizer.json`, once.

    Raises:
        MissingResourceError: the file is not in the library's format.
    """
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises plain exceptions for unreadable files
        raise MissingResourceError(f"{path} is no tokenizer.json: {' '.join(str(error).split())[:120]}") from error


class SiglipTokenizer:
    """SigLIP 2's tokenizer (Gemma's): lower case, no start token, an end token, padding at the right."""

    lower = True

    def __init__(self, spec: InputSpec) -> None:
        """Read the vocabulary.

        Args:
            spec: `tokenizer_path` names a `tokenizer.json` in a form of `WeightRef`, `max_tokens` is L.

        Raises:
            UsageError: no vocabulary is named, or L is below 2.
            MissingResourceError: the file is missing, or is not SigLIP 2's tokenizer.
        """
        if spec.tokenizer_path is None:
            raise UsageError("the SigLIP tokenizer needs its tokenizer.json: set model.options.tokenizer_path.")
        if spec.max_tokens < 2:
            raise UsageError("max_tokens must be at least 2: one word and the end token.")
        self.encoding = read_tokenizer(resolve(spec.tokenizer_path))
        self.length = spec.max_tokens
        end, padding = self.encoding.token_to_id("<eos>"), self.encoding.token_to_id("<pad>")
        if end is None or padding is None:
            raise MissingResourceError(f"{spec.tokenizer_path} has no <eos> or <pad>; it is not SigLIP 2's tokenizer.")
        self.end, self.padding = end, padding

    def __call__(self, text: str) -> Tokenized:
        """Token ids and mask of a text, both padded to L; a long text is cut before the end token."""
        words = self.encoding.encode(text.lower() if self.lower else text, add_special_tokens=False).ids
        ids = [*words[: self.length - 1], self.end]
        rest = self.length - len(ids)
        return Tokenized(ids + [self.padding] * rest, [1] * len(ids) + [0] * rest, len(words) > self.length - 1)


class CasedSiglipTokenizer(SiglipTokenizer):
    """SigLIP 2's tokenizer without lower case, as in RSRefSeg 2's released code."""

    lower = False
