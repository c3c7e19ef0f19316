"""The blind baselines: exact sums, the level that is best, blindness, and training without a gradient."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from baselines.prior.image import PriorImage
from baselines.prior.model import LEVELS, PriorOptions, level_ious
from baselines.prior.text import PriorText, TextOptions
from baselines.prior.words import WordTokenizer
from rrsis_bench.cli import main
from rrsis_bench.data.dataset import ReferringDataset
from rrsis_bench.data.manifest import Manifest, Pair, write_manifest
from rrsis_bench.data.masks import encode
from rrsis_bench.engine.task import ReferringSegmentationTask
from rrsis_bench.errors import MissingResourceError, UsageError
from rrsis_bench.methods.contract import random_batch
from rrsis_bench.types import InputSpec

TEXTS = ("the red ship on the left", "a ship", "the dam", "the largest dam on the left", "Ship, ship!", "")
GRID = 8


def batches(method, seeds=(0, 1, 2)):
    return [random_batch(method.input_spec, TEXTS, seed) for seed in seeds]


def masks_of(several):
    return torch.cat([batch.masks.flatten(1).float() for batch in several])


def trained(method, several):
    method.train()
    for batch in several:
        method(batch)
    return method.eval()


def test_the_map_without_text_is_the_mean_mask():
    method = PriorImage(PriorOptions(grid=GRID))
    several = batches(method)
    trained(method, several)
    truth = masks_of(several)
    expected = (truth.sum(0) + 0.5) / (len(truth) + 1)
    assert torch.allclose(method.probability(several[0]), expected.expand(len(TEXTS), -1))
    logits = method(several[0]).logits
    assert logits.shape == (len(TEXTS), 1, GRID, GRID)
    assert torch.allclose(logits.sigmoid().flatten(1)[0], expected, atol=1e-6)  # the level is still 0.5


def word_features(text):
    words = [word.strip(",!").lower() for word in text.split()]
    found: dict[tuple[str, str], int] = {}
    for i, first in enumerate(words):
        for second in words[i:]:
            key = (min(first, second), max(first, second))
            found[key] = found.get(key, 0) + 1
    return found


def test_the_map_with_text_is_the_mean_weighted_by_likeness_sample_by_sample():
    method = PriorText(TextOptions(grid=GRID, buckets=65_536))
    several = batches(method)
    trained(method, several)
    truth = masks_of(several).numpy().astype(np.float64)
    texts = [word_features(text) for _ in several for text in TEXTS]
    df: dict[tuple[str, str], int] = {}
    for features in texts:
        for key, times in features.items():
            df[key] = df.get(key, 0) + times
    mean = (truth.sum(0) + 0.5) / (len(truth) + 1)
    for row, text in enumerate(TEXTS):
        likeness = np.array([
            sum(
                max(np.log((1 + len(texts)) / (1 + df[key])), 0) ** 2 * times * other.get(key, 0)
                for key, times in word_features(text).items()
            )
            / max(sum(other.values()), 1) ** 0.5
            for other in texts
        ])  # fmt: skip
        expected = (likeness @ truth + mean) / (likeness.sum() + 1)
        assert method.probability(several[0])[row].numpy() == pytest.approx(expected, abs=1e-5)


def test_an_expression_that_was_seen_finds_its_own_mask_and_an_empty_one_the_mean():
    method = PriorText(TextOptions(grid=GRID))
    several = batches(method, seeds=(0,))
    trained(method, several)
    found = method.probability(several[0])
    truth = masks_of(several)
    assert ((found[0] > 0.5) == (truth[0] > 0)).all()
    assert torch.allclose(found[-1], method.mean_mask())


@pytest.mark.parametrize("method", [PriorImage(PriorOptions(grid=GRID)), PriorText(TextOptions(grid=GRID))])
def test_order_of_the_batches_does_not_matter(method):
    several = batches(method)
    first = trained(method, several).probability(several[0])
    method.load_state_dict({name: torch.zeros_like(value) for name, value in method.state_dict().items()})
    method.level.fill_(0.5)
    second = trained(method, several[::-1]).probability(several[0])
    assert torch.allclose(first, second, atol=1e-6)


def test_histogram_gives_the_iou_of_every_level():
    rng = torch.Generator().manual_seed(0)
    probability = torch.rand(5, 64, generator=rng)
    probability[0, :3] = LEVELS[100]  # exactly on a level: not greater
    masks = (torch.rand(5, 64, generator=rng) > 0.7).float()
    masks[4] = 0
    probability[4] = 0.0
    found = level_ious(probability, masks)
    for k, level in enumerate(LEVELS):
        pred = (probability > level).float()
        union = ((pred + masks) > 0).sum(1)
        plain = torch.where(union > 0, (pred * masks).sum(1) / union.clamp(min=1), 1.0)
        assert torch.allclose(found[:, k], plain)


def test_the_level_is_the_one_with_the_best_mean_iou():
    method = PriorText(TextOptions(grid=GRID))
    several = batches(method, seeds=(0, 1, 2, 3, 4))
    trained(method, several[:3]).calibrate(iter(several[3:]))
    scores = torch.cat([level_ious(method.probability(one), masks_of([one])) for one in several[3:]]).mean(0)
    chosen = int((method.level == LEVELS).nonzero())
    assert scores[chosen] == scores.max()
    assert 0 < chosen < len(LEVELS) - 1
    logits = method(several[3]).logits.flatten(1)
    assert ((logits > 0) == (method.probability(several[3]) > method.level)).all()


def test_half_precision_does_not_touch_the_sums():
    plain, mixed = (PriorText(TextOptions(grid=GRID)) for _ in range(2))
    several = batches(plain)
    trained(plain, several)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        trained(mixed, several)
        logits = mixed(several[0]).logits
    assert all(torch.equal(a, b) for a, b in zip(plain.buffers(), mixed.buffers(), strict=True))
    assert torch.equal(logits, plain(several[0]).logits)


def test_words():
    tokenize = WordTokenizer(InputSpec((8, 8), "x", 4))
    done = tokenize("The SHIP's, bow")
    assert done.mask == [1, 1, 1, 0]
    assert done.ids[3] == 0
    assert all(0 <= one < 2**31 for one in done.ids)
    assert tokenize("the ship's bow") == done
    assert tokenize("a b c d e").truncated
    with pytest.raises(UsageError, match="max_tokens"):
        WordTokenizer(InputSpec((8, 8), "x", 0))


def test_a_blind_method_s_images_are_never_opened(tmp_path):
    mask = np.zeros((40, 60), np.uint8)
    mask[:20, :30] = 1
    record = Pair("s", "i", "gone.jpg", 60, 40, encode(mask), "the dam", "train", "dam")
    write_manifest(tmp_path / "m.jsonl", [record])
    manifest = Manifest.open(tmp_path / "m.jsonl")
    spec = PriorImage(PriorOptions(grid=GRID)).input_spec
    for training in (True, False):
        item = ReferringDataset(manifest, tmp_path, spec, training)[0]
        assert item.image.shape == (3, GRID, GRID)
        assert not item.image.any()
        assert item.mask.sum() == GRID * GRID // 4
        assert (item.truth is None) == training
    with pytest.raises(MissingResourceError, match=r"gone\.jpg"):
        ReferringDataset(manifest, tmp_path, replace(spec, reads_image=True))[0]


def task_with(**trainer):
    task = ReferringSegmentationTask(method="prior-image", variant="tiny", options={"grid": GRID})
    task._trainer = SimpleNamespace(
        log_every_n_steps=1000, barebones=False, num_training_batches=2, current_epoch=0, **trainer
    )
    return task


def test_no_gradient_no_optimiser_and_one_process_only():
    task = task_with(world_size=2, precision="32-true")
    with pytest.raises(UsageError, match=r"prior-image learns without gradients.*--trainer cpu"):
        task.setup("fit")
    task.setup("test")
    assert task.configure_optimizers() is None
    method = task.method.train()
    task.watch.means()
    task._trainer.global_step = 0
    assert task.training_step(random_batch(method.input_spec), 0) is None
    assert method.seen == 4


def test_the_level_is_chosen_while_training_only():
    task = task_with(
        world_size=1,
        state=SimpleNamespace(fn="validate"),
        datamodule=SimpleNamespace(val_dataloader=lambda: batches(task.method)),
    )
    trained(task.method, batches(task.method))
    task.on_validation_start()
    assert task.method.level == 0.5
    task._trainer.state.fn = "fit"
    task.on_validation_start()
    assert task.method.level != 0.5


@pytest.mark.slow
@pytest.mark.parametrize("name", ["prior-image", "prior-text"])
def test_the_ordinary_commands_train_score_and_score_again(name, tmp_path, monkeypatch):
    monkeypatch.setenv("RRSIS_RUNS", str(tmp_path))
    words = ["--data.num_workers", "0", "--trainer.accelerator", "cpu"]
    assert main(["fit", "--method", name, *words]) == 0
    run = tmp_path / "tiny" / f"{name}@tiny" / "seed0"
    first = json.loads((run / "result.json").read_text())
    assert (first["kind"], first["selected_on"], first["method"]["fidelity"]) == ("smoke", "val", "floor")
    ratio = first["language_control"]["oiou_ratio"]
    assert ratio == 1 if name == "prior-image" else ratio < 0.6
    assert first["efficiency"]["trainable_parameters"] == 0
    samples = (run / "samples.csv.gz").read_bytes()
    assert main(["test", "--run", str(run), "--overwrite"]) == 0
    assert (run / "samples.csv.gz").read_bytes() == samples
    assert main(["results", "check", str(tmp_path)]) == 0
