"""The gallery: pictures of what was scored, and of nothing else."""

from __future__ import annotations

import json

import pytest
import torch

from helpers.gallery import KNOWN, gallery_run
from rrsis_bench.cli import main
from rrsis_bench.data.masks import decode
from rrsis_bench.engine.gallery import GalleryKeeper
from rrsis_bench.errors import UserError
from rrsis_bench.metrics.counts import count
from rrsis_bench.metrics.protocols import NATIVE
from rrsis_bench.results import gallery
from rrsis_bench.run.folder import RunFolder
from rrsis_bench.run.layout import GALLERY
from rrsis_bench.types import Batch, TextTokens


def block(folder):
    return json.loads((folder / "result.json").read_text())["dataset"]


def test_scenes_are_one_per_category_and_their_truths_decode():
    assert len({scene.category for scene in KNOWN.scenes}) == len(KNOWN.scenes) == 10
    for scene in KNOWN.scenes:
        assert decode({"size": list(scene.size), "counts": scene.truth}).sum() > 0


@pytest.mark.slow
def test_scenes_are_what_the_generator_draws():
    from tools.gallery_scenes import make

    made = make()
    assert made == json.loads(gallery.SCENES.read_text())


def test_pictures_that_were_scored_are_shown(tmp_path):
    folder = gallery_run(tmp_path)
    assert set(gallery.read(RunFolder(folder), block(folder))) == {scene.sample_id for scene in KNOWN.scenes}


def test_a_prettier_mask_than_was_scored_is_refused(tmp_path):
    folder = gallery_run(tmp_path)
    scene = KNOWN.scenes[2]
    loaded = json.loads((folder / GALLERY).read_text())["predictions"]
    (folder / GALLERY).write_text(gallery.text_of({**loaded, scene.sample_id: scene.truth}))
    with pytest.raises(UserError, match=rf"gallery\.json: the mask of sample '{scene.sample_id}'"):
        gallery.read(RunFolder(folder), block(folder))


@pytest.mark.parametrize("content", ["", "{}", '{"predictions": {"2201": "~~~"}}'])
def test_a_damaged_file_is_named(content, tmp_path):
    folder = gallery_run(tmp_path)
    (folder / GALLERY).write_text(content)
    with pytest.raises(UserError, match=r"gallery\.json"):
        gallery.read(RunFolder(folder), block(folder))


def test_another_content_has_no_gallery(tmp_path):
    folder = gallery_run(tmp_path)
    assert gallery.read(RunFolder(folder), {**block(folder), "content_hash": "0" * 64}) == {}
    assert gallery.wanted("rrsisd") == frozenset()


def test_export_takes_the_pictures_along(tmp_path):
    folder = gallery_run(tmp_path / "runs")
    to = tmp_path / "results" / "runs"
    assert main(["results", "export", str(folder), "--to", str(to)]) == 0
    assert (to / "tiny" / "lavt@tiny" / "seed0" / GALLERY).read_bytes() == (folder / GALLERY).read_bytes()


def test_the_keeper_keeps_the_mask_that_is_counted():
    scene = KNOWN.scenes[0]
    truth = torch.from_numpy(decode({"size": list(scene.size), "counts": scene.truth}))
    batch = Batch(
        images=torch.zeros(2, 3, 8, 8), masks=torch.zeros(2, 8, 8, dtype=torch.uint8),
        tokens=TextTokens(torch.ones(2, 4, dtype=torch.int64), torch.ones(2, 4, dtype=torch.bool)),
        texts=("a", "b"), categories=("", ""), sample_ids=("other", scene.sample_id), image_ids=("i", "j"),
        indices=torch.arange(2), truths=torch.stack([truth, truth]), sizes=(scene.size, scene.size),
    )  # fmt: skip
    logits = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    keeper = GalleryKeeper("tiny")
    keeper.keep(logits, batch, (8, 8))
    kept = keeper.gathered()
    assert list(kept) == [scene.sample_id]
    mask = decode({"size": list(scene.size), "counts": kept[scene.sample_id]})
    counted = count(logits, batch, (8, 8), [NATIVE])[1, 0].tolist()
    assert counted == [int(truth.sum()), int(mask.sum()), int((mask & truth.numpy()).sum())]
