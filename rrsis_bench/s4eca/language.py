"""The language side: a frozen, adapted text encoder and what the visual side reads of it.

Legend: `B` batch, `L` tokens, `C` width of the words, `S` of the sentence, `N` proxies, `d` their width.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from rrsis_bench.methods.base import freeze
from rrsis_bench.nn.bert import build_bert
from rrsis_bench.nn.clip import AdaptedClipText, build_clip_text
from rrsis_bench.nn.fusion import additive_mask
from rrsis_bench.s4eca.options import S4ECAOptions
from rrsis_bench.s4eca.textual_adapter import DenseAdapter, FinalProxies, QueryTextAdapter
from rrsis_bench.types import TextTokens

if TYPE_CHECKING:
    from open_clip.transformer import TextTransformer


def plain_words(options: S4ECAOptions) -> TextTransformer:
    """CLIP's text encoder without adapters, random weights; what the tiny variant's pre-training trains."""
    return build_clip_text(
        options.text_width,
        options.text_depth,
        options.text_heads,
        options.text_vocabulary,
        options.text_context,
        options.sentence_width,
    )


@dataclass(frozen=True)
class Language:
    """What the text encoder hands on.

    Attributes:
        words: (B, L, C) final word features.
        mask: (B, L) bool, True for real tokens.
        sentence: (B, S).
        keys: what the k-th visual adapter's spatial selection attends to: (B, N, d) proxies or (B, L, C) words; one
            entry serves all.
        keys_mask: (B, L) where the keys are words, else None.
    """

    words: Tensor
    mask: Tensor
    sentence: Tensor
    keys: tuple[Tensor, ...]
    keys_mask: Tensor | None

    def context(self, k: int) -> tuple[Tensor, Tensor | None, Tensor]:
        """Language arguments of the k-th visual adapter."""
        return self.keys[k if len(self.keys) > 1 else 0], self.keys_mask, self.sentence


class AdaptedBert(nn.Module):
    """A frozen BERT; adapters work in parallel with the feed-forward parts of some layers, before their LayerNorm.

    The trunk stays in evaluation mode, and what lies before the first adapter runs without gradients. The sentence
    vector is the first token's ([CLS]) final state.

    Args:
        trunk: from `build_bert`; its parameters are frozen here.
        adapters: layer index (0-based) -> module called as `adapter(words, mask, state)`, see `AdaptedClipText`.
    """

    def __init__(self, trunk: nn.Module, adapters: Mapping[int, nn.Module]) -> None:
        super().__init__()
        self.trunk = trunk
        freeze(trunk)
        trunk.eval()
        self.adapters = nn.ModuleDict({str(index): adapter for index, adapter in adapters.items()})

    def train(self, mode: bool = True) -> AdaptedBert:
        """Set the mode of the adapters; the trunk never leaves evaluation mode."""
        super().train(mode)
        self.trunk.eval()
        return self

    def forward(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Ids and mask (B, L) -> words (B, L, C), sentence (B, C), and the state after each adapter."""
        trunk = self.trunk
        layers: nn.ModuleList = trunk.encoder.layer  # type: ignore[assignment, union-attr]
        first = min((int(index) for index in self.adapters), default=len(layers))
        states: list[Tensor] = []
        state: Tensor | None = None
        with torch.no_grad():
            words: Tensor = trunk.embeddings(input_ids=ids)  # type: ignore[operator]
        additive = additive_mask(mask, words.dtype).expand(-1, 1, ids.shape[1], -1)
        for index, layer in enumerate(layers):
            with torch.no_grad() if index < first else nullcontext():
                attended: Tensor = layer.attention(words, additive)[0]  # type: ignore[operator]
                inner = layer.intermediate(attended)  # type: ignore[operator]
                residual = attended
                if str(index) in self.adapters:
                    added, state = self.adapters[str(index)](attended, mask, state)
                    residual = attended + added
                    if state is not None:
                        states.append(state)
                words = layer.output(inner, residual)  # type: ignore[operator]
        return words, words[:, 0], states


class LanguageSide(nn.Module):
    """Text encoder with adapters, and the keys it makes for the visual side.

    Args:
        options: the method's options.
    """

    def __init__(self, options: S4ECAOptions) -> None:
        super().__init__()
        self.options = options
        self.encoder: AdaptedClipText | AdaptedBert
        if options.encoders == "dinov2+clip":
            clip = plain_words(options)
            self.encoder = AdaptedClipText(clip, self._adapters())
            self.sentence_width = options.sentence_width
        else:
            bert = build_bert(
                options.text_width,
                options.text_depth,
                options.text_heads,
                options.text_vocabulary,
                options.text_context,
            )
            self.encoder = AdaptedBert(bert, self._adapters())
            self.sentence_width = options.text_width
        apart = options.proxies == "final" or (options.proxies == "mean" and options.text_adapter != "queries")
        self.final: FinalProxies | None = None
        if apart and options.needs_proxies:
            self.final = FinalProxies(
                options.text_width,
                options.text_bottleneck,
                options.queries if options.proxies == "final" else 0,
                options.text_adapter_heads,
                options.adapter_dropout,
            )

    @property
    def key_width(self) -> int:
        """Width of the keys the visual adapters receive."""
        words = self.options.spatial_source == "words"
        return self.options.text_width if words else self.options.text_bottleneck

    def _adapters(self) -> dict[int, nn.Module]:
        options = self.options
        if options.text_adapter == "none":
            return {}
        if options.text_adapter == "dense":
            return {
                index: DenseAdapter(
                    options.text_width, options.text_bottleneck, options.residual_scale, options.zero_init
                )
                for index in options.text_layers
            }
        return {
            index: QueryTextAdapter(
                options.text_width,
                options.text_bottleneck,
                0 if options.proxies == "mean" else options.queries,
                options.text_adapter_heads,
                options.adapter_dropout,
                options.residual_scale,
                options.zero_init,
            )
            for index in options.text_layers
        }

    def forward(self, tokens: TextTokens) -> Language:
        """Encode the expressions of a batch."""
        words, sentence, states = self.encoder(tokens.ids, tokens.mask)
        if not self.options.needs_proxies:
            return Language(words, tokens.mask, sentence, (words,), tokens.mask)
        if self.final is not None:
            keys: tuple[Tensor, ...] = (self.final(words, tokens.mask),)
        elif self.options.proxies == "per-level":
            keys = tuple(states)
        else:
            keys = (states[-1],)
        return Language(words, tokens.mask, sentence, keys, None)
