"""One table of metrics: what stands in it is scored, checked, written, compared and shown."""

from __future__ import annotations

import csv
import json
import re
from types import SimpleNamespace

import numpy as np
import pytest

from helpers.results import make_result, make_table, write
from rrsis_bench.boards import sweep_table
from rrsis_bench.boards.leaderboard import outputs
from rrsis_bench.boards.tables import print_scores, values
from rrsis_bench.cli import main
from rrsis_bench.engine.scored import Scored
from rrsis_bench.engine.task import ReferringSegmentationTask
from rrsis_bench.metrics.definitions import METRICS, Metric, choosing, shown
from rrsis_bench.metrics.functional import scores
from rrsis_bench.metrics.protocols import NATIVE, get
from rrsis_bench.results.maintain import check, rescore
from rrsis_bench.results.schema import schema, violations
from rrsis_bench.run.folder import RunFolder

PRECISION = Metric(
    "purity", "Purity", "ratio", lambda areas: np.stack([areas.inter, areas.pred], axis=1), "headline"
)  # fmt: skip
RECALL = Metric("recall", "Recall", "mean", lambda areas: areas.inter / areas.truth, "tables")
HIDDEN = Metric("nothing", "Nothing", "mean", lambda areas: areas.truth * 0.0)


@pytest.fixture(params=[PRECISION, RECALL, HIDDEN], ids=lambda metric: metric.name)
def toy(request, monkeypatch):
    """A metric added in the one place."""
    monkeypatch.setitem(METRICS, request.param.name, request.param)
    return request.param


def naive(metric, counts):
    rows = counts.tolist()
    if metric is PRECISION:
        return sum(i for _, _, i in rows) / sum(p for _, p, _ in rows)
    return sum(i / t for t, _, i in rows) / len(rows) if metric is RECALL else 0.0


def test_order_titles_and_places_are_those_of_the_committed_tables():
    assert list(METRICS) == ["miou", "oiou", "pr50", "pr60", "pr70", "pr80", "pr90", "map_pr", "dice"]
    titles = {place: [metric.title for metric in shown(place)] for place in ("headline", "tables", "terminal")}
    assert titles["headline"] == ["mIoU", "oIoU"]
    assert titles["tables"] == ["mIoU", "oIoU", "Pr@.5", "Pr@.7", "Pr@.9"]
    assert titles["terminal"] == ["mIoU", "oIoU", "Pr@.5", "Pr@.6", "Pr@.7", "Pr@.8", "Pr@.9"]
    assert shown("files") == list(METRICS.values())


def test_names_and_titles_are_unique_and_leave_the_counts_alone():
    assert all(name == metric.name for name, metric in METRICS.items())
    assert len({metric.title for metric in METRICS.values()}) == len(METRICS)
    assert not {"n", "n_empty", "by"} & set(METRICS)


def test_the_schema_asks_for_exactly_the_metrics_of_the_table():
    block = schema()["$defs"]["scores"]
    assert set(block["required"]) == set(block["properties"]) == {"n", "n_empty", "by", *METRICS}
    assert block["additionalProperties"] is False
    result = make_result()
    assert violations(result) == []
    scored = result["metrics"]["native-v1"]
    assert "was unexpected" in violations({**result, "metrics": {"native-v1": {**scored, "more": scored["miou"]}}})[0]
    del scored["dice"]
    assert "'dice' is a required property" in violations(result)[0]


def test_a_further_metric_is_scored_checked_and_needed(toy, tmp_path):
    table = make_table()
    found = scores(table.view("native"), "native-v1")
    assert found[toy.name] == pytest.approx(naive(toy, table.view("native")), abs=1e-12)
    folder = write(tmp_path, table=table)
    result = RunFolder(folder).result()
    entry = result["metrics"]["native-v1"][toy.name]
    assert entry["value"] == found[toy.name]
    assert entry["interval"][0] <= entry["value"] <= entry["interval"][1]
    assert result["metrics"]["native-v1"]["by"]["category"]["ship"][toy.name] is not None
    assert check(folder / "result.json") == []


def test_a_result_from_before_lacks_it_until_it_is_rescored(tmp_path, monkeypatch):
    folder = write(tmp_path)
    monkeypatch.setitem(METRICS, RECALL.name, RECALL)
    assert "'recall' is a required property" in check(folder / "result.json")[0]
    rescore([folder / "result.json"])
    assert check(folder / "result.json") == []


def test_a_further_metric_is_in_the_terminal_s_table(toy, tmp_path, capsys):
    result = RunFolder(write(tmp_path)).result()
    print_scores("here", values(result))
    out = capsys.readouterr().out
    assert (toy.title in out) == (toy is not HIDDEN)
    if toy is not HIDDEN:
        assert f"{100 * result['metrics']['native-v1'][toy.name]['value']:.2f}" in out


def test_a_further_metric_is_on_the_boards_in_every_format(toy, tmp_path):
    folder = write(tmp_path / "results" / "runs")
    value = RunFolder(folder).result()["metrics"]["native-v1"][toy.name]["value"]
    files = {path.name: text for path, text in outputs(tmp_path / "results")[0].items()}
    there = toy is not HIDDEN
    for name in ("smoke.md", "smoke.tex", "index.html"):
        assert (toy.title in files[name]) == there, name
        assert (f"{100 * value:.2f}" in files[name]) or not there, name
    (line,) = csv.DictReader(files["smoke.csv"].splitlines())
    (row,) = json.loads(files["smoke.json"])["tables"][0]["rows"]
    if there:
        assert float(line[toy.name]) == row["mean"][toy.name] == value
        assert line[f"{toy.name}_sd"] == line[f"published_{toy.name}"] == ""
    else:
        assert toy.name not in line
        assert toy.name not in row["mean"]


def test_boards_of_results_from_before_leave_its_column_out(tmp_path, monkeypatch):
    write(tmp_path / "results" / "runs")
    before = {path.name: text for path, text in outputs(tmp_path / "results", formats=["md"])[0].items()}
    monkeypatch.setitem(METRICS, RECALL.name, RECALL)
    after = {path.name: text for path, text in outputs(tmp_path / "results", formats=["md"])[0].items()}
    assert before == after


def test_a_further_metric_is_compared(toy, tmp_path, capsys):
    one, other = (write(tmp_path, method=name, table=make_table(quality=quality)) for name, quality in
                  (("good", 0.9), ("poor", 0.2)))  # fmt: skip
    assert main(["results", "compare", str(one), str(other), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["overall"][toy.name]["p"] is not None
    assert (toy.name in found["by"]["category"]["ship"]) == (toy is PRECISION)
    assert main(["results", "compare", str(one), str(other)]) == 0
    out = capsys.readouterr().out
    assert re.search(rf"{toy.title} +│", out)
    assert (f"{toy.title} A" in out) == (toy is PRECISION)


def test_a_further_metric_is_in_a_sweep_s_table(toy):
    members = [sweep_table.Member("tiny", name, (make_result(make_table(quality=quality)),), 1) for name, quality in
               (("a", 0.9), ("b", 0.2))]  # fmt: skip
    found = sweep_table.rows(members)
    heads = sweep_table.markdown("t", found).splitlines()[2].strip("| ").split(" | ")
    assert (toy.title in heads, f"Δ {toy.title}" in heads) == (toy is not HIDDEN, toy is PRECISION)
    first, second = csv.DictReader(sweep_table.csv_text(found).splitlines())
    if toy is PRECISION:
        gap = float(second[toy.name]) - float(first[toy.name])
        assert float(second[f"{toy.name}_difference"]) == pytest.approx(gap)


def test_a_sweep_s_table_of_results_from_before_leaves_its_cells_empty(monkeypatch):
    member = sweep_table.Member("tiny", "a", (make_result(),), 1)
    monkeypatch.setitem(METRICS, RECALL.name, RECALL)
    (line,) = csv.DictReader(sweep_table.csv_text(sweep_table.rows([member])).splitlines())
    assert (line["recall"], line["recall_sd"]) == ("", "")


def test_a_further_metric_may_choose_the_checkpoint_and_is_logged(toy):
    logged = {}
    task = SimpleNamespace(protocols=(get("native-v1"),), log_dict=lambda values, **_: logged.update(values))
    table = make_table()
    scored = Scored(np.arange(len(table)), table.counts[:, :1], (NATIVE,))
    ReferringSegmentationTask._log_scores(task, "val", scored)
    assert set(logged) == {f"val/{name}" for name in METRICS}
    assert choosing(toy.name, "native-v1") == toy.name
    assert task.latest_scores[toy.name] == scores(table.view("native"), "native-v1")[toy.name]
