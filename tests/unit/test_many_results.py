"""Boards of very many results: fast, and a damaged one among them costs only itself."""

from __future__ import annotations

import json
import time

import pytest

from benchmarks.leaderboard import METHODS, SEEDS, generate, measure
from helpers.results import make_table, write
from rrsis_bench.errors import UserError
from rrsis_bench.results.maintain import check
from rrsis_bench.run.seal import read as read_result


def damage(root, dataset="set000"):
    """Truncate one result and edit another by hand."""
    truncated, edited = (
        root / "runs" / dataset / "m000@base" / f"seed{seed}" / "result.json" for seed in (0, 1)
    )  # fmt: skip
    truncated.write_text(truncated.read_text()[:5000])
    edited.write_text(edited.read_text().replace('"value": 0.', '"value": 0.9', 1))
    return truncated, edited


@pytest.mark.slow
def test_damaged_results_are_named_and_the_rest_stays(tmp_path):
    generate(tmp_path, 3 * SEEDS)
    bad = damage(tmp_path)
    _, rows, warnings = measure(tmp_path)
    assert rows == 3
    assert len(warnings) == 2
    for path, warning in zip(bad, warnings, strict=True):
        assert str(path) in warning
        assert check(path)


@pytest.mark.slow
@pytest.mark.timing
def test_boards_of_ten_thousand_results_take_less_than_twenty_seconds(tmp_path):
    generate(tmp_path, 10_000)
    damage(tmp_path, "set007")
    # Processor time: what else a machine is doing meanwhile is not the leaderboard's.
    start = time.process_time()
    _, rows, warnings = measure(tmp_path)
    assert time.process_time() - start < 20
    assert rows == 10_000 // SEEDS
    assert len(warnings) == 2
    assert rows // METHODS == 20


def test_brief_reading_checks_the_whole_file_and_keeps_what_boards_show(tmp_path):
    path = write(tmp_path, table=make_table()) / "result.json"
    whole, brief = read_result(path), read_result(path, brief=True)
    assert brief["metrics"]["native-v1"] == whole["metrics"]["native-v1"]
    for name, block in whole["metrics"].items():
        assert brief["metrics"][name] == (block if name == "native-v1" else {**block, "by": {}})
    assert {key: brief[key] for key in brief if key != "metrics"} == {
        key: whole[key] for key in whole if key != "metrics"
    }
    text = path.read_text()
    place = text.index('"by"', text.index("paper-detris-v1")) + 200
    for edited in (text[:place] + text[place:].replace("0.", "0.1", 1), text[: place + 5]):
        path.write_text(edited)
        with pytest.raises(UserError, match=r"edited by hand|truncated"):
            read_result(path, brief=True)
    # Sound content in another layout is read whole.
    path.write_text(json.dumps(json.loads(text)))
    assert read_result(path, brief=True) == whole
