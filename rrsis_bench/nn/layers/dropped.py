"""Multi-head attention that is fused in evaluation, and goes head by head in training with dropout on a CPU.

PyTorch's fused kernel for CPUs has no dropout. Without it, the weights of all heads, their mask and their product are
three large tensors that stay until the backward pass. One head's weights fit the cache. The backward pass computes them
again, and the mask is kept in a byte a weight.

Legend: `N` batch times heads, `Q` queries, `S` sources (keys and values), `D` channels of a head.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from rrsis_bench.nn.layers.forms import fast_on
from rrsis_bench.nn.layers.precision import at_least_float32, full_precision

_LARGE = 2**16
"""Weights of a head from which on the loop over heads was measured to be faster."""


class MultiheadAttention(nn.MultiheadAttention):
    """PyTorch's layer with its parameters and results: on the fused kernel, or head by head."""

    def forward(  # type: ignore[override]  # the further arguments are passed on as they are
        self, query: Tensor, key: Tensor, value: Tensor, **how: Any
    ) -> tuple[Tensor, Tensor | None]:
        """Attend; arguments and results are those of `torch.nn.MultiheadAttention`."""
        large = self.batch_first and query.ndim == 3 and query.shape[1] * key.shape[1] >= _LARGE
        dropped = self.training and self.dropout > 0 and torch.is_grad_enabled()
        plain = not (large and dropped and fast_on(query.device) and how == {"need_weights": False})
        if plain or self.in_proj_weight is None or torch.compiler.is_compiling():
            # Queries and keys as one object would send the layer down a path without the fused kernel in evaluation.
            return super().forward(query.view_as(query), key, value, **how)
        biases = (None,) * 3 if self.in_proj_bias is None else self.in_proj_bias.chunk(3)
        heads = [
            F.linear(x, weight, bias).view(len(x), -1, self.num_heads, self.head_dim).transpose(1, 2).flatten(0, 1)
            for x, weight, bias in zip((query, key, value), self.in_proj_weight.chunk(3), biases, strict=True)
        ]
        attended: Tensor = _HeadByHead.apply(*heads, self.dropout)  # type: ignore[no-untyped-call]
        merged = attended.view(len(query), self.num_heads, -1, self.head_dim).transpose(1, 2).flatten(2)
        return self.out_proj(merged), None


class _HeadByHead(torch.autograd.Function):
    """softmax(q k^T / sqrt(D)), dropped, times v: (N, Q, D), (N, S, D), (N, S, D), rate -> (N, Q, D)."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, rate: float) -> Tensor:
        """Draw the masks in the order of PyTorch's own dropout, and attend."""
        kept = torch.empty(*q.shape[:2], k.shape[1], dtype=torch.bool, device=q.device)
        out = torch.empty_like(q)
        with full_precision(q.device):
            for n in range(len(q)):
                weights = _weights(*_exact(q[n], k[n])).mul_(kept[n].bernoulli_(1 - rate))
                out[n] = weights @ at_least_float32(v[n])
        out.mul_(1 / (1 - rate))
        ctx.save_for_backward(q, k, v, kept, out)
        ctx.rate = rate
        return out

    @staticmethod
    @once_differentiable  # type: ignore[no-untyped-call, untyped-decorator]
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        """Compute each head's weights again. A row's sum of weights times their gradients is `gradient . out`."""
        *given, kept, out = ctx.saved_tensors
        changes = [torch.empty_like(one) for one in given]
        for n in range(len(out)):
            q, k, v, pulled, gathered = _exact(*(one[n] for one in given), gradient[n], out[n])
            weights = _weights(q, k)
            dropped = weights * kept[n]
            share = (pulled * gathered).sum(-1, keepdim=True)
            pulled = pulled / (1 - ctx.rate)
            scores = (pulled @ v.T).mul_(dropped).sub_(weights.mul_(share)).mul_(q.shape[-1] ** -0.5)
            for change, one in zip(changes, (scores @ k, scores.T @ q, dropped.T @ pulled), strict=True):
                change[n] = one
        return changes[0], changes[1], changes[2], None


def _exact(*parts: Tensor) -> list[Tensor]:
    """Tensors in float32 at least. PyTorch's own attention with dropout computes in float32 on a CPU, too."""
    return [at_least_float32(part) for part in parts]


def _weights(q: Tensor, k: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(D)) of one head (Q, S)."""
    scale: float = q.shape[-1] ** -0.5
    return ((q * scale) @ k.T).softmax(-1)
