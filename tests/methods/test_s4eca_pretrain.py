"""The tiny encoders: pre-training repeats itself; the committed files are those of the configuration."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch

from rrsis_bench.config import variant_options
from rrsis_bench.data.synthetic.drawing import COLOURS, SHAPES
from rrsis_bench.data.synthetic.scenes import PRETRAIN, draw_scene, seed_range
from rrsis_bench.s4eca import S4ECA
from tools import pretrain_tiny
from tools.pretrain_tiny import ASSETS, PER_SCENE, SceneBatches


def test_scenes_are_labelled_as_drawn_and_repeat() -> None:
    spec = S4ECA.from_options(variant_options("s4eca", "tiny")).input_spec
    first, again = (next(iter(SceneBatches(range(4), 4, spec))) for _ in range(2))
    for part in fields(first):
        assert torch.equal(getattr(first, part.name), getattr(again, part.name))
    assert first.images.shape == (4, 3, 128, 128)
    assert first.masks.shape == (4 * PER_SCENE, 32, 32)
    assert first.ids.shape == first.mask.shape == (4 * PER_SCENE, spec.max_tokens)
    for index in range(4):
        scene = draw_scene(index, 128)
        for thing in scene.objects:
            y, x = np.argwhere(thing.mask)[len(np.argwhere(thing.mask)) // 2] // 4
            if first.categories[index, y, x]:
                assert int(first.categories[index, y, x]) == 1 + list(SHAPES).index(thing.category)
                assert int(first.colours[index, y, x]) == 1 + list(COLOURS).index(str(thing.colour))
        # What the expressions mean lies on objects.
        assert (first.categories[index] > 0)[first.masks[index * PER_SCENE] > 0].all()


def test_pretraining_sees_no_scene_of_any_split() -> None:
    for seed in range(3):
        for split in ("train", "val", "test"):
            seeds = seed_range(split, seed)
            assert seeds.start >= PRETRAIN.stop or seeds.stop <= PRETRAIN.start


@pytest.mark.slow
def test_the_same_recipe_gives_the_same_bytes(tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    recipe = ["--steps", "2", "--batch-size", "2", "--threads", "1"]
    try:
        for run in ("first", "second"):
            pretrain_tiny.main([*recipe, "--out", str(tmp_path / run)])
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(False)
    for name in ("tiny_vit.safetensors", "tiny_clip.safetensors"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()


def test_the_committed_files_are_small_and_meant() -> None:
    method = S4ECA.from_options(variant_options("s4eca", "tiny"))
    digests = method.load_pretrained()  # checks the configured sha256
    assert set(digests) == {"visual", "text"}
    for name in ("tiny_vit", "tiny_clip"):
        assert (ASSETS / f"{name}.safetensors").stat().st_size <= 2_000_000
