"""The text branch: a frozen text encoder with adapters, and the keys that it makes for the visual adapters.

Legend: `B` batch, `L` tokens, `C` width of the words, `S` of the sentence, `N` proxies, `d` their width.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from rrsis_bench.families.detris.family import adapted_text
from rrsis_bench.s4eca.options import S4ECAOptions
from rrsis_bench.s4eca.textual_adapter import FinalProxies, QueryTextAdapter, dense_adapter
from rrsis_bench.types import TextTokens


@dataclass(frozen=True)
class Language:
    """Expressions, as the text branch encodes them.

    Attributes:
        words: (B, L, C) final word features.
        mask: (B, L) bool, True for real tokens.
        sentence: (B, S) sentence vectors.
        keys: proxies (B, N, d) or words (B, L, C), one entry for each visual adapter's spatial selection, or one entry
            for all.
        keys_mask: (B, L) if the keys are words, else None.
    """

    words: Tensor
    mask: Tensor
    sentence: Tensor
    keys: tuple[Tensor, ...]
    keys_mask: Tensor | None

    def context(self, k: int) -> tuple[Tensor, Tensor | None, Tensor]:
        """The k-th visual adapter's arguments `language`, `mask` and `sentence`."""
        return self.keys[k if len(self.keys) > 1 else 0], self.keys_mask, self.sentence


class TextBranch(nn.Module):
    """The text encoder with its adapters, and the proxies that the options ask for.

    Args:
        options: the method's options.
    """

    def __init__(self, options: S4ECAOptions) -> None:
        super().__init__()
        self.options = options
        self.encoder = adapted_text(options, self._adapters)
        no_adapter_makes_them = options.proxies == "mean" and options.text_adapter != "queries"
        self.final: FinalProxies | None = None
        if options.needs_proxies and (options.proxies == "final" or no_adapter_makes_them):
            self.final = FinalProxies(
                options.text_width,
                options.text_bottleneck,
                options.queries if options.proxies == "final" else 0,
                options.text_adapter_heads,
                options.adapter_dropout,
            )

    @property
    def key_width(self) -> int:
        """Width of the keys that the visual adapters receive."""
        words = self.options.spatial_source == "words"
        return self.options.text_width if words else self.options.text_bottleneck

    def _adapters(self) -> dict[int, nn.Module]:
        options = self.options
        if options.text_adapter == "none":
            return {}
        if options.text_adapter == "dense":
            return {
                index: dense_adapter(
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
