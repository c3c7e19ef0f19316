from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from rrsis_bench.data.masks import decode
from rrsis_bench.data.pixels import ImageError, read_rgb, write_image
from rrsis_bench.data.safe_pickle import UnsafePickleError, load_plain
from rrsis_bench.data.sources import SOURCES, create
from rrsis_bench.data.sources.base import match_category
from rrsis_bench.data.sources.refsegrs import CATEGORIES as REFSEGRS
from rrsis_bench.data.sources.risbench import CATEGORIES as RISBENCH
from rrsis_bench.data.sources.risbench import SYNONYMS
from rrsis_bench.errors import MissingResourceError, UsageError

OURS = ("rrsisd", "refsegrs", "risbench", "manifest")
LINES = ("refsegrs", "risbench")
ERRORS = {
    "missing-image": OURS,
    "corrupt-image": OURS,
    "missing-mask": (*LINES, "manifest"),
    "corrupt-mask": (*LINES, "manifest"),
    "size-mismatch": OURS,
    "bad-rle": ("rrsisd", "manifest"),
    "unknown-id": OURS,
    "unknown-image-id": ("rrsisd",),
    "non-utf8": OURS,
    "empty-text": OURS,
    "leak": OURS,
    "corrupt-pickle": ("rrsisd",),
    "hostile-pickle": ("rrsisd",),
    "corrupt-json": ("rrsisd",),
}
CHECK = {
    "bad-rle": "corrupt-mask",
    "unknown-image-id": "unknown-id",
    "corrupt-pickle": "format",
    "hostile-pickle": "format",
    "corrupt-json": "format",
    "odd-size": "size-mismatch",
}
WARNINGS = {
    "empty-mask": OURS,
    "full-mask": OURS,
    "duplicate": OURS,
    "mask-values": LINES,
    "odd-size": ("rrsisd",),
    "unknown-split": ("rrsisd",),
}
FILES = {
    ("rrsisd", "missing-image"): "images/rrsisd/JPEGImages/00002.jpg",
    ("refsegrs", "missing-mask"): "masks/2.tif",
    ("refsegrs", "non-utf8"): "output_phrase_train.txt:1",
    ("risbench", "corrupt-image"): "img_rgb/val_7_0.png",
    ("risbench", "empty-text"): "output_phrase_train.txt:4",
    ("manifest", "bad-rle"): "manifest.jsonl:1",
    ("rrsisd", "unknown-id"): "rrsisd/refs(unc).p#1",
}


def plant(name, root, *faults):
    source = create(name)
    source.write_fake(root, 4, 0, faults, size=64)
    return source, [finding for finding in source.verify(root) if finding.check != "count"]


@pytest.mark.parametrize("name", OURS)
def test_clean_fake_is_found_clean_and_read(name, tmp_path):
    source, findings = plant(name, tmp_path / "set")
    assert findings == []
    records = list(source.prepare(tmp_path / "set"))
    assert [record.split for record in records] == ["train"] * 4 + ["val"] * 4 + ["test"] * 4
    assert len({record.sample_id for record in records}) == len({record.image_id for record in records}) == 12
    for record in records:
        image, mask = read_rgb(tmp_path / "set" / record.image), decode(record.rle)
        assert image.shape == (64, 64, 3)
        assert image[mask == 1].mean() > 200 > image[mask == 0].mean()
        assert record.category in record.text
        assert (record.width, record.height) == (64, 64)


@pytest.mark.parametrize(("fault", "name"), [(fault, name) for fault, names in ERRORS.items() for name in names])
def test_each_planted_error_is_found_and_named(fault, name, tmp_path):
    _, findings = plant(name, tmp_path / "set", fault)
    errors = [finding for finding in findings if finding.severity == "error"]
    check = {"unknown-id": "unknown-id" if name == "rrsisd" else "missing-image"}.get(fault, CHECK.get(fault, fault))
    assert check in {finding.check for finding in errors}
    allowed = {check} | ({"missing-mask"} if fault == "unknown-id" else set())
    assert {finding.check for finding in errors} <= allowed
    if (name, fault) in FILES:
        assert FILES[name, fault] in {finding.file for finding in errors}
    assert not (tmp_path / "set" / "harmed").exists()


@pytest.mark.parametrize(("fault", "name"), [(fault, name) for fault, names in WARNINGS.items() for name in names])
def test_each_planted_oddity_is_a_warning_and_does_not_stop(fault, name, tmp_path):
    source, findings = plant(name, tmp_path / "set", fault)
    assert {finding.check for finding in findings if finding.severity == "warning"} == {CHECK.get(fault, fault)}
    assert not [finding for finding in findings if finding.severity == "error"]
    assert len(list(source.prepare(tmp_path / "set"))) >= 11


@pytest.mark.parametrize("fault", ["missing-image", "corrupt-image", "size-mismatch", "non-utf8", "unknown-id"])
@pytest.mark.parametrize("name", OURS)
def test_prepare_stops_with_file_and_remedy(fault, name, tmp_path):
    source, _ = plant(name, tmp_path / "set", fault)
    with pytest.raises(MissingResourceError, match=f"data verify {name}") as raised:
        list(source.prepare(tmp_path / "set"))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", OURS)
def test_missing_folder_says_what_where_and_how(name, tmp_path):
    for action in ("prepare", "verify"):
        with pytest.raises(MissingResourceError, match="does not exist") as raised:
            list(getattr(create(name), action)(tmp_path / "none"))
        assert raised.value.exit_code == 3
        assert create(name).info.where in str(raised.value)
        assert f"rrsis-bench data verify {name}" in str(raised.value)


def test_counts_are_held_against_the_published_ones(tmp_path):
    source = create("rrsisd")
    source.write_fake(tmp_path / "set", 4, 0, size=32)
    counts = [finding.message for finding in source.verify(tmp_path / "set") if finding.check == "count"]
    assert "test has 4 pairs, published are 3,481" in counts
    assert len(counts) == 3


def test_published_counts():
    totals = {name: sum(create(name).info.counts.values()) for name in ("refsegrs", "rrsisd", "risbench")}
    assert totals == {"refsegrs": 4420, "rrsisd": 17402, "risbench": 52472}


def test_hostile_pickles_are_refused_and_do_nothing(tmp_path):
    class Harm:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "harmed",))

    path = tmp_path / "refs.p"
    for protocol in (0, 2, 4):
        path.write_bytes(pickle.dumps([{"ref_id": Harm()}], protocol=protocol))
        with pytest.raises(UnsafePickleError, match="import"):
            load_plain(path)
    path.write_bytes(b"cbuiltins\neval\n(Vprint(1)\ntR.")
    with pytest.raises(UnsafePickleError, match=r"builtins\.eval"):
        load_plain(path)
    assert not (tmp_path / "harmed").exists()
    path.write_bytes(b"\x80\x02]q\x00(")
    with pytest.raises(UnsafePickleError, match="damaged"):
        load_plain(path)


def test_plain_pickles_of_every_protocol_are_read(tmp_path):
    value = [{"id": 1, "box": (1.5, 2), "raw": "a ✈", "blob": b"\xff", "set": {1}, "none": None, "long": 2**70}]
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        (tmp_path / "p").write_bytes(pickle.dumps(value, protocol=protocol))
        assert load_plain(tmp_path / "p") == value
    (tmp_path / "p").write_bytes(b"(lp0\nS'caf\\xc3\\xa9'\np1\na.")  # as Python 2 wrote it
    assert load_plain(tmp_path / "p") == ["café"]


def test_rrsisd_every_sentence_is_a_sample_and_split_names_are_exact(tmp_path):
    source, _ = plant("rrsisd", tmp_path, "unknown-split")
    path = tmp_path / "rrsisd/refs(unc).p"
    refs = load_plain(path)
    refs[1]["sentences"].append({"sent_id": 99, "raw": "another wording", "sent": "another wording", "tokens": []})
    path.write_bytes(pickle.dumps(refs, protocol=2))
    records = list(source.prepare(tmp_path))
    assert [record.sample_id for record in records[:3]] == ["2_0", "2_1", "3"]
    assert records[0].image_id == records[1].image_id
    assert not [record for record in records if record.sample_id == "1"]


def test_rrsisd_reads_every_form_of_segmentation(tmp_path):
    source, _ = plant("rrsisd", tmp_path)
    path = tmp_path / "rrsisd/instances.json"
    instances = json.loads(path.read_text())
    [rle] = instances["annotations"][0]["segmentation"]
    instances["annotations"][0]["segmentation"] = rle
    instances["annotations"][1]["segmentation"] = [[8, 8, 24, 8, 24, 24, 8, 24], [16, 16, 40, 16, 40, 40, 16, 40]]
    instances["annotations"][2]["segmentation"] = {"size": [64, 64], "counts": [0, 100, 3996]}
    path.write_text(json.dumps(instances))
    records = list(source.prepare(tmp_path))
    assert records[0].rle == rle
    assert decode(records[1].rle).sum() == 16 * 16 + 24 * 24 - 8 * 8
    assert decode(records[2].rle).sum() == 100


def test_grey_jpeg_becomes_three_channels(tmp_path):
    write_image(tmp_path / "grey.jpg", np.full((8, 8), 77, np.uint8))
    image = read_rgb(tmp_path / "grey.jpg")
    assert image.shape == (8, 8, 3)
    assert (image == image[..., :1]).all()


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
def test_every_truncation_is_noticed(suffix, tmp_path):
    path = tmp_path / f"image{suffix}"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    write_image(path, noise)
    data = path.read_bytes()
    assert read_rgb(path).shape == noise.shape
    for share in (0, 0.1, 0.5, 0.9, 0.97):
        path.write_bytes(data[: int(share * len(data))])
        with pytest.raises(ImageError, match="truncated"):
            read_rgb(path)


def test_text_that_is_no_utf8_inside_a_pickle_or_json_is_named(tmp_path):
    source, _ = plant("rrsisd", tmp_path / "r")
    path = tmp_path / "r/rrsisd/refs(unc).p"
    refs = load_plain(path)
    refs[0]["sentences"][0]["raw"] = "a ship \ud800"
    path.write_bytes(pickle.dumps(refs))
    assert source.verify(tmp_path / "r")[0].check == "non-utf8"
    source, _ = plant("manifest", tmp_path / "m")
    listing = tmp_path / "m/manifest.jsonl"
    listing.write_text(listing.read_text().replace("number 0", "\\ud800", 1))
    [finding] = [finding for finding in source.verify(tmp_path / "m") if finding.severity == "error"]
    assert (finding.file, finding.check) == ("manifest.jsonl:1", "non-utf8")


def test_refsegrs_copies_of_a_photograph_share_an_image_id(tmp_path):
    source, _ = plant("refsegrs", tmp_path)
    (tmp_path / "images/3.tif").write_bytes((tmp_path / "images/1.tif").read_bytes())
    records = {record.sample_id: record for record in source.prepare(tmp_path)}
    assert records["3"].image_id == records["1"].image_id != records["2"].image_id
    copies = [finding for finding in source.verify(tmp_path) if finding.check == "copies"]
    assert [(finding.severity, finding.file) for finding in copies] == [("info", "images/1.tif")]


@pytest.mark.parametrize("name", LINES)
def test_line_files_of_any_system_with_and_without_suffix(name, tmp_path):
    source, findings = plant(name, tmp_path, "windows-lines")
    assert findings == []
    before = list(source.prepare(tmp_path))
    assert all(record.text == record.text.strip() for record in before)
    for path in tmp_path.glob("output_phrase_*.txt"):
        lines = []
        for line in path.read_text(encoding="utf-8").splitlines():
            word, _, rest = line.partition(" ")
            bare = word.removesuffix(source.suffix)
            lines.append(f"{bare if word != bare else bare + source.suffix}\t {rest}")
        path.write_text("\n".join(lines), encoding="utf-8-sig")
    assert list(source.prepare(tmp_path)) == before


def test_line_files_cannot_point_outside(tmp_path):
    source, _ = plant("refsegrs", tmp_path)
    (tmp_path / "output_phrase_train.txt").write_text("../../etc/passwd a ship\n")
    assert "format" in {finding.check for finding in source.verify(tmp_path)}


def test_masks_of_grey_values_follow_each_sets_threshold(tmp_path):
    for name, expected in (("refsegrs", False), ("risbench", True)):
        source, _ = plant(name, tmp_path / name)
        write_image(tmp_path / name / source.masks / source.file_name(1, "train"), np.full((64, 64), 100, np.uint8))
        assert bool(decode(next(source.prepare(tmp_path / name)).rle).all()) is expected


def test_own_manifest_as_csv_and_without_splits(tmp_path):
    write_image(tmp_path / "a.png", np.zeros((10, 12, 3), np.uint8))
    write_image(tmp_path / "m.png", np.eye(10, 12, dtype=np.uint8) * 255)
    rle = json.dumps({"size": [10, 12], "counts": [0, 5, 115]}).replace('"', '""')
    (tmp_path / "pairs.csv").write_text(
        f'image,mask,rle,expression,split\na.png,m.png,,"the ship, left",train\na.png,,"{rle}",a dam,test\n'
    )
    records = list(create("manifest", manifest="pairs.csv").prepare(tmp_path))
    assert [(r.text, r.split, int(decode(r.rle).sum())) for r in records] == [
        ("the ship, left", "train", 10),
        ("a dam", "test", 5),
    ]
    line = {"image": "a.png", "mask": "m.png", "text": "a ship"}
    (tmp_path / "manifest.jsonl").write_text(json.dumps(line) + "\n" + json.dumps({**line, "text": "a dam"}) + "\n")
    records = list(create("manifest").prepare(tmp_path))
    assert len(records) == 2
    assert records[0].split == records[1].split


@pytest.mark.parametrize(
    "line",
    [
        "no json",
        "[]",
        '{"mask": "m.png", "expression": "x"}',
        '{"image": "a.png", "expression": "x"}',
        '{"image": "a.png", "mask": "m.png"}',
        '{"image": "../a.png", "mask": "m.png", "expression": "x"}',
        '{"image": "a.png", "mask": "m.png", "expression": "x", "split": "dev"}',
    ],
)
def test_own_manifest_names_each_bad_line(line, tmp_path):
    (tmp_path / "manifest.jsonl").write_text("\n" + line)
    [finding] = create("manifest").verify(tmp_path)
    assert (finding.severity, finding.file, finding.check) == ("error", "manifest.jsonl:2", "format")


@pytest.mark.parametrize(
    ("names", "text", "expected"),
    [
        (REFSEGRS, "road marking along the road", "road marking"),
        (REFSEGRS, "sidewalk along with tree", "sidewalk"),
        (REFSEGRS, "cargo on the carpet", ""),
        (REFSEGRS, "light-duty vehicles", "vehicle"),
        (REFSEGRS, "Low-vegetation", "low vegetation"),
        (RISBENCH, "The damaged tennis  courts of the image", "tennis court"),
        (RISBENCH, "The aircraft located near the center of the image.", "airplane"),
        (RISBENCH, "The baseball field featured in the image has a diamond", "baseball diamond"),
    ],
)
def test_categories_by_whole_words(names, text, expected):
    assert match_category(text, names, SYNONYMS if names is RISBENCH else None) == expected


def test_unknown_sources_options_and_faults(tmp_path):
    with pytest.raises(UsageError, match="Did you mean 'rrsisd'"):
        create("rrsis-d")
    with pytest.raises(UsageError, match="does not take"):
        create("rrsisd", manifest="x")
    for name in OURS:
        with pytest.raises(UsageError, match="unknown fault"):
            create(name).write_fake(tmp_path / name, 4, 0, ("nonsense",), size=32)
    assert set(OURS) < set(SOURCES)
