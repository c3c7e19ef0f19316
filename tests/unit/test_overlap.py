"""Near-duplicates are found where they were planted and nowhere else; a list of other data is refused."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from rrsis_bench.data.categories import canonical, split_of
from rrsis_bench.data.overlap import FORMAT, Hashed, Seen, Twins, hashed, picture, read_overlap, tally, text_of, twins
from rrsis_bench.data.pixels import read_rgb
from rrsis_bench.data.prepare import Located, ensure_manifest, locate
from rrsis_bench.data.sources import synthetic
from rrsis_bench.errors import UsageError, UserError


def drawn(folder: Path, name: str, seed: int) -> Located:
    """A data set of drawn scenes, not yet prepared."""
    recipe = {"preset": "toy", "seed": seed, "layout": "rrsisd"}
    synthetic.write(folder / name, recipe, 96, {"train": 12, "val": 4, "test": 8})
    return locate({"dataset": name, "source": "rrsisd", "root": str(folder / name)})


def plant(of: Path, at: Path, change: str) -> None:
    """Write a changed copy of an image in the place of another."""
    image = read_rgb(of)
    changed = {
        "smaller": cv2.resize(image, (64, 64), interpolation=cv2.INTER_AREA),
        "brighter": np.clip(image * 1.15 + 8, 0, 255).astype(np.uint8),
        "noisy": np.clip(image + np.random.default_rng(0).normal(0, 8, image.shape), 0, 255).astype(np.uint8),
    }[change]
    back = cv2.resize(changed, (image.shape[1], image.shape[0]))  # the size that the masks have
    cv2.imwrite(str(at), cv2.cvtColor(back, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 60])


def test_planted_duplicates_are_found_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RRSIS_CACHE", str(tmp_path / "cache"))
    a, b = drawn(tmp_path, "one", 0), drawn(tmp_path, "two", 1)
    assert twins(hashed(a), hashed(b)) == []
    ours, theirs = ({one.split: one for one in hashed(located).seen} for located in (a, b))
    planted = {("train", "test", "smaller"), ("val", "train", "brighter"), ("test", "val", "noisy")}
    for here, there, change in planted:
        plant(a.root / ours[here].image, b.root / theirs[there].image, change)
    left, right = hashed(a), hashed(b)
    found = twins(left, right)
    assert {(pair.a.image, pair.b.image) for pair in found} == {
        (ours[here].image, theirs[there].image) for here, there, _ in planted
    }
    assert tally(found) == {(here, there): 1 for here, there, _ in planted}
    assert twins(left, left) == []
    plant(a.root / ours["train"].image, a.root / ours["test"].image, "smaller")
    (within,) = twins(again := hashed(a), again)
    assert {within.a.split, within.b.split} == {"train", "test"}
    assert picture(found, {"one": a.root, "two": b.root}).shape == (2 * 166, 2 * 338, 3)

    path = tmp_path / "list.jsonl"
    path.write_text(text_of(left, right, found))
    # A run of `one`, tested on `two`: only the test image of `two` with a twin in `one`'s train or val is left out.
    overlap = read_overlap(path, "two", "one")
    assert overlap.images == {next(pair.b.image_id for pair in found if pair.b.split == "test")}
    assert read_overlap(path, "one", "two").images == {
        next(pair.a.image_id for pair in found if pair.a.split == "test")
    }
    overlap.check("two", right.images_sha256)
    with pytest.raises(UserError, match="data overlap one two"):
        overlap.check("one", again.images_sha256)
    assert ensure_manifest(a) != ensure_manifest(b)


@pytest.mark.parametrize(
    "content", [None, "", "[]\n", "{}\n", "no json\n", "\xff", '{"format": 1, "a": 2}\n', "[1]\n[2]\n"]
)
def test_another_file_is_refused_in_one_line(content: str | None, tmp_path: Path) -> None:
    path = tmp_path / "list.jsonl"
    if content is not None:
        path.write_bytes(content.encode("latin-1"))
    with pytest.raises(UsageError, match="--exclude-overlap") as error:
        read_overlap(path, "b", "a")
    assert "\n" not in str(error.value)


def test_a_list_of_other_data_sets_or_another_format_is_refused(tmp_path: Path) -> None:
    sides = [Seen("a", "train", "p", "p.png"), Seen("b", "test", "q", "q.png")]
    empty = (np.zeros(0, np.uint64), np.zeros((0, 1024), np.float32))
    text = text_of(Hashed("a", "1", (), *empty), Hashed("b", "2", (), *empty), [Twins(sides[0], sides[1], 0)])
    path = tmp_path / "list.jsonl"
    path.write_text(text)
    assert read_overlap(path, "b", "a").images == {"q"}
    for tested, trained in (("b", "c"), ("a", "a"), ("c", "a")):
        with pytest.raises(UsageError, match=f"data overlap {trained} {tested}"):
            read_overlap(path, tested, trained)
    head, *rest = text.splitlines()
    path.write_text("\n".join([json.dumps({**json.loads(head), "format": FORMAT + 1}), *rest]))
    with pytest.raises(UsageError, match="another version"):
        read_overlap(path, "b", "a")


@pytest.mark.parametrize(
    ("here", "there"),
    [
        ("Airplane", "plane"), ("storage-tank", "storage tanks"), ("harbour", "harbor"), ("ships", "vessel"),
        ("soccer_field", "football pitch"), ("baseball-diamond", "baseball field"), ("bridges", "bridge"),
        ("bus", "buses"), ("Expressway-toll-station", "toll station"), ("golf course", "golf field"),
    ],
)  # fmt: skip
def test_names_of_one_class_are_one(here: str, there: str) -> None:
    assert canonical(here) == canonical(there)


def test_classes_are_shared_or_unseen() -> None:
    assert split_of(["plane", "vessel", "dam", "", "dam"], ["Airplane", "ship"]) == (["plane", "vessel"], ["dam"])
    assert split_of(["dam"], ["ship"]) == ([], ["dam"])
    assert split_of(["", ""], ["ship"]) == ([], [])
    assert split_of(["dam"], None) is None
    assert canonical("vehicle") != canonical("ship")
    assert canonical("small vehicle") != canonical("vehicle")
