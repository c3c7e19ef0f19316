from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from rrsis_bench.data.masks import decode
from rrsis_bench.data.sources import synthetic
from rrsis_bench.data.sources.synthetic import MARKER, Synthetic, generate, layout_items
from rrsis_bench.data.synthetic.presets import PRESETS, Preset
from rrsis_bench.errors import UsageError, UserError

COUNTS = {"train": 30, "val": 9, "test": 12}


@pytest.fixture
def short(monkeypatch):
    """A preset of a few pictures, so that folders are made in no time."""
    monkeypatch.setitem(PRESETS, "tiny", Preset(96, COUNTS))


@pytest.fixture(scope="module")
def items():
    return list(layout_items(128, {"train": 400, "val": 100, "test": 100}))


def contents(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_presets_have_the_stated_sizes():
    assert PRESETS["tiny"] == Preset(128, {"train": 2000, "val": 200, "test": 400})
    assert PRESETS["tiny-generalised"] == Preset(128, {"train": 2000, "val": 200, "test": 400}, generalised=True)
    assert PRESETS["small"] == Preset(256, {"train": 8000, "val": 500, "test": 1000})


@pytest.mark.parametrize("layout", ["rrsisd", "refsegrs", "risbench"])
def test_generated_folders_are_read_by_the_real_sources(tmp_path, short, layout):
    source = Synthetic(layout=layout)
    records = list(source.prepare(tmp_path / "set"))
    assert Counter(record.split for record in records) == COUNTS
    drawn = list(layout_items(96, COUNTS))
    assert sorted(record.text for record in records) == sorted(item.text for item in drawn)
    by_text = {(item.split, item.text, item.mask.tobytes()) for item in drawn}
    assert all((record.split, record.text, decode(record.rle).tobytes()) in by_text for record in records)
    assert not [finding for finding in source.verify(tmp_path / "set") if finding.severity == "error"]
    assert not [finding for finding in source.verify(tmp_path / "set") if finding.check == "count"]


def test_byte_identical_twice_and_another_seed_is_another_set(tmp_path, short):
    for name in ("one", "two"):
        generate(tmp_path / name)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    generate(tmp_path / "other", seed=1)
    images = [set(v for k, v in contents(tmp_path / name).items() if k.endswith(".jpg")) for name in ("one", "other")]
    assert images[0].isdisjoint(images[1])


@pytest.mark.slow
def test_splits_share_no_scene_nor_pixels(items):
    keys = {split: {item.image_key for item in items if item.split == split} for split in ("train", "val", "test")}
    pixels = {split: {item.image.tobytes() for item in items if item.split == split} for split in keys}
    for kinds in (keys, pixels):
        assert kinds["train"].isdisjoint(kinds["val"] | kinds["test"])
        assert kinds["val"].isdisjoint(kinds["test"])
        assert all(len(part) >= 50 for part in kinds.values())


@pytest.mark.slow
def test_a_category_alone_does_not_solve_them(items):
    scenes = {item.image_key: item for item in items}
    seed_of = {}
    for split, count in {"train": 400, "val": 100, "test": 100}.items():
        described = synthetic._described_scenes(split, 0, 128)
        taken = 0
        while taken < count:
            scene, chosen = next(described)
            taken += len(chosen)
            seed_of[f"{len(seed_of) + 1:05d}"] = Counter(thing.category for thing in scene.objects)
    assert set(seed_of) == set(scenes)
    assert np.mean([max(kinds.values()) > 1 for kinds in seed_of.values()]) >= 0.5
    # The referent itself has a rival of its category in most samples.
    assert np.mean([seed_of[item.image_key][item.category] > 1 for item in items]) >= 0.4


def test_wordings_categories_and_sizes_are_varied(items):
    assert len({item.text for item in items}) >= 200
    assert len({item.category for item in items}) >= 8
    shares = np.array([item.mask.mean() for item in items])
    assert shares.max() / shares.min() > 6
    assert all(item.category in item.text for item in items)


def test_an_existing_set_is_kept_and_anything_else_refused(tmp_path, short):
    root = tmp_path / "set"
    generate(root)
    before = (root / MARKER).stat().st_mtime_ns
    generate(root)
    assert (root / MARKER).stat().st_mtime_ns == before
    with pytest.raises(UserError, match="holds something else"):
        generate(root, seed=5)
    assert [path.name for path in tmp_path.iterdir()] == ["set"]
    assert Synthetic(seed=5).verify(root)[0].check == "recipe"


def test_an_interrupted_generation_leaves_nothing(tmp_path, short, monkeypatch):
    def interrupted(*arguments):
        yield from list(layout_items(96, {"train": 3}))
        raise KeyboardInterrupt

    monkeypatch.setattr(synthetic, "layout_items", interrupted)
    with pytest.raises(KeyboardInterrupt):
        generate(tmp_path / "set")
    assert list(tmp_path.iterdir()) == []


def test_concurrent_generations_agree(tmp_path, short):
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda _: generate(tmp_path / "set"), range(3)))
    assert [path.name for path in tmp_path.iterdir()] == ["set"]
    assert json.loads((tmp_path / "set" / MARKER).read_text())["counts"] == COUNTS


def test_wrong_names_are_usage_errors(tmp_path):
    with pytest.raises(UsageError, match="tiny"):
        generate(tmp_path / "set", "tyni")
    with pytest.raises(UsageError, match="layout"):
        generate(tmp_path / "set", layout="rrsis")
    with pytest.raises(UsageError, match="negative"):
        generate(tmp_path / "set", seed=-1)


def test_fake_sets_are_small_and_carry_faults(tmp_path):
    source = Synthetic(seed=4)
    source.write_fake(tmp_path / "sound", 6, seed=4)
    assert not [finding for finding in source.verify(tmp_path / "sound") if finding.severity == "error"]
    source.write_fake(tmp_path / "broken", 6, seed=4, faults=["missing-image"])
    assert "missing-image" in {finding.check for finding in source.verify(tmp_path / "broken")}


def test_needs_no_torch():
    code = (
        "import sys; from rrsis_bench.data.sources import synthetic, coco;"
        "from rrsis_bench.data.synthetic import scenes;"
        "next(scenes.sample_scenes([1])); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
