"""FIANet: the released network's outputs, checkpoints, optimiser groups and sizes; what the stage promises."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from baselines.fianet import FIANet
from helpers.golden import FIXTURES
from helpers.official import (
    SMALL_FAMILY,
    check_golden,
    official_checkpoint,
    official_keys,
    official_shapes,
    small_options,
)
from helpers.resolved import configured
from rrsis_bench.config import variant_options
from rrsis_bench.errors import MissingResourceError, UsageError
from rrsis_bench.registry import card

SMALL = SMALL_FAMILY | {"swin_width": 16, "tmem_blocks": 2}


def small(seed: int = 0, **options: Any) -> FIANet:
    torch.manual_seed(seed)
    return FIANet.from_options(SMALL | options)


def inputs(objects: list[list[int]] | None = None) -> tuple[Tensor, Tensor, Tensor, dict[str, Tensor]]:
    draw = torch.Generator().manual_seed(3)
    images = torch.randn(2, 3, 64, 64, generator=draw)
    ids = torch.randint(0, 60, (2, 9), generator=draw)
    mask = torch.arange(9)[None] < torch.tensor([[6], [9]])
    parts = {"object": torch.zeros(2, 9, dtype=torch.long), "position": torch.zeros(2, 9, dtype=torch.long)}
    for row, places in enumerate(objects or [[1, 2], [3]]):
        parts["object"][row, places] = 1
    parts["position"][:, 4:6] = 1
    return images, ids, mask, parts


@pytest.mark.slow
@pytest.mark.parametrize("blocks", [1, 3])
def test_gives_the_released_outputs(blocks: int) -> None:
    def build(options: dict[str, Any]) -> FIANet:
        assert options["tmem_blocks"] == blocks
        return FIANet.from_options(small_options(options) | {"tmem_blocks": blocks})

    check_golden(FIXTURES / f"fianet_tmem{blocks}_small_seed0.safetensors", f"fianet_tmem{blocks}", build, "position")


@pytest.fixture(scope="module", params=[1, 3])
def published(request: pytest.FixtureRequest) -> tuple[int, FIANet]:
    with torch.device("meta"):
        return request.param, FIANet.from_options({"tmem_blocks": request.param}).eval()


def test_every_released_parameter_has_its_place(published: tuple[int, FIANet]) -> None:
    blocks, method = published
    listed = official_keys(f"fianet_tmem{blocks}")
    names = FIANet.released
    kept = {key: entry.shape for key, entry in listed.items() if not names.is_dropped(key)}
    assert official_shapes(method, f"fianet_tmem{blocks}") == kept
    assert sorted(str(names.ours(key)) for key in kept) == sorted(method.state_dict())
    assert len(listed) == {1: 853, 3: 885}[blocks]


def test_published_size(published: tuple[int, FIANet]) -> None:
    blocks, method = published
    total = sum(p.numel() for p in method.parameters())
    assert total == {1: 251_918_706, 3: 256_168_626}[blocks]
    assert sum(p.numel() for p in method.decoder.parameters()) == 20_651_010
    assert sum(p.numel() for p in method.refine.blocks.parameters()) == blocks * 2_124_960  # type: ignore[union-attr]
    if blocks == 3:
        assert card("fianet")["published_parameters"]["base"] == total


def test_published_optimiser_groups(published: tuple[int, FIANet]) -> None:
    blocks, method = published
    groups = method.param_groups(5e-5, 1e-2)
    counted = [(len(group["params"]), sum(p.numel() for p in group["params"])) for group in groups]
    if blocks == 1:
        assert counted == [(140, 260_216), (415, 122_115_832), (20, 20_651_010), (160, 70_878_720)]
    assert [group["weight_decay"] for group in groups] == [0.0, 1e-2, 1e-2, 1e-2]


@pytest.mark.slow
def test_published_cost(published: tuple[int, FIANet]) -> None:
    blocks, method = published
    ids = torch.zeros(1, 22, dtype=torch.long, device="meta")
    parts = {"object": torch.ones_like(ids), "position": torch.ones_like(ids)}
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        method.features(torch.empty(1, 3, 480, 480, device="meta"), ids, torch.ones_like(ids), parts)
    assert counter.get_total_flops() / 1e9 == pytest.approx({1: 422.70, 3: 424.03}[blocks], abs=0.01)


@torch.no_grad()
def test_loads_a_released_checkpoint(tmp_path: Path) -> None:
    source, method = small(1).eval(), small(2).eval()
    state = official_checkpoint(source, "fianet_tmem3")
    torch.save({"model": state}, tmp_path / "released.pth")
    method.load_official(tmp_path / "released.pth")
    assert torch.equal(method.features(*inputs()).classes, source.features(*inputs()).classes)
    with pytest.raises(MissingResourceError, match=r"does not know refine\.blocks\.1"):
        small(tmem_blocks=1).load_official(tmp_path / "released.pth")


@torch.no_grad()
def test_object_words_act_through_the_next_stages_only() -> None:
    method = small().eval()
    here, there = method.features(*inputs([[1, 2], [3]])).maps, method.features(*inputs([[1], [3, 4]])).maps
    plain = small(tmem_blocks=0).eval()
    plain.load_state_dict({k: v for k, v in method.state_dict().items() if "refine.blocks" not in k})
    assert not torch.allclose(here[3], there[3], atol=1e-4)
    first = [plain.stages[0](plain.encoder.stem(inputs()[0]), plain.encode_texts(_tokens(places)))[1] for places in
             ([[1, 2], [3]], [[1], [3, 4]])]  # fmt: skip
    assert torch.equal(first[0], first[1])


def _tokens(objects: list[list[int]]) -> Any:
    from rrsis_bench.types import TextTokens

    _, ids, mask, parts = inputs(objects)
    return TextTokens(ids, mask, parts)


@torch.no_grad()
def test_no_object_words_add_nothing() -> None:
    method = small().eval().double()
    images, _, _, _ = inputs()
    texts = method.encode_texts(_tokens([[], []]))
    features = method.encoder.stage(0, method.encoder.stem(images.double()))
    aligned = method.stages[0].align(features, texts["object"], texts["position"])
    assert aligned.abs().max() < 1e-10
    # One single word is read alike by every pixel, which the norm takes away as well; two are a choice.
    for places, heard in (([[1], [2]], False), ([[1, 2], [3, 4]], True)):
        named = method.encode_texts(_tokens(places))
        assert (method.stages[0].align(features, named["object"], named["position"]).abs().max() > 1e-10) == heard


@torch.no_grad()
def test_the_three_texts_are_three_passes() -> None:
    method = small().eval()
    tokens = _tokens([[1, 2], [3]])
    texts = method.encode_texts(tokens)
    from rrsis_bench.nn.encoders.bert import encode_words

    for name, mask in (("context", tokens.mask), *tokens.parts.items()):
        torch.testing.assert_close(texts[name].states, encode_words(method.text, tokens.ids, mask))


def test_recipes() -> None:
    rrsisd, refsegrs = configured("fianet", "rrsisd"), configured("fianet", "refsegrs")
    assert rrsisd["model"]["optimizer"]["lr"] == 3e-5
    assert refsegrs["model"]["optimizer"]["lr"] == 5e-5
    assert (rrsisd["trainer"]["max_epochs"], refsegrs["trainer"]["max_epochs"]) == (40, 60)
    assert rrsisd["data"]["augment"] == {"recipe": "paper"}
    assert refsegrs["model"]["options"]["tmem_blocks"] == 1
    assert refsegrs["model"]["options"]["max_tokens"] == 20
    for config in (rrsisd, refsegrs):
        assert config["model"]["loss_weights"] == {"ce": 0.9, "dice": 0.1}
        assert config["data"]["global_batch"] == 8
        method = FIANet.Options(**{k: v for k, v in config["model"]["options"].items() if not isinstance(v, list)})
        assert method.dice == "sum"


def test_wrong_options_are_named() -> None:
    for options, message in (({"dice": "summ"}, "one of none, sum, mean"), ({"tmem_block": 1}, "tmem_blocks")):
        with pytest.raises(UsageError, match=message):
            FIANet.from_options(SMALL | options)


@pytest.mark.parametrize("variant", ["tiny", "base"])
def test_variants_build(variant: str) -> None:
    with torch.device("meta"):
        method = FIANet.from_options(variant_options("fianet", variant))
    assert method.input_spec.max_tokens <= method.options.text_positions
