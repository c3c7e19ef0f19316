"""Noise on a network's parameters: zeros would hide the layers behind them."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn


def add_noise(parameters: Iterable[nn.Parameter]) -> None:
    """Add noise to parameters in place, drawn from torch's global generator."""
    with torch.no_grad():
        for parameter in parameters:
            parameter.add_(torch.randn_like(parameter), alpha=0.05)
