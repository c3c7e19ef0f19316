"""A data set's identity covers every file: what is corrected in place is noticed, what is only touched is not."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rrsis_bench
from rrsis_bench.cli import main
from rrsis_bench.data import prepare, state
from rrsis_bench.data.datamodule import ReferringDataModule
from rrsis_bench.data.manifest import Manifest
from rrsis_bench.data.masks import decode, encode
from rrsis_bench.data.pixels import write_image
from rrsis_bench.data.prepare import Located, ensure_manifest, locate, manifest_path
from rrsis_bench.data.sources import SOURCES, create, synthetic
from rrsis_bench.data.state import FileState, scan
from rrsis_bench.engine.fit import _continued
from rrsis_bench.errors import UserError
from rrsis_bench.sweep.data_state import DataStates

ROOM = 20_000
"""Bytes that a file takes with its padding: a file and its correction have one size."""


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("CACHE", "RUNS", "DATA"):
        monkeypatch.setenv(f"RRSIS_{folder}", str(tmp_path / folder.lower()))
    monkeypatch.setattr(state, "_SETTLED_NS", 0)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "data" / "refsegrs"
    create("refsegrs").write_fake(made, 4, 0, size=64)
    for path in made.rglob("*.tif"):
        path.write_bytes(path.read_bytes().ljust(ROOM, b"\0"))
    return made


def block(root: Path) -> dict[str, Any]:
    names = ("source", "generator", "source_options", "manifest", "limit")
    return {"dataset": "refsegrs", "root": str(root), **dict.fromkeys(names)}


def located(root: Path) -> Located:
    return locate(block(root))


def correct(path: Path, keep_time: bool = False) -> np.ndarray:
    """Other pixels in a file of the same size; `keep_time`: the content's time is set back, as unpacking does."""
    before = path.stat()
    pixels = np.zeros((64, 64), np.uint8)
    pixels[3:20, 5:30] = 255
    write_image(path, pixels if path.parent.name == "masks" else pixels[..., None].repeat(3, 2))
    path.write_bytes(path.read_bytes().ljust(ROOM, b"\0"))
    if keep_time:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    return pixels // 255


def module(root: Path) -> ReferringDataModule:
    made = ReferringDataModule("refsegrs", root=str(root), num_workers=0)
    made.prepare_data()
    return made


@pytest.mark.parametrize("keep_time", [False, True])
def test_a_corrected_mask_makes_another_manifest(root: Path, keep_time: bool, capsys: Any) -> None:
    old = module(root)
    assert main(["data", "prepare", "refsegrs"]) == 0
    assert "up to date" in capsys.readouterr().out
    wanted = correct(root / "masks/9.tif", keep_time)
    assert main(["data", "prepare", "refsegrs"]) == 0
    out = capsys.readouterr().out
    assert "written" in out
    assert "up to date" not in out
    new = module(root)
    assert new.manifest_path != old.manifest_path
    assert new.identity()["manifest_sha256"] != old.identity()["manifest_sha256"]
    assert new.identity()["images_sha256"] == old.identity()["images_sha256"]
    (pair,) = [pair for pair in Manifest.open(new.manifest_path, "test") if pair.image == "images/9.tif"]
    assert np.array_equal(decode(pair.rle), wanted)


def test_scores_are_of_the_corrected_masks(root: Path) -> None:
    def masks() -> dict[str, Any]:
        return {pair.sample_id: pair.rle for pair in Manifest.open(ensure_manifest(located(root)), "test")}

    before = masks()
    for path in (root / "masks").iterdir():
        correct(path)
    right = dict.fromkeys(before, encode(correct(root / "masks/9.tif")))
    scored = [
        rrsis_bench.score(given, dataset="refsegrs", method=name)["metrics"]["native-v1"]["miou"]["value"]
        for name, given in (("before", before), ("right", right))
    ]
    assert scored[0] < 1
    assert scored[1] == 1


def test_a_corrected_image_changes_what_checkpoints_hold(root: Path) -> None:
    old = module(root)
    correct(root / "images/3.tif")
    new = module(root)
    assert new.manifest_path != old.manifest_path
    assert old.identity()["images_sha256"] != new.identity()["images_sha256"]
    assert len(new.identity()["images_sha256"]) == 64


def test_a_checkpoint_of_an_earlier_version_says_nothing_of_images(tmp_path: Path) -> None:
    now = {"dataset": "d", "manifest_sha256": "1", "images_sha256": "2"}
    for kept, same in (({"dataset": "d", "manifest_sha256": "1"}, True), (now, True), (None, True),
                       ({**now, "images_sha256": "3"}, False)):  # fmt: skip
        content = {"rrsis_bench": {"data": kept, "config": {}}}
        if same:
            assert _continued(content, tmp_path / "c", {}, now, False)["accepted_changes"] == []
        else:
            with pytest.raises(UserError, match="have changed"):
                _continued(content, tmp_path / "c", {}, now, False)


def test_a_touched_file_outdates_nothing_and_is_read_alone(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = ensure_manifest(located(root))
    known = DataStates(compute=True)
    before = (known.state(block(root)), known.content(block(root)))
    read: list[Path] = []
    plain = state._sha256
    monkeypatch.setattr(state, "_sha256", lambda file: (read.append(file), plain(file))[1])
    monkeypatch.setattr(type(located(root).source), "prepare", None)
    assert ensure_manifest(located(root)) == path
    assert read == []
    os.utime(root / "masks/2.tif")
    assert ensure_manifest(located(root)) == path
    assert read == [root / "masks/2.tif"]
    again = DataStates(compute=False)
    assert (again.state(block(root)), again.content(block(root))) == before
    assert len(read) == 1, "what was read once is kept"


def test_a_sweep_notices_a_correction(root: Path) -> None:
    unread = DataStates(compute=False)
    assert (unread.state(block(root)), unread.content(block(root))) == ("", None)
    before, after = DataStates(compute=True), DataStates(compute=True)
    assert before.content(block(root)) == before.content(block(root)) is not None
    assert DataStates(compute=False).content(block(root)) == before.content(block(root))
    correct(root / "masks/9.tif")
    assert after.content(block(root)) != before.content(block(root))
    assert after.state(block(root)) != before.state(block(root))


def test_a_hash_is_not_kept_under_an_earlier_state(root: Path) -> None:
    data = DataStates(compute=True)
    first = data.state(block(root))
    correct(root / "masks/9.tif")
    assert data.content(block(root)) is not None
    assert not (root.parents[1] / "cache/content" / f"{first}.sha256").exists()


@pytest.mark.parametrize("name", SOURCES)
def test_every_file_of_every_source_counts(name: str, tmp_path: Path) -> None:
    if name == "parquet":
        pytest.importorskip("pyarrow")
    source = create(name)
    source.write_fake(tmp_path / "set", 2, 0)
    if name == "synthetic":
        source.key_files = lambda root: [root / synthetic.MARKER, *source._reader().key_files(root)]  # type: ignore
    here = Located("d", source, tmp_path / "set", {})
    files = [path for path in (tmp_path / "set").rglob("*") if path.is_file()]
    assert set(scan(here.root, source.key_files(here.root))) == {
        path.relative_to(here.root).as_posix() for path in files
    }


def test_a_generated_set_corrected_in_the_cache_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    few = replace(synthetic.preset_named("tiny"), counts={"train": 2, "val": 2, "test": 2})
    monkeypatch.setattr(synthetic, "preset_named", lambda name: few)
    data = {"dataset": "tiny", "source": "rrsisd", "generator": {"name": "tiny"}, "limit": None}
    drawn = DataStates(compute=False).state(data)
    assert drawn.startswith("generated-")
    assert not prepare.folder(data).exists(), "asking for a state draws nothing"
    first = DataStates(compute=True).content(data)
    assert DataStates(compute=True).content(data) == first
    path, before = prepare.folder(data), manifest_path(locate(data))
    image = sorted((path / "images/rrsisd/JPEGImages").iterdir())[-1]
    write_image(image, np.zeros((few.side, few.side, 3), np.uint8))
    assert manifest_path(locate(data)) != before
    assert DataStates(compute=True).content(data) != first


def test_what_browsers_leave_does_not_count_and_links_are_followed(root: Path, tmp_path: Path) -> None:
    before = manifest_path(located(root))
    for name in (".DS_Store", "Thumbs.db", ".nfs0001", ".thumbnails/a.png", "desktop.ini"):
        (root / "images" / name).parent.mkdir(exist_ok=True)
        (root / "images" / name).write_bytes(b"x")
    (root / "images/loop").symlink_to(root / "images")
    os.mkfifo(root / "images/pipe")
    assert manifest_path(located(root)) == before
    (root / "images/.a.tif").write_bytes(b"x")
    hidden = manifest_path(located(root))
    assert hidden != before, "a listing may name a hidden image"
    away = tmp_path / "away.tif"
    os.replace(root / "images/2.tif", away)
    (root / "images/2.tif").symlink_to(away)
    assert manifest_path(located(root)) == hidden
    correct(away)
    linked = manifest_path(located(root))
    assert linked != hidden
    away.unlink()
    assert manifest_path(located(root)) not in {hidden, linked}


def test_force_reads_all_files_and_writes_again(root: Path, capsys: Any) -> None:
    path = ensure_manifest(located(root))
    good = path.read_bytes()
    path.write_bytes(good[: len(good) // 2])
    assert main(["data", "prepare", "refsegrs", "--force"]) == 0
    assert "written" in capsys.readouterr().out
    assert path.read_bytes() == good
    (record,) = (root.parents[1] / "cache/states").iterdir()
    head, rows = map(json.loads, record.read_text().splitlines())
    rows["masks/2.tif"][1] = "0" * 64  # as if the file changed and left neither size nor time behind
    record.write_text(f"{json.dumps({**head, 'identity': '0' * 64})}\n{json.dumps(rows)}\n")
    assert ensure_manifest(located(root)) != path
    assert ensure_manifest(located(root), force=True) == path == ensure_manifest(located(root))


def test_verify_reads_all_files_and_says_whether_a_manifest_is_of_them(root: Path, capsys: Any) -> None:
    assert main(["data", "verify", "refsegrs"]) == 0
    assert "none yet" in capsys.readouterr().out
    path = ensure_manifest(located(root))
    main(["data", "verify", "refsegrs"])
    assert path.name in capsys.readouterr().out.replace("\n", "")
    correct(root / "masks/9.tif", keep_time=True)
    main(["data", "verify", "refsegrs"])
    assert "none yet" in capsys.readouterr().out


def test_a_change_within_the_grain_of_the_clock_is_noticed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "_SETTLED_NS", 60_000_000_000)
    now, plain = time.time_ns(), scan
    monkeypatch.setattr(state, "scan", lambda *given: {name: (s[0], now, now) for name, s in plain(*given).items()})
    before = manifest_path(located(root))
    correct(root / "masks/9.tif")
    assert manifest_path(located(root)) != before


def test_a_file_that_could_not_be_read_is_tried_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(state, "_sha256", lambda path: "unreadable: Input/output error")
        failed = manifest_path(located(root))
    assert ensure_manifest(located(root)) != failed


def test_files_that_change_during_a_preparation_leave_no_manifest(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = type(located(root).source)
    plain = kind.prepare

    def busy(self: Any, root: Path) -> Iterator[Any]:
        yield from plain(self, root)
        correct(root / "masks/9.tif")

    monkeypatch.setattr(kind, "prepare", busy)
    with pytest.raises(UserError, match="files changed while they were read"):
        ensure_manifest(located(root))
    assert not (root.parents[1] / "cache/manifests").exists()


def test_two_at_once_and_a_record_that_cannot_be_written(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: ensure_manifest(located(root)), range(2))
    assert first == second
    assert len(Manifest.open(first)) == 12

    def refuse(*given: Any) -> None:
        raise UserError("read-only")

    monkeypatch.setattr(state, "write_bytes", refuse)
    os.utime(root / "masks/2.tif")
    assert ensure_manifest(located(root)) == first
    correct(root / "masks/2.tif")
    assert manifest_path(located(root)) != first


def test_a_damaged_record_is_written_anew(root: Path) -> None:
    path = ensure_manifest(located(root))
    (record,) = (root.parents[1] / "cache/states").iterdir()
    good = record.read_text()
    head = good.splitlines()[0] + "\n"
    for bad in ("", "{", "[]\n[]\n", head, good[:-30], good.replace('"format": 1', '"format": 0')):
        record.write_text(bad)
        os.utime(root / "masks/2.tif")
        assert ensure_manifest(located(root)) == path
        assert json.loads(record.read_text().splitlines()[0])["format"] == 1


def test_manifests_that_nobody_opened_for_a_month_are_removed(root: Path) -> None:
    def age(path: Path) -> None:
        for file in (path, prepare._images_path(path)):
            if file.exists():
                os.utime(file, (1, 1))

    first = ensure_manifest(located(root))
    other = first.with_name("refsegrs-other-0123456789abcdef.jsonl")
    earlier = first.with_name("refsegrs-0123456789abcdef.jsonl")
    for path in (other, earlier):
        path.write_bytes(b"")
    for path in (first, other, earlier):
        age(path)
    ensure_manifest(located(root))  # opened today
    correct(root / "masks/9.tif")
    second = ensure_manifest(located(root))
    assert set(first.parent.iterdir()) == {first, second, other}
    age(first)
    correct(root / "masks/8.tif")
    third = ensure_manifest(located(root))
    assert set(first.parent.iterdir()) == {second, third, other}
    assert not prepare._images_path(first).exists()


@pytest.mark.timing
def test_risbench_as_published_is_checked_in_less_than_a_second(tmp_path: Path) -> None:
    places = (tmp_path / "set/img_rgb", tmp_path / "set/mask")
    for place in places:
        place.mkdir(parents=True)
        (place / "0.png").write_bytes(b"x")
        for number in range(1, 52_472):
            os.link(place / "0.png", place / f"train_{number}_0.png")
    files = FileState(tmp_path / "record.json", tmp_path / "set", places)
    files.contents()
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        files.identity()
        seconds.append(time.perf_counter() - start)
    print(f"104,944 files: {min(seconds):.2f} s")
    assert min(seconds) < 1
