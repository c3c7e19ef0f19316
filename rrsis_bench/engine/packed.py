"""Faster linear layers on a CPU for fixed weights: oneDNN lays the weights out once, in blocks.

PyTorch multiplies float32 matrices by MKL, from weights in their usual layout. Under autocast it casts the weights at
every call. oneDNN, which comes with PyTorch, multiplies faster from weights in a blocked layout. PyTorch has no public
function for this; its compiler calls the same two operators. Outputs differ from those of `nn.Linear` by rounding.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class _Blocks:
    """A layer's parameters in oneDNN's layout.

    Attributes:
        weight: the weight (C_out, C_in) in blocks; its content is opaque.
        bias: (C_out,) in the same type, or None.
        source: the layer's own tensors. Holding them prevents that a new tensor gets their address.
        state: address and version (number of writes) of each tensor of `source`.
    """

    weight: Tensor
    bias: Tensor | None
    source: tuple[Tensor, ...]
    state: tuple[tuple[int, int], ...]


class PackedLinear:
    """Replaces the `forward` of one linear layer. It calls the layer's own `forward` for inputs it does not support.

    Args:
        layer: the layer. If its parameters change, they are laid out again at the next call.
    """

    def __init__(self, layer: nn.Linear) -> None:
        self.layer = layer
        self.blocks: dict[torch.dtype, _Blocks] = {}

    def __call__(self, x: Tensor) -> Tensor:
        """Map (..., C_in) to (..., C_out)."""
        dtype = self._dtype(x)
        if dtype is None:
            return nn.Linear.forward(self.layer, x)
        blocks = self._lay_out(dtype, x.numel() // x.shape[-1])
        y: Tensor = torch.ops.mkldnn._linear_pointwise(x.to(dtype), blocks.weight, blocks.bias, "none", [], "")
        return y

    def _dtype(self, x: Tensor) -> torch.dtype | None:
        """The type to compute in; None if the layer's own `forward` must compute."""
        kinds = (x.dtype, self.layer.weight.dtype)
        if torch.is_grad_enabled() or x.device.type != "cpu" or not x.numel():
            return None
        if not torch.is_autocast_enabled("cpu"):
            return torch.float32 if kinds == (torch.float32, torch.float32) else None
        known = x.dtype in (torch.float32, torch.bfloat16) and kinds[1] == torch.float32
        return torch.bfloat16 if known and torch.get_autocast_dtype("cpu") == torch.bfloat16 else None

    def _lay_out(self, dtype: torch.dtype, rows: int) -> _Blocks:
        source = tuple(tensor.detach() for tensor in (self.layer.weight, self.layer.bias) if tensor is not None)
        state = tuple((tensor.data_ptr(), tensor._version) for tensor in source)
        blocks = self.blocks.get(dtype)
        if blocks is None or blocks.state != state:
            weight, *bias = (tensor.to(dtype) for tensor in source)
            laid_out = torch.ops.mkldnn._reorder_linear_weight(weight, rows)
            blocks = self.blocks[dtype] = _Blocks(laid_out, bias[0] if bias else None, source, state)
        return blocks


def worth_packing() -> bool:
    """Whether packed layers are faster here: on AVX-512, where we measured it, if torch has the operators."""
    calls = ("_linear_pointwise", "_reorder_linear_weight", "_is_mkldnn_bf16_supported")
    return (
        torch.backends.cpu.get_cpu_capability() == "AVX512"
        and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        and all(hasattr(torch.ops.mkldnn, call) for call in calls)
        and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    )


@contextmanager
def packed_linears(network: nn.Module) -> Iterator[None]:
    """Replace the `forward` of a network's linear layers by `PackedLinear` while a block runs.

    The blocks need as much memory again as the weights, or half as much under bf16 autocast.
    """
    # Subclasses of Linear do more than multiply. A replaced `forward` belongs to other code.
    layers = [m for m in network.modules() if type(m) is nn.Linear and "forward" not in vars(m)]
    for layer in layers:
        layer.forward = PackedLinear(layer)  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward
