"""The dual-modal object learning strategy (D-MOLS): rebuild the object's words from the image, its cells from the text.

Only the loss uses it, in training. The name and the rebuilding in both modalities are the paper's; everything inside is
ours. A known weakness: masking comes after fusion, and a masked word has already changed the cells, as a masked cell
the words.

Legend: `B` batch, `T` words, `Ct` their width, `N` cells of a map `h w`, `D` its channels, `d` width inside.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rrsis_bench.nn.layers.positions import sine_2d


@dataclass(frozen=True)
class RebuildInputs:
    """Inputs and targets of the rebuilding branches.

    Attributes:
        cells: (B, D, h, w) the map.
        words: (B, T, Ct) words after the last stage.
        start: (B, T, Ct) the text encoder's own output.
        ids: (B, T) token ids.
        present: (B, T) bool, false for padding.
        named: (B, T) bool, the object's words; each row has at least one.
        masks: (B, H, W) truth in {0, 1}.
        images: (B, 3, H, W).
    """

    cells: Tensor
    words: Tensor
    start: Tensor
    ids: Tensor
    present: Tensor
    named: Tensor
    masks: Tensor
    images: Tensor


def choose_words(named: Tensor, words: Tensor, present: Tensor) -> Tensor:
    """Choose the words to mask: the object's words; without any, one random real token, if possible one of the text.

    Args:
        named: (B, T), true or 1 for the object's words.
        words: (B, T), true or 1 for tokens that stand for characters.
        present: (B, T), true or 1 for real tokens.

    Returns:
        (B, T) bool.
    """
    score = torch.rand(named.shape, device=named.device) + present.bool() + words.bool()
    lot = F.one_hot(score.argmax(1), named.shape[1]).bool()
    return torch.where(named.bool().any(1, keepdim=True), named.bool(), lot)


def choose_cells(masks: Tensor, size: tuple[int, int], share: float, rest: float) -> Tensor:
    """Choose the cells to mask: object cells and other cells, each kind with its probability; at least one object cell.

    Args:
        masks: (B, H, W) truth in {0, 1}; a cell with a foreground pixel is the object's.
        size: (h, w) of the map.
        share: probability of an object cell.
        rest: probability of another cell.

    Returns:
        (B, h * w) bool.
    """
    inside = F.adaptive_max_pool2d(masks[:, None].float(), size).flatten(1) > 0
    drawn = torch.rand(inside.shape, device=inside.device)
    # The object cell with the lowest draw is masked in any case.
    sure = F.one_hot((drawn + ~inside).argmin(1), drawn.shape[1]).bool() & inside
    return (drawn < torch.where(inside, share, rest)) | sure


class Branch(nn.Module):
    """A small transformer decoder: queries of one modality, some of them masked, attend to the other modality.

    Args:
        width: d.
        layers: decoder layers.
        heads: attention heads.
        dropout: dropout rate.
        target: width of the rebuilt features.
    """

    def __init__(self, width: int, layers: int, heads: int, dropout: float, target: int) -> None:
        super().__init__()
        layer = nn.TransformerDecoderLayer(width, heads, 4 * width, dropout, "gelu", batch_first=True, norm_first=True)
        self.masked = nn.Parameter(torch.zeros(width))
        nn.init.normal_(self.masked, std=0.02)
        self.decoder = nn.TransformerDecoder(layer, layers, nn.LayerNorm(width))
        self.output = nn.Linear(width, target)

    def forward(
        self,
        queries: Tensor,
        places: Tensor,
        hidden: Tensor,
        memory: Tensor,
        query_padding: Tensor | None = None,
        memory_padding: Tensor | None = None,
    ) -> Tensor:
        """Rebuild the masked queries.

        Args:
            queries: (B, Q, d).
            places: (Q, d) position codes of the queries.
            hidden: (B, Q) bool, true where the learned vector replaces a query.
            memory: (B, K, d).
            query_padding: (B, Q) bool, true for padding.
            memory_padding: (B, K) bool, true for padding.

        Returns:
            (B, Q, target).
        """
        queries = torch.where(hidden[..., None], self.masked.to(queries.dtype), queries) + places
        found = self.decoder(
            queries, memory, tgt_key_padding_mask=query_padding, memory_key_padding_mask=memory_padding
        )
        rebuilt: Tensor = self.output(found)
        return rebuilt


class ObjectLearning(nn.Module):
    """Both branches, with shared projections into their width.

    Args:
        cell_width: channels D of the map.
        text_width: width Ct of the words.
        max_tokens: longest sequence.
        width: d.
        layers: decoder layers of a branch.
        heads: attention heads.
        dropout: dropout rate.
        branches: `both`, `text` or `image`.
        vocabulary: number of token ids, if words are rebuilt as ids; None rebuilds the text encoder's features.
        colours: rebuild mean colours instead of the map's features.
        share: share of object cells that are masked.
        rest: share of other cells that are masked.
    """

    def __init__(
        self,
        cell_width: int,
        text_width: int,
        max_tokens: int,
        width: int = 256,
        layers: int = 2,
        heads: int = 8,
        dropout: float = 0.1,
        branches: str = "both",
        vocabulary: int | None = None,
        colours: bool = False,
        share: float = 0.5,
        rest: float = 0.1,
    ) -> None:
        super().__init__()
        self.shares = (share, rest)
        self.vocabulary, self.colours = vocabulary, colours
        self.from_words = nn.Linear(text_width, width)
        self.from_cells = nn.Linear(cell_width, width)
        self.text: Branch | None = None
        self.image: Branch | None = None
        if branches != "image":
            self.text = Branch(width, layers, heads, dropout, vocabulary or text_width)
            self.places = nn.Parameter(torch.empty(max_tokens, width))
            nn.init.normal_(self.places, std=0.02)
        if branches != "text":
            self.image = Branch(width, layers, heads, dropout, 3 if colours else cell_width)

    def forward(self, inputs: RebuildInputs) -> dict[str, Tensor]:
        """Mean losses over masked words (`rebuild_text`) and cells (`rebuild_image`), one for each branch there is."""
        size = (inputs.cells.shape[-2], inputs.cells.shape[-1])
        flat = inputs.cells.flatten(2).transpose(1, 2)
        words, cells = self.from_words(inputs.words), self.from_cells(flat)
        grid = sine_2d(*size, cells.shape[-1], cells)
        padding = ~inputs.present
        losses: dict[str, Tensor] = {}
        if self.text is not None:
            places = self.places[: words.shape[1]]
            rebuilt = self.text(words, places, inputs.named, cells + grid, query_padding=padding).float()
            if self.vocabulary is None:
                wrong = 1 - F.cosine_similarity(rebuilt, inputs.start.detach().float(), dim=-1)
            else:
                wrong = F.cross_entropy(rebuilt.transpose(1, 2), inputs.ids, reduction="none")
            losses["rebuild_text"] = _mean_where(wrong, inputs.named)
        if self.image is not None:
            hidden = choose_cells(inputs.masks, size, *self.shares)
            rebuilt = self.image(cells, grid, hidden, words, memory_padding=padding).float()
            target = F.adaptive_avg_pool2d(inputs.images, size).flatten(2).transpose(1, 2) if self.colours else flat
            target = target.detach().float()
            target = target if self.colours else F.layer_norm(target, target.shape[-1:])
            wrong = F.smooth_l1_loss(rebuilt, target, reduction="none").mean(-1)
            losses["rebuild_image"] = _mean_where(wrong, hidden)
        return losses


def _mean_where(values: Tensor, chosen: Tensor) -> Tensor:
    """Mean of the chosen values (B, Q); 0 if none is chosen."""
    weights = chosen.to(values.dtype)
    return (values * weights).sum() / weights.sum().clamp(min=1)
