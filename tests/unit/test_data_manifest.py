from __future__ import annotations

import hashlib
import json
import pickle
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rrsis_bench.data.manifest import Manifest, Pair, dump_pair, write_manifest
from rrsis_bench.errors import MissingResourceError, UserError

RLE = {"size": [4, 4], "counts": "`0"}


def record(number: int, split: str = "train", text: str = "a ship") -> Pair:
    return Pair(f"s{number}", f"i{number // 2}", f"images/{number}.png", 4, 4, RLE, text, split, "ship")


def test_round_trip_and_splits(tmp_path):
    records = [record(0), record(1, "val", 'says "split": "test" and ✈ \n'), record(2, "test"), record(3)]
    path = tmp_path / "m.jsonl"
    assert write_manifest(path, records) == 4
    assert list(Manifest.open(path)) == records
    assert [one.sample_id for one in Manifest.open(path, "train")] == ["s0", "s3"]
    assert Manifest.open(path, "val")[0] == records[1]
    assert len(Manifest.open(path, "other")) == 0
    assert list(Manifest.open(path, "train").head(1)) == records[:1]
    opened = Manifest.open(path)
    assert list(opened.take([len(opened) - 1, 0])) == [opened[len(opened) - 1], opened[0]]
    assert list(pickle.loads(pickle.dumps(Manifest.open(path, "train")))) == [records[0], records[3]]


def test_empty_missing_and_damaged(tmp_path):
    write_manifest(tmp_path / "empty.jsonl", [])
    assert len(Manifest.open(tmp_path / "empty.jsonl")) == 0
    with pytest.raises(MissingResourceError, match="data prepare"):
        Manifest.open(tmp_path / "none.jsonl")
    (tmp_path / "bad.jsonl").write_text('{"no": "record"}\n')
    with pytest.raises(UserError, match=r"bad\.jsonl:1"):
        Manifest.open(tmp_path / "bad.jsonl")
    (tmp_path / "half.jsonl").write_text('{"sample_id": "a", "split": "train"}\n')
    with pytest.raises(UserError, match="image_id"):
        Manifest.open(tmp_path / "half.jsonl")[0]


def test_content_hash_is_the_documented_one_and_ignores_order(tmp_path):
    (tmp_path / "images").mkdir()
    records = [record(number, text=f"ship {number}") for number in (2, 0, 1)]
    for one in records:
        (tmp_path / one.image).write_bytes(one.sample_id.encode())
    lines = []
    for one in records:
        image = hashlib.sha256(one.sample_id.encode()).hexdigest()
        rle = hashlib.sha256(json.dumps(RLE, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
        lines.append(f"{one.sample_id}, {image}, {rle}, {one.text}\n")
    expected = hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()
    for name, order in (("a.jsonl", records), ("b.jsonl", records[::-1])):
        write_manifest(tmp_path / name, order)
        assert Manifest.open(tmp_path / name).content_hash(tmp_path) == expected
    (tmp_path / records[0].image).write_bytes(b"changed")
    assert Manifest.open(tmp_path / "a.jsonl").content_hash(tmp_path) != expected
    (tmp_path / records[0].image).unlink()
    with pytest.raises(MissingResourceError, match="data verify"):
        Manifest.open(tmp_path / "a.jsonl").content_hash(tmp_path)


def test_a_manifest_as_large_as_risbench_opens_quickly_and_small(tmp_path):
    path = tmp_path / "large.jsonl"
    line = dump_pair(record(0, "test", "the small vehicle positioned at the top center of the image")).replace(
        b"`0", b"Pom56h?4M2O2M3N:F2N10O010O1O1O1N4M3L4L5JdPi1" * 6
    )
    path.write_bytes(line * 52_472)
    start = time.perf_counter()
    assert len(Manifest.open(path, "test")) == 52_472
    assert time.perf_counter() - start < 2
    if not Path("/proc/self/status").exists():
        return
    code = (
        "import sys; from rrsis_bench.data.manifest import Manifest;"
        "m = Manifest.open(sys.argv[1], 'test'); m[52471];"
        "[peak] = [line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')];"
        "print(peak, 'torch' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True).stdout
    peak, torch = out.split()
    assert int(peak) < 200 * 1024
    assert torch == "False"
