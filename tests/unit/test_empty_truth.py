"""Samples whose true mask is empty: left out by a named rule that every verb states, or kept when the user says so."""

from __future__ import annotations

import json
import math
import pickle

import numpy as np
import pytest

import rrsis_bench
from rrsis_bench.cli import main
from rrsis_bench.data.datamodule import ReferringDataModule
from rrsis_bench.data.empty_truth import told
from rrsis_bench.data.manifest import Manifest
from rrsis_bench.data.masks import area
from rrsis_bench.data.pixels import write_image
from rrsis_bench.data.prepare import ensure_manifest, locate
from rrsis_bench.data.sources import create
from rrsis_bench.engine.scored import Scored
from rrsis_bench.errors import UsageError, UserError
from rrsis_bench.metrics.definitions import metrics_of
from rrsis_bench.metrics.protocols import PROTOCOLS, get, views
from rrsis_bench.types import InputSpec

BLACK = {"train": 2, "val": 1, "test": 1}


@pytest.fixture(autouse=True)
def _folders(tmp_path, monkeypatch):
    monkeypatch.setenv("RRSIS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("RRSIS_DATA", str(tmp_path))
    monkeypatch.setenv("RRSIS_RUNS", str(tmp_path / "runs"))


@pytest.fixture
def root(tmp_path):
    """A RISBench folder of four pairs a split; the first masks of each split are all black."""
    source = create("risbench")
    source.write_fake(tmp_path / "risbench", 4, 0, size=64)
    for split, count in BLACK.items():
        for line in (tmp_path / "risbench" / f"output_phrase_{split}.txt").read_text().splitlines()[:count]:
            write_image(tmp_path / "risbench" / "mask" / line.split()[0], np.zeros((64, 64), np.uint8))
    return tmp_path / "risbench"


def opened(root, **options):
    made = ReferringDataModule("risbench", root=str(root), batch_size=1, num_workers=0, **options)
    made.input_spec = InputSpec((32, 32), "tiny", 12)
    made.setup("fit")
    return made


SENTENCE = "4 samples have an empty truth (train 2, val 1, test 1); by the rule empty_truth: skip, neither trained on"


@pytest.mark.parametrize("word", ["verify", "prepare", "stats"])
def test_every_verb_warns_with_the_count_and_goes_on(root, capsys, word):
    for _ in range(2):  # also where the manifest is up to date
        assert main(["data", word, "risbench"]) == 0
        captured = capsys.readouterr()
        said = captured.out if word == "verify" else captured.err
        assert SENTENCE in " ".join(said.split())
        assert "warning" in said
        assert "replace the files" not in captured.out
    if word == "prepare":
        assert "(train 2, val 3, test 3)" in captured.out
    if word == "verify":
        assert "mask/train_1_0.png" in captured.out
        assert "FAILED" not in captured.out


def test_a_split_s_manifest_is_read_once(root, monkeypatch):
    data = opened(root)
    monkeypatch.setattr(Manifest, "open", lambda *_: pytest.fail("the manifest is read again"))
    assert data.skipped("test") == {"empty_truth": BLACK["test"]}
    assert len(data.open_split("test", limited=False)) == len(data.test_dataset)
    data.prepare_data()
    with pytest.raises(pytest.fail.Exception):
        data.open_split("test")


def test_skip_leaves_them_out_of_all_splits_and_keep_does_not(root, capsys):
    for chosen in (None, "skip"):
        data = opened(root, empty_truth=chosen)
        assert SENTENCE in capsys.readouterr().err
        splits = {"train": data.train_dataset, "val": data.val_dataset, "test": data.test_dataset}
        for split, dataset in splits.items():
            assert len(dataset) == 4 - BLACK[split]
            assert all(dataset.sample(index).mask.any() for index in range(len(dataset)))
            assert data.skipped(split).get("empty_truth", 0) == BLACK[split]
    kept = opened(root, empty_truth="keep")
    assert "empty_truth: keep, kept" in capsys.readouterr().err
    assert len(kept.test_dataset) == 4
    assert kept.skipped("test") == {}
    assert not kept.test_dataset.sample(0).mask.any()
    limited = opened(root, limit={"train": 1}).train_dataset
    assert limited.sample(0).mask.any(), "a limit takes the first samples that count"
    for wrong in ("drop", 1, True):
        with pytest.raises(UsageError, match="'skip', 'keep' or 'no-target'"):
            opened(root, empty_truth=wrong)
        with pytest.raises(UsageError, match="'skip', 'keep' or 'no-target'"):
            locate({"dataset": "risbench", "empty_truth": wrong})


def test_a_data_set_without_empty_truths_says_nothing(tmp_path, capsys):
    create("risbench").write_fake(tmp_path / "risbench", 4, 0, size=64)
    opened(tmp_path / "risbench")
    for word in ("verify", "prepare", "stats"):
        assert main(["data", word, "risbench"]) == 0
    captured = capsys.readouterr()
    assert "empty truth" not in captured.out + captured.err
    assert told({"train": 0, "val": 0}, "skip") == ""
    assert told({"train": 0, "test": 1}, "skip").startswith("1 sample has an empty truth (test 1)")


def test_the_manifest_holds_them_with_a_mark(root):
    path = ensure_manifest(locate({"dataset": "risbench"}))
    whole = Manifest.open(path, empty_truth="keep")
    assert [pair.empty for pair in whole] == [area(pair.rle) == 0 for pair in whole]
    assert sum(pair.empty for pair in whole) == 4
    for split, count in BLACK.items():
        part = Manifest.open(path, split)
        assert (len(part), part.n_empty) == (4 - count, count)
        assert pickle.loads(pickle.dumps(part)).n_empty == part.head(1).n_empty == part.take([0]).n_empty == count
    text = path.read_text()
    assert text.count('"empty": true') == 4
    assert "false" not in text, "a line of an ordinary sample is as it was"


def test_an_expression_cannot_mark_its_sample(root):
    listing = root / "output_phrase_train.txt"
    lines = listing.read_text().splitlines()
    listing.write_text("\n".join(line + ' the text, "empty": true}' for line in lines))
    part = Manifest.open(ensure_manifest(locate({"dataset": "risbench"})), "train")
    assert (len(part), part.n_empty) == (2, 2)


def predictions(path, pairs):
    path.write_text("".join(json.dumps({"sample_id": pair.sample_id, "rle": pair.rle}) + "\n" for pair in pairs))
    return path


def test_results_score_skips_them_and_the_result_says_how_many(root, tmp_path, capsys):
    whole = list(Manifest.open(ensure_manifest(locate({"dataset": "risbench"})), "test", "keep"))
    scored = {}
    for name, pairs in (("published-list", whole), ("only-counted", [pair for pair in whole if not pair.empty])):
        given = predictions(tmp_path / f"{name}.jsonl", pairs)
        assert main(["results", "score", str(given), "--dataset", "risbench", "--method", name]) == 0
        assert "risbench test (1 sample with an empty truth not scored, empty_truth: skip)" in capsys.readouterr().out
        [path] = (tmp_path / "runs").glob(f"*/{name}*/seed0/result.json")
        scored[name] = json.loads(path.read_text())
        assert main(["results", "check", str(path.parent)]) == 0
    for result in scored.values():
        assert result["dataset"]["n_skipped"] == {"empty_truth": 1}
        assert result["dataset"]["n_samples"] == 3
        assert {block["n_empty"] for block in result["metrics"].values()} == {0}
    assert len({result["dataset"]["content_hash"] for result in scored.values()}) == 1
    missing = predictions(tmp_path / "missing.jsonl", whole[2:])
    with pytest.raises(UserError, match="has no prediction"):
        rrsis_bench.score(missing, dataset="risbench", method="missing")


def random_counts(n, seed, empty=0):
    """(n, V, 3) integers of all views; the first `empty` truths are empty, and nothing is predicted on them."""
    rng = np.random.default_rng(seed)
    truth, pred = rng.integers(1, 900, (2, n, len(views(PROTOCOLS))))
    counts = np.stack([truth, pred, rng.integers(0, np.minimum(truth, pred) + 1)], axis=-1)
    counts[:empty] = 0
    return counts


@pytest.mark.parametrize("name", list(PROTOCOLS))
@pytest.mark.parametrize("empty", [0, 1, 5, 6])
def test_no_metric_that_chooses_a_checkpoint_is_nan(name, empty):
    counts, protocol = random_counts(6, 1, empty), get(name)
    scored = Scored(np.arange(6), counts, views(PROTOCOLS))
    chosen = scored.choosing(protocol)
    assert all(math.isfinite(chosen[metric]) for metric in metrics_of(name))
    if protocol.generalised:
        assert chosen == {key: 0.0 if math.isnan(value) else value for key, value in scored.of(protocol).items()}
        assert math.isnan(scored.of(protocol)["nacc"]) == (empty == 0)
        assert math.isnan(scored.of(protocol)["ciou"]) == (empty == 6)
    elif protocol.empty_union != "nan" or not empty:
        assert chosen == scored.of(protocol)
    elif empty < 6:
        rest = Scored(np.arange(6 - empty), counts[empty:], views(PROTOCOLS))
        assert chosen == rest.of(protocol)
        assert math.isnan(scored.of(protocol)["miou"])
