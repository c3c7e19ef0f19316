"""Identifiers: there, unique, and each for one thing, in every source. 0 and texts are identifiers, too."""

from __future__ import annotations

import csv
import io
import json
import pickle
from types import SimpleNamespace

import numpy as np
import pytest

from rrsis_bench.data.pixels import write_image
from rrsis_bench.data.safe_pickle import load_plain
from rrsis_bench.data.sources import create
from rrsis_bench.data.sources.ids import read_id
from rrsis_bench.data.synthetic.grammar import Thing, candidates
from rrsis_bench.errors import MissingResourceError, UsageError

SIDE = 96
REFS, INSTANCES = "rrsisd/refs(unc).p", "rrsisd/instances.json"


def square(x, y, side=20):
    return [[x, y, x + side, y, x + side, y + side, x, y + side]]


def coco(root, **changes):
    """Two images with a ship each, an airplane in the first; `changes` edit the annotation file."""
    listing = {
        "images": [{"id": n, "file_name": f"{n}.png", "width": SIDE, "height": SIDE} for n in (0, 1)],
        "categories": [{"id": 0, "name": "ship"}, {"id": 1, "name": "airplane"}],
        "annotations": [
            {"id": 0, "image_id": 0, "category_id": 0, "iscrowd": 0, "segmentation": square(4, 4)},
            {"id": 1, "image_id": 0, "category_id": 1, "iscrowd": 0, "segmentation": square(60, 60)},
            {"id": 2, "image_id": 1, "category_id": 0, "iscrowd": 0, "segmentation": square(60, 4)},
        ],
    }
    for name in ("0", "1"):
        write_image(root / f"images/{name}.png", np.full((SIDE, SIDE, 3), 90 + int(name), np.uint8))
    for part, edit in changes.items():
        edit(listing[part])
    (root / "instances.json").write_text(json.dumps(listing))
    (root / "splits.json").write_text(json.dumps({"train": ["0"], "val": [], "test": ["1"]}))
    return create("coco", min_area=20)


def errors(source, root, severity="error"):
    return [finding for finding in source.verify(root) if finding.severity == severity and finding.check != "count"]


def refused(source, root):
    with pytest.raises(MissingResourceError) as raised:
        list(source.prepare(root))
    assert "\n" not in str(raised.value)
    return str(raised.value)


def put(**values):
    return lambda entries: entries[1].update(values)


def drop(key):
    return lambda entries: entries[1].pop(key)


def test_0_is_an_id_and_so_is_a_text(tmp_path):
    plain = list(coco(tmp_path).prepare(tmp_path))
    assert {pair.sample_id for pair in plain} == {"0-0-1", "0-1-1", "1-2-1"}

    def renamed(key):
        def edit(entries):
            for entry in entries:
                entry[key] = f"x{entry[key]}"

        return edit

    def annotations(entries):
        for key in ("id", "image_id", "category_id"):
            renamed(key)(entries)

    source = coco(tmp_path, images=renamed("id"), categories=renamed("id"), annotations=annotations)
    assert errors(source, tmp_path) == []
    texts = list(source.prepare(tmp_path))
    assert [(pair.text, pair.rle, pair.category) for pair in texts] == [
        (pair.text, pair.rle, pair.category) for pair in plain
    ]
    assert {pair.sample_id for pair in texts} == {"0-x0-1", "0-x1-1", "1-x2-1"}


@pytest.mark.parametrize(
    ("part", "edit", "places"),
    [
        ("images", put(id=0), ("instances.json#images[1]", "instances.json#images[0]")),
        ("images", put(file_name="./0.png"), ("instances.json#images[1]", "instances.json#images[0]")),
        ("categories", put(id=0), ("instances.json#categories[1]", "instances.json#categories[0]")),
        ("annotations", put(id=0), ("instances.json#annotations[1]", "instances.json#annotations[0]")),
        ("annotations", put(id=0.0), ("instances.json#annotations[1]", "instances.json#annotations[0]")),
    ],
)
def test_coco_one_id_for_two_things_is_refused_with_both_places(tmp_path, part, edit, places):
    source = coco(tmp_path, **{part: edit})
    [finding] = [finding for finding in errors(source, tmp_path) if finding.check == "duplicate-id"]
    assert finding.file == places[0]
    assert places[1] in finding.message
    message = refused(source, tmp_path)
    assert all(place in message for place in places)


@pytest.mark.parametrize("value", [None, True, 1.5, "", " ", [1], {"id": 1}])
@pytest.mark.parametrize("part", ["images", "categories", "annotations"])
def test_coco_no_id_is_a_finding_and_no_traceback(tmp_path, part, value):
    for edit in (drop("id"), put(id=value)):
        source = coco(tmp_path, **{part: edit})
        assert f"instances.json#{part}[1]" in {finding.file for finding in errors(source, tmp_path)}
        assert f"instances.json#{part}[1]" in refused(source, tmp_path)


@pytest.mark.parametrize("value", [None, True, "1", 7, [1], {}])
@pytest.mark.parametrize("key", ["image_id", "category_id"])
def test_coco_an_id_of_nothing_is_a_finding_and_no_traceback(tmp_path, key, value):
    source = coco(tmp_path, annotations=put(**{key: value}))
    [finding] = errors(source, tmp_path)
    assert (finding.file, finding.check) == ("instances.json#1", "unknown-id")
    assert repr(value) in finding.message


def test_coco_what_is_no_entry_or_has_no_name_is_a_finding(tmp_path):
    source = coco(tmp_path, annotations=lambda entries: entries.append(7), categories=drop("name"))
    found = {finding.file for finding in errors(source, tmp_path)}
    assert found == {"instances.json#annotations[3]", "instances.json#categories[1]", "instances.json#1"}


def test_coco_equal_entries_are_one_with_a_warning(tmp_path):
    source = coco(tmp_path, annotations=lambda entries: entries.append(dict(entries[0])))
    assert errors(source, tmp_path) == []
    [finding] = errors(source, tmp_path, "warning")
    assert (finding.file, finding.check) == ("instances.json#annotations[3]", "duplicate-id")
    assert len(list(source.prepare(tmp_path))) == 3


def test_coco_two_files_of_one_stem_and_photographs_of_no_image_are_warnings(tmp_path):
    source = coco(tmp_path, images=put(file_name="more/0.png"))
    write_image(tmp_path / "images/more/0.png", np.full((SIDE, SIDE, 3), 33, np.uint8))
    found = [(one.file, one.check) for one in errors(source, tmp_path, "warning")]
    assert found == [("instances.json#images[1]", "duplicate-id"), ("splits.json", "unknown-id")]


def crowd(x, y, width, height):
    def edit(entries):
        mask = [[x, y, x + width, y, x + width, y + height, x, y + height]]
        entries.append({"id": 9, "image_id": 0, "category_id": 0, "iscrowd": 1, "segmentation": mask})

    return edit


def test_a_group_is_no_referent_unless_the_option_says_that_it_is_one_object(tmp_path):
    coco(tmp_path, annotations=crowd(4, 70, 50, 20))
    assert not any(pair.sample_id.startswith("0-9-") for pair in create("coco", min_area=20).prepare(tmp_path))
    one = create("coco", min_area=20, iscrowd="object")
    assert any(pair.sample_id.startswith("0-9-") for pair in one.prepare(tmp_path))
    [finding] = errors(create("coco"), tmp_path, "info")
    assert (finding.file, finding.check) == ("instances.json#9", "crowd")
    assert errors(one, tmp_path, "info") == []


def thing(category, x, y, width=20, height=20, group=False):
    box = (x, y, x + width, y + height)
    corners = np.array([(a, b) for a in box[::2] for b in box[1::2]], np.float32)
    centre = (x + width / 2, y + height / 2)
    return Thing(category, None, width * height, box, centre, outline=corners, group=group)


def told(*things):
    return {one.text for one in candidates(SimpleNamespace(objects=things, size=(SIDE, SIDE)), 0)}


def test_no_expression_fits_a_member_of_a_group():
    """A member may be of any size and lie anywhere in the box of its group."""
    ship, airplane = thing("ship", 4, 4), thing("airplane", 4, 40)
    alone = told(ship, airplane)
    assert {"the ship", "the ship at the top", "the ship in the upper left", "the ship above the airplane"} <= alone
    one, column = (thing("ship", 70, 14, 20, 80, group=group) for group in (False, True))
    assert {"the smallest ship", "the leftmost ship", "the ship at the top"} <= told(ship, airplane, one)
    beside = told(ship, airplane, column)
    assert beside == {"the ship on the left", "the ship in the upper left"}
    assert told(ship, airplane, thing("ship", 0, 0, SIDE, SIDE, group=True)) == set()
    assert told(column, airplane) == set(), "a group is never referred to"
    assert told(ship, airplane, thing("car", 0, 0, SIDE, SIDE, group=True)) == alone, "cars are no rivals of a ship"
    middle = thing("ship", 38, 38)
    assert "the ship in the middle" in told(middle, thing("ship", 4, 4, 90, 10, group=True))
    assert "the ship in the middle" not in told(middle, thing("ship", 4, 4, 90, 50, group=True))


def test_a_group_is_no_anchor():
    ship = thing("ship", 4, 4)
    assert any("airplane" in text for text in told(ship, thing("airplane", 4, 40)))
    assert not any("airplane" in text for text in told(ship, thing("airplane", 4, 40, group=True)))
    several = told(ship, thing("airplane", 4, 40), thing("airplane", 70, 70, group=True))
    assert not any("airplane" in text for text in several)


def test_iscrowd_has_two_values_and_the_option_too(tmp_path):
    source = coco(tmp_path, annotations=put(iscrowd="yes"))
    assert [(one.file, one.check) for one in errors(source, tmp_path)] == [("instances.json#1", "format")]
    with pytest.raises(UsageError, match="'group' or 'object'"):
        create("coco", iscrowd="single")


# --- RRSIS-D ----------------------------------------------------------------------------------------------------------


def rrsisd(root, refs=lambda entries: None, **parts):
    source = create("rrsisd")
    source.write_fake(root, 4, 0, size=64)
    listed, instances = load_plain(root / REFS), json.loads((root / INSTANCES).read_text())
    refs(listed)
    for part, edit in parts.items():
        edit(instances[part])
    (root / REFS).write_bytes(pickle.dumps(listed, protocol=2))
    (root / INSTANCES).write_text(json.dumps(instances))
    return source


@pytest.mark.parametrize("part", ["images", "annotations", "categories"])
def test_rrsisd_one_id_for_two_entries_is_refused_with_both_places(tmp_path, part):
    source = rrsisd(tmp_path, **{part: put(id=1)})
    [finding] = [finding for finding in errors(source, tmp_path) if finding.check == "duplicate-id"]
    assert finding.file == f"{INSTANCES}#{part}[1]"
    assert f"{INSTANCES}#{part}[0]" in finding.message
    assert f"{INSTANCES}#{part}[0]" in refused(source, tmp_path)


@pytest.mark.parametrize("part", ["images", "annotations"])
def test_rrsisd_entries_without_id_match_no_reference_without_id(tmp_path, part):
    key = {"images": "image_id", "annotations": "ann_id"}[part]
    source = rrsisd(tmp_path, drop(key), **{part: drop("id")})
    found = {finding.file for finding in errors(source, tmp_path)}
    assert found == {f"{INSTANCES}#{part}[1]", f"{REFS}#2"}
    refused(source, tmp_path)


@pytest.mark.parametrize("value", [None, [1], {}, True])
@pytest.mark.parametrize("key", ["ref_id", "ann_id", "image_id"])
def test_rrsisd_what_is_no_id_is_a_finding(tmp_path, key, value):
    source = rrsisd(tmp_path, put(**{key: value}))
    assert len(errors(source, tmp_path)) == 1
    refused(source, tmp_path)


def test_rrsisd_text_and_0_are_ids(tmp_path):
    def refs(entries):
        entries[0].update(ref_id=0, ann_id=0, image_id=0)
        entries[1].update(ref_id="r", ann_id="a", image_id="i")

    def numbered(key, names):
        return lambda entries: [entry.update({key: name}) for entry, name in zip(entries, names, strict=False)]

    def annotations(entries):
        numbered("id", (0, "a"))(entries)
        numbered("image_id", (0, "i"))(entries)

    source = rrsisd(tmp_path, refs, images=numbered("id", (0, "i")), annotations=annotations)
    assert errors(source, tmp_path) == []
    assert [pair.sample_id for pair in source.prepare(tmp_path)][:3] == ["0", "r", "3"]


def test_rrsisd_a_ref_id_used_twice_names_both_entries_and_makes_two_samples(tmp_path):
    source = rrsisd(tmp_path, put(ref_id=1))
    [finding] = errors(source, tmp_path, "warning")
    assert (finding.file, finding.check) == (f"{REFS}#entry 1", "duplicate-id")
    assert f"{REFS}#entry 0" in finding.message
    assert [pair.sample_id for pair in source.prepare(tmp_path)][:3] == ["1", "1#2", "3"]


def test_rrsisd_one_file_under_two_ids_is_a_warning(tmp_path):
    source = rrsisd(tmp_path, put(file_name="00001.jpg"), images=put(file_name="00001.jpg"))
    [finding] = errors(source, tmp_path, "warning")
    assert finding.check == "duplicate-id"
    assert f"{INSTANCES}#image 1" in finding.message


def test_rrsisd_image_id_decides_over_the_references_file_name(tmp_path):
    source = rrsisd(tmp_path, put(file_name="00003.jpg"))
    [finding] = errors(source, tmp_path, "warning")
    assert (finding.file, finding.check) == (f"{REFS}#2", "file-name")
    assert "'00003.jpg'" in finding.message
    assert "'00002.jpg'" in finding.message
    assert next(pair for pair in source.prepare(tmp_path) if pair.sample_id == "2").image.endswith("00002.jpg")
    # Nothing confirms the reference's image_id: no one can say which of the two pictures the mask is of.
    source = rrsisd(tmp_path, put(file_name="00003.jpg"), annotations=drop("image_id"))
    assert [(one.file, one.check) for one in errors(source, tmp_path)] == [(f"{REFS}#2", "file-name")]
    assert "00003.jpg" in refused(source, tmp_path)


def test_rrsisd_a_published_reference_to_a_crowd_is_kept_with_a_warning(tmp_path):
    source = rrsisd(tmp_path, annotations=put(iscrowd=1))
    assert [(one.file, one.check) for one in errors(source, tmp_path, "warning")] == [(f"{REFS}#2", "crowd")]
    assert len(list(source.prepare(tmp_path))) == 12


# --- line files and own manifests -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["refsegrs", "risbench"])
def test_a_file_in_two_lines_is_a_warning_with_both_lines(tmp_path, name):
    source = create(name)
    source.write_fake(tmp_path, 4, 0, size=64)
    listing = tmp_path / "output_phrase_train.txt"
    word = listing.read_text().split()[0]
    bare = word.removesuffix(source.suffix)
    listing.write_text(listing.read_text() + f"{bare} another wording\n{bare}{source.suffix} a third\n")
    found = errors(source, tmp_path, "warning")
    assert [(one.file, one.check) for one in found] == [(f"{listing.name}:{n}", "duplicate-id") for n in (5, 6)]
    assert all(f"{listing.name}:1" in one.message for one in found)
    ids = [pair.sample_id for pair in source.prepare(tmp_path)]
    assert {bare, f"{bare}#2", f"{bare}#3"} < set(ids)
    assert len(set(ids)) == len(ids) == 14


def test_ids_are_made_unique_whatever_the_data_set_calls_its_files(tmp_path):
    source = create("refsegrs")
    source.write_fake(tmp_path, 4, 0, size=64)
    for folder in ("images", "masks"):
        for number, name in enumerate(("1", "1#2"), 1):
            (tmp_path / folder / f"{name}.tif").write_bytes((tmp_path / folder / f"{number}.tif").read_bytes())
    (tmp_path / "output_phrase_train.txt").write_text("1 one\n1 two\n1#2 three\n1 four\n")
    ids = [pair.sample_id for pair in source.prepare(tmp_path) if pair.split == "train"]
    assert ids == ["1", "1#2", "1#2#2", "1#3"]


def own(root, ids, form, key="sample_id", **more):
    for number in range(len(ids)):
        write_image(root / f"{number}.png", np.full((8, 8, 3), 10 * number, np.uint8))
    write_image(root / "m.png", np.eye(8, dtype=np.uint8) * 255)
    lines = [
        {"image": f"{n}.png", "mask": "m.png", "expression": f"ship {n}", "split": "test", **more}
        | ({} if value is None else {key: value})
        for n, value in enumerate(ids)
    ]
    if form == "csv":
        stream = io.StringIO()
        writer = csv.DictWriter(stream, list(dict.fromkeys(key for line in lines for key in line)))
        writer.writeheader()
        writer.writerows(lines)
        (root / "manifest.csv").write_text(stream.getvalue())
    else:
        (root / "manifest.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return create("manifest")


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_own_ids_are_kept_as_they_are(tmp_path, form):
    source = own(tmp_path, [0, "ship-a", 2, "07", "ü"], form)
    assert errors(source, tmp_path) == []
    assert [pair.sample_id for pair in source.prepare(tmp_path)] == ["0", "ship-a", "2", "07", "ü"]


@pytest.mark.parametrize("form", ["csv", "jsonl"])
@pytest.mark.parametrize("ids", [[1, 1], ["a", "a"], [1, "1"], [3, None, None]])
def test_own_ids_for_two_lines_are_refused_with_both(tmp_path, form, ids):
    source = own(tmp_path, ids, form)
    [finding] = errors(source, tmp_path)
    assert finding.check == "duplicate-id"
    places = {finding.file, *(word.strip(".") for word in finding.message.split() if word.startswith("manifest."))}
    assert len(places) == 2
    assert all(place in refused(source, tmp_path) for place in places)


@pytest.mark.parametrize("value", [True, 1.5, [1], {"a": 1}, " "])
def test_own_what_is_no_id_is_a_finding(tmp_path, value):
    source = own(tmp_path, ["a", value], "jsonl")
    assert [(one.file, one.check) for one in errors(source, tmp_path)] == [("manifest.jsonl:2", "format")]


def test_own_category_0_is_a_category_and_columns_have_one_name(tmp_path):
    assert [pair.category for pair in own(tmp_path, ["a"], "jsonl", category=0).prepare(tmp_path)] == ["0"]
    (tmp_path / "manifest.jsonl").unlink()
    (tmp_path / "manifest.csv").write_text("image,mask,mask,expression,split\n0.png,m.png,0.png,a ship,test\n")
    [finding] = [one for one in errors(create("manifest"), tmp_path) if one.check == "format"]
    assert "column 'mask'" in finding.message


def test_whole_numbers_and_texts_are_ids():
    assert [read_id(value) for value in (0, -3, 7.0, "a", "0")] == [0, -3, 7, "a", "0"]
    assert [read_id(value) for value in (None, False, 0.5, float("nan"), float("inf"), "", b"a", [], ())] == [None] * 9
