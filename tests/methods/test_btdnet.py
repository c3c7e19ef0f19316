"""The BTDNet-style reconstruction: sizes, the two directions of BSC, the two streams, losses, checkpoints."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from baselines.btdnet import BTDNet
from baselines.btdnet.dmols import ObjectLearning
from helpers.btdnet_small import SMALL, batch_for, plain, small
from helpers.resolved import configured
from rrsis_bench.config import variant_options
from rrsis_bench.engine import checkpoint as files
from rrsis_bench.errors import UsageError, UserError
from rrsis_bench.families.lavt.decoder import two_class_cross_entropy, two_class_dice
from rrsis_bench.families.lavt.stage import LAVTStage
from rrsis_bench.registry import card
from rrsis_bench.sweep.grid import read_sweep
from rrsis_bench.types import Batch, TextTokens


@pytest.fixture(scope="module")
def published() -> BTDNet:
    with torch.device("meta"):
        return BTDNet.from_options(variant_options("btdnet", "base")).eval()


# --- sizes ------------------------------------------------------------------------------------------------------------


def count(module: torch.nn.Module | None) -> int:
    assert module is not None
    return sum(parameter.numel() for parameter in module.parameters())


def test_sizes_of_the_parts(published: BTDNet) -> None:
    """The figures of the reconstruction's design, in millions."""
    for stage, millions in zip(published.stages, (2.78, 3.42, 5.40, 12.10), strict=True):
        assert count(stage) / 1e6 == pytest.approx(millions, rel=0.01)
    assert count(published.stages) / 1e6 == pytest.approx(23.71, rel=0.01)
    assert (count(published.refine) + count(published.decoder)) / 1e6 == pytest.approx(16.00, rel=0.01)
    assert count(published.rebuild) / 1e6 == pytest.approx(4.74, rel=0.01)
    assert count(published.encoder) / 1e6 == pytest.approx(86.9, rel=0.01)
    assert count(published.text) / 1e6 == pytest.approx(109.5, rel=0.01)
    assert (count(published) - count(published.rebuild)) / 1e6 == pytest.approx(236, rel=0.01)
    assert "published_parameters" not in card("btdnet"), "the paper's own figure is not known"


@pytest.mark.slow
def test_shapes_at_full_size(published: BTDNet) -> None:
    ids = torch.zeros(2, 22, dtype=torch.long, device="meta")
    images = torch.empty(2, 3, 480, 480, device="meta")
    found = published.features(images, ids, torch.ones_like(ids))
    assert found.classes.shape == (2, 2, 120, 120)
    assert [tuple(one.shape) for one in found.maps] == [(2, 256, side, side) for side in (120, 60, 30, 15)]
    assert [tuple(one.shape) for one in found.streams] == [(2, 256, 120, 120)] * 2
    tokens = TextTokens(ids, torch.ones_like(ids))
    masks = torch.empty(2, 480, 480, device="meta")
    output = published(Batch(images, masks, tokens, (), (), (), (), torch.arange(2)))
    assert output.aux["classes"].shape == (2, 2, 480, 480)
    assert output.logits.shape == (2, 1, 480, 480)


def test_what_is_trained_of_bert(published: BTDNet) -> None:
    frozen = {name for name, parameter in published.named_parameters() if not parameter.requires_grad}
    assert {".".join(name.split(".")[:4]) for name in frozen if "layer" in name} == {
        "text.encoder.layer.10",
        "text.encoder.layer.11",
    }
    assert all(name.startswith(("text.embeddings.", "text.encoder.layer.1")) for name in frozen)
    groups = published.param_groups(3e-5, 1e-2)
    files_ = [parameter for group in groups for parameter in group["params"]]
    assert sum(parameter.numel() for parameter in files_) == count(published) - sum(
        parameter.numel() for name, parameter in published.named_parameters() if name in frozen
    )
    assert {group["lr"] for group in groups} == {3e-5}
    assert groups[0]["weight_decay"] == 0.0
    assert all(group["weight_decay"] == 1e-2 for group in groups[1:])


# --- losses -----------------------------------------------------------------------------------------------------------


def test_the_losses_are_the_design_s() -> None:
    method = small(rebuild_dropout=0.0).train()
    batch = batch_for(method, 4)
    output = method(batch)
    classes, truth = output.aux["classes"], batch.masks.float()
    torch.manual_seed(5)
    losses = method.loss(output, batch)
    assert list(losses) == ["ce", "dice", "background", "target", "rebuild_text", "rebuild_image"]
    torch.testing.assert_close(losses["ce"], two_class_cross_entropy(classes, batch.masks, (0.9, 1.1)))
    torch.testing.assert_close(losses["dice"], two_class_dice(classes, batch.masks, "sum"))
    for name, index, wanted in (("background", 0, 1 - truth), ("target", 1, truth)):
        p = classes[:, index].sigmoid()
        cross = -(wanted * p.log() + (1 - wanted) * (1 - p).log()).mean()
        dice = 1 - (2 * (p * wanted).sum((1, 2)) + 1) / (p.sum((1, 2)) + wanted.sum((1, 2)) + 1)
        torch.testing.assert_close(losses[name], 0.5 * (cross + dice.mean()))
    assert configured("btdnet", "rrsisd")["model"]["loss_weights"] == {"ce": 0.9, "dice": 0.1}
    for epochs, share in ((0.0, 0.0), (0.5, 0.25), (2.0, 1.0), (7.0, 1.0)):
        method.progress(epochs)
        torch.manual_seed(5)
        risen = method.loss(output, batch)
        for name in ("rebuild_text", "rebuild_image"):
            torch.testing.assert_close(risen[name], share * losses[name])
        assert torch.equal(risen["ce"], losses["ce"])
    assert float(losses["rebuild_text"].detach()) > 0


def test_one_logit_with_binary_cross_entropy_is_the_softmax_with_equal_weights() -> None:
    method = small(class_weights=(1.0, 1.0), dice="none", dmols="none")
    batch = batch_for(method)
    output = method.eval()(batch)
    wanted = F.binary_cross_entropy_with_logits(output.logits[:, 0], batch.masks.float())
    torch.testing.assert_close(method.loss(output, batch)["ce"], wanted)


def test_the_cosine_of_the_streams_is_watched_in_training() -> None:
    method = small()
    batch = batch_for(method)
    output = method.train()(batch)
    background, target = output.aux["features"].streams
    cosine = (background * target).sum(1) / (background.norm(dim=1) * target.norm(dim=1)).clamp(min=1e-8)
    watched = output.aux["watched"]["stream_cosine"]
    torch.testing.assert_close(watched, cosine.mean().detach())
    assert not watched.requires_grad
    assert "watched" not in method.eval()(batch).aux
    assert "watched" not in small(streams="one").train()(batch).aux


def test_every_parameter_gets_a_gradient_but_the_last_gate() -> None:
    method = small().train()
    for seed in range(3):
        batch = batch_for(method, 4, seed)
        torch.stack(list(method.loss(method(batch), batch).values())).sum().backward()
    without = [
        name for name, p in method.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())
    ]
    assert without == ["stages.3.gate.inner.weight", "stages.3.gate.outer.weight"]


# --- D-MOLS is there in training only ---------------------------------------------------------------------------------


def test_evaluation_never_touches_d_mols(monkeypatch: pytest.MonkeyPatch) -> None:
    def touched(*arguments: Any) -> Tensor:
        raise AssertionError("touched")

    method = small()
    batch = batch_for(method)
    monkeypatch.setattr(ObjectLearning, "forward", touched)
    method.train()(batch)  # the forward pass does not know it in training either
    with pytest.raises(AssertionError, match="touched"):
        method.loss(method(batch), batch)
    output = method.eval()(batch)
    losses = method.loss(output, batch)
    assert list(losses) == ["ce", "dice", "background", "target"]
    sum(losses.values()).backward()  # type: ignore[union-attr]
    assert method.rebuild is not None
    assert all(parameter.grad is None for parameter in method.rebuild.parameters())
    without = replace(batch, tokens=TextTokens(batch.tokens.ids, batch.tokens.mask))
    assert torch.equal(method(without).logits, output.logits), "no object words are needed"


def test_a_checkpoint_without_d_mols_loads_and_one_without_anything_else_does_not() -> None:
    method, other = small().eval(), plain().eval()
    frozen = files.frozen_names(method)
    entry = {"frozen_sha256": files.hash_tensors(method.state_dict(), frozen)}
    state = {f"method.{k}": v.clone() for k, v in method.state_dict().items() if k not in frozen}
    bare = {key: value for key, value in state.items() if not key.startswith("method.rebuild.")}
    assert 0 < len(bare) < len(state)
    other.load_state_dict({name: method.state_dict()[name] for name in frozen}, strict=False)
    before = [parameter.clone() for parameter in other.rebuild.parameters()]  # type: ignore[union-attr]
    files.strict_load(other, {"state_dict": bare, files.ENTRY: entry}, "c.ckpt")
    batch = batch_for(method)
    with torch.no_grad():
        assert torch.equal(other(batch).logits, method(batch).logits)
    assert all(map(torch.equal, before, other.rebuild.parameters()))  # type: ignore[union-attr]
    for name in ("rebuild.from_words.bias", "refine.levels.0.0.weight", "stages.0.update.gain"):
        source = state if name.startswith("rebuild.") else bare
        broken = {key: value for key, value in source.items() if key != f"method.{name}"}
        with pytest.raises(UserError, match=f"lacks {name}"):
            files.strict_load(other, {"state_dict": broken, files.ENTRY: entry}, "c.ckpt")
    with pytest.raises(UserError, match=r"lacks rebuild\."):
        files.strict_load(other, {"state_dict": bare, files.ENTRY: entry}, "c.ckpt", whole=True)


# --- options ----------------------------------------------------------------------------------------------------------

ALTERNATIVES: list[dict[str, Any]] = [
    {"fusion": "pwam", "streams": "one", "dmols": "none"},
    {"bsc_place": "after"},
    {"text_update": "reset", "correlation": "separate"},
    {"text_update": "none", "exchange": "last"},
    {"dilations": [], "stage_norm": False, "gate_zero": False},
    {"dmols": "text", "text_target": "ids", "object_rule": "first"},
    {"dmols": "image", "image_target": "colours", "rebuild_level": 2, "rebuild_ramp": 0.0},
    {"background_text": False, "exchange": "none", "dice": "mean"},
]


@pytest.mark.parametrize("options", ALTERNATIVES, ids=lambda options: " ".join(map(str, options.values())))
def test_alternatives_train(options: dict[str, Any]) -> None:
    method = small(**options).train()
    batch = batch_for(method, 4)
    losses = method.loss(method(batch), batch)
    torch.stack(list(losses.values())).sum().backward()
    wanted = {"ce", "dice"} | ({"background", "target"} if method.options.streams == "two" else set())
    wanted |= {f"rebuild_{name}" for name in ("text", "image") if method.options.dmols in {name, "both"}}
    assert set(losses) == wanted
    dead = [name for name, p in method.named_parameters() if p.requires_grad and p.grad is None]
    assert all(name.startswith("stages.3.gate.") for name in dead)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fusion": "bcs"}, "'fusion' must be one of bsc, pwam, not 'bcs'. Did you mean 'bsc'"),
        ({"dmols": "all"}, "'dmols' must be one of both, text, image, none, not 'all'"),
        ({"rebuild_level": 5}, "'rebuild_level' is 1 to 4"),
        ({"head_width": 24}, "'head_width' must divide"),
        ({"rebuild_width": 18}, "'rebuild_width' must be a multiple of 4"),
        ({"dice": "summ"}, "one of none, sum, mean"),
        ({"dmol": "none"}, "dmols"),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        plain(**options)


def test_there_are_no_released_weights(tmp_path: Any) -> None:
    with pytest.raises(UsageError, match="btdnet has no released weights"):
        plain().load_official(tmp_path / "a.pth")


def test_the_card_names_every_option_that_is_ours() -> None:
    from baselines.btdnet.options import BTDNetOptions
    from rrsis_bench.families.lavt.family import FamilyOptions

    listed = {name.strip() for choice in card("btdnet")["choices"] for name in choice["option"].split(",")}
    own = set(BTDNetOptions.__dataclass_fields__) - set(FamilyOptions.__dataclass_fields__)
    assert own <= listed
    known = set(BTDNetOptions.__dataclass_fields__)
    assert {name for name in listed if not name.startswith(("model.", "configs/"))} <= known


def test_recipes() -> None:
    rrsisd, refsegrs = configured("btdnet", "rrsisd"), configured("btdnet", "refsegrs")
    assert [config["model"]["optimizer"]["lr"] for config in (rrsisd, refsegrs)] == [3e-5, 5e-5]
    assert [config["trainer"]["max_epochs"] for config in (rrsisd, refsegrs)] == [40, 60]
    lengths = [BTDNet.Options(**config["model"]["options"]).max_tokens for config in (rrsisd, refsegrs)]
    assert lengths == [22, 20]
    for config, name in ((rrsisd, "rrsisd"), (refsegrs, "refsegrs")):
        assert config["model"]["options"]["classes"] == name
        assert config["data"]["global_batch"] == 8
        assert config["trainer"]["gradient_clip_val"] == 1.0
        assert config["model"]["schedule"] == {"name": "poly", "power": 0.9}


@pytest.mark.slow
def test_the_ablation_adds_one_part_after_the_other() -> None:
    built = {}
    for cell in read_sweep("ablation-btdnet").cells:
        with torch.device("meta"):
            built[cell.variant.partition("+")[2]] = BTDNet.from_options(cell.config["model"]["options"])
    assert list(built) == [
        "base", "bsc-one-way", "bsc-two-way", "t-btd", "exchange", "text-branch", "image-branch", "all",
    ]  # fmt: skip
    described = [
        (
            type(method.stages[0]).__name__,
            getattr(method.stages[0], "update", None) is not None,
            len(method.decoder.streams),
            len(method.decoder.exchanges),
            method.options.dmols,
        )
        for method in built.values()
    ]
    assert described == [
        (LAVTStage.__name__, False, 1, 0, "none"),
        ("BSCStage", False, 1, 0, "none"),
        ("BSCStage", True, 1, 0, "none"),
        ("BSCStage", True, 2, 0, "none"),
        ("BSCStage", True, 2, 4, "none"),
        ("BSCStage", True, 2, 4, "text"),
        ("BSCStage", True, 2, 4, "image"),
        ("BSCStage", True, 2, 4, "both"),
    ]


@pytest.mark.training
def test_sixteen_samples_can_be_learnt_by_heart() -> None:
    torch.manual_seed(0)
    method = BTDNet.from_options(SMALL | {"dice": "none", "rebuild_dropout": 0.0}).train()
    batch = batch_for(method, 16)
    optimizer = torch.optim.AdamW(method.param_groups(2e-3, 0.0))
    for step in range(300):
        method.progress(step / 100)
        optimizer.zero_grad()
        torch.stack(list(method.loss(method(batch), batch).values())).sum().backward()
        torch.nn.utils.clip_grad_norm_(method.parameters(), 1.0)
        optimizer.step()
    with torch.no_grad():
        found = method.eval()(batch).logits[:, 0] > 0
    truth = batch.masks.bool()
    assert (found & truth).sum() / (found | truth).sum() > 0.95
