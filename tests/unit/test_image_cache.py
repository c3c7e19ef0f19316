"""`--data.cache`: pixels equal to the bit, none of a replaced image, no torn entry, never over the bound."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rrsis_bench.cli import main
from rrsis_bench.data import cache as cache_room
from rrsis_bench.data import dataset, state
from rrsis_bench.data.cache import ImageCache
from rrsis_bench.data.datamodule import ReferringDataModule
from rrsis_bench.data.dataset import Item, ReferringDataset
from rrsis_bench.data.masks import encode
from rrsis_bench.data.pixels import write_image
from rrsis_bench.data.sources import create
from rrsis_bench.data.state import Contents
from rrsis_bench.locked import locked
from rrsis_bench.run.differences import changes
from rrsis_bench.types import InputSpec

SPEC = InputSpec((48, 40), "tiny", 12)
ENTRY = 60 + 3 * 48 * 40
"""Bytes of an entry, header included."""
ROOM = 20_000
"""Bytes that an image file takes with its padding: a file and its replacement have one size."""


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RRSIS_CACHE", str(tmp_path / "manifests"))
    monkeypatch.setattr(state, "_SETTLED_NS", 0)  # else no file of this test is old enough to be known by its time


@pytest.fixture
def root(tmp_path: Path) -> Path:
    create("refsegrs").write_fake(tmp_path / "set", 6, 0, size=64)
    for path in (tmp_path / "set" / "images").iterdir():
        path.write_bytes(path.read_bytes().ljust(ROOM, b"\0"))
    return tmp_path / "set"


def module(root: Path, spec: InputSpec = SPEC, **options: Any) -> ReferringDataModule:
    made = ReferringDataModule("refsegrs", root=str(root), num_workers=0, **options)
    made.input_spec = spec
    made.setup("fit")
    return made


def entries(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.parent != folder)


def held(folder: Path) -> int:
    total = 0
    for path in entries(folder):
        with contextlib.suppress(FileNotFoundError):  # a process has just renamed it
            total += path.stat().st_size
    return total


def same(one: Item, two: Item) -> bool:
    return (
        one.image.tobytes() == two.image.tobytes()
        and one.mask.tobytes() == two.mask.tobytes()
        and (one.truth is None) == (two.truth is None)
        and (one.truth is None or np.array_equal(one.truth, two.truth))
        and (one.text, one.image_key, one.tokens) == (two.text, two.image_key, two.tokens)
    )


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The image files that data sets decode."""
    paths: list[Path] = []
    plain = dataset.read_rgb
    monkeypatch.setattr(dataset, "read_rgb", lambda path, rule: (paths.append(path), plain(path, rule))[1])
    return paths


@pytest.mark.parametrize(
    ("interpolation", "augment"), [("pil-bilinear", None), ("cv2-cubic", {"flip": 0.5, "boxes": 0.3, "jitter": 0.3})]
)
def test_pixels_are_equal_to_the_bit(
    root: Path, tmp_path: Path, decoded: list[Path], interpolation: Any, augment: dict[str, float] | None
) -> None:
    spec = InputSpec((48, 40), "tiny", 12, interpolation=interpolation)
    plain = module(root, spec, augment=augment)
    cached = module(root, spec, augment=augment, cache=str(tmp_path / "c"))
    later = module(root, spec, augment=augment, cache=str(tmp_path / "c"))
    for epoch, data in enumerate((cached, cached, later)):
        decoded.clear()
        for split in ("train_dataset", "val_dataset", "test_dataset"):
            ours, theirs = getattr(data, split), getattr(plain, split)
            for one in (ours, theirs):
                one.set_epoch(epoch)
            together = ours.__getitems__(list(range(len(ours))))
            read = len(decoded)
            assert all(same(mine, theirs[number]) for number, mine in enumerate(together))
            del decoded[read:]
        if epoch and augment is None:
            assert decoded == [], "an image is decoded in the first epoch alone, and not by a later run"


def test_a_replaced_image_gives_its_new_pixels(root: Path, tmp_path: Path, decoded: list[Path]) -> None:
    """Same name, same size, same modification time; during a run and before the next one."""
    data = module(root, cache=str(tmp_path / "c"))
    first = data.train_dataset[0].image
    path = root / data.train_dataset.pair(0).image
    original, status = path.read_bytes(), path.stat()
    for shade, sets in ((0, None), (200, None), (90, "anew")):
        write_image(path, np.full((64, 64, 3), shade, np.uint8))
        path.write_bytes(path.read_bytes().ljust(ROOM, b"\0"))
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        assert path.stat().st_size == status.st_size
        data = data if sets is None else module(root, cache=str(tmp_path / "c"))
        expected = module(root).train_dataset[0].image
        for _ in range(2):
            assert np.array_equal(data.train_dataset[0].image, expected)
            assert not np.array_equal(data.train_dataset[0].image, first)
    path.write_bytes(original)
    decoded.clear()
    assert np.array_equal(data.train_dataset[0].image, first)
    assert decoded == [], "the first content has its entry still"


def test_what_gdal_reads_beside_an_image_counts(root: Path, tmp_path: Path) -> None:
    cache = ImageCache(tmp_path / "c", 10**9, SPEC, Contents(root, {}))
    image = next((root / "images").iterdir()).relative_to(root).as_posix()
    shades = [
        cache.resized(image, {}, lambda shade=shade: np.full((64, 64, 3), shade, np.uint8)).pixels.max()
        for shade in (7, 8)
    ]
    (root / f"{image}.aux.xml").write_text("<PAMDataset/>")
    other = cache.resized(image, {}, lambda: np.full((64, 64, 3), 9, np.uint8)).pixels.max()
    ruled = cache.resized(image, {"bands": [3, 2, 1]}, lambda: np.full((64, 64, 3), 10, np.uint8)).pixels.max()
    assert (*shades, other, ruled) == (7, 7, 9, 10)


def test_a_file_too_new_to_be_known_by_its_time_is_read_again(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state, "_SETTLED_NS", 10**12)
    contents = Contents(root, {})
    path = next((root / "images").iterdir())
    hashed: list[Path] = []
    plain = state._sha256
    monkeypatch.setattr(state, "_sha256", lambda file: (hashed.append(file), plain(file))[1])
    assert contents.sha256(f"images/{path.name}") == contents.sha256(f"images/{path.name}") == plain(path)
    assert len(hashed) == 2
    assert contents.sha256("images/none.tif") == ""


def test_an_image_without_a_sure_hash_is_not_kept(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file, or one that GDAL reads beside it, changes while it is hashed: the pixels belong to no known content."""
    image = next((root / "images").iterdir()).relative_to(root).as_posix()
    (root / f"{image}.msk").write_bytes(b"0")
    plain = state._sha256
    for changing in (root / image, root / f"{image}.msk"):

        def hashed(path: Path, changing: Path = changing) -> str:
            found = plain(path)
            if path == changing:
                path.write_bytes(path.read_bytes() + b"0")
            return found

        monkeypatch.setattr(state, "_sha256", hashed)
        cache = ImageCache(tmp_path / "c", 10**9, SPEC, Contents(root, {}))
        for shade in (1, 2):
            assert (cache.resized(image, {}, lambda at=shade: np.full((64, 64, 3), at, np.uint8)).pixels == shade).all()
    assert entries(tmp_path / "c") == []


def test_an_image_replaced_while_it_is_decoded_is_not_kept_under_its_old_hash(root: Path, tmp_path: Path) -> None:
    cache = ImageCache(tmp_path / "c", 10**9, SPEC, Contents(root, {}))
    path = next((root / "images").iterdir())
    old = path.read_bytes()

    def decode(content: bytes, shade: int) -> np.ndarray:
        path.write_bytes(content)
        return np.full((64, 64, 3), shade, np.uint8)

    for content, shade in ((old + b"0", 2), (old, 1)):
        path.write_bytes(old)
        found = cache.resized(f"images/{path.name}", {}, lambda made=(content, shade): decode(*made))
        assert (found.pixels == shade).all()


def test_a_folder_that_another_process_locks_is_only_read(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_room, "_PATIENCE", 0.001)
    (tmp_path / "c").mkdir()
    with locked(tmp_path / "c" / ".lock"):
        data = module(root, cache=str(tmp_path / "c"))
    assert "cannot be locked: no image is stored in it" in capsys.readouterr().err
    assert same(data.train_dataset[0], module(root).train_dataset[0])
    assert entries(tmp_path / "c") == []


def test_a_module_for_another_method_reads_images_of_its_size(root: Path, tmp_path: Path) -> None:
    data = module(root, cache=str(tmp_path / "c"))
    for spec in (InputSpec((40, 48), "tiny", 12), InputSpec((48, 40), "tiny", 12, reads_image=False), SPEC):
        data.input_spec = spec
        data.setup("fit")
        assert same(data.train_dataset[0], module(root, spec).train_dataset[0])


@pytest.mark.parametrize("harm", ["cut", "blank", "bit", "header", "swapped"])
def test_a_damaged_entry_is_not_read_and_is_mended(root: Path, tmp_path: Path, harm: str) -> None:
    data = module(root, cache=str(tmp_path / "c"))
    wanted = [data.train_dataset[number].image for number in range(2)]
    files = entries(tmp_path / "c")
    whole = [path.read_bytes() for path in files]
    assert [len(content) for content in whole] == [ENTRY] * 2
    for number, (path, content) in enumerate(zip(files, whole, strict=True)):
        middle = ENTRY // 2
        path.write_bytes(
            {
                "cut": content[:-1],
                "blank": content[:middle] + bytes(ENTRY - middle),
                "bit": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
                "header": content[:40] + bytes([content[40] ^ 1]) + content[41:],
                "swapped": whole[1 - number],
            }[harm]
        )
    assert all(np.array_equal(data.train_dataset[number].image, image) for number, image in enumerate(wanted))
    assert [path.read_bytes() for path in files] == whole


def test_the_folder_stays_below_its_bound(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "c"
    folder.mkdir()
    (folder / "ab").mkdir()
    mine = [folder / "notes.txt", folder / "ab" / "photograph.jpg", folder / "ab" / ".hidden.tmp"]
    for path in mine:
        path.write_bytes(b"x" * 3 * ENTRY)
    bound = 3.5 * ENTRY / 1e9
    data = module(root, cache=str(folder), cache_gb=bound)
    assert "has room for 3 of 18 images" in capsys.readouterr().err
    plain = module(root)
    for split in ("train_dataset", "val_dataset", "test_dataset"):
        for number, item in enumerate(getattr(plain, split)[at] for at in range(len(getattr(plain, split)))):
            assert same(getattr(data, split)[number], item)
    ours = [path for path in entries(folder) if path not in mine]
    assert len(ours) == 3
    # A run of another size needs the room: what it does not read goes, least recently used first.
    os.utime(ours[0], (1, 1))
    left = folder / ours[0].parent.name / f".{ours[0].name}.01234567.tmp"
    left.write_bytes(b"torn")
    other = InputSpec((48, 39), "tiny", 12)
    limited = module(root, other, cache=str(folder), cache_gb=bound, limit={"train": 1, "val": 1, "test": 1})
    assert not left.exists()
    for split in ("train_dataset", "val_dataset", "test_dataset"):
        getattr(limited, split)[0]
    assert held(folder) - 6 * ENTRY <= 3.5 * ENTRY
    assert not ours[0].exists()
    assert all(path.read_bytes() == b"x" * 3 * ENTRY for path in mine), "other files of the folder are the user's"
    capsys.readouterr()
    module(root, other, cache=str(folder), cache_gb=1.5 * ENTRY / 1e9)
    assert "has room for 1 of 18 images" in capsys.readouterr().err
    assert held(folder) - 6 * ENTRY <= 1.5 * ENTRY


def fill(root: Path, folder: Path, images: list[str], bound: int, seed: int) -> None:
    """Read images in a random order for ever."""
    cache = ImageCache(folder, bound, SPEC, Contents(root, {}))
    rng = np.random.default_rng(seed)
    while True:
        image = images[int(rng.integers(len(images)))]
        shade = int(image[1:-4])
        found = cache.resized(image, {}, lambda shade=shade: np.full((64, 64, 3), shade, np.uint8))
        if not (found.pixels == shade).all():
            (root / "wrong").touch()


@pytest.mark.slow
def test_processes_share_a_folder_and_may_be_killed(tmp_path: Path) -> None:
    images = [f"i{number}.png" for number in range(120)]
    root, folder = tmp_path / "images", tmp_path / "c"
    root.mkdir()
    for image in images:
        (root / image).write_text(image)
    bound = 90 * ENTRY
    for attempt in range(3):
        context = multiprocessing.get_context("fork")
        workers = [context.Process(target=fill, args=(root, folder, images, bound, 9 * attempt + k)) for k in range(3)]
        for worker in workers:
            worker.start()
        while len(entries(folder)) < 20 * (attempt + 1):
            assert held(folder) <= bound + ENTRY  # one may be counted under both names while it is renamed
        for worker in workers:
            os.kill(worker.pid or 0, signal.SIGKILL)
            worker.join()
    assert not (root / "wrong").exists()
    cache = ImageCache(folder, bound, SPEC, Contents(root, {}))
    cache.make_room((image, {}) for image in images)
    assert held(folder) <= bound
    assert all(path.stat().st_size == ENTRY for path in entries(folder)), "nothing is left of the killed processes"
    shades = [cache.resized(image, {}, lambda: np.full((64, 64, 3), 255, np.uint8)).pixels for image in images]
    whole = sum(bool((pixels == number).all()) for number, pixels in enumerate(shades))
    # Each of the three processes killed last may have been renaming one of the 60 files, which it had not made whole.
    assert whole == sum((pixels != 255).any() for pixels in shades) >= 60 - 3
    assert len(entries(folder)) == 90, "the count is right again: the room is used"


def test_a_folder_that_cannot_be_written_is_one_line_before_any_work(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    words = ["--method", "lavt", "--variant", "tiny", "--dataset", "refsegrs", f"--data.root={root}"]
    where = f"--data.cache={tmp_path}/file"
    assert main(["fit", *words, where, "--out", str(tmp_path / "run")]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = [line for line in captured.err.splitlines() if not line.startswith("rrsis-bench: note: ")]
    assert line.startswith(f"rrsis-bench: error: cannot write {tmp_path}/file")
    assert not (tmp_path / "run").exists()


def test_a_disk_that_fails_stops_no_run(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data, plain = module(root, cache=str(tmp_path / "c")), module(root)
    (tmp_path / "c" / ".used").unlink()
    (tmp_path / "c" / ".used").mkdir()
    assert all(same(data.train_dataset[number], plain.train_dataset[number]) for number in range(2))
    (line,) = capsys.readouterr().err.splitlines()
    assert "is not written any further" in line


def test_it_cannot_change_a_result_so_a_run_continues_with_or_without() -> None:
    before, now = {"data": {"batch_size": 2}}, {"data": {"batch_size": 2, "cache": "/c", "cache_gb": 3.0}}
    assert changes(before, now) == changes(now, before) == []


@pytest.mark.slow
def test_a_run_is_the_same_with_a_cold_and_a_warm_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RRSIS_RUNS", str(tmp_path / "runs"))
    rng = np.random.default_rng(0)
    lines = []
    for split, count in (("train", 6), ("val", 3), ("test", 4)):
        for number in range(count):
            write_image(tmp_path / f"{split}{number}.png", rng.integers(0, 255, (64, 64, 3), np.uint8))
            mask = np.zeros((64, 64), np.uint8)
            mask[4 * number : 4 * number + 20, 8:30] = 1
            text = f"the ship number {number}"
            lines.append({"image": f"{split}{number}.png", "rle": encode(mask), "text": text, "split": split})
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, lines)))
    words = ["fit", "--method", "lavt", "--variant", "tiny", "--dataset", "own", "--data.manifest=pairs.jsonl"]
    words += ["--data.batch_size=2", "--trainer.max_epochs=2", "--data.num_workers=0", "--trainer", "cpu"]
    words += ["--model.schedule.warmup_steps=0"]
    found = []
    for name, more in (("plain", []), ("cold", ["--data.cache=c"]), ("warm", ["--data.cache=c"])):
        assert main([*words, *more, "--out", name]) == 0
        result = json.loads((tmp_path / name / "result.json").read_text())
        found.append({key: value for key, value in result.items() if key not in ("provenance", "training", "sha256")})
    assert found[0] == found[1] == found[2]
    assert len(entries(tmp_path / "c")) == 13


def test_a_method_that_reads_no_image_needs_no_folder(root: Path, tmp_path: Path) -> None:
    spec = InputSpec((48, 40), "tiny", 12, reads_image=False)
    data = module(root, spec, cache=str(tmp_path / "c"))
    assert isinstance(data.train_dataset, ReferringDataset)
    assert not (tmp_path / "c").exists()
