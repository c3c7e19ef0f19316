"""DiCoR against the stored outputs of the released code: every stage, target and loss, in float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from baselines.dicor.candidates import PickRule
from baselines.dicor.guide import Guide, Ranking
from baselines.dicor.losses import focus, refiner_losses, response_loss, target, winner_loss, winner_target
from baselines.dicor.msf import MultiScale
from baselines.dicor.prompts import prompt_logits
from baselines.dicor.refiner import Refiner
from helpers.dicor_small import fill_part, filled, fixture_images
from helpers.golden import FIXTURES, assert_stored, load_golden
from rrsis_bench.families.lavt.decoder import two_class_cross_entropy, two_class_dice, upsample_aligned
from rrsis_bench.families.lavt.stage import CONTEXT, TextFeatures

SEED = 13


class Stored:
    """A fixture; it counts what was compared."""

    def __init__(self, name: str) -> None:
        self.tensors, self.metadata = load_golden(FIXTURES / f"{name}.safetensors")
        self.seen: set[str] = set()

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[name]

    def check(self, name: str, found: Tensor) -> None:
        assert_stored(name, found, self.tensors[name])
        self.seen.add(name)

    def left(self) -> set[str]:
        return {name for name in self.tensors if ".in." not in name and not name.startswith("in.")} - self.seen


def stored_of(response: Tensor, ranking: Ranking) -> dict[str, Tensor]:
    """What fixtures store of a response and its ranking, by their names."""
    found = ranking.found
    index = ranking.winner[:, None, None, None].expand(-1, 1, *found.maps.shape[2:])
    return {
        "evidence_logit": response,
        "cand_up": ranking.glow,
        "cand_maps": found.maps,
        "cand_centers": found.centres,
        "cand_valid": found.valid,
        "token_alpha": ranking.attention,
        "content_score": ranking.content,
        "geo_score": ranking.geometry,
        "scores": ranking.scores,
        "cand_probs": ranking.chances,
        "winner_prior": ranking.prior(),
        "winner_top1_map": torch.gather(found.maps, 1, index),
    }


@torch.no_grad()
def check_network(name: str, keys: str, options: dict[str, Any]) -> set[str]:
    """Compare a whole network with its fixture.

    Returns:
        stored names that nothing was compared with.
    """
    stored = Stored(name)
    method = filled(options, keys, int(stored.metadata["seed"]))
    assert sum(p.numel() for p in method.parameters()) == int(stored.metadata["parameters"])
    images, ids, mask = fixture_images(stored.metadata), stored["in.ids"], stored["in.mask"]
    maps, texts = method.stage_maps(images, ids, mask)
    stored.check("text", texts[CONTEXT].states.transpose(1, 2))
    read, words = maps, texts
    if method.guide is not None:
        response, ranking = method.rank(maps, texts)
        read, words = method.guided(maps, texts, ranking)
        weight, scale = method.guide.word_scales(texts["content"], ranking)
        winner = ranking.winner[:, None, None]
        best = torch.gather(ranking.found.centres, 1, winner.expand(-1, 1, 2))[:, 0]
        for part, value in {
            **stored_of(response, ranking),
            "cand_visual": ranking.visual,
            "geom": ranking.shapes,
            "winner_top1_center": best,
            "token_weight": weight,
            "token_scale": scale,
            "text": words[CONTEXT].states.transpose(1, 2)[:, ::4],
        }.items():
            stored.check(f"guide.{part}", value)
    mixed, last = method.refine.mix(read, words[CONTEXT].states, words[CONTEXT].mask)
    for index, (before, after) in enumerate(zip(maps, mixed, strict=True)):
        stored.check(f"pre.{index}", before[:, ::16, ::5, ::5])
        stored.check(f"maps.{index}", after[:, ::16, ::5, ::5])
    stored.check("l_star", last[:, :, ::4])
    quarter = method.decoder(mixed)
    stored.check("coarse_quarter", quarter[:, :, ::2, ::2])
    classes = upsample_aligned(quarter, (images.shape[-2], images.shape[-1]))
    if method.refiner is not None:
        stored.check("coarse_stride8", classes[:, :, ::8, ::8])
        delta = method.refiner(images, classes.softmax(1)[:, 1:])
        stored.check("delta_stride8", delta[:, :, ::8, ::8])
        classes = classes + delta
    stored.check("logits_stride8", classes[:, :, ::8, ::8])
    return stored.left()


@pytest.mark.slow
def test_coarse_network_gives_the_released_outputs() -> None:
    options = {"stage": "coarse", "msf_blocks": 1}
    assert check_network("dicor_coarse_small_seed12", "dicor_coarse", options) == set()


@pytest.mark.parity
def test_whole_network_gives_the_released_outputs() -> None:
    left = check_network("dicor_full_small_seed11", "dicor_full", {})
    # What the released code keeps of its peaks follows from the centres and is used nowhere.
    assert left == {"guide.peak_rel", "guide.peak_values", "guide.raw_masses"}


@pytest.fixture(scope="module")
def parts() -> Stored:
    return Stored("dicor_parts_small_seed13")


@torch.no_grad()
@pytest.mark.parametrize(("kind", "keys"), [("lvmsf", "dicor_full"), ("vmsf", "dicor_coarse")])
def test_multi_scale_modules_give_the_released_outputs(kind: str, keys: str, parts: Stored) -> None:
    language = kind == "lvmsf"
    module = MultiScale((16, 32, 48, 64), 48, 2, 8, language)
    fill_part(nn.ModuleDict({"refine": module}), keys, "backbone.VMSF.", f"{kind}.", SEED)
    maps, words = [parts[f"msf.in.{index}"] for index in range(4)], parts["msf.in.text"].transpose(1, 2)
    mixed, last = module.mix(maps, words, parts["msf.in.mask"])
    for index, one in enumerate(mixed):
        parts.check(f"{kind}.out.{index}", one)
    if language:
        parts.check("lvmsf.text", last.transpose(1, 2))


@torch.no_grad()
def test_refiner_and_its_losses_are_the_released_ones(parts: Stored) -> None:
    refiner = Refiner(8)
    fill_part(nn.ModuleDict({"refiner": refiner}), "dicor_full", "refineHead.", "refineHead.", SEED)
    prompt, truth = parts["refiner.in.prompt"], parts["refiner.in.target"]
    delta = refiner(parts["refiner.in.image"], prompt)
    probability, coarse = prompt_logits(prompt, (prompt.shape[-2], prompt.shape[-1]))
    weights = focus(probability)
    losses = refiner_losses(coarse + delta, delta, truth, weights)
    for name, value in {
        "delta": delta,
        "prompt_logits": coarse,
        "logits": coarse + delta,
        "focus_map": weights,
        "loss.stage2_ce_loss": losses["ce"].mean()[None],
        "loss.stage2_dice_loss": losses["dice"].mean()[None],
        "loss.stage2_inhibit_loss": 0.05 * losses["silence"].mean()[None],
        "loss.total_loss": (losses["ce"] + losses["dice"] + 0.05 * losses["silence"]).mean()[None],
    }.items():
        parts.check(f"refiner.{name}", value)
    ce, dice = two_class_cross_entropy(coarse + delta, truth), two_class_dice(coarse + delta, truth, "mean")
    parts.check("coarse.loss.ce_loss", ce[None])
    parts.check("coarse.loss.dice_loss", dice[None])
    parts.check("coarse.loss.total_loss", (ce + dice)[None])


@torch.no_grad()
def test_guide_targets_and_losses_are_the_released_ones(parts: Stored) -> None:
    guide = Guide(64, 768, PickRule(), (48, 40, 24, 16))
    fill_part(nn.ModuleDict({"guide": guide}), "dicor_full", "backbone.localization_guidance.", "guide.", SEED)
    features, ids, states = parts["guide.in.feat"], parts["guide.in.ids"], parts["guide.in.text"].transpose(1, 2)
    words = TextFeatures(states, parts["guide.in.mask"].bool() & (ids != 101) & (ids != 102))
    truth = parts["guide.in.target"]
    distractors = torch.zeros_like(truth)
    for name, mask in parts.tensors.items():
        if name.startswith("guide.in.sam."):
            distractors[int(name.split(".")[3])] |= mask.long()
    response = guide.response(features)
    ranking = guide.rank(features, words, parts["guide.in.prompt"])
    wanted = target(truth, (features.shape[-2], features.shape[-1]), distractors, torch.float64)
    best, used = winner_target(ranking, wanted)
    for name, value in {
        "pos": wanted.near,
        "far_bg": wanted.far,
        "sam_weak_neg": wanted.distracting,
        "center": wanted.centre,
        "area_ratio": wanted.share,
        "valid": wanted.valid,
        "target_valid": used,
        "target_idx": best,
    }.items():
        parts.check(f"guide.sup.{name}", value)
    of_response, of_winner = response_loss(response, wanted), winner_loss(ranking.scores, best, used)
    for name, value in {
        **stored_of(response, ranking),
        "evidence_loss": of_response[None],
        "winner_loss": of_winner[None],
        "loss": (of_response + 1.2 * of_winner)[None],
    }.items():
        parts.check(f"guide.pre.{name}", value)
    acting = guide.rank(features, words, response.sigmoid())
    weight, scale = guide.word_scales(words, acting)
    for name, value in {
        "centers": acting.found.centres,
        "scores": acting.scores,
        "enhanced": guide.brighten(features, acting)[:, ::4],
        "token_weight": weight,
        "token_scale": scale,
        "text": guide.weigh(states, words, acting).transpose(1, 2)[:, ::8],
    }.items():
        parts.check(f"guide.joint.{name}", value)
