"""Samples that a named list leaves out of all splits, and what results say of them."""

from __future__ import annotations

import pytest

from rrsis_bench.boards.tables import scored_split
from rrsis_bench.data import left_out
from rrsis_bench.data.datamodule import ReferringDataModule
from rrsis_bench.data.sources import create
from rrsis_bench.errors import UsageError
from rrsis_bench.sweep.data_state import DataStates
from rrsis_bench.types import InputSpec


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("RRSIS_CACHE", str(tmp_path / "cache"))
    create("risbench").write_fake(tmp_path / "risbench", 4, 0, size=64)
    return tmp_path / "risbench"


def opened(root, **options):
    made = ReferringDataModule("risbench", root=str(root), batch_size=1, num_workers=0, **options)
    made.input_spec = InputSpec((32, 32), "tiny", 12)
    made.setup("fit")
    return made


def test_a_list_takes_its_images_out_of_every_split_and_is_counted(root, monkeypatch):
    whole = opened(root)
    images = {split: whole.open_split(split).manifest[0].image for split in ("train", "val", "test")}
    names = frozenset(image.rpartition("/")[2] for image in images.values())
    monkeypatch.setitem(left_out.LISTS, "mine", {"risbench": names})
    data = opened(root, leave_out="mine")
    for split, image in images.items():
        kept = [pair.image for pair in data.open_split(split).manifest]
        assert image not in kept
        dropped = data.skipped(split)["leave_out"]
        assert len(kept) == len(whole.open_split(split)) - dropped
        assert dropped >= 1
        assert whole.skipped(split) == {}
    assert data.identity()["leave_out"] == "mine"
    assert "leave_out" not in whole.identity()
    blocks = [
        {"dataset": "risbench", "root": str(root)},
        {"dataset": "risbench", "root": str(root), "leave_out": "mine"},
    ]
    states = DataStates(compute=True)
    assert states.state(blocks[0]) != states.state(blocks[1])
    assert states.content(blocks[1]) == data.test_dataset.manifest.content_hash(data.root)
    assert states.content(blocks[0]) == whole.test_dataset.manifest.content_hash(whole.root)


def test_an_unknown_list_or_one_of_other_data_is_refused(root):
    with pytest.raises(UsageError, match=r"no list 'dicr'.*'dicor'"):
        opened(root, leave_out="dicr")
    with pytest.raises(UsageError, match="names no image of 'tiny'"):
        left_out.remaining(opened(root).test_dataset.manifest, "dicor", "tiny")


def test_the_released_lists():
    lists = left_out.LISTS["dicor"]
    assert {source: len(names) for source, names in lists.items()} == {"rrsisd": 27, "risbench": 16}
    assert {"00413.jpg", "22187.jpg"} < lists["rrsisd"]
    assert {"train_12443_2.png", "train_819_1.png"} < lists["risbench"]


def test_the_scored_split_names_every_reason():
    assert scored_split("risbench", "test", {}) == "risbench test"
    shown = scored_split("risbench", "test", {"empty_truth": 1, "leave_out": 1200})
    assert "(1 sample with an empty truth not scored, empty_truth: skip; 1,200 samples" in shown
