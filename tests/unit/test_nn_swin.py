from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from rrsis_bench.errors import MissingResourceError
from rrsis_bench.nn.encoders.swin import Swin, SwinBlock, region_mask, resize_bias_table
from rrsis_bench.nn.weights.files import load_tensors

SMALL = {"width": 16, "depths": (2, 2, 2, 2), "heads": (1, 2, 4, 8), "window": 4, "drop_path": 0.0}


def small(seed: int = 0) -> Swin:
    torch.manual_seed(seed)
    encoder = Swin(**SMALL).double().eval()
    for name, parameter in encoder.named_parameters():
        if "bias" in name or "norm" in name:
            nn.init.normal_(parameter, 1.0 if name.endswith("norm.weight") else 0.0, 0.3)
    return encoder


def as_timm(encoder: Swin) -> nn.Module:
    model = timm.create_model(
        "swin_base_patch4_window7_224",
        pretrained=False,
        num_classes=0,
        embed_dim=16,
        depths=(2, 2, 2, 2),
        num_heads=(1, 2, 4, 8),
        window_size=4,
        img_size=128,
    ).double()
    missing, unexpected = model.load_state_dict(encoder.state_dict(), strict=False)
    assert unexpected == []
    assert missing == ["norm.weight", "norm.bias"]
    return model.eval()


def naive_block(block: SwinBlock, x: Tensor) -> Tensor:
    """The block pixel by pixel: zero-pad, roll, and softmax over the pixels of each pixel's own window."""
    attention, window, shift = block.attn, block.window_size[0], block.shift_size[0]
    height, width = x.shape[1:3]
    y = F.pad(block.norm1(x), (0, 0, 0, -width % window, 0, -height % window))
    y = torch.roll(y, (-shift, -shift), (1, 2))
    rows, columns = y.shape[1:3]
    q, k, v = attention.qkv(y).unflatten(-1, (3, attention.num_heads, -1)).unbind(3)
    out = torch.zeros_like(q)

    def region(place: int, length: int) -> int:
        if not shift:
            return 0
        return 0 if place < length - window else 1 if place < length - shift else 2

    for r in range(rows):
        for c in range(columns):
            top, left = r // window * window, c // window * window
            others = [(i, j) for i in range(top, top + window) for j in range(left, left + window)]
            scores = []
            for i, j in others:
                place = (r - i + window - 1) * (2 * window - 1) + c - j + window - 1
                score = (q[:, r, c] * k[:, i, j]).sum(-1) * attention.scale
                score = score + attention.relative_position_bias_table[place]
                if (region(r, rows), region(c, columns)) != (region(i, rows), region(j, columns)):
                    score = score - 100.0
                scores.append(score)
            weights = torch.stack(scores).softmax(0)
            out[:, r, c] = sum(weight[..., None] * v[:, i, j] for weight, (i, j) in zip(weights, others, strict=True))
    out = torch.roll(attention.proj(out.flatten(3)), (shift, shift), (1, 2))[:, :height, :width]
    x = x + out
    return x + block.mlp(block.norm2(x))


@torch.no_grad()
def test_equals_timm_where_no_padding_is_needed() -> None:
    encoder = small()
    # 128 px with windows of 4: maps 32, 16, 8 and 4; at 4 timm drops the shift, so the last stage is left out.
    images = torch.randn(2, 3, 128, 128, dtype=torch.float64)
    ours = encoder(images)
    theirs = as_timm(encoder).forward_intermediates(images, intermediates_only=True)
    for mine, other in zip(ours[:3], theirs[:3], strict=True):
        torch.testing.assert_close(mine.permute(0, 3, 1, 2), other, rtol=0, atol=1e-10)


@pytest.mark.parametrize("size", [(5, 7), (4, 4), (3, 2), (9, 8)])
@pytest.mark.parametrize("position", [0, 1])
@torch.no_grad()
def test_block_pads_before_it_rolls(size: tuple[int, int], position: int) -> None:
    block = small(1).layers[0].blocks[position]
    assert block.shift_size == ((2, 2) if position else (0, 0))
    x = torch.randn(2, *size, 16, dtype=torch.float64)
    torch.testing.assert_close(block(x), naive_block(block, x), rtol=0, atol=1e-10)


@pytest.mark.parametrize("size", [(101, 67), (33, 128), (4, 4)])
def test_any_image_size(size: tuple[int, int]) -> None:
    maps = Swin(**SMALL)(torch.randn(1, 3, *size))
    height, width = -(-size[0] // 4), -(-size[1] // 4)
    for i, found in enumerate(maps):
        assert found.shape == (1, height, width, 16 * 2**i)
        height, width = -(-height // 2), -(-width // 2)


@torch.no_grad()
def test_patch_merging_order() -> None:
    encoder = small()
    merging = encoder.layers[1].downsample
    x = torch.randn(1, 5, 3, 16, dtype=torch.float64)
    padded = F.pad(x, (0, 0, 0, 1, 0, 1))
    parts = [padded[:, row::2, column::2] for row, column in ((0, 0), (1, 0), (0, 1), (1, 1))]
    torch.testing.assert_close(encoder.downsample(0, x), merging.reduction(merging.norm(torch.cat(parts, -1))))


def test_region_mask_of_a_map_as_large_as_the_window() -> None:
    mask = region_mask((4, 4), 4, 2, torch.empty(0))
    assert mask.shape == (1, 16, 16)
    labels = torch.tensor([4, 4, 5, 5, 4, 4, 5, 5, 7, 7, 8, 8, 7, 7, 8, 8])
    assert torch.equal(mask[0] == 0, labels[:, None] == labels[None])
    assert mask.unique().tolist() == [-100.0, 0.0]


def test_stochastic_depth_rises_linearly() -> None:
    encoder = Swin(width=8, depths=(1, 2, 1, 1), heads=(1, 1, 2, 2), window=4, drop_path=0.4)
    rates = [getattr(block.drop_path1, "drop_prob", 0.0) for layer in encoder.layers for block in layer.blocks]
    assert rates == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4])


def test_published_size_on_the_meta_device() -> None:
    with torch.device("meta"):
        encoder = Swin()
    assert encoder.channels == (128, 256, 512, 1024)
    assert encoder.strides == (4, 8, 16, 32)
    # timm's swin_base_patch4_window12_384 has 86,878,584 parameters without head; 2,048 of them its final norm.
    assert sum(parameter.numel() for parameter in encoder.parameters()) == 86_878_584 - 2_048


def official_layout(encoder: Swin) -> dict[str, Tensor]:
    renamed = {}
    for name, value in encoder.state_dict().items():
        parts = name.split(".")
        if parts[0] == "layers" and parts[2] == "downsample":
            parts[1] = str(int(parts[1]) - 1)
        renamed[".".join(parts)] = value
    renamed["layers.0.blocks.1.attn_mask"] = torch.zeros(1)
    renamed["layers.0.blocks.1.attn.relative_position_index"] = torch.zeros(16, 16, dtype=torch.long)
    renamed |= {"norm.weight": torch.ones(128), "norm.bias": torch.zeros(128), "head.weight": torch.ones(3, 128)}
    return renamed


def test_loads_the_original_checkpoint_and_timms(tmp_path: Path) -> None:
    source = small(3)
    torch.save({"model": official_layout(source)}, tmp_path / "original.pth")
    save_file(source.state_dict(), tmp_path / "timm.safetensors")
    for file in ("original.pth", "timm.safetensors"):
        encoder = small(4)
        encoder.load_tensors(load_tensors(tmp_path / file))
        for name, value in encoder.state_dict().items():
            assert torch.equal(value, source.state_dict()[name]), name


def test_resizes_bias_tables_of_another_window() -> None:
    source = small(3)
    encoder = Swin(**{**SMALL, "window": 7}).double()
    encoder.load_tensors(source.state_dict())
    name = "layers.2.blocks.1.attn.relative_position_bias_table"
    expected = F.interpolate(
        source.state_dict()[name].T.reshape(1, 4, 7, 7), size=(13, 13), mode="bicubic", align_corners=False
    )
    torch.testing.assert_close(encoder.state_dict()[name], expected.reshape(4, 169).T)
    assert torch.equal(resize_bias_table(torch.ones(49, 2), 7), torch.ones(49, 2))


def test_foreign_weights_are_refused_by_name() -> None:
    tensors = small().state_dict()
    tensors["conv1.weight"] = torch.zeros(1)
    with pytest.raises(MissingResourceError, match=r"Swin weights do not fit the network.*conv1\.weight"):
        small().load_tensors(tensors)
