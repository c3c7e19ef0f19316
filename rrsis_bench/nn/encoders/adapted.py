"""Frozen encoders with trained adapters inside: what their classes share.

Legend: `B` batch, `L` tokens, `C` width of the words, `S` of the sentence vector.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, Self

from torch import Tensor, nn

from rrsis_bench.nn.layers.freezing import freeze
from rrsis_bench.nn.layers.recompute import again, call

SentencePlace = Literal["end", "largest-id"]
"""Where CLIP's sentence vector is read: at the last real token, or at the largest id, as CLIP's own code does."""


class AdaptedEncoder(nn.Module):
    """An encoder whose own parameters stay as they are; a subclass adds the adapters and runs both.

    The encoder (the trunk) stays in evaluation mode, whatever mode the method is in.

    Args:
        trunk: the encoder; its parameters are frozen here.
    """

    trunk: Any

    def __init__(self, trunk: nn.Module) -> None:
        super().__init__()
        freeze(trunk)
        trunk.eval()
        self.trunk = trunk
        self._run: Callable[..., Any] = call

    def checkpoint_activations(self) -> None:
        """Run the trunk's blocks again in the backward pass, without the adapters; see `nn/layers/recompute.py`.

        Adapters may hold BatchNorm, which would count each batch twice.
        """
        self._run = again

    def train(self, mode: bool = True) -> Self:
        """Set the mode of the adapters; the trunk never leaves evaluation mode."""
        super().train(mode)
        self.trunk.eval()
        return self

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Load the trunk's base weights, in any layout they are published in.

        Raises:
            MissingResourceError: the tensors are not this encoder's; the message names the first that do not fit.
        """
        raise NotImplementedError


class AdaptedTextEncoder(AdaptedEncoder):
    """A frozen text encoder; adapters work in parallel with the feed-forward parts of some blocks.

    What lies before the first adapter runs without gradients.

    Args:
        trunk: the encoder; its parameters are frozen here.
        adapters: block index (0-based) -> module called as `adapter(words, mask, state)`. The module returns what to
            add to the feed-forward part's output, and the state for the next adapter; the first one's `state` is None.

    Attributes:
        sentence_width: width S of the sentence vector.
    """

    sentence_width: int

    def __init__(self, trunk: nn.Module, adapters: Mapping[int, nn.Module]) -> None:
        super().__init__(trunk)
        self.adapters = nn.ModuleDict({str(index): adapter for index, adapter in adapters.items()})

    def forward(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Encode expressions.

        Args:
            ids: (B, L) token ids, padded at the end.
            mask: (B, L) bool, True for real tokens.

        Returns:
            words (B, L, C) after the last block, sentence vectors (B, S), and the state after each adapter.
        """
        raise NotImplementedError
