"""Text files as other programs write them: with a byte order mark, with fields of any length."""

from __future__ import annotations

import csv
import gzip
import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from helpers.results import write
from rrsis_bench.boards import published
from rrsis_bench.config import load_yaml
from rrsis_bench.data import masks
from rrsis_bench.data.manifest import Pair
from rrsis_bench.data.pixels import write_image
from rrsis_bench.data.sources import create
from rrsis_bench.data.text import read_vocabulary
from rrsis_bench.errors import UserError
from rrsis_bench.results.predictions import count_predictions
from rrsis_bench.results.samples import parse
from rrsis_bench.run import folder as run_folder
from rrsis_bench.run.folder import RunFolder

MARK = b"\xef\xbb\xbf"
COMMITTED = Path(__file__).resolve().parents[2] / "results"


def mark(path: Path) -> None:
    path.write_bytes(MARK + path.read_bytes())


@pytest.mark.parametrize("name", ["rrsisd", "refsegrs", "risbench", "manifest", "coco"])
def test_a_byte_order_mark_changes_no_data_set(name: str, tmp_path: Path) -> None:
    if name == "coco":
        source = create(name, group="before-underscore", per_object=2)
        source.write_fake(tmp_path, 8, seed=3)
    else:
        source = create(name)
        source.write_fake(tmp_path, 4, seed=0, size=64)  # type: ignore[call-arg]
    before = list(source.prepare(tmp_path))
    texts = [path for path in tmp_path.rglob("*") if path.suffix in {".json", ".jsonl", ".csv", ".txt"}]
    for path in texts:
        mark(path)
    assert texts
    assert before
    assert list(source.prepare(tmp_path)) == before


def test_a_byte_order_mark_changes_no_configuration_vocabulary_or_table(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(MARK + b"data: {root: here}\n")
    assert load_yaml(tmp_path / "a.yaml") == {"data": {"root": "here"}}
    (tmp_path / "vocab.txt").write_bytes(MARK + b"[PAD]\nship\n")
    assert read_vocabulary(tmp_path / "vocab.txt") == {"[PAD]": 0, "ship": 1}
    for name in (published.NUMBERS, published.METHODS, published.COSTS, published.LINKS):
        (tmp_path / name).write_bytes(MARK + (COMMITTED / name).read_bytes())
    assert published.read(tmp_path) == published.read(COMMITTED)


@pytest.mark.parametrize("packed", [False, True])
def test_a_byte_order_mark_changes_no_predictions(packed: bool, tmp_path: Path) -> None:
    rle = masks.encode(np.eye(4, dtype=np.uint8))
    pair = Pair("s", "i", "i.png", 4, 4, dict(rle), "the ship", "test", "ship")
    content = MARK + json.dumps({"sample_id": "s", "rle": dict(rle)}).encode() + b"\n"
    path = tmp_path / "predictions.jsonl"
    path.write_bytes(gzip.compress(content) if packed else content)
    assert count_predictions(path, [pair]).tolist() == [[4, 4, 4]]


def test_a_csv_field_may_be_as_long_as_its_mask_is_large(tmp_path: Path) -> None:
    side = 1024
    noise = np.random.default_rng(0).integers(0, 2, (side, side), np.uint8)
    write_image(tmp_path / "a.png", np.zeros((side, side, 3), np.uint8))
    rle = json.dumps(dict(masks.encode(noise)))
    assert len(rle) > 131_072, "Python's own limit"
    with (tmp_path / "manifest.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerows([["image", "rle", "expression", "split"], ["a.png", rle, "the ship", "test"]])
    (pair,) = create("manifest", manifest="manifest.csv").prepare(tmp_path)
    assert np.array_equal(masks.decode(pair.rle), noise)


def test_a_table_of_samples_that_unpacks_to_no_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = RunFolder(write(tmp_path))
    text = run.samples()
    monkeypatch.setattr(run_folder, "LARGEST_SAMPLES", len(text.encode()))
    assert run.samples() == text
    monkeypatch.setattr(run_folder, "LARGEST_SAMPLES", len(text.encode()) - 1)
    with pytest.raises(UserError, match="unpacks to more than"):
        run.samples()


def test_it_is_refused_before_it_fills_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = RunFolder(write(tmp_path))
    monkeypatch.setattr(run_folder, "LARGEST_SAMPLES", 1_000_000)
    run.samples_path.write_bytes(gzip.compress(bytes(30_000_000), 1))
    tracemalloc.start()
    try:
        with pytest.raises(UserError, match="unpacks to more than"):
            run.samples()
        assert tracemalloc.get_traced_memory()[1] < 3_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("content", "said"), [(b"", "truncated"), (b"no gzip", "cannot read")])
def test_what_is_no_whole_gzip_file_is_refused(content: bytes, said: str, tmp_path: Path) -> None:
    run = RunFolder(write(tmp_path))
    for damaged in (content, run.samples_path.read_bytes()[:-4] + content):
        run.samples_path.write_bytes(damaged)
        with pytest.raises(UserError, match=rf"cannot read .*samples\.csv\.gz.*{said}|cannot read .*check"):
            run.samples()


def test_a_field_that_is_too_long_for_a_table_is_one_clear_error(tmp_path: Path) -> None:
    text = RunFolder(write(tmp_path)).samples()
    before = csv.field_size_limit(131_072)  # a manifest that was read may have raised it
    try:
        with pytest.raises(UserError, match=r"x\.csv\.gz line 2: field larger"):
            parse(text.replace("s0000", "a" * 200_000, 1), Path("x.csv.gz"))
    finally:
        csv.field_size_limit(before)
