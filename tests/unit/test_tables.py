"""Parquet and arrow copies: the same samples, hashes and findings as the folder they were made of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers import tables as helper
from rrsis_bench.cli import main
from rrsis_bench.data import verify
from rrsis_bench.data.manifest import Manifest, write_manifest
from rrsis_bench.data.pixels import encoded, read_rgb
from rrsis_bench.data.prepare import ensure_manifest, images_sha256, locate
from rrsis_bench.data.sources import create
from rrsis_bench.data.tables import open_stored, pages, stored
from rrsis_bench.errors import MissingResourceError, UsageError
from rrsis_bench.run.folder import RunFolder

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
snappy = pytest.importorskip("rrsis_bench.data.tables.snappy")
parquet = pytest.importorskip("rrsis_bench.data.tables.parquet")
ParquetCells = parquet.ParquetCells

FORMS = ("snappy", "none", "zstd", "stream", "file", "binary")
FAULTS = (
    ("missing-image", "corrupt-image", "size-mismatch", "empty-text"),
    ("missing-mask", "corrupt-mask", "mask-values", "leak"),
)


@pytest.fixture(autouse=True)
def _folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("CACHE", "RUNS", "DATA"):
        monkeypatch.setenv(f"RRSIS_{folder}", str(tmp_path / folder.lower()))


def pair_of(tmp_path: Path, form: str, *faults: str) -> tuple[Any, Path, Any, Path]:
    """The folder's source and root, and those of its copy."""
    folder, copy = tmp_path / "folder", tmp_path / "copy"
    create("risbench").write_fake(folder, 4, 0, faults, size=64)
    helper.write(copy, helper.rows(folder, "img_rgb", "mask"), form)
    columns = {"name": "file"} if form == "binary" else None
    return create("risbench"), folder, create("risbench", columns=columns), copy


@pytest.mark.parametrize("form", FORMS)
def test_a_copy_gives_the_pairs_and_hashes_of_its_folder(form: str, tmp_path: Path) -> None:
    source, folder, other, copy = pair_of(tmp_path, form, "duplicate")
    assert [f.check for f in other.verify(copy)].count("slow-pages") == (3 if form == "zstd" else 0)
    made = [(one, root, list(one.prepare(root))) for one, root in ((source, folder), (other, copy))]
    facts = [
        [(p.sample_id, p.image_id, p.split, p.text, p.category, p.width, p.height, p.rle, p.empty) for p in pairs]
        for _, _, pairs in made
    ]
    assert facts[0] == facts[1]
    hashes = []
    for _, root, pairs in made:
        listing = tmp_path / f"{root.name}.jsonl"
        write_manifest(listing, pairs)
        hashes.append(Manifest.open(listing).content_hash(root))
    assert hashes[0] == hashes[1]
    assert all(
        np.array_equal(read_rgb(folder / ours.image), read_rgb(copy / theirs.image))
        for ours, theirs in zip(made[0][2], made[1][2], strict=True)
    )


@pytest.mark.parametrize(("form", "faults"), [("snappy", FAULTS[0]), ("stream", FAULTS[1])])
def test_a_copy_has_the_findings_of_its_folder(form: str, faults: tuple[str, ...], tmp_path: Path) -> None:
    source, folder, other, copy = pair_of(tmp_path, form, *faults)
    ours, theirs = (
        [(f.severity, f.check) for f in one.verify(root) if f.check != "unused-file"]
        for one, root in ((source, folder), (other, copy))
    )
    assert ours == theirs
    assert {check for _, check in ours} >= {*faults, "count"}
    with pytest.raises(MissingResourceError, match=r"(0000\.parquet|\.arrow)/(image|mask)/\d"):
        list(other.prepare(copy))


@pytest.mark.parametrize("compression", ["none", "snappy", "zstd"])
@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_every_cell_is_what_pyarrow_reads(compression: str, version: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    held: list[Any] = []
    for size in (0, 1, 70_000, 65_536, 131_072, 3, 200_000):
        noise, even = rng.bytes(size), bytes([size % 251]) * size
        held += [noise, None, even, noise, even[: size // 2] + noise[: size // 2]]
    nested = [None if one is None and k % 2 else {"bytes": one, "path": f"{k}.png"} for k, one in enumerate(held)]
    table = pa.table({"image": nested, "mask": pa.array(held, pa.binary())})
    for dictionary in (True, False):
        for batch in (1, 1024):
            file = tmp_path / f"{dictionary}-{batch}.parquet"
            pq.write_table(
                table, file, compression=compression, use_dictionary=dictionary, row_group_size=16, data_page_size=1000,
                write_batch_size=batch, data_page_version=version, dictionary_pagesize_limit=150_000,
            )  # fmt: skip
            cells = ParquetCells(file)
            assert [cells.cell("mask", row) for row in range(len(held))] == held
            assert [cells.cell("image", row) for row in range(len(held))] == held


def test_images_of_snappy_pages_are_read_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    held = [rng.bytes(100_000) for _ in range(20)]
    pq.write_table(pa.table({"image": [{"bytes": one, "path": ""} for one in held]}), tmp_path / "a.parquet")
    cells = ParquetCells(tmp_path / "a.parquet")
    assert cells.one_by_one("image")
    taken: list[int] = []
    plain = snappy.read
    monkeypatch.setattr(snappy, "read", lambda *given: taken.append(len(given[0])) or plain(*given))
    assert cells.cell("image", 13) == held[13]
    assert sum(taken) < 3.1 * snappy.BLOCK, "the blocks of one image, not those of twenty"


def test_blocks_that_depend_on_each_other_are_not_taken_apart() -> None:
    literal = bytes([62 << 2]) + (65_535).to_bytes(3, "little") + bytes(65_536)
    copy = bytes([(60 - 1) << 2 | 3]) + (65_536).to_bytes(4, "little")
    size = 65_536 + 60
    data = snappy._number(size) + literal + copy
    assert pa.decompress(data, size, "snappy", asbytes=True) == bytes(size)
    assert snappy.block_starts(memoryview(data), size) is None


@pytest.mark.slow
@pytest.mark.parametrize("form", ["snappy", "none", "zstd", "stream", "file"])
def test_damage_is_a_finding_or_one_line(form: str, tmp_path: Path) -> None:
    """Bytes are overwritten in the heads of pages, in lengths, and all over a file: no crash comes of it."""
    _, folder, source, copy = pair_of(tmp_path, form)
    file = next(path for path in copy.rglob("*") if path.is_file() and "train" in path.as_posix())
    whole, rng = file.read_bytes(), np.random.default_rng(0)
    outcomes: set[bool] = set()
    places: list[int] = rng.integers(0, len(whole) - 8, 25).tolist()
    if file.suffix == ".parquet":
        chunk = pq.ParquetFile(file).metadata.row_group(0).column(0)
        start = chunk.dictionary_page_offset if chunk.has_dictionary_page else chunk.data_page_offset
        places += range(start, start + 40, 3)
    else:
        length = (folder / "img_rgb" / source.file_name(1, "train")).stat().st_size
        places += [whole.index(length.to_bytes(4, "little")) + at for at in (0, 2, 4)]
    for place in places:
        file.write_bytes(whole[:place] + rng.bytes(8) + whole[place + 8 :])
        try:
            outcomes.add(any(one.severity == "error" for one in source.verify(copy)))
        except MissingResourceError:
            outcomes.add(True)
    assert True in outcomes


def test_a_damaged_cell_is_an_error_of_the_disk(tmp_path: Path) -> None:
    file = tmp_path / "a.parquet"
    pq.write_table(pa.table({"image": pa.array([bytes(9000)], pa.binary())}), file, compression="zstd")
    whole = file.read_bytes()
    file.write_bytes(whole[:4] + bytes(60) + whole[64:])
    with pytest.raises(OSError, match="damaged"):
        open_stored(file / "image/0")
    with pytest.raises(pages.UnknownLayoutError):
        pages._plain(b"\x01\0\0\0a" + b"?", 0, 1, 0)


def test_row_groups_that_are_read_whole_are_forgotten(tmp_path: Path) -> None:
    for number in range(3):
        table = pa.table({"image": pa.array([bytes([number, row]) * 50 for row in range(8)], pa.binary())})
        pq.write_table(table, tmp_path / f"{number}.parquet", row_group_size=2, compression="zstd")
    for _ in range(2):
        for number, row in ((number, row) for number in range(3) for row in range(8)):
            with open_stored(tmp_path / f"{number}.parquet/image/{row}") as stream:
                assert stream.read() == bytes([number, row]) * 50
        assert len(parquet._WHOLE) <= parquet._KEPT


@pytest.mark.slow
def test_a_run_on_a_copy_has_the_scores_of_its_folder(tmp_path: Path) -> None:
    _, folder, _, copy = pair_of(tmp_path, "snappy")
    words = ["fit", "--method", "prior-text", "--variant", "tiny", "--dataset", "risbench", "--data.num_workers=0"]
    results = []
    for root in (folder, copy):
        assert main([*words, f"--data.root={root}", "--out", str(tmp_path / f"{root.name}-run")]) == 0
        results.append(RunFolder(tmp_path / f"{root.name}-run").result())
    assert results[0]["metrics"] == results[1]["metrics"]
    assert results[0]["dataset"] == results[1]["dataset"]


def test_worker_processes_read_the_samples_of_the_folder(tmp_path: Path) -> None:
    from torch.utils.data import DataLoader

    from rrsis_bench.data.dataset import ReferringDataset
    from rrsis_bench.types import InputSpec

    source, folder, other, copy = pair_of(tmp_path, "zstd")
    loaded = []
    for one, root in ((source, folder), (other, copy)):
        write_manifest(root / "listing.jsonl", one.prepare(root))
        data = ReferringDataset(Manifest.open(root / "listing.jsonl"), root, InputSpec((64, 64), "tiny", 20))
        loaded.append(list(DataLoader(data, batch_size=None, num_workers=2)))
    assert len(loaded[0]) == 12
    for ours, theirs in zip(*loaded, strict=True):
        assert ours.sample_id == theirs.sample_id
        assert ours.text == theirs.text
        assert np.array_equal(ours.image, theirs.image)
        assert np.array_equal(ours.mask, theirs.mask)


def test_a_changed_file_is_another_data_set(tmp_path: Path) -> None:
    _, folder, _, copy = pair_of(tmp_path, "snappy")
    here = locate({"dataset": "risbench", "root": str(copy)})
    before = ensure_manifest(here)
    held = helper.rows(folder, "img_rgb", "mask")["train"]
    held[0]["image"]["bytes"] = encoded(".png", np.zeros((64, 64, 3), np.uint8))
    pq.write_table(pa.Table.from_pylist(held), copy / "train/0000.parquet", row_group_size=3)
    after = ensure_manifest(here)
    assert before != after
    assert images_sha256(before) != images_sha256(after)
    image = Manifest.open(after, "train")[0].image
    assert read_rgb(copy / image).max() == 0, "the file's new state is read"


def test_rows_without_a_name_are_known_by_split_and_number(tmp_path: Path) -> None:
    source = create("parquet")
    source.write_fake(tmp_path / "set", 2, 0, size=32)
    pairs = list(source.prepare(tmp_path / "set"))
    names = ["train-0", "train-1", "val-0", "val-1", "test-0", "test-1"]
    assert [pair.sample_id for pair in pairs] == [pair.image_id for pair in pairs] == names
    # Another row group size moves bytes, not names.
    file = tmp_path / "set/val-00000-of-00001.parquet"
    pq.write_table(pq.read_table(file), file, row_group_size=1)
    assert [pair.sample_id for pair in source.prepare(tmp_path / "set")] == names


def test_file_names_that_repeat_or_have_no_suffix(tmp_path: Path) -> None:
    create("parquet").write_fake(tmp_path / "fake", 2, 0, size=32)
    rows = pq.read_table(tmp_path / "fake/test-00000-of-00001.parquet").to_pylist()
    names = ["P1.5", "P1.6", "a/same.png", "b/same.png"]
    (tmp_path / "set").mkdir()
    for split, at in (("train", 0), ("test", 2)):
        own = [{**row, "file": name} for row, name in zip(rows, names[at : at + 2], strict=True)]
        pq.write_table(pa.Table.from_pylist(own), tmp_path / f"set/{split}.parquet")
    source = create("parquet", columns={"name": "file"})
    assert [pair.sample_id for pair in source.prepare(tmp_path / "set")] == ["P1.5", "P1.6", "same", "same#2"]
    repeated = [finding for finding in source.verify(tmp_path / "set") if finding.check == "duplicate-id"]
    assert [(finding.severity, finding.file) for finding in repeated] == [("warning", "test.parquet#1")]


def test_splits_by_column_and_texts_that_are_no_text(tmp_path: Path) -> None:
    create("parquet").write_fake(tmp_path / "fake", 2, 0, size=32)
    one = pq.read_table(tmp_path / "fake/test-00000-of-00001.parquet").to_pylist()
    texts = pa.array([b"a ship", b"\xff\xfe", b"a ship", None], pa.binary())
    table = pa.Table.from_pylist([*one, *one]).drop_columns(["phrase"]).append_column("said", texts)
    table = table.append_column("part", pa.array(["train", "train", "nowhere", "validation"]))
    (tmp_path / "set").mkdir()
    pq.write_table(table, tmp_path / "set/all.parquet")
    source = create("parquet", columns={"text": "said", "split": "part"})
    findings = [(f.severity, f.check, f.file) for f in source.verify(tmp_path / "set") if f.severity == "error"]
    assert ("error", "non-utf8", "all.parquet#1") in findings
    assert ("error", "format", "all.parquet#2") in findings
    assert ("error", "empty-text", "all.parquet#3") in findings
    plain = create("parquet", columns={"text": "said"}).verify(tmp_path / "set")
    assert [f.file for f in plain if f.severity == "error"] == ["all.parquet"], "no part of the path names a split"


def test_wrong_columns_files_and_a_missing_extra_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "data/risbench"
    create("parquet").write_fake(root, 2, 0, size=32)
    with pytest.raises(
        MissingResourceError, match=r"no column 'seg' \(mask\); it has: image, mask, phrase\."
    ) as raised:
        create("risbench", columns={"mask": "seg"}).key_files(root)
    assert "\n" not in str(raised.value)
    with pytest.raises(UsageError, match="Did you mean 'mask'"):
        create("refsegrs", columns={"msk": "seg"})
    for wrong in ("image", 3, {"mask": "a/b"}, {"mask": 3}):
        with pytest.raises(UsageError, match=r"source_options\.columns"):
            create("refsegrs", columns=wrong)
    words = pa.table({"image": ["a.png"], "mask": [1], "phrase": ["a ship"], "pixels": [[1, 2]], "b": [{"x": b"1"}]})
    (tmp_path / "words").mkdir()
    pq.write_table(words, tmp_path / "words/test.parquet")
    for column in words.column_names:
        with pytest.raises(
            MissingResourceError, match=rf"column '{column}' \(image\) holds .*, not image files; it has:"
        ):
            create("risbench", columns={"image": column}).key_files(tmp_path / "words")
    with pytest.raises(MissingResourceError, match=r"column 'image' \(text\) holds struct.*, not text; it has: image,"):
        list(create("risbench", columns={"text": "image"}).prepare(root))
    file = sorted(root.iterdir())[0]
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(MissingResourceError, match="damaged, truncated or of another format"):
        create("risbench").key_files(root)
    monkeypatch.setattr(stored, "find_spec", lambda name: None)
    with pytest.raises(MissingResourceError, match=r"needs pyarrow: pip install 'rrsis-bench\[parquet\]'"):
        create("risbench").key_files(root)


def test_masks_and_images_in_cells_follow_the_rules_of_files(tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio")
    with rasterio.MemoryFile() as memory:
        with memory.open(driver="GTiff", width=8, height=8, count=3, dtype="uint16", photometric="RGB") as made:
            made.write(np.arange(192, dtype=np.uint16).reshape(3, 8, 8) * 300)
        data = memory.read()
    (tmp_path / "deep.tif").write_bytes(data)
    pq.write_table(pa.table({"image": pa.array([data, None], pa.binary())}), tmp_path / "a.parquet")
    assert np.array_equal(read_rgb(tmp_path / "a.parquet/image/0"), read_rgb(tmp_path / "deep.tif"))
    for missing in ("image/1", "image/2", "other/0", "image/x"):
        with pytest.raises((FileNotFoundError, NotADirectoryError)):
            open_stored(tmp_path / "a.parquet" / missing)
    with pytest.raises(OSError):  # noqa: PT011
        open_stored(tmp_path / "none.parquet/image/0")
    (tmp_path / "folder.parquet/image").mkdir(parents=True)
    (tmp_path / "folder.parquet/image/0").write_bytes(b"a file of its own")
    with open_stored(tmp_path / "folder.parquet/image/0") as stream:
        assert stream.read() == b"a file of its own"


def test_the_verbs_read_a_copy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    create("risbench").write_fake(tmp_path / "folder", 4, 0, size=64)
    helper.write(tmp_path / "data/risbench", helper.rows(tmp_path / "folder", "img_rgb", "mask"), "stream")
    assert main(["data", "verify", "risbench"]) == 0
    assert "ok: 0 errors, 3 warnings" in capsys.readouterr().out
    out = tmp_path / "one.png"
    assert main(["data", "show", "risbench", "--split", "val", "--index", "1", "--out", str(out)]) == 0
    assert "validation/data-00000-of-00001.arrow/image/1" in capsys.readouterr().out
    assert out.is_file()


def test_photographs_of_one_name_have_different_ids() -> None:
    ids = verify._ImageIds()
    assert [ids.of(pixels, "a.png") for pixels in ("p", "q", "p", "r")] == ["a", "a.png", "a", "a.png#2"]
    assert json.dumps([ids.of("s", "b/a.png")]) == '["b/a.png"]'
