"""DINOv2: the published architecture, position codes at other sizes, checkpoint layouts."""

from __future__ import annotations

import pytest
import timm
import torch

from rrsis_bench.errors import MissingResourceError
from rrsis_bench.nn.encoders.dinov2 import AdaptedDinov2, build_dinov2, load_dinov2


def test_the_default_is_timms_base_model_with_registers() -> None:
    with torch.device("meta"):
        ours = build_dinov2()
        theirs = timm.create_model("vit_base_patch14_reg4_dinov2", img_size=518)
    assert sum(parameter.numel() for parameter in ours.parameters()) == 86_582_016
    shapes = {name: value.shape for name, value in theirs.state_dict().items()}
    assert {name: value.shape for name, value in ours.state_dict().items()} == shapes


@torch.no_grad()
def test_maps_are_the_plain_models_at_any_size() -> None:
    torch.manual_seed(0)
    trunk = build_dinov2(width=32, depth=3, heads=2, patch=4, grid=6).eval()
    for size in ((24, 24), (16, 32)):
        images = torch.randn(2, 3, *size)
        first, last = AdaptedDinov2(trunk, {}, taps=(0,))(images)
        plain = trunk.forward_intermediates(images, indices=[0], norm=False, intermediates_only=True)
        assert (first - plain[0]).abs().max() == 0
        tokens = trunk.forward_features(images)[:, trunk.num_prefix_tokens :]
        assert (last.flatten(2).transpose(1, 2) - tokens).abs().max() == 0
        assert last.shape == (2, 32, size[0] // 4, size[1] // 4)


def test_checkpoints_load_strictly() -> None:
    trunk, other = (build_dinov2(width=32, depth=2, heads=2, patch=4, grid=6) for _ in range(2))
    load_dinov2(trunk, other.state_dict())
    for name, value in trunk.state_dict().items():
        assert torch.equal(value, other.state_dict()[name])
    lacking = {name: value for name, value in other.state_dict().items() if name != "reg_token"}
    with pytest.raises(MissingResourceError, match="reg_token"):
        load_dinov2(trunk, lacking)


def test_the_official_layout_loads() -> None:
    trunk = build_dinov2(width=32, depth=2, heads=2, patch=4, grid=6)
    state = dict(trunk.state_dict())
    official = {
        name: torch.randn_like(value)
        for name, value in state.items()
        if name not in {"reg_token", "pos_embed", "cls_token"}
    }
    # The official file has a code for the class token too, which timm adds to that token, and a mask token.
    official |= {
        "register_tokens": torch.randn(1, 4, 32),
        "mask_token": torch.zeros(1, 32),
        "cls_token": torch.randn(1, 1, 32),
        "pos_embed": torch.randn(1, 37, 32),
    }
    load_dinov2(trunk, official)
    assert torch.equal(trunk.reg_token, official["register_tokens"])
    assert torch.equal(trunk.pos_embed, official["pos_embed"][:, 1:])
    assert torch.allclose(trunk.cls_token, official["cls_token"] + official["pos_embed"][:, :1])
