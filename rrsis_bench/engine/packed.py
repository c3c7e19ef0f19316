"""Linear layers on a processor with weights laid out once, for loops over many images with fixed weights.

PyTorch multiplies float32 matrices by MKL, from the weights as they lie, and under autocast casts the weights anew at
every call. oneDNN, which comes with PyTorch, multiplies faster from weights laid out in blocks of its own. PyTorch has
no public way to this; its compiler calls the same two operators. Results differ from `nn.Linear`'s by rounding.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class _Blocks:
    """A layer's parameters as oneDNN wants them.

    Attributes:
        weight: opaque, of (C_out, C_in).
        bias: (C_out,) in the same type, or None.
        source: the tensors they were made from; held, so that no other can come to lie where these lie.
        state: where those lay and how often they had been written to.
    """

    weight: Tensor
    bias: Tensor | None
    source: tuple[Tensor, ...]
    state: tuple[tuple[int, int], ...]


class PackedLinear:
    """Stands in for the `forward` of one linear layer, and leaves to it whatever it cannot do the same.

    Args:
        layer: its parameters may still change; they are laid out again when that is noticed.
    """

    def __init__(self, layer: nn.Linear) -> None:
        self.layer = layer
        self.blocks: dict[torch.dtype, _Blocks] = {}

    def __call__(self, x: Tensor) -> Tensor:
        """(..., C_in) to (..., C_out)."""
        dtype = self._dtype(x)
        if dtype is None:
            return nn.Linear.forward(self.layer, x)
        blocks = self._lay_out(dtype, x.numel() // x.shape[-1])
        y: Tensor = torch.ops.mkldnn._linear_pointwise(x.to(dtype), blocks.weight, blocks.bias, "none", [], "")
        return y

    def _dtype(self, x: Tensor) -> torch.dtype | None:
        """What to compute in; None where the layer itself must do it."""
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
    """Whether this is a processor on which it was found faster (AVX-512), with the calls it needs."""
    calls = ("_linear_pointwise", "_reorder_linear_weight", "_is_mkldnn_bf16_supported")
    return (
        torch.backends.cpu.get_cpu_capability() == "AVX512"
        and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        and all(hasattr(torch.ops.mkldnn, call) for call in calls)
        and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    )


@contextmanager
def packed_linears(network: nn.Module) -> Iterator[None]:
    """Inside, linear layers multiply from blocks where no gradient is wanted.

    The blocks are held beside the weights and cost their memory once more, under bf16 autocast half of it.
    """
    # Subclasses do more than multiply, and a layer whose call was replaced already is somebody else's.
    layers = [m for m in network.modules() if type(m) is nn.Linear and "forward" not in vars(m)]
    for layer in layers:
        layer.forward = PackedLinear(layer)  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward
