"""The tiny CLIP and SAM: pre-training repeats itself; the committed files are small and those of the configuration."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from rrsis_bench.data.synthetic.scenes import PRETRAIN, draw_scene, seed_range
from rrsis_bench.nn.encoders.clip_dual import ClipDual
from rrsis_bench.nn.weights.files import load_tensors
from rrsis_bench.types import InputSpec
from tools import pretrain_pair
from tools.pretrain_pair import OBJECTS, PromptedScenes, overlap, seeds_of, spec_of
from tools.pretrain_tiny import ASSETS

NAMES = ("tiny_pair_clip", "tiny_pair_sam")


def test_prompts_are_in_their_objects_and_repeat() -> None:
    first, again = (next(iter(PromptedScenes(range(4), 4, InputSpec((128, 128), "tiny", 16)))) for _ in range(2))
    for part in fields(first):
        assert torch.equal(getattr(first, part.name), getattr(again, part.name))
    assert first.images.shape == (4, 3, 128, 128)
    assert first.masks.shape == first.coarse.shape == (4 * OBJECTS, 1, 64, 64)
    drawn = [[torch.from_numpy(thing.mask).bool() for thing in draw_scene(seed, 128).objects] for seed in range(4)]
    for k, (mask, points) in enumerate(zip(first.masks, first.points, strict=True)):
        columns, rows = points.long().T
        small = [(F.avg_pool2d(m[None].float(), 2) >= 0.5).float() for m in drawn[k // OBJECTS]]
        meant = [m for m, s in zip(drawn[k // OBJECTS], small, strict=True) if torch.equal(s, mask)]
        assert meant[0][rows, columns].all()
        # The rough mask is higher on the object than around it.
        assert first.coarse[k][mask > 0].mean() > first.coarse[k][mask == 0].mean()


def test_seeds_are_of_no_split_and_of_no_other_run() -> None:
    assert not set(seeds_of(0, 50)) & set(seeds_of(1, 50))
    assert seeds_of(3, 16_000).stop <= PRETRAIN.stop
    assert all(seed_range(split).start >= PRETRAIN.stop for split in ("train", "val", "test"))


@pytest.mark.slow
def test_the_same_recipe_gives_the_same_bytes(tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    recipe = ["--steps", "2", "--sam-steps", "2", "--batch-size", "2", "--threads", "1"]
    try:
        for run in ("first", "second"):
            pretrain_pair.main([*recipe, "--out", str(tmp_path / run)])
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(False)
    for name in NAMES:
        written = [(tmp_path / run / f"{name}.safetensors").read_bytes() for run in ("first", "second")]
        assert written[0] == written[1]


def test_the_committed_files_are_small_and_know_something() -> None:
    for name in NAMES:
        assert (ASSETS / f"{name}.safetensors").stat().st_size <= 2_000_000
    dual = ClipDual("clip-nano").eval()
    tensors = {key: value.float() for key, value in load_tensors(ASSETS / "tiny_pair_clip.safetensors").items()}
    dual.load_tensors(tensors)
    seeds = range(PRETRAIN.stop - 16, PRETRAIN.stop)  # far from those it learned from
    scenes = next(iter(pretrain_pair.SceneBatches(seeds, 16, spec_of(dual.mean, dual.std))))
    with torch.no_grad():
        places = F.normalize(dual.encode_image(scenes.images), dim=1)
        said = F.normalize(dual.encode_text(scenes.ids, scenes.mask).sentence, dim=-1).unflatten(0, (16, -1))
        cosine = torch.einsum("bchw,bec->behw", places, said).flatten(0, 1)
        truth = F.avg_pool2d(scenes.masks[:, None], 2)[:, 0]
        found = overlap(dual.log_scale.exp() * cosine + dual.bias, truth)
        permuted = overlap(dual.log_scale.exp() * cosine + dual.bias, truth.roll(4, dims=0))
    assert found >= 0.3
    assert permuted <= 0.5 * found
