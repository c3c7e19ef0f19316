from __future__ import annotations

from itertools import combinations_with_replacement, permutations

import numpy as np
import pytest
import torch

from rrsis_bench.data.control import permuted, why_not_permuted
from rrsis_bench.data.datamodule import ReferringDataModule
from rrsis_bench.data.manifest import Manifest, Pair, write_manifest
from rrsis_bench.data.pixels import write_image
from rrsis_bench.data.prepare import ensure_manifest, locate
from rrsis_bench.data.sampler import ImageSampler, ResumableSampler
from rrsis_bench.data.sources import create
from rrsis_bench.errors import MissingResourceError, UsageError, UserError
from rrsis_bench.types import InputSpec

SPEC = InputSpec((48, 40), "tiny", 12)


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("RRSIS_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def root(tmp_path):
    create("refsegrs").write_fake(tmp_path / "set", 9, 0, size=64)
    return tmp_path / "set"


def module(root, **options):
    made = ReferringDataModule("refsegrs", root=str(root), **{"batch_size": 2, "num_workers": 0, **options})
    made.input_spec = SPEC
    made.setup()
    return made


def test_a_batch_is_as_documented(root):
    write_image(root / "images/19.tif", np.zeros((66, 64, 3), np.uint8))
    data = module(root, eval_batch_size=4)
    train = next(iter(data.train_dataloader()))
    assert train.images.shape == (2, 3, 48, 40)
    assert train.images.dtype == torch.float32
    assert train.masks.shape == (2, 48, 40)
    assert train.masks.dtype == torch.uint8
    assert train.tokens.ids.shape == train.tokens.mask.shape == (2, 12)
    assert train.tokens.mask.dtype == torch.bool
    assert train.truths is None
    test = next(iter(data.test_dataloader()))
    assert test.indices.tolist() == [0, 1, 2, 3]
    assert test.truths.shape == (4, 64, 64)
    assert test.sizes == ((64, 64),) * 4
    sample = data.test_dataset.sample(1)
    assert np.array_equal(test.truths[1].numpy(), sample.mask)
    assert sample.image.shape == (64, 64, 3)


def test_truths_of_different_sizes_are_padded(root):
    for folder in ("images", "masks"):
        write_image(root / folder / "19.tif", np.full((32, 96, 3) if folder == "images" else (32, 96), 255, np.uint8))
    batch = next(iter(module(root, eval_batch_size=2).test_dataloader()))
    assert batch.truths.shape == (2, 64, 96)
    assert batch.sizes == ((32, 96), (64, 64))
    assert batch.truths[0, :32].all()
    assert not batch.truths[0, 32:].any()
    assert not batch.truths[1, :, 64:].any()


def test_workers_change_nothing_and_epochs_differ(root):
    augment = {"flip": 0.5, "boxes": 0.5, "jitter": 0.5}
    runs = {}
    for workers in (0, 2):
        loader = module(root, augment=augment, num_workers=workers).train_dataloader()
        for epoch in (0, 1):
            loader.sampler.set_epoch(epoch)
            runs[workers, epoch] = [(batch.sample_ids, batch.images) for batch in loader]
    for epoch in (0, 1):
        for (ids, images), (other_ids, other) in zip(runs[0, epoch], runs[2, epoch], strict=True):
            assert ids == other_ids
            assert torch.equal(images, other)
    assert [ids for ids, _ in runs[0, 0]] != [ids for ids, _ in runs[0, 1]]
    first = {ids: images for batch in runs[0, 0] for ids, images in zip(*batch, strict=True)}
    second = {ids: images for batch in runs[0, 1] for ids, images in zip(*batch, strict=True)}
    assert any(not torch.equal(first[key], second[key]) for key in first.keys() & second.keys())


@pytest.mark.parametrize("workers", [0, 2])
def test_resume_in_the_middle_of_an_epoch_goes_on_with_the_next_batch(root, workers):
    whole = module(root, num_workers=workers).train_dataloader()
    whole.sampler.set_epoch(3)
    expected = [batch.sample_ids for batch in whole]
    assert len(expected) == len(whole) == 4
    stopped = module(root, num_workers=workers).train_dataloader()
    stopped.sampler.set_epoch(3)
    seen = []
    for batch in stopped:
        seen.append(batch.sample_ids)
        if len(seen) == 2:
            state = stopped.state_dict()
            break
    resumed = module(root, num_workers=workers).train_dataloader()
    resumed.load_state_dict(state)
    resumed.sampler.set_epoch(3)
    assert len(resumed) == 4
    seen += [batch.sample_ids for batch in resumed]
    assert seen == expected
    assert [batch.sample_ids for batch in resumed] == expected
    for stored in (state, whole.state_dict()):  # in the middle of epoch 3, and at its end
        resumed.load_state_dict(stored)
        resumed.sampler.set_epoch(4)
        assert len(list(resumed)) == 4


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_training_order_covers_all_and_is_a_function_of_seed_and_epoch(world_size):
    samplers = [ResumableSampler(10, 5, True, rank, world_size) for rank in range(world_size)]
    orders = [list(sampler) for sampler in samplers]
    assert len({len(order) for order in orders}) == 1
    assert {index for order in orders for index in order} == set(range(10))
    assert orders[0] == list(ResumableSampler(10, 5, True, 0, world_size))
    samplers[0].set_epoch(1)
    assert list(samplers[0]) != orders[0]
    assert len({tuple(ResumableSampler(10, seed, True, 0, world_size)) for seed in range(6)}) > 3


def test_the_seed_of_the_run_decides_the_order_and_the_augmentation(root):
    augment = {"flip": 0.5, "boxes": 0.5, "jitter": 0.5}
    made = {seed: module(root, seed=seed, augment=augment) for seed in (0, 1, 2)}
    again = module(root, seed=1, augment=augment)
    orders = {seed: data.train_dataloader().sampler.order() for seed, data in made.items()}
    assert again.train_dataloader().sampler.order() == orders[1]
    assert len({tuple(order) for order in orders.values()}) == 3
    images = {seed: torch.tensor(np.stack([item.image for item in data.train_dataset])) for seed, data in made.items()}
    assert torch.equal(torch.tensor(np.stack([item.image for item in again.train_dataset])), images[1])
    assert not torch.equal(images[0], images[1])
    controls = {tuple(permuted(data.test_dataset, seed).text_from.tolist()) for seed, data in made.items()}
    assert len(controls) > 1


@pytest.mark.parametrize("world_size", [1, 2, 3, 7])
def test_evaluation_repeats_no_sample(world_size):
    parts = [list(ImageSampler(range(5), rank, world_size)) for rank in range(world_size)]
    assert sorted(index for part in parts for index in part) == [0, 1, 2, 3, 4]


def test_permuted_never_onto_the_same_image_and_category(root):
    data = module(root)
    control = permuted(data.test_dataset, 0)
    records = [control.pair(index) for index in range(len(control))]
    originals = list(data.test_dataset.manifest)
    assert sorted(record.text for record in records) == sorted(record.text for record in originals)
    for place, record in enumerate(records):
        source = originals[int(control.text_from[place])]
        assert (source.image_id, source.category) != (record.image_id, record.category)
        assert control[place].text == record.text == source.text
        assert np.array_equal(control[place].mask, data.test_dataset[place].mask)
    assert np.array_equal(permuted(data.test_dataset, 0).text_from, control.text_from)
    assert data.test_dataset.text_from is None
    assert module(root, permute_expressions=True).test_dataset.text_from is not None


def test_permuting_one_image_is_refused(root, tmp_path):
    data = module(root)
    record = data.test_dataset.manifest[0]
    write_manifest(tmp_path / "one.jsonl", [record, record])
    data.test_dataset.manifest = Manifest.open(tmp_path / "one.jsonl")
    with pytest.raises(UserError, match="cannot be permuted"):
        permuted(data.test_dataset, 0)


def pairs_of(codes):
    return [Pair(f"s{k}", code[0], "", 1, 1, {}, f"t{k}", "test", code[1:]) for k, code in enumerate(codes)]


class Listed:
    """A data set of which only the manifest is read."""

    def __init__(self, codes):
        self.manifest = Unread(pairs_of(codes))


class Unread(list):
    path = "the manifest"


def possible(codes):
    """Whether any permutation at all leaves no code in its place, by trying them all."""
    return any(all(a != b for a, b in zip(codes, order, strict=True)) for order in permutations(codes))


def test_the_control_exists_exactly_where_a_permutation_does():
    tried = set()
    for n in range(1, 8):
        # Photographs A and B, categories x, y and unknown.
        for codes in combinations_with_replacement(("A", "Ax", "Ay", "Bx"), n):
            reason = why_not_permuted(pairs_of(codes))
            assert (reason is None) == possible(codes), codes
            tried.add(reason is None)
            if reason is None:
                order = permuted(Listed(codes), n).text_from
                assert sorted(order) == list(range(n))
                assert all(codes[place] != codes[source] for place, source in enumerate(order)), codes
            else:
                with pytest.raises(UserError, match=f"of {n} samples are of the photograph"):
                    permuted(Listed(codes), n)
    assert tried == {True, False}


@pytest.mark.parametrize("others", ["all different", "all alike"])
def test_a_photograph_with_exactly_half_of_many_samples(others):
    """A walk at random practically never finds one of these permutations."""
    n = 600
    codes = ["Ax"] * n + [f"B{k if others == 'all different' else 0}" for k in range(n)]
    codes = [codes[place] for place in np.random.default_rng(3).permutation(2 * n)]
    order = permuted(Listed(codes), 0).text_from
    assert sorted(order) == list(range(2 * n))
    assert all(codes[place] != codes[source] for place, source in enumerate(order))
    assert why_not_permuted(pairs_of([*codes, "Ax"])).startswith(f"{n + 1} of {2 * n + 1} samples")


def damage_image(root):
    (root / "images/1.tif").write_bytes(b"II*\0")


def remove_image(root):
    (root / "images/1.tif").unlink()


def other_size(root):
    write_image(root / "images/1.tif", np.zeros((20, 64, 3), np.uint8))


@pytest.mark.parametrize("fault", [damage_image, remove_image, other_size])
def test_a_file_that_breaks_after_preparation_is_one_clear_error(root, fault):
    data = module(root)
    fault(root)
    with pytest.raises(MissingResourceError, match="data verify") as raised:
        data.train_dataset[0]
    assert "1.tif" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_mask_that_does_not_decode_is_one_clear_error(root):
    data = module(root)
    text = data.manifest_path.read_text().replace('"counts": "', '"counts": "zz', 1)
    data.manifest_path.write_text(text)
    with pytest.raises(MissingResourceError, match=r"mask of sample 1 in .*RLE"):
        module(root).train_dataset[0]


def test_manifest_is_written_once_and_again_after_a_change(root):
    located = locate({"dataset": "refsegrs", "root": str(root)})
    path = ensure_manifest(located)
    written = path.stat().st_mtime_ns
    assert ensure_manifest(located) == path
    assert path.stat().st_mtime_ns == written
    listing = root / "output_phrase_test.txt"
    listing.write_text(listing.read_text() + "1 another wording\n")
    changed = ensure_manifest(located)
    assert changed != path
    assert len(Manifest.open(changed)) == 28
    assert [part.name for part in path.parent.iterdir() if part.suffix != ".jsonl"] == []


def test_missing_root_empty_split_limit_and_wrong_numbers(tmp_path, root):
    with pytest.raises(MissingResourceError, match="does not exist"):
        module(tmp_path / "none")
    assert len(module(root, limit={"train": 3}).train_dataset) == 3
    (root / "output_phrase_val.txt").write_text("")
    with pytest.raises(MissingResourceError, match="no sample in split 'val'"):
        module(root).val_dataloader()
    with pytest.raises(UsageError, match="at least 1"):
        module(root, batch_size=0)
    for count in (-3, 0):
        with pytest.raises(UsageError, match=f"data.limit.train must be at least 1, not {count}"):
            module(root, limit={"train": count})
    with pytest.raises(UsageError, match=r"no split 'tain'.* Did you mean 'train'"):
        module(root, limit={"tain": 3})


def test_a_fit_is_told_how_many_expressions_lose_their_end(root, capsys):
    made = module(root)
    made.setup("fit")
    assert capsys.readouterr().out == ""
    made.input_spec = InputSpec((48, 40), "tiny", 6)
    made.setup("test")
    assert capsys.readouterr().out == ""
    made.setup("fit")
    assert "9 of 9 (100.0%) training expressions are longer than 6 tokens" in capsys.readouterr().out


def test_empty_and_endless_expressions_load(root):
    listing = root / "output_phrase_train.txt"
    listing.write_text("1\n2 " + "ship " * 1000 + "\n")
    data = module(root)
    assert data.train_dataset[0].text == ""
    assert data.train_dataset[0].tokens.ids[:3] == [1, 2, 0]
    assert data.train_dataset[1].tokens.truncated
