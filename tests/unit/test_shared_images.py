"""An image of several samples: told apart by its pixels, loaded once, dealt whole, encoded once, scored as before."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lightning.pytorch import Trainer

from helpers.album import COPY, ORIGINAL, open_album, write_album
from helpers.rsrefseg2_small import small
from helpers.sound import CountsImages, Shares
from rrsis_bench import registry
from rrsis_bench.cli import main
from rrsis_bench.config import variant_options
from rrsis_bench.data import dataset as datasets
from rrsis_bench.data.collate import collate
from rrsis_bench.data.datamodule import ReferringDataModule
from rrsis_bench.data.manifest import Manifest
from rrsis_bench.data.prepare import ensure_manifest, locate
from rrsis_bench.data.sampler import ImageSampler, ResumableSampler
from rrsis_bench.data.sources import create
from rrsis_bench.engine.encoded import LastImage
from rrsis_bench.engine.task import ReferringSegmentationTask
from rrsis_bench.errors import UsageError
from rrsis_bench.methods.base import Method
from rrsis_bench.methods.build import build_method
from rrsis_bench.metrics.counts import count
from rrsis_bench.metrics.protocols import NATIVE
from rrsis_bench.types import Batch, InputSpec

SPEC = InputSpec((32, 32), "tiny", 12)


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RRSIS_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def album(tmp_path: Path) -> Path:
    return write_album(tmp_path / "album")


# --- which samples show the same image --------------------------------------------------------------------------------


def test_copies_are_one_image_and_tiles_of_one_photograph_are_not(tmp_path: Path, album: Path) -> None:
    test = open_album(album, SPEC, True).test_dataset
    found = {pair.image: first for pair, first in zip(test.manifest, test.images, strict=True)}
    assert found[f"images/test-{COPY}.png"] == found[f"images/test-{ORIGINAL}.png"]
    assert len(set(found.values())) == len(found) - 1

    root = tmp_path / "coco"
    create("coco", group="photo").write_fake(root, 4, 0)
    listing = json.loads((root / "instances.json").read_text())
    for image in listing["images"]:
        image["photo"] = "p0001" if image["id"] <= 4 else image["photo"]  # the training images are tiles of one
    (root / "instances.json").write_text(json.dumps(listing))
    described = {"dataset": "tiles", "source": "coco", "root": str(root), "source_options": {"group": "photo"}}
    pairs = list(Manifest.open(ensure_manifest(locate(described)), "train"))
    assert {pair.image_id for pair in pairs} == {"p0001"}
    files = {pair.image for pair in pairs}
    assert len({pair.shown for pair in pairs}) == len({(pair.shown, pair.image) for pair in pairs}) == len(files) > 1


# --- loading ----------------------------------------------------------------------------------------------------------


def test_a_batch_holds_each_image_once_and_expands_to_what_it_was(album: Path) -> None:
    shared, plain = (open_album(album, SPEC, shares).test_dataloader() for shares in (True, False))
    repeats = 0
    for one, other in zip(shared, plain, strict=True):
        assert other.image_of is None
        assert torch.equal(one.expanded().images, other.images)
        assert one.sample_ids == other.sample_ids
        assert torch.equal(one.truths, other.truths)
        assert torch.equal(one.tokens.ids, other.tokens.ids)
        assert len({row.numpy().tobytes() for row in one.images}) == len(one.images) == len(set(one.image_keys))
        repeats += len(one) - len(one.images)
    assert repeats > 5


def test_a_batch_decodes_resizes_and_normalises_an_image_once(album: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: Counter[str] = Counter()

    def counted(name: str) -> None:
        genuine = getattr(datasets, name)

        def wrapper(*args: object) -> object:
            calls[name] += 1
            return genuine(*args)

        monkeypatch.setattr(datasets, name, wrapper)

    names = ("read_rgb", "resize_image", "normalise")
    for name in names:
        counted(name)
    for shares in (True, False):
        calls.clear()
        data = open_album(album, SPEC, shares)
        different = sum(len(set(batch.image_ids)) for batch in data.test_dataloader())
        assert dict(calls) == dict.fromkeys(names, different)
        assert different < len(data.test_dataset)


def test_training_without_groups_gives_each_sample_its_own_image_in_the_old_order(album: Path) -> None:
    shared, plain = (open_album(album, SPEC, shares, augment={"jitter": 1.0}) for shares in (True, False))
    order = np.random.default_rng((0, 0)).permutation(17)
    seen = []
    for one, other in zip(shared.train_dataloader(), plain.train_dataloader(), strict=True):
        assert one.image_of is None
        assert torch.equal(one.images, other.images)
        seen += one.indices.tolist()
    assert seen == order[:16].tolist()


@pytest.mark.parametrize("workers", [0, 2])
def test_grouped_training_shows_an_image_once_with_one_augmentation(album: Path, workers: int) -> None:
    augment = {"flip": 0.5, "boxes": 0.5, "jitter": 1.0}
    data = open_album(album, SPEC, True, augment=augment, expressions_per_image=4, num_workers=workers)
    alone = open_album(album, SPEC, False, augment=augment, expressions_per_image=4)
    repeats = 0
    for batch in data.train_dataloader():
        assert batch.image_of is not None
        whole = batch.expanded()
        repeats += len(batch) - len(batch.images)
        for place, index in enumerate(batch.indices.tolist()):
            item = alone.train_dataset[index]
            assert np.array_equal(whole.images[place].numpy(), item.image)
            assert np.array_equal(batch.masks[place].numpy(), item.mask)
            assert batch.texts[place] == item.text
    assert repeats > 3


# --- order ------------------------------------------------------------------------------------------------------------


@given(images=st.lists(st.integers(0, 6), min_size=0, max_size=40), world_size=st.integers(1, 5))
def test_evaluation_deals_each_sample_once_evenly_and_image_by_image(images: list[int], world_size: int) -> None:
    parts = [list(ImageSampler(images, rank, world_size)) for rank in range(world_size)]
    assert sorted(index for part in parts for index in part) == list(range(len(images)))
    assert {len(part) for part in parts} <= {len(images) // world_size, -(-len(images) // world_size)}
    for part in parts:
        assert part == sorted(part, key=lambda index: (images[index], index))
    room = len(images) // world_size
    for image, size in Counter(images).items():
        if world_size == 1 or (size <= room and len(set(images)) <= world_size):
            assert sum(any(images[index] == image for index in part) for part in parts) == 1


@pytest.mark.parametrize(
    ("sizes", "world_size", "split"),
    [((2, 4, 2), 2, 0), ((4, 4), 2, 0), ((5, 3), 2, 1), ((3, 3, 3, 1, 1, 1), 3, 0), ((1, 9, 1, 1), 2, 1), ((7,), 3, 1)],
)
def test_an_image_is_split_only_where_no_process_has_room(sizes: tuple[int, ...], world_size: int, split: int) -> None:
    images = np.repeat(np.arange(len(sizes)), sizes)
    parts = [{int(images[index]) for index in ImageSampler(images, rank, world_size)} for rank in range(world_size)]
    places = Counter(image for part in parts for image in part)
    assert sum(number > 1 for number in places.values()) == split


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_grouped_training_keeps_up_to_k_of_an_image_together(world_size: int) -> None:
    images = np.random.default_rng(0).integers(0, 7, 60)
    samplers = [ResumableSampler(60, 5, True, rank, world_size, images, 4) for rank in range(world_size)]
    orders = [sampler.order() for sampler in samplers]
    joined = [index for order in orders for index in order]
    assert sorted(joined) == list(range(60))
    runs = 1 + np.count_nonzero(np.diff(images[joined]))
    groups = sum(-(-size // 4) for size in Counter(images.tolist()).values())
    assert runs <= groups + world_size - 1
    assert orders == [sampler.order() for sampler in samplers]
    for sampler in samplers:
        sampler.set_epoch(1)
    assert orders != [sampler.order() for sampler in samplers]


# --- scores -----------------------------------------------------------------------------------------------------------


def areas(method: Method, batches: Iterable[Batch], keep: bool) -> dict[str, list[int]]:
    """The integers of each sample under the native view."""
    found: dict[str, list[int]] = {}
    last, dtype = LastImage(), next(method.parameters()).dtype
    with torch.inference_mode():
        for batch in batches:
            seen = replace(batch.blind(), images=batch.images.to(dtype))
            logits = method(last.complete(method, seen) if keep else seen).logits
            counted = count(logits, batch, method.input_spec.image_size, [NATIVE])
            found |= dict(zip(batch.sample_ids, counted[:, 0].tolist(), strict=True))
    return found


def in_old_order(data: ReferringDataModule, split: str = "test") -> Iterable[Batch]:
    """Batches of one image per sample in order of the split."""
    dataset = getattr(data, f"{split}_dataset")
    for start in range(0, len(dataset), data.eval_batch_size):
        yield collate([dataset[index] for index in range(start, min(start + data.eval_batch_size, len(dataset)))])


def test_counts_in_float64_are_those_of_the_old_order(album: Path) -> None:
    method = small().double().eval()
    data = open_album(album, replace(method.input_spec, tokenizer="tiny", max_tokens=12), True)
    expected = areas(method, in_old_order(data), keep=False)
    assert areas(method, data.test_dataloader(), keep=True) == expected
    assert 0 < sum(area[1] for area in expected.values()) < 17 * 40 * 48


@pytest.mark.slow
@pytest.mark.parametrize(("name", "shares"), [("rsrefseg2", True), ("lavt", False)])
def test_counts_on_the_tiny_split_are_those_of_the_old_order(name: str, shares: bool) -> None:
    method, _ = build_method(name, "tiny", variant_options(name, "tiny"), pretrained=False)
    data = ReferringDataModule("tiny", "synthetic", generator={"name": "tiny"}, num_workers=0, limit={"test": 48})
    data.input_spec, data.shares_images = method.input_spec, shares
    data.setup("test")
    expected = areas(method.eval(), in_old_order(data), keep=False)
    assert areas(method, data.test_dataloader(), keep=shares) == expected


def test_expressions_shuffled_over_batches_have_the_same_counts(album: Path) -> None:
    method = Shares().eval()
    expected = areas(method, open_album(album, SPEC, True).test_dataloader(), keep=True)
    lines = (album / "manifest.jsonl").read_text().splitlines()
    shuffled = [lines[place] for place in np.random.default_rng(1).permutation(len(lines))]
    (album / "manifest.jsonl").write_text("\n".join(shuffled))
    again = open_album(album, SPEC, True, eval_batch_size=3)
    assert areas(method, again.test_dataloader(), keep=True) == expected


def test_evaluation_encodes_each_image_once(album: Path) -> None:
    method = CountsImages().eval()
    data = open_album(album, SPEC, True, eval_batch_size=2)
    areas(method, data.test_dataloader(), keep=True)
    assert method.images == len(set(data.test_dataset.images)) == 4


def test_kept_maps_are_those_of_the_images(album: Path) -> None:
    method, last = Shares().eval(), LastImage()
    with torch.inference_mode():
        for batch in open_album(album, SPEC, True, eval_batch_size=3).test_dataloader():
            (kept,) = last.complete(method, batch).encoded
            torch.testing.assert_close(kept, method.encode_images(batch.images)[0])


def test_a_batch_without_names_of_its_images_is_left_alone(album: Path) -> None:
    batch = next(iter(open_album(album, SPEC, True, expressions_per_image=4).train_dataloader()))
    assert batch.image_keys == ()
    assert LastImage().complete(Shares(), batch) is batch


def test_a_validation_keeps_no_maps_of_earlier_weights(
    album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(registry.BUILT_IN, Shares.name, "helpers.sound:Shares")
    registry.installed_targets.cache_clear()
    data = open_album(album, Shares().input_spec, True, limit={"val": 1})  # the last image is the next first
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "barebones": False}
    trainer = Trainer(default_root_dir=tmp_path, accelerator="cpu", enable_checkpointing=False, **quiet)

    def scores(task: ReferringSegmentationTask) -> dict[str, float]:
        trainer.validate(task, datamodule=data, verbose=False)
        return task.latest_scores

    def task(seed: int) -> ReferringSegmentationTask:
        torch.manual_seed(seed)
        made = ReferringSegmentationTask(Shares.name, "tiny", {}, pretrained=False)
        made.method.head.weight.data.mul_(20)
        made.method.head.bias.data.zero_()
        return made

    reused = task(0)
    first = scores(reused)
    reused.load_state_dict(task(1).state_dict())
    assert scores(reused) == scores(task(1)) != first
    registry.installed_targets.cache_clear()


# --- the option -------------------------------------------------------------------------------------------------------


def test_groups_of_one_are_refused(album: Path) -> None:
    with pytest.raises(UsageError, match="expressions_per_image must be at least 2, not 1"):
        open_album(album, SPEC, True, expressions_per_image=1)


def test_a_method_that_does_not_share_refuses_groups(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["fit", "--method", "lavt", "--out", str(tmp_path / "run"), "--data.expressions_per_image", "4"]
    assert main(words) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "data.expressions_per_image: lavt encodes an image for each expression" in line
