"""The cascaded second-order prompter: words and image features to sparse and dense prompts.

Legend: `B` batch, `N` positions of the image map, `L` words, `K` queries per set, `M` sparse prompts, `D` width of the
dual encoder, `P` width of the segmenter's prompts.

A residual sum and a LayerNorm follow every attention and every MLP; no weight is shared. Learned positions are added to
queries and keys, but not to values.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.rsrefseg2.dense import DensePrompt, Norm
from rrsis_bench.nn.layers.attention import Attention


@dataclass(frozen=True)
class Prompts:
    """The prompter's output.

    Attributes:
        first: (B, K, D) queries of the first set after stage A.
        second: (B, K, D) queries of the second set after stage A.
        activated: (B, N, D) image features after stage B.
        refined: (B, N, D) image features after stage C.
        tokens: (B, M, P) prompts after stage C.
        sparse: (B, M, P) prompts for the segmenter.
    """

    first: Tensor
    second: Tensor
    activated: Tensor
    refined: Tensor
    tokens: Tensor
    sparse: Tensor


class AttentionBlock(nn.Module):
    """Attention, residual, LayerNorm."""

    def __init__(self, width: int, source: int, inner: int, heads: int) -> None:
        super().__init__()
        self.attention = Attention(width, source, inner, heads)
        self.norm = nn.LayerNorm(width)

    def forward(
        self, x: Tensor, position: Tensor, source: Tensor, source_position: Tensor | None, mask: Tensor | None = None
    ) -> Tensor:
        """Let x (B, Q, width) attend to source (B, S, source); positions are added to queries and keys only."""
        keys = source if source_position is None else source + source_position
        normed: Tensor = self.norm(x + self.attention(x + position, keys, source, mask))
        return normed


class Mlp(nn.Module):
    """Two linear layers with GELU between them."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList((nn.Linear(width, hidden), nn.Linear(hidden, width)))

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., width) to the same shape."""
        changed: Tensor = self.layers[1](F.gelu(self.layers[0](x)))
        return changed


class FeedForwardBlock(nn.Module):
    """MLP, residual, LayerNorm."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.mlp = Mlp(width, hidden)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, S, width) to the same shape."""
        normed: Tensor = self.norm(x + self.mlp(x))
        return normed


class SplitText(nn.Module):
    """One layer of stage A: both query sets attend to themselves, to the words and to each other."""

    def __init__(self, width: int, inner: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.own1, self.own2 = (AttentionBlock(width, width, inner, heads) for _ in range(2))
        self.words1, self.words2 = (AttentionBlock(width, width, inner, heads) for _ in range(2))
        self.words1_feed, self.words2_feed = (FeedForwardBlock(width, hidden) for _ in range(2))
        self.other1, self.other2 = (AttentionBlock(width, width, inner, heads) for _ in range(2))
        self.other1_feed, self.other2_feed = (FeedForwardBlock(width, hidden) for _ in range(2))

    def forward(
        self, q1: Tensor, q2: Tensor, e1: Tensor, e2: Tensor, words: Tensor, mask: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Update both query sets (B, K, D) with positions (K, D) by the words (B, L, D)."""
        q1 = self.own1(q1, e1, q1, e1)
        q2 = self.own2(q2, e2, q2, e2)
        q1 = self.words1_feed(self.words1(q1, e1, words, None, mask))
        q2 = self.words2_feed(self.words2(q2, e2, words, None, mask))
        q1 = self.other1_feed(self.other1(q1, e1, q2, e2))
        q2 = self.other2_feed(self.other2(q2, e2, q1, e1))
        return q1, q2


class ActivateImage(nn.Module):
    """One layer of stage B, and the first half of one of stage C: queries attend to themselves, the image to them."""

    def __init__(self, width: int, inner: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.own = AttentionBlock(width, width, inner, heads)
        self.image = AttentionBlock(width, width, inner, heads)
        self.image_feed = FeedForwardBlock(width, hidden)

    def forward(self, queries: Tensor, e: Tensor, image: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Update queries (B, K, D) with positions e (K, D), and the image (B, N, D) with positions (N, D)."""
        queries = self.own(queries, e, queries, e)
        return queries, self.image_feed(self.image(image, positions, queries, e))


class ReadPrompts(nn.Module):
    """One layer of stage C: the image attends to the second query set, then the prompts attend to both."""

    def __init__(self, width: int, prompt: int, inner: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.activate = ActivateImage(width, inner, heads, hidden)
        self.own = AttentionBlock(prompt, prompt, inner, heads)
        self.text = AttentionBlock(prompt, width, inner, heads)
        self.text_feed = FeedForwardBlock(prompt, hidden)
        self.image = AttentionBlock(prompt, width, inner, heads)
        self.image_feed = FeedForwardBlock(prompt, hidden)

    def forward(
        self, queries: Tensor, e: Tensor, image: Tensor, positions: Tensor, prompts: Tensor, ep: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Update queries (B, K, D), image (B, N, D) and prompts (B, M, P); ep (M, P) are the prompts' positions."""
        queries, image = self.activate(queries, e, image, positions)
        prompts = self.own(prompts, ep, prompts, ep)
        prompts = self.text_feed(self.text(prompts, ep, queries, e))
        prompts = self.image_feed(self.image(prompts, ep, image, positions))
        return queries, image, prompts


class CascadedPrompter(nn.Module):
    """All three stages, the learned tables, and the layers that make the sparse and the dense prompt.

    Args:
        width: width D of the dual encoder's features.
        prompt: width P of the segmenter's prompts.
        grid: side of the table of learned image positions.
        queries: text queries K of each of the two sets.
        prompts: number M of sparse prompts.
        heads: heads of every attention.
        inner: width of every attention.
        hidden: width inside the MLPs.
        depth: layers of each stage.
        norm: norm of the dense branch, `batch` or `group`.
    """

    def __init__(
        self,
        width: int,
        prompt: int,
        grid: int,
        queries: int = 3,
        prompts: int = 9,
        heads: int = 8,
        inner: int = 512,
        hidden: int = 512,
        depth: int = 2,
        norm: Norm = "batch",
    ) -> None:
        super().__init__()
        self.queries = queries
        self.first_position = nn.Parameter(torch.randn(queries, width))
        self.second_position = nn.Parameter(torch.randn(queries, width))
        self.image_position = nn.Parameter(torch.randn(1, width, grid, grid))
        self.prompt_position = nn.Parameter(torch.randn(prompts, prompt))
        self.prompt_start = nn.Parameter(torch.randn(prompts, prompt))
        self.split = nn.ModuleList(SplitText(width, inner, heads, hidden) for _ in range(depth))
        self.activate = nn.ModuleList(ActivateImage(width, inner, heads, hidden) for _ in range(depth))
        self.read = nn.ModuleList(ReadPrompts(width, prompt, inner, heads, hidden) for _ in range(depth))
        self.sparse = Mlp(prompt, hidden)
        self.dense = DensePrompt(width, norm)

    def positions(self, grid: tuple[int, int]) -> Tensor:
        """Image positions (N, D) for a map of size `grid`, resized if the learned table has another size."""
        table: Tensor = self.image_position
        if tuple(table.shape[-2:]) != grid:
            table = F.interpolate(table, grid, mode="bicubic", align_corners=False)
        return table[0].flatten(1).T

    def forward(self, image: Tensor, words: Tensor, grid: tuple[int, int], mask: Tensor | None = None) -> Prompts:
        """Make prompts.

        Args:
            image: (B, N, D) features of the dual encoder, row by row.
            words: (B, L, D) features of the dual encoder.
            grid: rows and columns of the image map, N = rows * columns.
            mask: (B, L), True for words that count; None for all.
        """
        e1, e2, positions = self.first_position, self.second_position, self.positions(grid)
        first = second = pool_words(words, mask, self.queries)
        for split in self.split:
            first, second = split(first, second, e1, e2, words, mask)
        queries, activated = first, image
        for activate in self.activate:
            queries, activated = activate(queries, e1, activated, positions)
        queries, refined = second, activated
        tokens = self.prompt_start.expand(len(image), -1, -1)
        for read in self.read:
            queries, refined, tokens = read(queries, e2, refined, positions, tokens, self.prompt_position)
        return Prompts(first, second, activated, refined, tokens, self.sparse(tokens))


def pool_words(words: Tensor, mask: Tensor | None, bins: int) -> Tensor:
    """Adaptive average pooling along the words that count.

    Args:
        words: (B, L, D).
        mask: (B, L), True for words that count, which come first and are one or more; None for all.
        bins: K.

    Returns:
        (B, K, D); bin k of n words averages those from floor(k n / K) to ceil((k + 1) n / K).
    """
    length = words.shape[1]
    place = torch.arange(length, device=words.device)
    every = torch.full((1, 1), length, device=words.device)
    counts = every if mask is None else mask.sum(1, keepdim=True).clamp(min=1)
    k = torch.arange(bins, device=words.device)
    start = torch.div(k * counts, bins, rounding_mode="floor")
    stop = -torch.div(-(k + 1) * counts, bins, rounding_mode="floor")
    inside = (place >= start[..., None]) & (place < stop[..., None])
    weights = inside.to(words.dtype) / (stop - start)[..., None].to(words.dtype)
    return weights.expand(len(words), -1, -1) @ words
