"""LGCE: names and sizes as found, what acts and what does not, the language token, optimiser groups and recipes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from baselines.lgce import LGCE
from baselines.lgce.guidance import FirstTokenAttention, guide_vector
from baselines.lgce.weights import names_for
from helpers.official import SMALL_FAMILY, official_keys
from helpers.resolved import configured
from rrsis_bench.config import variant_options
from rrsis_bench.errors import MissingResourceError, UsageError
from rrsis_bench.families.lavt.stage import TextFeatures
from rrsis_bench.registry import card

SMALL = SMALL_FAMILY | {"guide_heads": [4, 8]}
LAVT_SIZE = 227_739_514


def small(seed: int = 0, **options: Any) -> LGCE:
    torch.manual_seed(seed)
    return LGCE.from_options(SMALL | options)


def inputs(size: tuple[int, int] = (64, 64), words: int = 9) -> tuple[Tensor, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(3)
    images = torch.randn(2, 3, *size, generator=draw)
    ids = torch.randint(1, 60, (2, 9), generator=draw)
    mask = torch.arange(9)[None] < torch.tensor([[4], [6]])
    return images, (ids * mask)[:, :words], mask[:, :words]


def found_shapes(widths: tuple[int, ...], text_width: int) -> dict[str, tuple[int, ...]]:
    """What the code has beyond LAVT, by its own names: three pairs of scales, patch embeddings and guides."""
    shapes: dict[str, tuple[int, ...]] = {}

    def linear(name: str, into: int, out: int, bias: bool = True) -> None:
        shapes[f"{name}.weight"] = (out, into)
        if bias:
            shapes[f"{name}.bias"] = (out,)

    def norm(name: str, width: int) -> None:
        shapes[f"{name}.weight"] = shapes[f"{name}.bias"] = (width,)

    for number, pair in enumerate(((2, 3), (1, 2), (0, 1)), 1):
        top = f"classifier.msb{number}"
        for branch, depth in enumerate((1, 3)):
            own, other = widths[pair[branch]], widths[pair[1 - branch]]
            for index in range(depth):
                block = f"{top}.msb.blocks.{branch}.{index}"
                norm(f"{block}.norm1", own)
                linear(f"{block}.attn.qkv", own, 3 * own, bias=False)
                linear(f"{block}.attn.proj", own, own)
                norm(f"{block}.norm2", own)
                linear(f"{block}.mlp.fc1", own, 2 * own)
                linear(f"{block}.mlp.fc2", 2 * own, own)
            norm(f"{top}.msb.projs.{branch}.0", own)
            linear(f"{top}.msb.projs.{branch}.2", own, other)
            norm(f"{top}.msb.fusion.{branch}.0.norm1", other)
            for part in ("wq", "wk", "wv"):
                linear(f"{top}.msb.fusion.{branch}.0.attn.{part}", other, other, bias=False)
            linear(f"{top}.msb.fusion.{branch}.0.attn.proj", other, other)
            norm(f"{top}.msb.revert_projs.{branch}.0", other)
            linear(f"{top}.msb.revert_projs.{branch}.2", other, own)
            side = (8, 16)[branch]
            shapes[f"{top}.patch_embed.{branch}.proj.weight"] = (own, 3, side, side)
            shapes[f"{top}.patch_embed.{branch}.proj.bias"] = (own,)
    for stage, width in enumerate(widths, 1):
        linear(f"classifier.lg_layer{stage}", text_width, width)
    return shapes


def as_found(method: LGCE) -> dict[str, Tensor]:
    """A network's parameters under the code's names, LAVT's included; those it does not have are zeros."""
    own, names = method.state_dict(), names_for("kept")
    widths, text_width = method.encoder.channels, method.options.text_width
    state: dict[str, Tensor] = {}
    for key, shape in found_shapes(widths, text_width).items():
        ours = names.ours(key) or ""
        state[key] = own[ours].clone() if ours in own else torch.zeros(shape)
        assert state[key].shape == shape
    for key in official_keys("lavt"):
        ours = names.ours(key) or ""
        if ours in own:
            state[key] = own[ours].clone()
    return state


@pytest.fixture(scope="module")
def base() -> LGCE:
    with torch.device("meta"):
        return LGCE.from_options(variant_options("lgce", "base")).eval()


def size(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_size_comes_out_as_counted_from_the_found_code(base: LGCE) -> None:
    """In millions: 276.26 in all, 48.5 more than LAVT, 35.83 in the pair of scales that is run."""
    assert size(base) / 1e6 == pytest.approx(276.26, abs=0.005)
    assert (size(base) - LAVT_SIZE) / 1e6 == pytest.approx(48.5, abs=0.05)
    assert (size(base.refine.mix) + size(base.refine.guides)) / 1e6 == pytest.approx(35.83, abs=0.005)
    assert "published_parameters" not in card("lgce")  # the authors print none that is known
    with torch.device("meta"):
        acting_alone = LGCE.from_options({"cross_scale": "none"})
    assert size(acting_alone) == 256_212_346
    assert size(base) == 276_257_786


def test_names_and_shapes_as_found(base: LGCE) -> None:
    names, own = names_for("kept"), base.state_dict()
    found = found_shapes((128, 256, 512, 1024), 768)
    assert {key: tuple(own[names.ours(key) or ""].shape) for key in found} == found
    placed = {names.ours(key) for key in [*found, *official_keys("lavt")] if not names.is_dropped(key)}
    assert placed == set(own)


@pytest.mark.parametrize("cross_scale", ["kept", "none", "acting"])
@torch.no_grad()
def test_loads_a_file_of_the_found_names(cross_scale: str, tmp_path: Path) -> None:
    source = small(1).eval()
    state = as_found(source)
    torch.save({"model": state}, tmp_path / "all.pth")
    method = small(2, cross_scale=cross_scale).eval()
    assert len(method.load_official(tmp_path / "all.pth")) == 64
    same = torch.equal(method.features(*inputs()).classes, source.features(*inputs()).classes)
    assert same == (cross_scale != "acting")  # what is dropped or not run changes nothing
    del state["classifier.lg_layer3.bias"]
    torch.save(state, tmp_path / "less.pth")
    with pytest.raises(MissingResourceError, match=r"misses refine\.guides\.0\.bias"):
        method.load_official(tmp_path / "less.pth")
    torch.save(state | {"classifier.msb1.msb.extra": torch.ones(1)}, tmp_path / "more.pth")
    with pytest.raises(MissingResourceError, match=r"cannot place classifier\.msb1\.msb\.extra"):
        method.load_official(tmp_path / "more.pth")


def plain_block(block: Any, tokens: Tensor, heads: int) -> Tensor:
    """A pre-norm transformer block, written out."""
    batch, count, width = tokens.shape
    normed = F.layer_norm(tokens, (width,), block.norm1.weight, block.norm1.bias, 1e-5)
    query, key, value = (normed @ block.attn.qkv.weight.T).view(batch, count, 3, heads, -1).permute(2, 0, 3, 1, 4)
    weights = (query @ key.transpose(-2, -1) * (width // heads) ** -0.5).softmax(-1)
    gathered = (weights @ value).transpose(1, 2).reshape(batch, count, width)
    tokens = tokens + gathered @ block.attn.proj.weight.T + block.attn.proj.bias
    normed = F.layer_norm(tokens, (width,), block.norm2.weight, block.norm2.bias, 1e-5)
    hidden = F.gelu(normed @ block.mlp.fc1.weight.T + block.mlp.fc1.bias)
    return tokens + hidden @ block.mlp.fc2.weight.T + block.mlp.fc2.bias


@torch.no_grad()
def test_what_acts_is_attention_inside_two_maps_beside_a_language_token() -> None:
    method = small().double().eval()
    draw = torch.Generator().manual_seed(1)
    maps = [torch.randn(2, 8 * 2**i, 16 // 2**i, 24 // 2**i, generator=draw).double() for i in range(4)]
    states = torch.randn(2, 7, 16, generator=draw).double()
    found = method.refine(maps, {"context": TextFeatures(states, torch.ones(2, 7))})
    assert found[0] is maps[0]
    assert found[1] is maps[1]
    for index, heads in ((0, 4), (1, 8)):
        old = maps[2 + index]
        guide = method.refine.guides[index]
        token = states.mean(1) @ guide.weight.T + guide.bias
        tokens = torch.cat([token[:, None], old.flatten(2).transpose(1, 2)], 1)
        assert len(method.refine.mix.blocks[index]) == (1, 3)[index]
        for block in method.refine.mix.blocks[index]:
            tokens = plain_block(block, tokens, heads)
        wanted = tokens[:, 1:].transpose(1, 2).reshape(old.shape)
        torch.testing.assert_close(found[2 + index], wanted, rtol=0, atol=1e-10)


@torch.no_grad()
def test_the_exchange_attends_from_the_first_token_alone() -> None:
    torch.manual_seed(0)
    layer = FirstTokenAttention(8, 2).double()
    tokens = torch.randn(2, 5, 8).double()
    normed = F.layer_norm(tokens, (8,))
    query = layer.query(normed)[:, :1].view(2, 1, 2, 4).transpose(1, 2)
    key, value = (part(normed).view(2, 5, 2, 4).transpose(1, 2) for part in (layer.key, layer.value))
    gathered = (query @ key.transpose(-2, -1) / 2).softmax(-1) @ value
    wanted = tokens[:, :1] + layer.output(gathered.transpose(1, 2).reshape(2, 1, 8))
    torch.testing.assert_close(layer(tokens), wanted)


@pytest.mark.parametrize("cross_scale", ["kept", "acting"])
def test_the_exchange_acts_only_where_it_is_asked_to(cross_scale: str) -> None:
    method = small(cross_scale=cross_scale, drop_path=0.0)
    classes = method.features(*inputs()).classes
    (classes.square().mean()).backward()  # type: ignore[no-untyped-call]
    without = {name for name, p in method.named_parameters() if p.requires_grad and p.grad is None}
    dead = {name for name in without if not name.startswith("stages.3.gate.")}
    assert without - dead == {"stages.3.gate.inner.weight", "stages.3.gate.outer.weight"}
    exchange = {name for name, _ in method.named_parameters() if name.startswith("refine.mix.exchange.")}
    unused = {name for name, _ in method.named_parameters() if name.startswith("refine.unused.")}
    assert exchange
    assert bool(unused) == (cross_scale == "kept")
    assert dead == (exchange | unused if cross_scale == "kept" else set())


@torch.no_grad()
def test_padding_moves_the_published_language_token_and_not_the_masked_one() -> None:
    states = torch.randn(2, 6, 5, generator=torch.Generator().manual_seed(0))
    mask = torch.tensor([[1, 1, 0, 0, 0, 0], [1, 1, 1, 1, 1, 1]])
    torch.testing.assert_close(guide_vector(TextFeatures(states, mask), masked=True)[0], states[0, :2].mean(0))
    torch.testing.assert_close(guide_vector(TextFeatures(states, mask), masked=False), states.mean(1))
    assert torch.equal(
        guide_vector(TextFeatures(states, mask * 0), masked=True), torch.zeros(2, 5)
    )  # no word, no number lost
    for masked in (True, False):
        method = small(masked_guide=masked).eval()
        long, short = (method.features(*inputs(words=words)).classes for words in (9, 6))
        assert torch.allclose(long, short, atol=1e-5) == masked


@torch.no_grad()
def test_takes_any_image_size() -> None:
    assert small(cross_scale="acting").eval().features(*inputs((96, 72))).classes.shape == (2, 2, 24, 18)


def test_the_module_decays_with_the_decoder(base: LGCE) -> None:
    groups = base.param_groups(5e-5, 1e-2)
    counted = [(len(group["params"]), sum(p.numel() for p in group["params"])) for group in groups]
    assert (counted[0], counted[1], counted[3]) == ((136, 258_296), (253, 97_938_560), (160, 70_878_720))
    assert counted[2][1] == size(base.decoder) + size(base.refine)
    assert [group["weight_decay"] for group in groups] == [0.0, 1e-2, 1e-2, 1e-2]


def test_wrong_options_are_named() -> None:
    for options, message in (
        ({"cross_scale": "real"}, "kept, none, acting"),
        ({"guide_heads": [3, 8]}, "3 heads do not divide 32 channels"),
        ({"masked_gide": True}, "Did you mean 'masked_guide'"),
    ):
        with pytest.raises(UsageError, match=message):
            small(**options)


def test_recipes() -> None:
    released = configured("lgce", "refsegrs")
    assert released["model"]["variant"] == "base"
    assert released["model"]["optimizer"] == {"name": "adamw", "lr": 5e-5, "weight_decay": 0.01}
    assert (released["data"]["global_batch"], released["trainer"]["max_epochs"]) == (8, 40)
    assert (LGCE.Options().dice, LGCE.Options().max_tokens) == ("none", 20)
    assert "augment" not in released["data"]
    assert configured("lgce", "rrsisd")["model"]["optimizer"]["lr"] == 3e-5
    assert configured("lgce", "refsegrs", recipe="suite")["model"]["options"]["dice"] == "mean"
