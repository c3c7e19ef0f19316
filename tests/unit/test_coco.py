from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from helpers.referee import Seen, meant
from rrsis_bench.data.pixels import read_rgb
from rrsis_bench.data.sources.coco import CocoInstances
from rrsis_bench.data.synthetic.colours import name_colour
from rrsis_bench.errors import MissingResourceError, UsageError

HOUSTON = Path(__file__).resolve().parents[3] / "shared" / "data" / "real" / "houston"
OPTIONS = {"group": "before-underscore", "per_object": 2}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("coco")
    CocoInstances(**OPTIONS).write_fake(folder, 8, seed=3)
    return folder


@pytest.fixture(scope="module")
def records(root):
    return list(CocoInstances(**OPTIONS).prepare(root))


def decode(rle):
    return coco_mask.decode(rle)


def judge(root, records, annotations="instances.json", images="images"):
    """Assert that every record's expression fits its mask alone, by the referee, over all annotated instances."""
    listing = json.loads((root / annotations).read_text())
    names = {entry["id"]: entry["name"] for entry in listing["categories"]}
    sizes = {entry["id"]: (entry["height"], entry["width"]) for entry in listing["images"]}
    files = {entry["id"]: f"{images}/{entry['file_name']}" for entry in listing["images"]}
    own = defaultdict(list)
    for annotation in listing["annotations"]:
        form, size = annotation["segmentation"], sizes[annotation["image_id"]]
        if isinstance(form, list):
            coded = coco_mask.merge(coco_mask.frPyObjects(form, *size))
        else:
            coded = coco_mask.frPyObjects(form, *size) if isinstance(form["counts"], list) else form
        own[files[annotation["image_id"]]].append((names[annotation["category_id"]], decode(coded)))
    judged = 0
    seen = {}
    for record in records:
        if record.image not in seen:
            pixels = read_rgb(root / record.image)
            seen[record.image] = []
            for name, mask in own[record.image]:
                colour, maybe = name_colour(pixels, mask)
                seen[record.image].append(Seen(name, maybe | ({colour} - {None}), mask))
        fitting = meant(record.text, seen[record.image])
        assert len(fitting) == 1, (record.sample_id, record.text)
        assert np.array_equal(seen[record.image][fitting[0]].mask, decode(record.rle)), record.text
        judged += 1
    return judged


def test_every_expression_fits_its_instance_alone(root, records):
    assert judge(root, records) == len(records) > 60


def test_splits_follow_the_photographs(root, records):
    splits = json.loads((root / "splits.json").read_text())
    for record in records:
        assert record.image_id in splits[record.split]
    assert {record.split for record in records} == {"train", "val", "test"}
    assert len({record.sample_id for record in records}) == len(records)


def test_the_same_twice_and_independent_of_other_images(root, records, tmp_path):
    again = list(CocoInstances(**OPTIONS).prepare(root))
    assert again == records
    splits = json.loads((root / "splits.json").read_text())
    splits["train"] = splits["train"][4:]
    fewer = tmp_path / "fewer"
    fewer.mkdir()
    (fewer / "images").symlink_to(root / "images")
    (fewer / "instances.json").symlink_to(root / "instances.json")
    (fewer / "splits.json").write_text(json.dumps(splits))
    kept = list(CocoInstances(**OPTIONS).prepare(fewer))
    assert kept == [record for record in records if record.image_id not in {f"p{n:04d}" for n in range(1, 5)}]


def test_options_limit_who_is_referred_to_but_not_who_is_a_rival(root):
    options = {**OPTIONS, "min_area": 400, "exclude": ["ship"], "per_object": 1}
    records = list(CocoInstances(**options).prepare(root))
    assert records
    assert all(decode(record.rle).sum() >= 400 and record.category != "ship" for record in records)
    instances = {(record.image, record.rle["counts"]) for record in records}
    assert len(instances) == len(records)
    judge(root, records)


def test_rename_changes_what_is_said(root):
    records = list(CocoInstances(**OPTIONS, rename={"storage tank": "Oil Tank"}).prepare(root))
    said = [record for record in records if record.category == "oil tank"]
    assert said
    assert all("oil tank" in record.text for record in said)
    assert not any("storage tank" in record.text for record in records)


def test_drop_border(tmp_path):
    source = CocoInstances(**OPTIONS)
    source.write_fake(tmp_path, 2, seed=0)
    listing = json.loads((tmp_path / "instances.json").read_text())
    cut = listing["annotations"][0]
    cut["segmentation"] = [[0, 0, 30, 0, 30, 30, 0, 30]]
    (tmp_path / "instances.json").write_text(json.dumps(listing))
    kept = {record.sample_id.split("-")[1] for record in CocoInstances(**OPTIONS, drop_border=True).prepare(tmp_path)}
    assert str(cut["id"]) not in kept
    assert str(cut["id"]) in {record.sample_id.split("-")[1] for record in source.prepare(tmp_path)}


FAULTS = [
    "missing-image",
    "corrupt-image",
    "corrupt-mask",
    "size-mismatch",
    "unknown-id",
    "unlisted",
    "format",
    "leak",
]


@pytest.mark.parametrize("fault", FAULTS)
def test_verify_finds_a_planted_fault_and_names_the_file(tmp_path, fault):
    source = CocoInstances(**OPTIONS)
    source.write_fake(tmp_path, 3, seed=1, faults=[fault])
    found = [finding for finding in source.verify(tmp_path) if finding.check == fault]
    assert found
    expected = {
        "missing-image": "images/p0001_0000.png",
        "corrupt-image": "images/p0001_0000.png",
        "unlisted": "images/p0001_0000.png",
        "leak": "images/p0001_0000.png",
        "format": "splits.json",
    }.get(fault, "instances.json#1")
    assert expected in {finding.file for finding in found}
    others = {finding.check for finding in source.verify(tmp_path) if finding.severity == "error"} - {fault}
    assert not others


def test_an_instance_without_a_pixel_is_a_warning_and_no_referent(tmp_path):
    source = CocoInstances(**OPTIONS)
    source.write_fake(tmp_path, 3, seed=1, faults=["empty-mask"])
    found = source.verify(tmp_path)
    assert [(one.severity, one.file) for one in found if one.check == "empty-mask"] == [("warning", "instances.json#1")]
    assert not [one for one in found if one.severity == "error"]
    assert all(decode(record.rle).any() for record in source.prepare(tmp_path))


def test_a_sound_set_has_no_errors(root):
    assert not [finding for finding in CocoInstances(**OPTIONS).verify(root) if finding.severity == "error"]


@pytest.mark.parametrize("group", ["stem", "before-underscore", "photo"])
def test_the_fake_set_is_sound_whatever_names_its_photographs(tmp_path, group):
    source = CocoInstances(group=group)
    source.write_fake(tmp_path, 2, seed=0)
    assert not [finding for finding in source.verify(tmp_path) if finding.severity == "error"]
    assert {record.split for record in source.prepare(tmp_path)} == {"train", "val", "test"}


def test_prepare_stops_at_an_unusable_file(tmp_path):
    source = CocoInstances(**OPTIONS)
    source.write_fake(tmp_path, 3, seed=1, faults=["corrupt-mask"])
    with pytest.raises(MissingResourceError, match=r"instances\.json#1"):
        list(source.prepare(tmp_path))
    with pytest.raises(MissingResourceError, match="does not exist"):
        list(source.prepare(tmp_path / "nowhere"))


def test_wrong_options_are_usage_errors(tmp_path):
    with pytest.raises(UsageError):
        CocoInstances(per_object=0)
    with pytest.raises(UsageError, match="unknown fault"):
        CocoInstances().write_fake(tmp_path, 2, seed=0, faults=["no-such-fault"])


@pytest.mark.parametrize(
    ("rgb", "name"),
    [
        ((245, 245, 240), "white"),
        ((120, 120, 122), "grey"),
        ((20, 20, 22), "black"),
        ((190, 30, 30), "red"),
        ((40, 110, 220), "blue"),
        ((60, 120, 40), "green"),
        ((230, 200, 40), "yellow"),
        ((120, 80, 50), "brown"),
        ((240, 120, 20), "orange"),
    ],
)
def test_clear_colours_are_named(rgb, name):
    image = np.full((20, 20, 3), 77, np.uint8)
    mask = np.zeros((20, 20), np.uint8)
    mask[4:16, 4:16] = 1
    image[mask > 0] = rgb
    assert name_colour(image, mask)[0] == name


def test_unclear_colours_are_not_named():
    mask = np.ones((20, 20), np.uint8)
    image = np.full((20, 20, 3), 172, np.uint8)
    assert name_colour(image, mask) == (None, frozenset({"white", "grey"}))
    image[:10], image[10:] = (190, 30, 30), (245, 245, 245)
    colour, maybe = name_colour(image, mask)
    assert {"red", "white"} <= maybe | {colour}


@pytest.mark.slow
@pytest.mark.skipif(not HOUSTON.is_dir(), reason="the drone photographs are not here")
def test_houston():
    source = CocoInstances("tiles_s25/images", "instances_s25.json", "splits.json", "photo", 100, per_object=2)
    records = list(source.prepare(HOUSTON))
    counts = defaultdict(int)
    for record in records:
        counts[record.split] += 1
    assert 1500 <= counts["train"] <= 4000
    assert min(counts["val"], counts["test"]) >= 200
    judge(HOUSTON, records, "instances_s25.json", "tiles_s25/images")
