"""LQVG (Lan et al., TGRS 2024): visual grounding by multi-scale cross-modal alignment and a deformable detector.

Legend: `U` photographs, `B` samples, `L` words, `D` width, `h w` cells of a level.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.pslgsam.detector import Detected, Detector, Levels
from rrsis_bench.nn.encoders.bert import encode_words
from rrsis_bench.nn.encoders.clip import encode_plain, last_real
from rrsis_bench.nn.encoders.clip_dual import ClipDual
from rrsis_bench.nn.encoders.resnet import ResNet50
from rrsis_bench.nn.encoders.roberta import build_roberta
from rrsis_bench.nn.layers.positions import counted_sine_1d, counted_sine_2d
from rrsis_bench.nn.layers.recompute import blocks_of


def projection(channels: int, width: int, groups: int, kernel: int = 1, stride: int = 1) -> nn.Sequential:
    """Convolution and group norm from an encoder's channels to the detector's width."""
    conv = nn.Conv2d(channels, width, kernel, stride, padding=kernel // 2 if stride <= 2 else 1)
    nn.init.xavier_uniform_(conv.weight)
    assert conv.bias is not None
    nn.init.zeros_(conv.bias)
    return nn.Sequential(conv, nn.GroupNorm(groups, width))


class Front(nn.Module):
    """The encoders before the detector.

    Attributes:
        levels: number of maps.
    """

    levels: int

    def encode_image(self, images: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Photographs (U, 3, H, W) to the maps that are stored for tests and the projected maps (U, D, h, w)."""
        raise NotImplementedError

    def encode_text(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Expressions (B, L) to words (B, L, D)."""
        raise NotImplementedError

    def sentence_place(self, mask: Tensor) -> Tensor:
        """The token (B,) that holds the whole expression."""
        raise NotImplementedError

    def blocks(self) -> list[nn.Module]:
        """The blocks of both encoders."""
        raise NotImplementedError


class ResNetRoberta(Front):
    """LQVG's own encoders: ResNet-50 and RoBERTa.

    Args:
        width: D.
        text: width, layers, heads, vocabulary and positions of RoBERTa.
    """

    levels = 4

    def __init__(self, width: int, text: tuple[int, int, int, int, int]) -> None:
        super().__init__()
        self.image = ResNet50()
        self.text = build_roberta(*text)
        _, c3, c4, c5 = self.image.channels
        self.projections = nn.ModuleList(
            [
                *(projection(channels, width, 32) for channels in (c3, c4, c5)),
                projection(c5, width, 32, kernel=3, stride=2),
            ]
        )
        self.word_projection = nn.Linear(text[0], width)
        self.word_norm = nn.LayerNorm(width, eps=1e-12)
        self.word_dropout = nn.Dropout(0.1)

    def encode_image(self, images: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Encode photographs; the fourth level comes from the third map."""
        maps = self.image(images)
        return maps, [project(one) for project, one in zip(self.projections, (*maps[1:], maps[-1]), strict=True)]

    def encode_text(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Encode expressions."""
        hidden = encode_words(self.text, ids, mask)
        words: Tensor = self.word_dropout(self.word_norm(self.word_projection(hidden)))
        return words

    def sentence_place(self, mask: Tensor) -> Tensor:
        """The start token, which attends to all others."""
        return mask.new_zeros(len(mask), dtype=torch.int64)

    def blocks(self) -> list[nn.Module]:
        """The blocks that train of ResNet-50, and those of RoBERTa."""
        stages = (self.image.layer2, self.image.layer3, self.image.layer4)
        return [*(block for stage in stages for block in stage), *blocks_of(self.text)]


class ClipFront(Front):
    """A CLIP pair for the tiny variant; its one map gives three levels.

    Args:
        name: of the dual encoder.
        width: D.
        mean: of the images that it is given.
        std: of these.
    """

    levels = 3
    colours: Tensor

    def __init__(
        self, name: str, width: int, mean: tuple[float, float, float], std: tuple[float, float, float]
    ) -> None:
        super().__init__()
        self.dual = ClipDual(name)
        self.register_buffer("colours", self.dual.colours(mean, std), persistent=False)
        # What only CLIP's own comparison of image and text needs.
        for unused in (self.dual.log_scale, self.dual.bias, self.dual.vision.proj, self.dual.text.text_projection):
            unused.requires_grad_(False)
        channels = self.dual.vision.ln_post.weight.numel()
        groups = width // 4
        self.projections = nn.ModuleList(
            [
                projection(channels, width, groups),
                projection(channels, width, groups, kernel=3, stride=2),
                projection(channels, width, groups, kernel=3, stride=4),
            ]
        )
        self.word_projection = nn.Linear(self.dual.text.ln_final.weight.numel(), width)
        self.word_norm = nn.LayerNorm(width)

    def encode_image(self, images: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Encode photographs of any size, which are resized to CLIP's own."""
        tokens = self.dual.patches(self.dual.scaled(images, self.colours))
        grid = self.dual.grid
        features = tokens.transpose(1, 2).reshape(len(tokens), -1, grid, grid)
        return [features], [project(features) for project in self.projections]

    def encode_text(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Encode expressions."""
        words: Tensor = self.word_norm(self.word_projection(encode_plain(self.dual.text, ids, mask)[0]))
        return words

    def sentence_place(self, mask: Tensor) -> Tensor:
        """The last real token: CLIP's text tower is causal."""
        return last_real(mask)

    def blocks(self) -> list[nn.Module]:
        """The blocks of CLIP's towers."""
        return self.dual.blocks()


@dataclass(frozen=True)
class Grounded:
    """All stages of a pass.

    Attributes:
        found: boxes and scores of all decoder layers.
        text: words (B, L, D) before the fusion.
        words: words after the last level.
        sentence: (B, D).
        fused: tokens (B, h w, D) of each level after the fusion.
        codes: position codes (B, h, w, D) of each level.
        padding: (B, h, w) of each level.
        levels: the same as the detector reads them.
    """

    found: Detected
    text: Tensor
    words: Tensor
    sentence: Tensor
    fused: Sequence[Tensor]
    codes: Sequence[Tensor]
    padding: Sequence[Tensor]
    levels: Levels


class LQVG(nn.Module):
    """The grounding network.

    Args:
        front: encoders.
        width: D.
        heads: attention heads.
        points: sampling points per head and level.
        layers: numbers of encoder and decoder layers.
        hidden: width inside the feed-forward parts.
        queries: number of queries.
        dropout: rate inside the detector.
    """

    def __init__(
        self,
        front: Front,
        width: int,
        heads: int,
        points: int,
        layers: tuple[int, int],
        hidden: int,
        queries: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.front, self.width = front, width
        self.words_ask = nn.MultiheadAttention(width, heads, batch_first=True)
        self.cells_ask = nn.MultiheadAttention(width, heads, batch_first=True)
        self.sentence = nn.Linear(width, width)
        self.detector = Detector(width, heads, front.levels, points, layers, hidden, queries, dropout)

    def blocks(self) -> list[nn.Module]:
        """The blocks of the encoders and of the detector."""
        return [*self.front.blocks(), *self.detector.encoder, *self.detector.decoder]

    def forward(self, maps: Sequence[Tensor], ids: Tensor, mask: Tensor, padding: Tensor | None = None) -> Grounded:
        """Ground expressions.

        Args:
            maps: (B, D, h, w) of each level, from `front`, a photograph for each expression.
            ids: (B, L) token ids.
            mask: (B, L) bool, True for real tokens.
            padding: (B, H, W) bool, True for padding of the images; None for images without any.
        """
        sizes = [(one.shape[-2], one.shape[-1]) for one in maps]
        if padding is None:
            shrunk = [torch.zeros_like(one[:, 0], dtype=torch.bool) for one in maps]
        else:
            shrunk = [F.interpolate(padding[:, None].float(), size).bool()[:, 0] for size in sizes]
        text = self.front.encode_text(ids, mask)
        codes = [counted_sine_2d(one, self.width, text) for one in shrunk]
        words, fused = self.fuse(maps, codes, shrunk, text, mask)
        rows = torch.arange(len(words), device=words.device)
        sentence = self.sentence(words[rows, self.front.sentence_place(mask)]).tanh()
        levels = self.detector.flatten(fused, codes, shrunk)
        return Grounded(self.detector(levels, sentence), text, words, sentence, fused, codes, shrunk, levels)

    def fuse(
        self, maps: Sequence[Tensor], codes: Sequence[Tensor], padding: Sequence[Tensor], text: Tensor, mask: Tensor
    ) -> tuple[Tensor, list[Tensor]]:
        """Multi-scale cross-modal alignment: words and cells are multiplied by what they read of each other.

        The words pass all levels in turn; the cells of every level read the words as they were before.
        """
        words, fused = text, []
        keys = text + counted_sine_1d(mask, self.width, text)
        for features, code, blank in zip(maps, codes, padding, strict=True):
            cells = features.flatten(2).transpose(1, 2)
            read, _ = self.words_ask(
                words, cells + code.flatten(1, 2), cells, key_padding_mask=blank.flatten(1), need_weights=False
            )
            asked, _ = self.cells_ask(cells, keys, text, key_padding_mask=~mask, need_weights=False)
            words = words * read
            fused.append(cells * asked)
        return words, fused
