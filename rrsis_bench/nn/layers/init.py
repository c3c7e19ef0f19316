"""How parameters start."""

from __future__ import annotations

from timm.layers import trunc_normal_
from torch import nn


def kaiming(module: nn.Module) -> None:
    """Kaiming-normal weights and zero biases for a linear or convolutional layer; meant for `Module.apply`.

    Subclasses keep PyTorch's initialisation, such as the output projection of an attention layer.
    """
    if type(module) in (nn.Linear, nn.Conv1d, nn.Conv2d):
        assert isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d)
        kaiming_layer(module)


def kaiming_layer(layer: nn.Linear | nn.Conv1d | nn.Conv2d) -> None:
    """Kaiming-normal weights (for ReLU) and a zero bias."""
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def zero(layer: nn.Linear | nn.Conv2d, bias: float = 0.0) -> None:
    """Zero weights and one value for the bias."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.constant_(layer.bias, bias)


def init_transformer(module: nn.Module) -> None:
    """Swin's initialisation: linear weights truncated normal with deviation 0.02, biases 0, LayerNorm 1 and 0.

    Meant for `Module.apply`. Convolutions keep PyTorch's initialisation.
    """
    if isinstance(module, nn.Linear):
        trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.LayerNorm):
        nn.init.ones_(module.weight)
        nn.init.zeros_(module.bias)
