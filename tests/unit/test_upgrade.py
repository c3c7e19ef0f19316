"""Results of schema version 1 stay readable, become version 2 where their data are here, and never mix with it."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import yaml

from helpers.results import make_table, write
from rrsis_bench import files
from rrsis_bench.boards.collect import collect
from rrsis_bench.boards.rows import score_tables
from rrsis_bench.cli import main
from rrsis_bench.data.manifest import Manifest
from rrsis_bench.data.prepare import ensure_manifest, locate
from rrsis_bench.data.sources import create
from rrsis_bench.results import record
from rrsis_bench.results.samples import read_samples
from rrsis_bench.results.schema import violations
from rrsis_bench.run import seal
from rrsis_bench.run.folder import RunFolder
from rrsis_bench.run.layout import CONFIG, RESULT, SAMPLES


def as_version_1(folder):
    """The files as version 1 wrote them: tokens of some tokenizer in place of words."""
    table, result = read_samples(RunFolder(folder)), seal.read(folder / RESULT)
    old = replace(table, unit="tokens", lengths=np.arange(len(table), dtype=np.int64) % 30 + 2)
    changed = {
        **result, "schema": 1, "metrics": record.score_block(old, result["protocols"]),
        "samples_sha256": record.samples_sha256(old),
    }  # fmt: skip
    record.write_run(RunFolder(folder), changed, old, (folder / CONFIG).read_text())
    return folder


@pytest.fixture
def scored(tmp_path, monkeypatch):
    """A result of version 2 on a data set that is on this machine, and the predictions' truth."""
    for name, folder in (("RRSIS_DATA", "data"), ("RRSIS_CACHE", "cache"), ("RRSIS_RUNS", "runs")):
        monkeypatch.setenv(name, str(tmp_path / folder))
    monkeypatch.chdir(tmp_path)
    create("risbench").write_fake(tmp_path / "data" / "risbench", 5, 0, size=64)
    located = locate({"dataset": "risbench"})
    pairs = list(Manifest.open(ensure_manifest(located), "test"))
    lines = "".join(json.dumps({"sample_id": pair.sample_id, "rle": pair.rle}) + "\n" for pair in pairs)
    (tmp_path / "p.jsonl").write_text(lines)
    assert main(["results", "score", "p.jsonl", "--dataset", "risbench", "--method", "m"]) == 0
    return tmp_path / "runs" / "risbench" / "m@external" / "seed0"


def files_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_version_1_is_sound_and_keeps_its_own_breakdown(tmp_path):
    folder = as_version_1(write(tmp_path))
    result = seal.read(folder / RESULT)
    assert violations(result) == []
    assert read_samples(RunFolder(folder)).unit == "tokens"
    assert (folder / SAMPLES).read_bytes() == files_of(as_version_1(folder))[SAMPLES]
    by = result["metrics"]["native-v1"]["by"]
    assert set(by) == {"category", "size", "length", "wording"}
    assert main(["results", "check", str(tmp_path)]) == 0
    assert main(["results", "rescore", str(tmp_path)]) == 0  # `tiny` here is of other content


def test_no_row_mixes_tokens_and_words(tmp_path):
    write(tmp_path / "runs", seed=0)
    as_version_1(write(tmp_path / "runs", seed=1))
    runs, warnings = collect(tmp_path)
    assert warnings == []
    kinds = [set(run.result["metrics"]["native-v1"]["by"]) & {"length", "words"} for run in runs]
    assert kinds == [{"words"}, {"length"}]
    (table,) = score_tables(runs, {})
    assert table.rows[0].n_seeds == 2
    assert set(table.rows[0].parts) == {"category", "size"}


def test_rescoring_makes_of_version_1_what_scoring_makes_today(scored, capsys):
    today = files_of(scored)
    old = files_of(as_version_1(scored))
    assert old != today
    assert main(["results", "rescore", str(scored), "--check"]) == 4
    assert "schema version 1 -> 2" in capsys.readouterr().out
    assert files_of(scored) == old
    assert main(["results", "rescore", str(scored)]) == 0
    assert f"rewrote {scored}/result.json (schema version 1 -> 2" in capsys.readouterr().out
    assert files_of(scored) == today
    assert main(["results", "check", str(scored)]) == 0
    assert main(["results", "rescore", str(scored)]) == 0
    assert files_of(scored) == today


def test_without_its_data_a_result_stays_at_version_1(scored, tmp_path, capsys):
    old = files_of(as_version_1(scored))
    image = next((tmp_path / "data" / "risbench" / "img_rgb").glob("test_*"))
    image.write_bytes(image.read_bytes() + b"\0")
    assert main(["results", "rescore", str(scored)]) == 0
    assert "left at schema version 1" in (shown := capsys.readouterr().out)
    assert "another content" in shown
    (tmp_path / "data" / "risbench").rename(tmp_path / "data" / "elsewhere")
    assert main(["results", "rescore", str(scored)]) == 0
    assert "does not exist" in capsys.readouterr().out
    assert files_of(scored) == old


def test_a_result_of_some_samples_of_a_split_is_upgraded_too(scored, tmp_path):
    """A `limit`, or a trainer's share of the batches: the hash is of what was scored."""
    whole, result = read_samples(RunFolder(scored)), seal.read(scored / RESULT)
    kept = [1, 2, 4]
    some = replace(
        whole, sample_id=tuple(whole.sample_id[k] for k in kept), image_id=tuple(whole.image_id[k] for k in kept),
        category=tuple(whole.category[k] for k in kept), counts=whole.counts[kept],
        **{name: getattr(whole, name)[kept] for name in ("lengths", "height", "width", "position", "relation")},
    )  # fmt: skip
    located = locate({"dataset": "risbench"})
    test = Manifest.open(ensure_manifest(located), "test")
    content = test.take([k for k, pair in enumerate(test) if pair.sample_id in some.sample_id])
    result |= {
        "dataset": {
            **result["dataset"], "content_hash": content.content_hash(located.root), "n_samples": 3,
            "n_images": len(set(some.image_id)),
        },
        "metrics": record.score_block(some, result["protocols"]), "samples_sha256": record.samples_sha256(some),
    }  # fmt: skip
    record.write_run(RunFolder(scored), result, some, (scored / CONFIG).read_text())
    today = files_of(scored)
    as_version_1(scored)
    assert main(["results", "rescore", str(scored)]) == 0
    assert files_of(scored) == today


def test_a_runs_own_settings_say_where_its_data_are(scored, tmp_path, capsys):
    today = files_of(scored)
    (tmp_path / "data" / "risbench").rename(tmp_path / "elsewhere")
    as_version_1(scored)
    assert main(["results", "rescore", str(scored)]) == 0
    assert "left at schema version 1" in capsys.readouterr().out
    result = seal.read(scored / RESULT)
    text = yaml.safe_dump({"data": {"dataset": "risbench", "source": "risbench", "root": str(tmp_path / "elsewhere")}})
    record.write_run(RunFolder(scored), result, read_samples(RunFolder(scored)), text)
    assert main(["results", "rescore", str(scored)]) == 0
    assert files_of(scored)[SAMPLES] == today[SAMPLES]


def test_a_result_from_anybody_runs_nobodys_code(scored, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "theirs.py").write_text("from pathlib import Path\nPath('harm').touch()\n")
    as_version_1(scored)
    (scored / CONFIG).write_text("data: {dataset: risbench, source: 'theirs:Source'}\n")
    main(["results", "rescore", str(scored)])
    assert not (tmp_path / "harm").exists()


def test_a_version_that_does_not_fit_its_samples_is_found(tmp_path, capsys):
    folder = write(tmp_path, table=make_table())
    result = json.loads((folder / RESULT).read_text())
    (folder / RESULT).write_text(files.json_text(seal.sealed({**result, "schema": 1})))
    assert main(["results", "check", str(folder)]) == 1
    assert "schema version 1, but its samples count words" in capsys.readouterr().err
    (folder / RESULT).write_text(files.json_text(seal.sealed({**result, "schema": 3})))
    assert main(["results", "check", str(folder)]) == 1
    assert "schema version 3" in capsys.readouterr().err
