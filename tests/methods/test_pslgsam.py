"""PSLG-SAM as a method: its stages together, its options, and files of boxes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from baselines.pslgsam import PSLGSAM
from baselines.pslgsam.model import box_logits, share_of
from baselines.pslgsam.options import PSLGSAMOptions
from baselines.pslgsam.outline import at_least, eight_bit, grown, inside, outline, tuned_parameters
from helpers.lqvg_small import official_state
from helpers.noise import add_noise
from helpers.resolved import configured
from rrsis_bench.config import variant_options
from rrsis_bench.cost.profile import gflops
from rrsis_bench.cost.profile import sample_batch as profile_batch
from rrsis_bench.data.transforms import normalise
from rrsis_bench.errors import MissingResourceError, UsageError, UserError
from rrsis_bench.methods.contract import random_batch
from rrsis_bench.nn.encoders.build import build_segmenter
from rrsis_bench.nn.layers.boxes import boxes_of_masks
from rrsis_bench.nn.layers.freezing import trainable
from rrsis_bench.types import Batch

pytestmark = pytest.mark.slow  # `make test` runs them; the inner loop does without

PUBLISHED = {"published": 806_876_934, "published-tuned": 806_876_934, "base": 259_521_798, "tiny": 1_719_590}
SMALL_RELEASED: dict[str, Any] = {
    "image_weights": "random",
    "text_weights": "random",
    "segmenter_weights": "random",
    "text_layers": 1,
    "text_width": 32,
    "text_heads": 2,
    "text_vocabulary": 64,
    "text_positions": 40,
    "width": 32,
    "heads": 4,
    "encoder_layers": 1,
    "decoder_layers": 2,
    "hidden": 48,
    "queries": 3,
    "image_size": 64,
    "segmenter": "sam-nano",
    "tokenizer": "tiny",
    "max_tokens": 16,
}


def tiny(**options: Any) -> PSLGSAM:
    torch.manual_seed(0)
    return PSLGSAM.from_options({**variant_options("pslgsam", "tiny"), **options})


def batch_of(method: PSLGSAM, texts: tuple[str, ...] = ("the red ship", "a bridge", "the left tank")) -> Batch:
    return random_batch(method.input_spec, texts)


def write_boxes(path: Path, boxes: dict[str, list[float]]) -> str:
    lines = [json.dumps({"sample_id": name, "box": box, "score": 0.5}) for name, box in boxes.items()]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return f"file:{path}"


@pytest.mark.parametrize("variant", PUBLISHED)
def test_published_sizes(variant: str) -> None:
    with torch.device("meta"):
        method = PSLGSAM.from_options(variant_options("pslgsam", variant))
    assert sum(p.numel() for p in method.parameters()) == PUBLISHED[variant]


def test_groups_have_the_released_rates_and_sizes() -> None:
    with torch.device("meta"):
        method = PSLGSAM.from_options(variant_options("pslgsam", "published-tuned"))
    groups = method.param_groups(1e-4, 5e-4)
    assert [sum(p.numel() for p in group["params"]) for group in groups[:4]] == [
        17_749_524,
        23_232_512,
        124_645_632 - 590_592,
        526_850,
    ]
    assert [group["lr"] for group in groups] == pytest.approx([1e-4, 5e-5, 1e-5, 1e-4, 1e-4])
    assert [group["weight_decay"] for group in groups] == [5e-4] * 4 + [0.0]


def test_tuning_trains_the_mask_decoder_alone() -> None:
    frozen, tuned = tiny(), tiny(tune_decoder=True, mbo=False)
    assert not trainable(frozen.segmenter.parameters())
    names = {name for name, p in tuned.segmenter.network.named_parameters() if p.requires_grad}
    assert names
    assert all(name.startswith("mask_decoder.") for name in names)
    assert not [name for name in names if "iou_prediction_head" in name or "mlps.1." in name]
    prompts = {
        name
        for name, p in tiny(tune_decoder=True, tune_prompts=True).segmenter.network.named_parameters()
        if p.requires_grad
    } - names
    assert prompts == {f"prompt_encoder.point_embeddings.{k}.weight" for k in (1, 2, 3)}


@pytest.mark.parametrize(("name", "library"), [("sam2.1-nano", "transformers"), ("sam-nano", "transformers")])
def test_tuned_parameters_of_every_segmenter_get_a_gradient(name: str, library: Any) -> None:
    torch.manual_seed(0)
    segmenter = build_segmenter(name, library)
    side = segmenter.image_size
    chosen = tuned_parameters(segmenter, prompts=True)
    add_noise(chosen)
    features = segmenter.encode_image(torch.randn(2, 3, side, side))
    point, label = torch.full((2, 1, 2), side / 2.0), torch.ones(2, 1, dtype=torch.int64)
    segmenter.segment_prompted(features, point, label, torch.tensor([[0.0, 0, 9, 9]] * 2)).square().mean().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in chosen)


def test_training_needs_no_sam_and_its_logits_are_the_best_box() -> None:
    method = tiny().train()
    batch = batch_of(method)
    method.segmenter.network = None
    output = method(batch)
    assert output.logits.shape == (3, 1, 128, 128)
    assert not output.logits.requires_grad
    losses = method.loss(output, batch)
    assert list(losses) == ["cls", "l1", "giou"]
    assert set(output.aux["watched"]) == {"box_iou", "box_acc50"}


def test_segmenter_never_leaves_evaluation_mode() -> None:
    method = tiny(tune_decoder=True).train()
    assert method.grounder is not None
    assert method.grounder.training
    assert not any(module.training for module in method.segmenter.modules())


def test_an_empty_truth_adds_no_loss() -> None:
    method = tiny().train()
    batch = batch_of(method)
    half = replace(batch, masks=batch.masks * torch.tensor([1, 0, 1], dtype=torch.uint8)[:, None, None])
    torch.manual_seed(0)
    with_empty = method.loss(method(half), half)
    two = [0, 2]
    tokens = replace(batch.tokens, ids=batch.tokens.ids[two], mask=batch.tokens.mask[two])
    rest = replace(batch, images=batch.images[two], masks=batch.masks[two], tokens=tokens, texts=("a", "b"))
    without = method.loss(method(rest), rest)
    for name, loss in with_empty.items():
        torch.testing.assert_close(loss, without[name])
    nothing = replace(batch, masks=torch.zeros_like(batch.masks))
    assert all(float(loss.detach()) == 0 for loss in method.loss(method(nothing), nothing).values())


def test_multi_scale_draws_a_side_for_each_step() -> None:
    method = PSLGSAM.from_options({**SMALL_RELEASED, "multi_scale": [32, 64]}).train()
    images = torch.randn(1, 3, 64, 64)
    assert {method.rescaled(images).shape[-1] for _ in range(20)} == {32, 64}
    assert method.eval().rescaled(images).shape[-1] in (32, 64)
    assert tiny().rescaled(images) is images


@pytest.mark.slow
def test_the_released_form_trains_and_scores_at_small_sizes() -> None:
    method = PSLGSAM.from_options({**SMALL_RELEASED, "tune_decoder": True, "mask_share": 0.5, "mask_loss": "sam"})
    batch = batch_of(method.train())
    losses = method.loss(method(batch), batch)
    assert list(losses) == ["cls", "l1", "giou", "focal", "dice"]
    torch.stack(list(losses.values())).sum().backward()
    output = method.eval()(batch.blind())
    assert output.logits.shape == (3, 1, 64, 64)
    assert output.aux["boxes"].shape == (3, 4)


@torch.no_grad()
def test_a_file_of_boxes_takes_the_place_of_stage_1(tmp_path: Path) -> None:
    box = [0.25, 0.5, 0.75, 0.875]
    source = write_boxes(tmp_path / "boxes.jsonl", {"0": box, "1": [0.0, 0.0, 0.5, 0.5], "2": box})
    method = tiny(boxes=source, mbo=False, clip_margin=0.0).eval()
    assert method.grounder is None
    assert not trainable(method.parameters())
    batch = batch_of(method)
    output = method(batch.blind())
    assert output.aux["boxes"][0].tolist() == box
    outside = ~inside(output.aux["boxes"] * 128, (128, 128))
    assert (output.logits[outside] == -10).all()
    assert not (output.logits[~outside] == -10).any()
    losses = method.train().loss(method(batch), batch)
    assert [float(loss) for loss in losses.values()] == [0.0]
    assert set(method.load_pretrained()) == {"segmenter", "boxes"}


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (['{"sample_id": "0", "box": [0, 0, 1, 1]}'], "no box for sample '1'"),
        (['{"sample_id": "0", "box": [0, 0, 64, 64]}'], r"boxes\.jsonl:1: the box .* is not .* in \[0, 1\]"),
        (['{"sample_id": "0", "box": [0, 0, 1]}'], r"boxes\.jsonl:1: expected"),
        (["[1, 2]"], r"boxes\.jsonl:1: expected"),
        (["not json"], r"boxes\.jsonl:1: expected"),
    ],
)
def test_files_of_boxes_that_do_not_fit_are_refused(lines: list[str], message: str, tmp_path: Path) -> None:
    path = tmp_path / "boxes.jsonl"
    path.write_text("\n".join(lines), encoding="utf-8")
    method = tiny(boxes=f"file:{path}").eval()
    with pytest.raises(UserError, match=message):
        method.find(batch_of(method))


def test_the_best_of_several_boxes_counts(tmp_path: Path) -> None:
    path = tmp_path / "boxes.jsonl"
    entries = [("0", [0, 0, 0.5, 0.5], 0.1), ("0", [0.5, 0.5, 1, 1], 0.9), ("1", [0, 0, 1, 1], -3.0)]
    path.write_text("\n".join(json.dumps({"sample_id": n, "box": b, "score": s}) for n, b, s in entries))
    method = tiny(boxes=f"file:{path}")
    found = method.find(batch_of(method, ("a ship", "a tank")))
    assert found.best().tolist() == [[0.5, 0.5, 1.0, 1.0], [0.0, 0.0, 1.0, 1.0]]
    assert found.scores[1, 1] == float("-inf")


def test_a_sample_without_id_is_made_up_and_has_the_whole_image(tmp_path: Path) -> None:
    method = tiny(boxes=write_boxes(tmp_path / "boxes.jsonl", {"0": [0.0, 0.0, 0.5, 0.5]}))
    batch = replace(batch_of(method, ("a ship", "a tank")), sample_ids=("0", ""))
    assert method.find(batch).best().tolist() == [[0.0, 0.0, 0.5, 0.5], [0.0, 0.0, 1.0, 1.0]]
    assert profile_batch(method, 2, "cpu").sample_ids == ("", "")


@pytest.mark.parametrize("variant", ["published", "tiny"])
def test_flops_are_counted_without_values(variant: str) -> None:
    with torch.device("meta"):
        method = PSLGSAM.from_options(variant_options("pslgsam", variant)).eval()
    assert gflops(method, "meta") > {"published": 2000, "tiny": 0.1}[variant]


def test_a_missing_file_of_boxes_is_a_missing_resource() -> None:
    with pytest.raises(MissingResourceError, match=r"no file of boxes at .*gone\.jsonl"):
        tiny(boxes="file:/gone.jsonl").load_pretrained()


@torch.no_grad()
@pytest.mark.parametrize("prompt", ["box", "point-clip"])
def test_stage_2_gets_each_photograph_once(prompt: str) -> None:
    """Boxes of one photograph, in any order, give what each gives alone."""
    method = tiny(prompt=prompt).eval()
    images = batch_of(method).images[:2]
    boxes = torch.tensor([[0.1, 0.1, 0.6, 0.5], [0.3, 0.2, 0.9, 0.9], [0.0, 0.5, 0.4, 1.0]])
    order = torch.tensor([1, 0, 1])

    def run(pictures: Tensor, own: Tensor, rows: Tensor) -> Tensor:
        features = method.features(pictures)
        return outline(method.segmenter, pictures, features, own, rows, method.options, method.input_spec)

    together = run(images, boxes, order)
    for k in range(3):
        alone = run(images[order[k]][None], boxes[k : k + 1], torch.tensor([0]))
        assert (together[k] - alone[0]).abs().max() <= 1e-4


@torch.no_grad()
def test_controls_change_the_mask() -> None:
    batch = batch_of(tiny())
    boxes = torch.tensor([[0.1, 0.1, 0.6, 0.5]] * 3)
    seen = []
    for choices in ({}, {"point": "centre"}, {"point": "none"}, {"mbo": True}, {"expand": 0.2}):
        method = tiny(prompt="box", **{"mbo": False, **choices}).eval()
        features, rows = method.features(batch.images), torch.arange(3)
        seen.append(outline(method.segmenter, batch.images, features, boxes, rows, method.options, method.input_spec))
    assert all(not torch.equal(seen[0], other) for other in seen[1:])


def test_images_are_given_back_as_they_were() -> None:
    method = tiny()
    pixels = torch.randint(0, 256, (1, 128, 128, 3), dtype=torch.uint8).numpy()
    images = torch.from_numpy(normalise(pixels[0], method.input_spec))[None]
    assert (eight_bit(images, method.input_spec)[0] == pixels[0]).all()


def test_boxes_grow_and_have_a_least_size() -> None:
    boxes = torch.tensor([[10.0, 20.0, 20.0, 40.0], [5.0, 5.0, 5.5, 9.0]])
    assert grown(boxes, 0.1)[0].tolist() == [9.0, 18.0, 21.0, 42.0]
    assert at_least(boxes, 2.0).tolist() == [[10.0, 20.0, 20.0, 40.0], [4.25, 5.0, 6.25, 9.0]]
    pixels = inside(torch.tensor([[1.0, 0.0, 3.0, 2.0]]), (4, 5))[0, 0]
    assert pixels.nonzero().tolist() == [[0, 1], [0, 2], [1, 1], [1, 2]]


def test_the_map_of_a_box_has_the_box_as_its_mask() -> None:
    boxes = torch.tensor([[0.25, 0.5, 0.75, 1.0]])
    found, valid = boxes_of_masks((box_logits(boxes, (32, 64))[:, 0] > 0).to(torch.uint8))
    assert valid.all()
    torch.testing.assert_close(found, boxes)


def test_shares_of_samples_are_even_and_fixed() -> None:
    shares = [share_of(f"sample {k}") for k in range(2000)]
    assert 0.08 < sum(share < 0.1 for share in shares) / 2000 < 0.12
    assert share_of("sample 0") == shares[0]


def test_radii_grow_with_the_image() -> None:
    options = PSLGSAMOptions()
    assert [options.boundary_choices(side).erode for side in (128, 512, 1024)] == [1, 3, 6]
    assert replace(options, mbo_erode=2).boundary_choices(1024).erode == 2
    assert (options.refines, replace(options, tune_decoder=True).refines) == (True, False)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"boxes": "truth"}, "would read the truth"),
        ({"boxes": "dino"}, "is lqvg or file:PATH"),
        ({"boxes": "file:"}, "is lqvg or file:PATH"),
        ({"point": "none"}, "needs a point"),
        ({"tune_prompts": True}, "set tune_decoder too"),
        ({"queries": 0}, "'queries' is at least 1"),
        ({"width": 48}, "multiple of 32"),
        ({"mask_share": 0.0}, "mask_share"),
        ({"point_max_crop": 2}, "point_max_crop"),
        ({"point": "middle"}, "'point' must be one of cfpg, centre, none"),
    ],
)
def test_options_that_cannot_work_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        tiny(**changes)


def test_released_weights_fill_stage_1_alone(tmp_path: Path) -> None:
    method = PSLGSAM.from_options(SMALL_RELEASED)
    assert method.grounder is not None
    own = method.grounder.state_dict()
    official = official_state(method.grounder)
    path = tmp_path / "checkpoint.pth"
    torch.save({"model": {f"module.{key}": value for key, value in official.items()}, "epoch": 69}, path)
    torch.manual_seed(1)
    other = PSLGSAM.from_options(SMALL_RELEASED)
    assert len(other.load_official(path)) == 64
    assert other.grounder is not None
    assert all(torch.equal(value, own[name]) for name, value in other.grounder.state_dict().items())
    with pytest.raises(UsageError, match="of ResNet-50 and RoBERTa"):
        tiny().load_official(path)


def test_recipes() -> None:
    paper = configured("pslgsam", "rrsisd")
    assert paper["model"]["variant"] == "published"
    assert paper["model"]["optimizer"] == {"name": "adamw", "lr": 1e-4, "weight_decay": 5e-4}
    assert paper["model"]["schedule"] == {"name": "step", "milestones": [40], "gamma": 0.1}
    assert (paper["data"]["global_batch"], paper["trainer"]["max_epochs"]) == (4, 70)
    assert paper["trainer"]["gradient_clip_val"] == 0.1
    assert paper["model"]["options"]["multi_scale"] == [480, 560, 640, 720, 800]
    assert paper["model"]["options"]["mbo"] is True
    suite = configured("pslgsam", "rrsisd", "published-tuned", recipe="suite")["model"]["options"]
    assert (suite["multi_scale"], suite["mbo"]) == ([], None)
    assert configured("pslgsam", "rrsisd", "published-tuned")["model"]["options"]["mbo"] is True
