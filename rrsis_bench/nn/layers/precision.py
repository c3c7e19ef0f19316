"""Full precision inside of networks that otherwise run in half precision."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor


def full_precision(device: torch.device) -> AbstractContextManager[Any]:
    """Switch autocast off inside. Devices without autocast (`meta`) need no switch."""
    known = torch.amp.is_autocast_available(device.type)
    return torch.autocast(device.type, enabled=False) if known else nullcontext()


def at_least_float32(x: Tensor) -> Tensor:
    """A tensor in float32, or in float64 if it is already."""
    return x if x.dtype == torch.float64 else x.float()
