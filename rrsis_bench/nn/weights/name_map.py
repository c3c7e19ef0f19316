"""Parameter names of released checkpoints against ours."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor, nn

from rrsis_bench.errors import MissingResourceError
from rrsis_bench.nn.weights.files import few


@dataclass(frozen=True)
class NameMap:
    """Official parameter names against ours.

    Attributes:
        method: the method's name, for messages.
        modules: official module name (`*` for a number) to ours; what follows it in a parameter's name is kept.
        dropped: patterns of official names that have no counterpart on purpose -> the reason.
    """

    method: str
    modules: Mapping[str, str]
    dropped: Mapping[str, str]

    @cached_property
    def _patterns(self) -> list[tuple[re.Pattern[str], str]]:
        patterns = []
        for official, ours in self.modules.items():
            found = re.escape(official).replace(r"\*", r"(\d+)")
            numbers = iter(range(1, official.count("*") + 1))
            target = "".join(rf"\{next(numbers)}" if char == "*" else char for char in ours)
            patterns.append((re.compile(rf"{found}(\..+)"), rf"{target}\{official.count('*') + 1}"))
        return patterns

    def ours(self, official: str) -> str | None:
        """Our name of an official parameter or buffer; None if it is dropped on purpose or unknown."""
        if self.is_dropped(official):
            return None
        for pattern, target in self._patterns:
            if match := pattern.fullmatch(official):
                return match.expand(target)
        return None

    def is_dropped(self, official: str) -> bool:
        """Whether an official name is dropped on purpose."""
        return any(re.fullmatch(pattern, official) for pattern in self.dropped)

    def convert(self, official: Mapping[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
        """Official parameters under our names.

        Axes of length 1 that our tensor lacks are dropped: those of 1x1 convolutions that are linear layers here, and
        that of a list of one kernel.

        Args:
            official: values by official name.
            network: gives our shapes.

        Raises:
            MissingResourceError: a name has no place and is not dropped on purpose; the message names the first few.
        """
        own = network.state_dict()
        converted: dict[str, Tensor] = {}
        strange: list[str] = []
        for name, value in official.items():
            ours = self.ours(name)
            if ours is None:
                strange += [] if self.is_dropped(name) else [name]
                continue
            converted[ours] = value
            if ours in own and value.ndim > own[ours].ndim and _long_axes(value) == _long_axes(own[ours]):
                converted[ours] = value.reshape(own[ours].shape)
        if strange:
            raise MissingResourceError(f"no {self.method} checkpoint: cannot place {few(strange)}.")
        return converted


def _long_axes(tensor: Tensor) -> list[int]:
    return [length for length in tensor.shape if length > 1]
