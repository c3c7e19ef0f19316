"""`detail.csv.gz`: it comes back as written, is refused where it is not of the run, and its tables fit a terminal."""

from __future__ import annotations

import io
import re
import sys
from dataclasses import replace

import numpy as np
import pytest

from helpers.results import make_result, make_table
from rrsis_bench.cli import main
from rrsis_bench.data.wording import WORDINGS
from rrsis_bench.errors import UserError
from rrsis_bench.metrics.detail import BINS, COLUMNS, OTHERS
from rrsis_bench.results import record
from rrsis_bench.results.detail import Detail, SplitDetail, encode, parse, text
from rrsis_bench.results.explain import explain, load
from rrsis_bench.results.samples import SampleTable
from rrsis_bench.run.folder import RunFolder


def detail_of(table: SampleTable, others: bool = True) -> Detail:
    """A made-up detail that adds up to a table's native areas."""
    rng = np.random.default_rng(2)
    values = rng.integers(0, 50, (len(table), len(COLUMNS)))
    values[:, 0] %= 2
    if not others:
        values[:, [COLUMNS.index(name) for name in OTHERS]] = 0
    truth, pred, inter = table.view("native").T
    outside, inside = np.zeros((2, len(table), BINS), np.int64)
    inside[:, 17], inside[:, 3] = inter, truth - inter
    outside[:, 12], outside[:, 0] = pred - inter, 100
    values[:, -2 * BINS :] = np.concatenate([outside, inside], axis=1)
    texts = ["the second largest white ship"] * len(table)
    test = SplitDetail.build(table.sample_id, texts, values)
    return Detail(test, SplitDetail.build(["v2", "v\r,1"], ["a dam", "the dam on the left"], values[:2]))


@pytest.mark.parametrize("others", [True, False])
def test_the_table_comes_back_and_its_bytes_are_always_the_same(others, tmp_path):
    detail = detail_of(make_table(), others)
    assert encode(detail) == encode(detail)
    again = parse(text(detail), tmp_path)
    assert text(again) == text(detail)
    assert again.val is not None
    assert again.val.sample_id == ("v\r,1", "v2")
    assert (again.test.values == detail.test.values).all()
    assert (again.has_others, '"","","","","",""' in text(detail)) == (others, not others)
    assert dict(zip(WORDINGS, again.test.wording[0].tolist(), strict=True)) == {
        "position": False, "relation": False, "superlative": True, "ordinal": True, "colour": True,
    }  # fmt: skip
    for broken in (text(detail).replace('"test"', '"tset"', 1), text(detail) + "val,x\n", "split,sample_id\n"):
        with pytest.raises(UserError):
            parse(broken, tmp_path)


def test_a_detail_of_other_samples_is_found(tmp_path, capsys):
    table = make_table()
    detail = detail_of(table)
    values = detail.test.values.copy()
    values[4, -1] += 1
    moved = Detail(replace(detail.test, values=values))
    for part, message in ((detail, "0 bad"), (moved, "'s0004' does not add up to its areas")):
        folder = RunFolder(tmp_path / message[:2].strip() / "seed0")
        record.write_run(folder, make_result(table, detail=part.block()), table, "a: 1\n", detail=part)
        main(["results", "check", str(folder)])
        assert message in "".join(capsys.readouterr())


@pytest.mark.parametrize("others", [True, False])
def test_explaining_fits_80_columns_and_cuts_nothing(others, tmp_path, monkeypatch, capsys):
    names = ["Expressway-Service-area", "ground track field", "ship"]
    table = make_table(30, category=[names[k % 3] for k in range(30)])
    folder, detail = RunFolder(tmp_path / "tiny" / "lavt@tiny" / "seed0"), detail_of(table, others)
    result = make_result(table, detail=detail.block())
    record.write_run(folder, result, table, "data: {dataset: nothing}\n", detail=detail)
    monkeypatch.chdir(tmp_path)
    words = ["results", "explain", "tiny/lavt@tiny/seed0"]
    assert main(words) == 0
    whole = capsys.readouterr()
    assert ("no image is known to hold several instances" in whole.out) == (not others)
    (note,) = whole.err.splitlines()
    assert "no examples of lavt@tiny" in note

    class Screen(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setenv("COLUMNS", "80")
    screen = Screen()
    monkeypatch.setattr(sys, "stdout", screen)
    assert main(words) == 0
    seen = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue())
    assert max(map(len, seen.splitlines())) <= 80
    numbers = re.findall(r"[-+]?\d+\.\d+", whole.out)
    assert sorted(re.findall(r"[-+]?\d+\.\d+", seen)) == sorted(numbers)
    assert "…" not in seen + whole.out


def test_samples_without_a_target_are_neither_right_nor_missed(tmp_path):
    table = make_table(30)
    counts = table.counts.copy()
    counts[:4, :, 0] = counts[:4, :, 2] = 0
    counts[:2, :, 1] = 0
    table = replace(table, counts=counts)
    found = {}
    for name, samples in (("whole", table), ("rest", table.rows(np.arange(4, 30)))):
        folder, detail = RunFolder(tmp_path / name / "seed0"), detail_of(table)
        detail = Detail(detail.test.rows(range(30 - len(samples), 30)), detail.val)
        said = {"n_skipped": {"empty_truth": 4}, "empty_truth": "no-target"}
        record.write_run(
            folder, make_result(samples, said=said, detail=detail.block()), samples, "a: 1\n", detail=detail
        )
        found[name] = explain(load(folder.path), 50)
        found[name].pop("folder")
    assert found["whole"]["notes"][0].startswith("samples without a target are left out: 4;")
    assert not [note for note in found["rest"]["notes"] if "target" in note]
    assert {**found["whole"], "notes": []} == {**found["rest"], "notes": []}
    scored = make_result(table, said=said)["metrics"]["native-v1"]["miou"]["value"]
    assert found["whole"]["measures"]["miou"]["value"] == pytest.approx(scored, abs=1e-12)
