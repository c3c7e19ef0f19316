"""ConvNeXt in stages: the same numbers as timm's, and weights in both published layouts."""

from __future__ import annotations

import re

import pytest
import torch
from timm.models.convnext import ConvNeXt as TimmConvNeXt
from torch import Tensor

from rrsis_bench.errors import MissingResourceError
from rrsis_bench.nn.encoders.convnext import ConvNeXt

DEPTHS = (1, 1, 2, 1)


def pair() -> tuple[ConvNeXt, TimmConvNeXt]:
    torch.manual_seed(0)
    whole = TimmConvNeXt(depths=DEPTHS, dims=(8, 16, 32, 64), num_classes=5)
    for parameter in whole.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return ConvNeXt(8, DEPTHS, drop_path=0.0).eval(), whole.eval()


def original_layout(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """timm's names as they stand in the files of the network's authors."""
    renamed = {}
    for name, value in state.items():
        name = re.sub(r"^stem\.", "downsample_layers.0.", name)
        name = re.sub(r"^stages\.(\d)\.downsample", r"downsample_layers.\1", name)
        name = re.sub(r"^stages\.(\d)\.blocks", r"stages.\1", name)
        name = name.replace("conv_dw", "dwconv").replace("mlp.fc", "pwconv")
        name = name.replace("head.norm", "norm").replace("head.fc", "head")
        renamed[name] = value
    return renamed


@pytest.mark.parametrize("original", [False, True])
@torch.no_grad()
def test_maps_are_timms(original: bool) -> None:
    ours, whole = pair()
    state = dict(whole.state_dict())
    ours.load_tensors(original_layout(state) if original else state)
    images = torch.randn(2, 3, 64, 96)
    maps = ours(images)
    features = whole.stem(images)
    assert [tuple(one.shape) for one in maps] == [(2, 16, 24, 8), (2, 8, 12, 16), (2, 4, 6, 32), (2, 2, 3, 64)]
    for stage, ours_map in zip(whole.stages, maps, strict=True):
        features = stage(features)
        assert torch.equal(ours_map, features.permute(0, 2, 3, 1))


def test_base_has_the_published_channels_and_size() -> None:
    with torch.device("meta"):
        network = ConvNeXt()
    assert network.channels == (128, 256, 512, 1024)
    assert sum(parameter.numel() for parameter in network.parameters()) == 87_564_416


def test_foreign_weights_are_refused() -> None:
    ours, _ = pair()
    with pytest.raises(MissingResourceError, match="ConvNeXt weights do not fit"):
        ours.load_tensors({"layers.0.weight": torch.zeros(2)})
