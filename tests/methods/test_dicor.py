"""DiCoR: sizes, names, candidates, phases, stages that follow each other. `test_dicor_parity.py` holds the outputs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from baselines.dicor import DiCoR
from baselines.dicor.candidates import PickRule, pick, shapes
from baselines.dicor.losses import dilate, focus, target
from baselines.dicor.prompts import make_prompts
from helpers.batches import noise_batch
from helpers.dicor_small import names_of, released_shapes, small
from helpers.official import official_keys
from helpers.resolved import configured
from rrsis_bench.config import variant_options
from rrsis_bench.errors import MissingResourceError, UsageError
from rrsis_bench.registry import card
from rrsis_bench.types import Batch

STAGES = {
    "dicor_coarse": ({"stage": "coarse"}, 777, 242_094_394),
    "dicor_coarse_guided": ({"stage": "joint", "weights_from": ["gone"]}, 899, 272_804_189),
    "dicor_full": ({}, 1017, 303_842_463),
}


def make_batch(count: int = 3, side: int = 64, seed: int = 5) -> Batch:
    draw = torch.Generator().manual_seed(seed)
    mask = torch.arange(16)[None] < torch.arange(6, 6 + count)[:, None]
    ids = torch.randint(3, 60, (count, 16), generator=draw) * mask
    ids[:, 0] = 1
    return noise_batch(ids, mask, side, draw)


def losses_of(method: DiCoR, batch: Batch) -> dict[str, Tensor]:
    return method.loss(method(batch), batch)


def learning(method: DiCoR, batch: Batch) -> set[str]:
    """The parts that a training step reaches."""
    method.zero_grad()
    torch.stack(list(losses_of(method, batch).values())).sum().backward()
    return {name.split(".")[0] for name, p in method.named_parameters() if p.grad is not None and bool(p.grad.any())}


@pytest.mark.slow
@pytest.mark.parametrize("keys", STAGES)
def test_released_names_and_sizes(keys: str) -> None:
    options, count, size = STAGES[keys]
    with torch.device("meta"):
        method = DiCoR.from_options(options)
    assert sum(p.numel() for p in method.parameters()) == size
    listed, names = official_keys(keys), names_of(method)
    assert len(listed) == count
    kept = {key: entry.shape for key, entry in listed.items() if not names.is_dropped(key)}
    assert released_shapes(method, keys) == kept
    assert sorted(str(names.ours(key)) for key in kept) == sorted(set(method.state_dict()) - {"guide.acts"})


@pytest.mark.slow
def test_published_sizes_and_groups() -> None:
    with torch.device("meta"):
        paper = DiCoR.from_options(variant_options("dicor", "paper"))
        coarse = DiCoR.from_options({"stage": "coarse"})
        joint = DiCoR.from_options({"stage": "joint", "weights_from": ["gone"]})
        guide = DiCoR.from_options({"stage": "guide", "weights_from": ["gone"]})
    assert sum(p.numel() for p in paper.parameters()) == card("dicor")["published_parameters"]["paper"] == 251_488_479
    counted = [(len(g["params"]), sum(p.numel() for p in g["params"])) for g in coarse.param_groups(3e-5, 1e-2)]
    assert counted == [(148, 264_056), (331, 112_287_680), (20, 20_651_010), (160, 70_878_720)]
    rates = {
        round(g["lr"], 9): (sum(p.numel() for p in g["params"]), g["weight_decay"])
        for g in guide.param_groups(3e-5, 1e-2)
    }
    assert rates[8e-4] == (737_921, pytest.approx(1e-4))
    assert rates[5e-4] == (891_266, pytest.approx(1e-4))
    found = [(g["lr"], sum(p.numel() for p in g["params"])) for g in joint.param_groups(3e-5, 1e-2) if g["params"]]
    assert [rate for rate, _ in found] == [pytest.approx(1e-4), pytest.approx(1e-6), pytest.approx(1e-6)]
    assert found[0][1] == 1_536


@torch.no_grad()
def test_a_file_with_the_released_names_loads_strictly(tmp_path: Path) -> None:
    source, method = small(1, refiner_levels=4).eval(), small(2, refiner_levels=4).eval()
    own, names = source.state_dict(), names_of(source)
    shapes_of = released_shapes(source, "dicor_full")
    state = {key: own[names.ours(key) or ""].reshape(shape) for key, shape in shapes_of.items()}
    torch.save({"model": state}, tmp_path / "a.pth")
    method.load_official(tmp_path / "a.pth")
    batch = make_batch()
    assert torch.equal(method(batch.blind()).logits, source(batch.blind()).logits)
    state.pop("refineHead.out_conv.bias")
    torch.save({"model": state}, tmp_path / "b.pth")
    with pytest.raises(MissingResourceError, match=r"misses refiner\.out\.bias"):
        method.load_official(tmp_path / "b.pth")


def naive_pick(response: Tensor, rule: PickRule) -> tuple[list[tuple[int, int]], list[Tensor]]:
    """The candidates of one image (h, w), pixel by pixel."""
    height, width = response.shape
    best = {}
    for y in range(height):
        for x in range(width):
            around = response[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2]
            if response[y, x] >= around.max() - 1e-12 and response[y, x] >= rule.least:
                best[y, x] = float(response[y, x])
    if not best:
        best = {(y, x): float(response[y, x]) for y in range(height) for x in range(width)}
    centres, maps = [], []
    while best and len(centres) < rule.count:
        top = max(best.values())
        y, x = min(place for place, value in best.items() if value == top)
        rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        apart = (rows - y) ** 2 + (columns - x) ** 2
        weighted = response * torch.exp(-apart.double() / (2 * rule.sigma**2))
        centres.append((y, x))
        maps.append(weighted / weighted.sum() if weighted.sum() > rule.mass else torch.zeros_like(weighted))
        best = {place: value for place, value in best.items() if apart[place] > rule.radius**2}
    return centres, maps


def test_candidates_of_a_batch_are_those_of_each_image() -> None:
    draw = torch.Generator().manual_seed(0)
    images = torch.rand(6, 1, 9, 7, generator=draw, dtype=torch.float64)
    images[1] = 0.04 * images[1]  # no peak is high enough
    images[2] = 0.0  # nothing at all
    images[3] = 0.5  # every pixel ties
    images[4, 0, :, 3:] = 0.0
    rule = PickRule()
    found = pick(images, rule)
    for index, image in enumerate(images[:, 0]):
        centres, maps = naive_pick(image, rule)
        count = len(centres)
        assert found.centres[index, :count].tolist() == [list(map(float, one)) for one in centres]
        assert not found.centres[index, count:].any()
        torch.testing.assert_close(found.maps[index, :count], torch.stack(maps))
        assert found.valid[index].tolist() == [bool(one.any()) for one in maps] + [False] * (rule.count - count)
    assert not found.valid[2].any()
    assert shapes(found)[2].abs().max() == 0


def test_focus_and_target_of_a_square() -> None:
    probability = torch.zeros(1, 1, 100, 100)
    probability[..., 40:60, 40:60] = 1.0
    weights = focus(probability)
    assert weights[0, 0, 50, 50] == pytest.approx(0.7)
    assert weights[0, 0, 40, 50] == pytest.approx(0.9)  # on the outline
    assert weights[0, 0, 22, 50] == pytest.approx(0.7)  # 18 pixels away, since the square covers 4 %
    assert weights[0, 0, 21, 50] == 0
    assert dilate(probability, 2).sum() == 24 * 24
    wanted = target(probability[:, 0], (10, 10))
    assert wanted.centre.tolist() == [[4.5, 4.5]]
    assert wanted.near.sum() == 4
    assert not (wanted.near & wanted.far).any()
    assert not target(torch.zeros(1, 40, 40), (10, 10)).far.any()


def test_prompts_have_steps_of_a_255th_and_know_their_iou() -> None:
    classes = torch.randn(2, 2, 16, 16)
    masks = F.interpolate((classes[:, 1:] > classes[:, :1]).float(), scale_factor=4)[:, 0].to(torch.uint8)
    masks[1] = 0
    prompts = make_prompts(classes, masks, 0.0)
    assert torch.equal((255 * prompts.quarter).round() / 255, prompts.quarter)
    assert prompts.iou[0] > 0.97
    assert prompts.iou[1] == 0
    assert prompts.within((0.5, 1.0)).tolist() == [True, False]
    assert not torch.equal(make_prompts(classes, masks, 1.0).quarter, prompts.quarter)


def test_phases_of_one_run_train_the_parts_in_turn() -> None:
    options = {"phases": [1.0, 2.0], "winner_largest": 1.0, "bank_iou_refiner": [0.0, 1.0], "bank_area_locate": 1.0}
    method = small(**options).train()
    batch = make_batch()
    coarse = {"encoder", "text", "stages", "refine", "decoder"}
    reached, names = {}, set()
    for epochs in (0.0, 1.5, 2.5):
        method.progress(epochs)
        names.add(tuple(losses_of(method, batch)))
        reached[epochs] = learning(method, batch)
        assert method.guide is not None
        assert float(method.guide.acts) == (epochs >= 1)
        assert method.encoder.training == method.refine.shell.bn.training == (epochs < 1 or epochs > 2)
    assert reached == {0.0: coarse, 1.5: {"guide", "refiner"}, 2.5: coarse | {"guide", "refiner"}}
    assert names == {("ce", "dice", "response", "winner", "refine")}


@torch.no_grad()
def test_before_its_phase_the_guide_changes_nothing_in_scoring() -> None:
    method, batch = small(phases=[1.0, 2.0]), make_batch()
    method.progress(0.0)
    early = method.eval()(batch.blind()).logits
    method.guide.response.out.bias.add_(3.0)  # type: ignore[union-attr]
    method.guide.ranker.geometry[2].weight.mul_(-1)  # type: ignore[union-attr]
    assert torch.equal(method(batch.blind()).logits, early)
    again = small(phases=[1.0, 2.0])
    again.load_state_dict(method.state_dict())
    assert torch.equal(again.eval()(batch.blind()).logits, early)  # a checkpoint keeps the phase
    method.progress(2.5)
    assert not torch.equal(method.eval()(batch.blind()).logits, early)


def save(method: DiCoR, path: Path, **options: object) -> str:
    """A checkpoint as `fit` writes it: without what this stage kept frozen."""
    frozen = {name for name, p in method.named_parameters() if not p.requires_grad}
    state = {f"method.{name}": x for name, x in method.state_dict().items() if name not in frozen}
    torch.save({"state_dict": state, "rrsis_bench": {"method": "dicor", "options": options}}, path)
    return str(path)


def test_four_stages_follow_each_other(tmp_path: Path) -> None:
    whole = {"train_text_embeddings": True, "trained_text_layers": 2}
    coarse = small(1, stage="coarse", **whole)
    first = save(coarse, tmp_path / "coarse.ckpt", stage="coarse")
    stages = {}
    for seed, stage in ((2, "refiner"), (3, "guide")):
        stages[stage] = small(seed, stage=stage, weights_from=[first], **whole)
        assert set(stages[stage].load_pretrained()) == {"coarse"}
        assert torch.equal(stages[stage].decoder.classify.weight, coarse.decoder.classify.weight)
    assert learning(stages["guide"].train(), make_batch()) <= {"guide"}
    assert not stages["guide"].refine.shell.bn.training
    paths = {
        name: save(one, tmp_path / f"{name}.ckpt", stage=name, weights_from=[first]) for name, one in stages.items()
    }
    joint = small(4, stage="joint", weights_from=[paths["guide"]], lvmsf_init="from_vmsf", **whole)
    assert set(joint.load_pretrained()) == {"coarse", "guide"}
    assert torch.equal(joint.refine.blocks[0].pixels.feed[0].weight, coarse.refine.blocks[0].feed[0].weight)
    assert learning(joint.train(), make_batch()) == {"refine", "decoder", "guide"}
    last = save(joint, tmp_path / "joint.ckpt", stage="joint", weights_from=[paths["guide"]])
    full = small(5, weights_from=[paths["refiner"], last], **whole)
    assert set(full.load_pretrained()) == {"coarse", "refiner", "guide", "joint"}
    own = full.state_dict()
    for part, source in (("refiner.", stages["refiner"]), ("guide.response.", stages["guide"]), ("refine.", joint)):
        state = source.state_dict()
        assert all(torch.equal(own[name], x) for name, x in state.items() if name.startswith(part))
    assert not any(p.requires_grad for p in full.parameters())
    assert not any(module.training for module in full.train().children())
    assert set(losses_of(full, make_batch())) == {"nothing"}


def test_a_stage_without_its_earlier_stages_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="stage 'joint' starts from an earlier stage"):
        small(stage="joint")
    with pytest.raises(MissingResourceError, match="does not exist"):
        small(stage="guide", weights_from=[str(tmp_path / "gone.ckpt")]).load_pretrained()
    path = save(small(stage="coarse"), tmp_path / "a.ckpt", stage="coarse")
    with pytest.raises(UsageError, match=r"lack text\.embeddings"):
        small(stage="guide", weights_from=[path]).load_pretrained()
    with pytest.raises(UsageError, match="another size"):
        small(stage="guide", weights_from=[path], swin_width=16).load_pretrained()
    torch.save({"state_dict": {}, "rrsis_bench": {"method": "lavt"}}, tmp_path / "b.ckpt")
    with pytest.raises(UsageError, match="is no checkpoint of dicor"):
        small(stage="guide", weights_from=[str(tmp_path / "b.ckpt")]).load_pretrained()


def test_wrong_options_are_named() -> None:
    for options, message in (
        ({"msf_heads": 7}, "msf_heads"),
        ({"phases": [3.0, 2.0]}, "two epochs in order"),
        ({"candidates": 0}, "at least 1"),
        ({"refiner_levels": 0}, "at least 1"),
    ):
        with pytest.raises(UsageError, match=message):
            small(**options)


def test_recipes() -> None:
    released = configured("dicor", "rrsisd")
    assert released["model"]["recipe"] == "paper"
    assert "stage" not in released["model"]["options"]
    assert released["data"]["select_on"] == "test"
    assert released["model"]["optimizer"] == {"name": "adamw", "lr": 3e-5, "weight_decay": 0.01}
    suite = configured("dicor", "rrsisd", recipe="suite")
    assert suite["data"].get("select_on", "val") == "val"
    assert suite["model"]["options"]["phases"] == [24, 36]
    assert suite["trainer"]["max_epochs"] == 40
