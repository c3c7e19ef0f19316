"""Expressions that fit nothing, one object or several: a second opinion on each, and a run on them end to end."""

from __future__ import annotations

import hashlib
import json
from collections import Counter

import numpy as np
import pytest

from helpers.referee import Seen, meant
from rrsis_bench.cli import main
from rrsis_bench.data.manifest import Manifest
from rrsis_bench.data.prepare import ensure_manifest, locate
from rrsis_bench.data.sources.synthetic import layout_items
from rrsis_bench.data.synthetic.generalised import SHARES, set_expressions
from rrsis_bench.data.synthetic.grammar import vocabulary
from rrsis_bench.data.synthetic.presets import PRESETS, Preset
from rrsis_bench.data.synthetic.scenes import sample_scenes, seed_range
from rrsis_bench.results.maintain import check
from rrsis_bench.run.folder import RunFolder

NAME = "tiny-generalised"
COUNTS = {"train": 24, "val": 12, "test": 16}


@pytest.mark.slow
def test_every_expression_fits_its_objects_and_no_other_in_a_second_opinion():
    kinds: Counter[str] = Counter()
    known = set(vocabulary())
    for scene in sample_scenes(seed_range("test")[:120]):
        judged = [Seen(thing.category, frozenset({thing.colour}), thing.mask) for thing in scene.objects]
        found = set_expressions(scene, np.random.default_rng(scene.seed), 4)
        targets = [one.indices for one in found if one.indices]
        assert len(set(targets)) == len(targets)
        assert len({one.text for one in found}) == len(found)
        for one in found:
            kinds[one.kind] += 1
            article = one.text.startswith("the ")
            text = one.text if article else f"the {one.text}"
            assert tuple(meant(text, judged)) == one.indices, one.text
            assert article or one.kind != "one", one.text
            assert not article or one.kind != "many", one.text
            assert set(one.text.split()) <= known, "the tiny encoders know each word"
            assert one.category in one.text
    shares = {kind: kinds[kind] / kinds.total() for kind in SHARES}
    assert shares == pytest.approx(SHARES, abs=0.12)


def test_the_tiny_split_is_as_it_was_and_the_masks_are_unions():
    digest = hashlib.sha256()
    for item in layout_items(96, {"train": 6, "test": 4}):
        assert item.mask.any()
        digest.update("\0".join((item.text, item.category, item.image_key)).encode() + item.mask.tobytes())
    assert digest.hexdigest() == "647f581c7f6b898abf1b7bbba4e49e94a22a9565e3ff885b4761f2c3573a971c"
    drawn = list(layout_items(96, {"train": 30}, generalised=True))
    assert {bool(item.mask.any()) for item in drawn} == {True, False}
    assert len({item.image_key for item in drawn}) >= 15


@pytest.mark.slow
def test_a_run_trains_on_them_chooses_by_giou_and_is_scored_by_both_protocols(tmp_path, monkeypatch, capsys):
    for name in ("CACHE", "DATA", "RUNS"):
        monkeypatch.setenv(f"RRSIS_{name}", str(tmp_path / name.lower()))
    monkeypatch.setitem(PRESETS, NAME, Preset(64, COUNTS, generalised=True))
    run = RunFolder(tmp_path / "run")
    words = ["--method", "prior-text", "--dataset", NAME, "--data.num_workers=0", "--trainer.accelerator=cpu"]
    assert main(["fit", *words, "--out", str(run.path)]) == 0
    said = capsys.readouterr()
    assert "empty_truth: no-target" in said.out
    assert "empty truth" not in said.err, "the data set means them: nothing to warn of"
    config, result = run.config(), run.result()
    assert config["model"]["protocols"][:2] == ["generalised-v1", "native-v1"]
    assert config["model"]["monitor"] == "giou"
    path = ensure_manifest(locate({"dataset": NAME, "source": "rrsisd", "generator": {"name": NAME}}))
    empty = Manifest.open(path, "test").n_empty
    assert 0 < empty < COUNTS["test"]
    assert result["dataset"]["n_samples"] == COUNTS["test"]
    assert result["dataset"]["n_skipped"] == {"empty_truth": empty}
    assert result["kind"] == "smoke"
    own, native = (result["metrics"][name] for name in ("generalised-v1", "native-v1"))
    assert (own["n"], own["n_empty"]) == (COUNTS["test"], empty)
    assert (native["n"], native["n_empty"]) == (COUNTS["test"] - empty, 0)
    assert own["ciou"]["value"] == native["oiou"]["value"], "no target is missed twice"
    assert result["language_control"]["protocol"] == "generalised-v1"
    assert check(run.result_path) == []
    assert main(["data", "verify", NAME]) == 0
    assert "0 errors, 0 warnings" in capsys.readouterr().out
    given = tmp_path / "predictions.jsonl"
    pairs = Manifest.open(path, "test", "no-target")
    given.write_text("".join(json.dumps({"sample_id": one.sample_id, "rle": one.rle}) + "\n" for one in pairs))
    assert main(["results", "score", str(given), "--dataset", NAME, "--method", "truth"]) == 0
    [written] = (tmp_path / "runs").glob("*/truth*/seed0")
    perfect = RunFolder(written).result()["metrics"]["generalised-v1"]
    assert {perfect[name]["value"] for name in ("giou", "ciou", "nacc", "tacc")} == {1.0}
    assert check(RunFolder(written).result_path) == []
