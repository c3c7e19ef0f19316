"""BEiT-3 (arXiv 2208.10442) as a joint encoder of an image and its expression.

One self-attention reads the sequence [class token, patches, words]. Every linear map and every norm exists twice:
expert A for the class token and the patches, expert B for the words. Parameters have the names of the released files.

Legend: `B` batch, `N` patches, `L` words, `S` = 1 + N, `D` width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from timm.layers import DropPath, trunc_normal_
from torch import Tensor, nn
from torch.nn import functional as F

from rrsis_bench.errors import UsageError
from rrsis_bench.nn.weights.files import fit

PATCH = 16
FIRST = 2
"""Both position tables count from 2; their first two rows are never used."""
MOST_WORDS = 1024 - FIRST
EPS = 1e-5


@dataclass(frozen=True)
class Beit3Size:
    """Sizes of a BEiT-3 network; feed-forward parts are four times as wide."""

    width: int
    layers: int
    heads: int
    vocabulary: int = 64_010


SIZES: Mapping[str, Beit3Size] = {"base": Beit3Size(768, 12, 12), "large": Beit3Size(1024, 24, 16)}


@dataclass(frozen=True)
class JointStates:
    """The final states of a sequence.

    Attributes:
        joined: (B, S + L, D): class token, patches row by row, words.
        words_at: S, position of the first word.
    """

    joined: Tensor
    words_at: int

    @property
    def sentence(self) -> Tensor:
        """The class token (B, D), which has read image and words."""
        return self.joined[:, 0]

    @property
    def patches(self) -> Tensor:
        """The patches (B, N, D)."""
        return self.joined[:, 1 : self.words_at]

    @property
    def words(self) -> Tensor:
        """The words (B, L, D); padded positions of a sample hold one equal vector that is not zero."""
        return self.joined[:, self.words_at :]


class Experts(nn.Module):
    """Two copies of a layer: A for the first S positions of a sequence, B for the others.

    Args:
        build: makes one copy.
    """

    def __init__(self, build: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.A = build()
        self.B = build()

    def forward(self, x: Tensor, words_at: int) -> Tensor:
        """(B, S + L, D) -> (B, S + L, D'); `words_at` is S."""
        return torch.cat((self.A(x[:, :words_at]), self.B(x[:, words_at:])), 1)


class JointAttention(nn.Module):
    """Self-attention over the whole sequence, with a norm between the heads and the output projection."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (
            Experts(lambda: nn.Linear(width, width)) for _ in range(4)
        )
        self.inner_attn_ln = Experts(lambda: nn.LayerNorm(width, EPS))

    def forward(self, x: Tensor, words_at: int, allowed: Tensor | None) -> Tensor:
        """Attend.

        Args:
            x: (B, S + L, D).
            words_at: S.
            allowed: (B, 1, 1, S + L) bool, True for positions that may be read; None allows all.

        Returns:
            (B, S + L, D).
        """
        q, k, v = (
            layer(x, words_at).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for layer in (self.q_proj, self.k_proj, self.v_proj)
        )
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=allowed).transpose(1, 2).flatten(2)
        projected: Tensor = self.out_proj(self.inner_attn_ln(attended, words_at), words_at)
        return projected


class NormedFeedForward(nn.Module):
    """Feed-forward part with a norm between activation and second layer."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.ffn_layernorm = nn.LayerNorm(4 * width, EPS)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., D)."""
        fed: Tensor = self.fc2(self.ffn_layernorm(F.gelu(self.fc1(x))))
        return fed


class JointLayer(nn.Module):
    """A pre-norm layer: attention and feed-forward part, each with a residual."""

    def __init__(self, width: int, heads: int, drop_path: float) -> None:
        super().__init__()
        self.self_attn = JointAttention(width, heads)
        self.self_attn_layer_norm = Experts(lambda: nn.LayerNorm(width, EPS))
        self.ffn = Experts(lambda: NormedFeedForward(width))
        self.final_layer_norm = Experts(lambda: nn.LayerNorm(width, EPS))
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, words_at: int, allowed: Tensor | None) -> Tensor:
        """See `JointAttention.forward`."""
        x = x + self.drop_path(self.self_attn(self.self_attn_layer_norm(x, words_at), words_at, allowed))
        fed: Tensor = x + self.drop_path(self.ffn(self.final_layer_norm(x, words_at), words_at))
        return fed


class PatchEmbedding(nn.Module):
    """Patches of 16 pixels and the class token before them. `mask_token` is for pre-training only."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.proj = nn.Conv2d(3, width, PATCH, PATCH)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, H) -> (B, S, D)."""
        patches = self.proj(images).flatten(2).transpose(1, 2)
        return torch.cat((self.cls_token.expand(len(images), -1, -1).to(patches.dtype), patches), 1)


class PositionTables(nn.Module):
    """Learned positions: A for the class token and the patches, B for the words."""

    def __init__(self, width: int, patches: int) -> None:
        super().__init__()
        self.A = nn.Embedding(FIRST + 1 + patches, width)
        self.B = nn.Embedding(FIRST + MOST_WORDS, width)


class JointEncoder(nn.Module):
    """Position tables, layers and final norm."""

    def __init__(self, size: Beit3Size, patches: int, drop_path: float) -> None:
        super().__init__()
        self.embed_positions = PositionTables(size.width, patches)
        rates = [drop_path * k / max(1, size.layers - 1) for k in range(size.layers)]
        self.layers = nn.ModuleList(JointLayer(size.width, size.heads, rate) for rate in rates)
        self.layer_norm = Experts(lambda: nn.LayerNorm(size.width, EPS))


class Beit3(nn.Module):
    """BEiT-3 with random weights.

    Args:
        size: width, layers, heads and number of token ids.
        image_size: side of its images in pixels.
        drop_path: stochastic depth of the last layer; it rises linearly from 0 at the first layer.

    Raises:
        UsageError: the image size is no multiple of the patch.
    """

    def __init__(self, size: Beit3Size, image_size: int = 224, drop_path: float = 0.0) -> None:
        super().__init__()
        if image_size % PATCH:
            raise UsageError(f"BEiT-3: image size {image_size} is no multiple of its patch {PATCH}.")
        self.width, self.image_size = size.width, image_size
        self.text_embed = nn.Embedding(size.vocabulary, size.width)
        self.vision_embed = PatchEmbedding(size.width)
        self.encoder = JointEncoder(size, (image_size // PATCH) ** 2, drop_path)
        self.apply(_start)
        nn.init.normal_(self.text_embed.weight, std=size.width**-0.5)

    def forward(self, images: Tensor, ids: Tensor, mask: Tensor) -> JointStates:
        """Encode images and their expressions together.

        Args:
            images: (B, 3, H, H), normalised.
            ids: (B, L) token ids.
            mask: (B, L), true or 1 for words. A padded word starts as a zero vector, its position included; it stays
                in the sequence, reads all, and is read by none.

        Returns:
            the states after the final norm.
        """
        encoder = self.encoder
        positions = encoder.embed_positions
        mask = mask.bool()
        seen = self.vision_embed(images)
        words_at = seen.shape[1]
        seen = seen + positions.A.weight[FIRST : FIRST + words_at]
        words = self.text_embed(ids) + positions.B.weight[FIRST : FIRST + ids.shape[1]]
        x = torch.cat((seen, words * mask[..., None].to(words.dtype)), 1)
        allowed = torch.cat((mask.new_ones(len(mask), words_at), mask), 1)[:, None, None]
        for layer in encoder.layers:
            x = layer(x, words_at, allowed)
        return JointStates(encoder.layer_norm(x, words_at), words_at)

    def blocks(self) -> list[nn.Module]:
        """The layers; activation checkpointing runs each of them twice."""
        return list(self.encoder.layers)

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Load a released file, with its prefix `beit3.`; heads beside it are left out.

        The position table of the patches is resized to this network's image size.

        Raises:
            MissingResourceError: names or shapes differ; the message names the first.
        """
        prefix = "beit3."
        if any(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): x for name, x in tensors.items() if name.startswith(prefix)}
        table = "encoder.embed_positions.A.weight"
        if table in tensors:
            rows = len(self.encoder.embed_positions.A.weight)
            tensors = {**tensors, table: resize_positions(tensors[table], rows)}
        fit(self, tensors, "BEiT-3 weights")


def resize_positions(table: Tensor, rows: int) -> Tensor:
    """Resize a table (3 + g^2, D) of positions to another grid of patches, bicubically.

    Args:
        table: two unused rows, the class token's row, then those of the patches of a square grid.
        rows: wanted number of rows.

    Returns:
        (rows, D); the table itself where no resizing is needed or its grid is not square.
    """
    head = FIRST + 1
    grid, wanted = (round(max(0, n - head) ** 0.5) for n in (len(table), rows))
    if len(table) == rows or grid**2 + head != len(table) or not grid:
        return table
    patches = table[head:].T.reshape(1, -1, grid, grid).float()
    resized = F.interpolate(patches, (wanted, wanted), mode="bicubic", align_corners=False)
    return torch.cat((table[:head], resized[0].flatten(1).T.to(table.dtype)))


def start_larger(beit3: Beit3, *others: nn.Module) -> None:
    """Give BEiT-3, and encoders beside it, the framework's own random start, for a training from nothing.

    Their own starts suit long pre-training. Linear maps are small, and BEiT-3's tokens are small beside their
    positions.
    """
    for network in (beit3, *others):
        for module in network.modules():
            if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d | nn.Embedding):
                module.reset_parameters()
    tables = beit3.encoder.embed_positions
    for table in (tables.A, tables.B):
        nn.init.normal_(table.weight, std=0.5)


def _start(module: nn.Module) -> None:
    """BEiT-3's random start: truncated normal linear maps, standard normal position tables, the framework's patches."""
    if isinstance(module, nn.Linear):
        trunc_normal_(module.weight, std=0.02, a=-0.02, b=0.02)
        nn.init.zeros_(module.bias)
