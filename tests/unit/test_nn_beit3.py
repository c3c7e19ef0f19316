"""BEiT-3 against timm's networks, and what its words may and may not do."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import timm
import torch
from timm.layers import resample_abs_pos_embed
from torch import Tensor, nn

from rrsis_bench.errors import MissingResourceError, UsageError
from rrsis_bench.nn.encoders.beit3 import SIZES, Beit3, Beit3Size, resize_positions

SMALL = Beit3Size(32, 3, 4, 50)


def network(image_size: int = 64, seed: int = 0, size: Beit3Size = SMALL, **more: float) -> Beit3:
    torch.manual_seed(seed)
    made = Beit3(size, image_size, **more).double().eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return made


def inputs(batch: int = 2, length: int = 7, image_size: int = 64) -> tuple[Tensor, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(1)
    images = torch.randn(batch, 3, image_size, image_size, generator=draw).double()
    ids = torch.randint(4, 50, (batch, 20), generator=draw)[:, :length]
    return images, ids, torch.arange(length)[None] < torch.tensor([4, 7])[:batch, None]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "image_size", "expected"),
    [("base", 224, 220_987_392), ("base", 320, 221_144_064), ("large", 224, 672_702_464)],
)
def test_released_sizes(name: str, image_size: int, expected: int) -> None:
    with torch.device("meta"):
        made = Beit3(SIZES[name], image_size)
    assert sum(parameter.numel() for parameter in made.parameters()) == expected


def timm_states(made: Beit3, name: str, images: Tensor, **sizes: int) -> Tensor:
    """timm's features of expert A, which lack the last norm."""
    referee = timm.create_model(name, img_size=made.image_size, num_classes=0, **sizes).double().eval()
    released = {f"beit3.{key}": value.clone() for key, value in made.state_dict().items()}
    converted = timm.models.vision_transformer._convert_beit3(released, referee)
    placed = {key: value for key, value in converted.items() if key in referee.state_dict()}
    assert set(converted) - set(placed) == {"layer_norm.weight", "layer_norm.bias"}
    left = set(referee.state_dict()) - set(placed)
    assert all("norm" in key for key in left), left
    referee.load_state_dict(placed, strict=False)
    referee.norm = nn.Identity()
    referee.fc_norm = nn.Identity()
    return made.encoder.layer_norm.A(referee.forward_features(images))


@torch.no_grad()
def test_expert_a_is_timm_s_network_where_all_words_are_padding() -> None:
    made = network()
    images, ids, mask = inputs()
    found = made(images, ids, torch.zeros_like(mask))
    expected = timm_states(made, "beit3_base_patch16_224", images, embed_dim=32, depth=3, num_heads=4)
    torch.testing.assert_close(found.joined[:, :17], expected, rtol=0, atol=1e-12)


@pytest.mark.slow
@torch.no_grad()
def test_expert_a_of_the_base_size_is_timm_s_network() -> None:
    made = network(224, size=replace(SIZES["base"], vocabulary=50))
    images, ids, mask = inputs(1, 3, 224)
    found = made(images, ids, torch.zeros_like(mask[:, :3]))
    expected = timm_states(made, "beit3_base_patch16_224", images)
    torch.testing.assert_close(found.joined[:, :197], expected, rtol=0, atol=1e-10)


@torch.no_grad()
def test_padding_is_read_by_nobody_and_reads_all() -> None:
    made = network()
    images, ids, mask = inputs()
    found = made(images, ids, mask)
    assert (found.sentence.shape, found.patches.shape, found.words.shape) == ((2, 32), (2, 16, 32), (2, 7, 32))
    other = ids.masked_fill(~mask, 9)
    torch.testing.assert_close(made(images, other, mask).joined, found.joined, rtol=0, atol=1e-12)
    short = made(images[:1], ids[:1, :4], mask[:1, :4])
    torch.testing.assert_close(short.joined, found.joined[:1, : 17 + 4], rtol=0, atol=1e-12)
    blanks = found.words[0, 4:]
    torch.testing.assert_close(blanks, blanks[:1].expand_as(blanks), rtol=0, atol=1e-12)
    assert float(blanks.abs().max()) > 0.1
    changed = made(images.flip(0), ids, mask).words[0, 4:]
    assert float((changed - blanks).abs().max()) > 1e-3


@torch.no_grad()
def test_words_and_patches_read_each_other() -> None:
    made = network()
    images, ids, mask = inputs()
    found, other = made(images, ids, mask), ids.clone()
    other[:, 1] = (ids[:, 1] + 1) % 50
    assert float((made(images, other, mask).patches - found.patches).abs().max()) > 1e-4
    assert float((made(-images, ids, mask).words - found.words).abs().max()) > 1e-4


@torch.no_grad()
def test_positions_are_resized_to_the_image() -> None:
    source, target = network(64), network(96, seed=1)
    released = {f"beit3.{key}": value for key, value in source.state_dict().items()}
    target.load_tensors({**released, "mlm_head.weight": torch.ones(2)})
    table = source.encoder.embed_positions.A.weight
    found = target.encoder.embed_positions.A.weight
    assert torch.equal(found[:3], table[:3])
    expected = resample_abs_pos_embed(table[None, 3:].float(), (6, 6), (4, 4), 0, "bicubic", antialias=False)[0]
    torch.testing.assert_close(found[3:], expected.double(), rtol=0, atol=1e-6)
    assert torch.equal(target.text_embed.weight, source.text_embed.weight)
    assert resize_positions(table, len(table)) is table


def test_other_weights_are_refused() -> None:
    made = network()
    state = {f"beit3.{key}": value for key, value in made.state_dict().items()}
    gone = {key: value for key, value in state.items() if not key.endswith("layers.1.ffn.B.fc1.bias")}
    with pytest.raises(MissingResourceError, match=r"misses encoder\.layers\.1\.ffn\.B\.fc1\.bias"):
        made.load_tensors(gone)
    with pytest.raises(MissingResourceError, match=r"does not know encoder\.odd"):
        made.load_tensors(state | {"beit3.encoder.odd": torch.ones(1)})
    with pytest.raises(MissingResourceError, match=r"embed_positions\.A\.weight \(18, 32\)"):
        made.load_tensors(state | {"beit3.encoder.embed_positions.A.weight": torch.ones(18, 32)})
    with pytest.raises(UsageError, match="no multiple of its patch"):
        Beit3(SMALL, 50)


def test_layers_are_dropped_in_training_only() -> None:
    made = network(drop_path=0.9)
    rates = [layer.drop_path.drop_prob for layer in made.encoder.layers]
    assert rates == pytest.approx([0, 0.45, 0.9])
    images, ids, mask = inputs()
    first = made(images, ids, mask).joined
    assert torch.equal(made(images, ids, mask).joined, first)
    made.train()
    assert not torch.equal(made(images, ids, mask).joined, first)


@torch.no_grad()
def test_random_start_is_the_released_one() -> None:
    torch.manual_seed(0)
    made = Beit3(Beit3Size(64, 1, 4, 5000), 224)
    linear = made.encoder.layers[0].ffn.A.fc1
    assert float(linear.weight.abs().max()) <= 0.02
    assert not linear.bias.any()
    assert float(made.text_embed.weight.std()) == pytest.approx(1 / math.sqrt(64), rel=0.02)
    assert float(made.encoder.embed_positions.B.weight.std()) == pytest.approx(1, rel=0.05)
    assert not made.vision_embed.cls_token.any()
