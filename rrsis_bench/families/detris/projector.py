"""The projector of DETRIS (AAAI 2025, arXiv 2501.08580), after CRIS: the last kernel comes from the sentence vector.

Module and parameter names are those of the released checkpoint.
"""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn
from torch.nn import functional as F

from rrsis_bench.families.detris.neck import conv_norm_relu
from rrsis_bench.nn.layers.forms import fast_on
from rrsis_bench.nn.layers.precision import at_least_float32
from rrsis_bench.nn.layers.upconv import conv_of_enlarged


class DetrisProjector(nn.Module):
    """Upsampling by 4, then a convolution whose kernel and bias are generated from the sentence vector.

    Args:
        width: channels D of the incoming map; the generated kernel reads half as many.
        sentence: width of the sentence vector.
        kernel: side of the generated kernel.
    """

    def __init__(self, width: int = 512, sentence: int = 512, kernel: int = 3) -> None:
        super().__init__()
        self.kernel = kernel
        self.inner = width // 2
        self.vis = nn.Sequential(
            nn.Upsample(scale_factor=2, mode="bilinear"),
            conv_norm_relu(width, width, 3),
            nn.Upsample(scale_factor=2, mode="bilinear"),
            conv_norm_relu(width, self.inner, 3),
            nn.Conv2d(self.inner, self.inner, 1),
        )
        self.txt = nn.Linear(sentence, self.inner * kernel**2 + 1)

    def forward(self, maps: Tensor, sentence: Tensor) -> Tensor:
        """Map (B, D, h, w) and sentence (B, S) to logits (B, 1, 4h, 4w)."""
        for block in (self.vis[1], self.vis[3]):
            convolve, *rest = cast("nn.Sequential", block)
            size = (2 * maps.shape[-2], 2 * maps.shape[-1])
            maps = conv_of_enlarged(cast("nn.Conv2d", convolve), maps, size, align_corners=False)
            for layer in rest:
                maps = layer(maps)
        generated = self.txt(sentence)
        batch, channels, height, width = maps.shape
        kernels = generated[:, :-1].reshape(batch, channels, self.kernel, self.kernel)
        last = cast("nn.Conv2d", self.vis[4])
        if fast_on(maps.device):
            biases: Tensor = generated[:, -1, None, None, None]
            return _conv_of_mixed(last, maps, kernels) + biases
        maps = last(maps)
        # One grouped convolution serves all samples, each with its own kernel.
        logits = F.conv2d(
            maps.reshape(1, batch * channels, height, width),
            kernels,
            generated[:, -1],
            padding=self.kernel // 2,
            groups=batch,
        )
        return logits.transpose(0, 1)


def _conv_of_mixed(mix: nn.Conv2d, maps: Tensor, kernels: Tensor) -> Tensor:
    """Convolve `mix(maps)` by each sample's own kernel, with same padding, without the mixed maps.

    Args:
        mix: 1x1 convolution of C channels to as many, with bias.
        maps: (B, C, H, W).
        kernels: (B, C, k, k).

    Returns:
        (B, 1, H, W).
    """
    side = kernels.shape[-1]
    # Turned round: `fold` adds what a place gives to its neighbours, a convolution reads what they give.
    taps = kernels.flip((2, 3)).flatten(2).transpose(1, 2)
    given = taps @ mix.weight.flatten(1) @ maps.flatten(2)
    if mix.bias is not None:
        given = given + (taps @ mix.bias)[..., None]
    return F.fold(at_least_float32(given), maps.shape[-2:], side, padding=side // 2).to(maps.dtype)
