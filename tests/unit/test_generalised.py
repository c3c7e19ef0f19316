"""`generalised-v1`: its metrics against loops over masks, and the rule by which other protocols leave samples out."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.results import make_result, make_table, write
from rrsis_bench.boards.board import make_board
from rrsis_bench.boards.collect import collect
from rrsis_bench.boards.tables import print_scores, scored_split, values
from rrsis_bench.cli import main
from rrsis_bench.engine.scored import Scored
from rrsis_bench.metrics.definitions import GENERALISED, METRICS, monitored
from rrsis_bench.metrics.functional import score_masks, scores
from rrsis_bench.metrics.protocols import DEFAULT, NATIVE, PROTOCOLS, expand, get, of_masks
from rrsis_bench.results import record
from rrsis_bench.results.maintain import check, rescored
from rrsis_bench.results.schema import schema, violations
from rrsis_bench.run.folder import RunFolder

NAME = "generalised-v1"
TARGETLESS = {"n_skipped": {"empty_truth": 3}, "empty_truth": "no-target"}


def reference(truths, preds, nothing):
    """Loops over samples and pixels, by the words of the definitions."""
    ious, inters, unions, right_none, none, right_some, some = [], 0, 0, 0, 0, 0, 0
    for truth, pred in zip(truths, preds, strict=True):
        rows = [list(map(bool, row)) for row in pred]
        if sum(map(sum, rows)) <= nothing:
            rows = [[False] * len(row) for row in rows]
        inter = sum(t and p for a, b in zip(truth, rows, strict=True) for t, p in zip(a, b, strict=True))
        union = sum(t or p for a, b in zip(truth, rows, strict=True) for t, p in zip(a, b, strict=True))
        answered = any(map(any, rows))
        if any(map(any, truth)):
            some += 1
            right_some += answered
            inters, unions = inters + inter, unions + union
            ious.append(inter / union)
        else:
            none += 1
            right_none += not answered
            ious.append(0.0 if answered else 1.0)
    return {
        "giou": sum(ious) / len(ious),
        "ciou": inters / unions if some else math.nan,
        "nacc": right_none / none if none else math.nan,
        "tacc": right_some / some if some else math.nan,
    }


mask = st.one_of(
    st.just([[False] * 3] * 3), st.lists(st.lists(st.booleans(), min_size=3, max_size=3), min_size=3, max_size=3)
)


@given(pairs=st.lists(st.tuples(mask, mask), min_size=1, max_size=8), nothing=st.sampled_from([0, 0, 1, 4, 9]))
@settings(max_examples=60, deadline=None)
def test_equal_to_loops_over_masks(pairs, nothing):
    truths, preds = [truth for truth, _ in pairs], [pred for _, pred in pairs]
    protocol = replace(get(NAME), nothing=nothing)
    found = score_masks([np.array(one) for one in truths], [np.array(one) for one in preds], protocol)
    assert set(found) == {*GENERALISED, "n", "n_empty"}
    for name, value in reference(truths, preds, nothing).items():
        assert found[name] == pytest.approx(value, abs=1e-12, nan_ok=True), name
    counts = np.array([[np.sum(t), np.sum(p), np.sum(np.logical_and(t, p))] for t, p in pairs], np.int64)
    chosen = Scored(np.arange(len(pairs)), counts[:, None], (NATIVE,)).choosing(protocol)
    assert all(map(math.isfinite, chosen.values()))


def test_a_prediction_of_the_threshold_is_nothing_and_one_pixel_more_is_an_answer():
    counts = np.array([[0, 5, 0], [0, 6, 0], [40, 5, 5], [40, 6, 6]])
    found = scores(counts, replace(get(NAME), nothing=5))
    assert (found["nacc"], found["tacc"]) == (0.5, 0.5)
    assert found["ciou"] == 6 / 80
    assert found["giou"] == pytest.approx((1 + 0 + 0 + 6 / 40) / 4)
    assert get(NAME).nothing == 0


def test_only_data_sets_with_no_target_samples_are_scored_by_it_unasked():
    assert NAME not in expand()
    assert NAME not in of_masks()
    assert expand(generalised=True)[-1] == NAME
    assert expand(NAME)[:2] == [NAME, DEFAULT]
    assert of_masks(generalised=True)[-1] == NAME
    assert [monitored(name, NAME) for name in ("miou", "oiou", "nacc", "pr50")] == ["giou", "ciou", "nacc", "pr50"]
    assert [monitored(name, DEFAULT) for name in ("giou", "ciou", "miou", "nacc")] == ["miou", "oiou", "miou", "nacc"]
    assert not set(GENERALISED) & set(METRICS)


def mixed_table():
    """A table in which three of the photographs' samples have no target; one of them is answered with something."""
    table = make_table()
    counts = table.counts.copy()
    counts[:3, :, 0] = counts[:3, :, 2] = 0
    counts[:2, :, 1] = 0
    counts[2, :, 1] = 50
    return replace(table, counts=counts)


def test_other_protocols_leave_samples_without_target_out_and_the_generalised_score_all():
    table = mixed_table()
    result = make_result(table, said=TARGETLESS)
    assert violations(result) == []
    rest = table.rows(np.arange(3, len(table)))
    for name, protocol in PROTOCOLS.items():
        block = result["metrics"][name]
        scored = table if protocol.generalised else rest
        expected = scores(scored.view(protocol.view.name), protocol)
        assert (block["n"], block["n_empty"]) == (len(scored), 3 if protocol.generalised else 0)
        for metric in GENERALISED if protocol.generalised else METRICS:
            assert block[metric]["value"] == expected[metric]
    own = result["metrics"][NAME]
    assert own["nacc"]["value"] == pytest.approx(2 / 3)
    assert sum(part["n"] for part in own["by"]["size"].values()) == len(rest), "what is not there has no size"
    assert sum(part["n"] for part in own["by"]["wording"].values()) == len(table)
    # What the rule `keep` gave before is what it gives now.
    kept = make_result(table)["metrics"][DEFAULT]
    assert (kept["n"], kept["n_empty"]) == (len(table), 3)


def test_the_rule_is_kept_by_check_rescore_compare_and_boards(tmp_path, capsys):
    table = mixed_table()
    folders = []
    worse = table.counts.copy()
    worse[..., 2] //= 2
    for method, seen in (("one", table), ("other", replace(table, counts=worse))):
        folder = RunFolder(tmp_path / "tiny" / f"{method}@tiny" / "seed0")
        record.write_run(folder, make_result(seen, method=method, said=TARGETLESS), seen, "a: 1\n")
        folders.append(folder)
        assert check(folder.result_path) == []
        assert not rescored(folder.result_path).changed
    entries, warnings = collect(tmp_path)
    assert warnings == []
    assert {len(entry.counts.sample_id) for entry in entries} == {len(table) - 3}
    assert make_board("smoke", entries).tables[0].n_samples == (len(table) - 3,)
    words = ["results", "compare", *(str(folder) for folder in folders)]
    for protocol, n, titles in ((DEFAULT, len(table) - 3, METRICS), (NAME, len(table), GENERALISED)):
        assert main([*words, "--protocol", protocol, "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["n_samples"] == n
        assert set(found["overall"]) == set(titles)
        assert sum(part["n"] for part in found["by"]["size"].values()) == len(table) - 3
    assert main([*words, "--protocol", NAME]) == 0
    assert "N-acc" in capsys.readouterr().out
    print_scores(scored_split("tiny", "test", {"empty_truth": 3}, "no-target"), values(folders[0].result()))
    shown = capsys.readouterr().out
    assert "3 samples with an empty truth scored by generalised protocols only, empty_truth: no-target" in " ".join(
        shown.split()
    )
    heads = [line for line in shown.splitlines() if "protocol " in line and "┃" in line]
    assert sorted(("Pr@.5" in head, "T-acc" in head) for head in heads) == [(False, True), (True, False)]
    assert f"{100 * folders[0].result()['metrics'][NAME]['giou']['value']:.2f}" in shown


def test_the_schema_asks_for_the_metrics_of_each_protocol():
    blocks = schema()["$defs"]
    assert set(blocks["generalised"]["required"]) == {"n", "n_empty", "by", *GENERALISED}
    result = make_result(mixed_table(), said=TARGETLESS)
    native = result["metrics"][DEFAULT]
    assert violations({**result, "metrics": {**result["metrics"], NAME: native}}) != []
    assert violations({**result, "metrics": {DEFAULT: result["metrics"][NAME]}}) != []


def test_a_result_without_the_rule_says_nothing_of_it(tmp_path):
    assert "empty_truth" not in RunFolder(write(tmp_path)).result()["dataset"]
