"""The robustness board: drops against a naive reference, ranks, and no perturbed result on any other board."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from helpers.results import make_result, make_table, write
from rrsis_bench.boards.board import build_boards
from rrsis_bench.boards.collect import collect
from rrsis_bench.boards.leaderboard import FORMATS, pages
from rrsis_bench.boards.rows import score_tables
from rrsis_bench.errors import UsageError, UserError
from rrsis_bench.results import record
from rrsis_bench.results.comparison import comparison
from rrsis_bench.results.maintain import check, export
from rrsis_bench.results.samples import SampleTable
from rrsis_bench.run.folder import RunFolder
from rrsis_bench.stats.drops import SeedRuns, relative_drops
from rrsis_bench.stats.paired import RunCounts
from rrsis_bench.sweep.cell import Cell
from rrsis_bench.sweep.cells import unscored
from rrsis_bench.sweep.grid import read_sweep
from rrsis_bench.sweep.launchers.base import command_line


def block(name: str, severity: int = 3, version: int = 1) -> dict[str, int | str]:
    return {"name": name, "severity": severity, "version": version, "n_left_out": 0, "n_unchanged": 0}


def worse(table: SampleTable, share: float, kept: int | None = None) -> SampleTable:
    """The table with a share of each intersection, and only its first samples."""
    counts = table.counts.copy()
    counts[..., 2] = (counts[..., 2] * share).astype(np.int64)
    rows = slice(0, kept)
    return make_table(
        len(table.sample_id[rows]), counts=counts[rows], sample_id=table.sample_id[rows], image_id=table.image_id[rows]
    )


def file(folder: Path, table: SampleTable, name: str, seed: int = 0, version: int = 1, **changes: object) -> RunFolder:
    """File a perturbed result under a run."""
    beside = {"perturbation": block(name, version=version)}
    result = make_result(table, seed=seed, beside=beside, language_control=None, **changes)
    made = RunFolder(folder).perturbed(f"{name}-3")
    record.write_run(made, result, table, "a: 1\n")
    return made


@pytest.mark.slow
def test_a_board_of_its_own_and_no_other(tmp_path: Path) -> None:
    for method, share in (("lavt", 0.9), ("rmsin", 0.4)):
        for seed in (0, 1):
            table = make_table(90, seed=seed)
            counts = table.counts.copy()
            counts[..., 0] = make_table(90, seed=0).counts[..., 0]  # the split's truth is that of every run
            counts[..., 2] = np.minimum(counts[..., 2], counts[..., 0])
            table = make_table(90, counts=counts)
            folder = write(tmp_path / "runs", seed, method=method, table=table)
            file(folder, worse(table, share), "haze", seed, method=method)
            file(folder, worse(table, 0.5, 60), "turn-90", seed, method=method)
    runs, warnings = collect(tmp_path)
    assert warnings == []
    boards = {board.name: board for board in build_boards(runs)}
    (smoke,) = boards["smoke"].tables
    assert [row.n_seeds for row in smoke.rows] == [2, 2]
    assert sum(row.n_seeds for table in score_tables(runs, {}) for row in table.rows) == 4
    (table,) = boards["robustness"].beside
    assert table.labels == ("haze:3", "turn-90:3")
    first, second = table.rows
    assert (first["method"], first["rank"], second["rank"]) == ("lavt", 1, 2)
    assert first["interval"][0] <= first["drop"] <= first["interval"][1]
    assert first["drop"] == pytest.approx(np.mean(list(first["drops"].values())))
    texts = pages(list(boards.values()), FORMATS)
    for suffix in ("md", "csv", "json", "tex"):
        assert "haze:3" in texts[f"robustness.{suffix}"] or suffix == "tex"
        assert "haze" not in texts[f"smoke.{suffix}"]
    assert "Robustness" in texts["index.html"]
    assert "robustness.md" in texts["README.md"]
    without = [run for run in runs if "perturbation" not in run.result]
    assert pages(build_boards(without), ["md", "csv"], whole=False)["smoke.md"] == texts["smoke.md"]


def test_misfiled_results_are_left_out_and_named(tmp_path: Path) -> None:
    table = make_table(30)
    folder = write(tmp_path / "runs", table=table)
    file(folder, worse(table, 0.5), "haze", training={"seed": 0, "steps": 7})
    file(folder, make_table(30, seed=5), "noise")
    file(tmp_path / "runs" / "tiny" / "lavt@tiny" / "seed9", worse(table, 0.7), "jpeg")
    runs, warnings = collect(tmp_path)
    assert len(runs) == 1
    assert len(warnings) == 3
    assert any("not of the training" in one for one in warnings)
    assert any("other samples" in one for one in warnings)
    assert any("no result of the split itself" in one for one in warnings)


def test_a_method_without_every_perturbation_has_no_mean(tmp_path: Path) -> None:
    tables = [make_table(30, seed=4), make_table(30, seed=4, quality=0.8)]
    for seed, table in enumerate(tables):
        folder = write(tmp_path / "runs", method=("lavt", "rmsin")[seed], table=table)
        file(folder, worse(table, 0.5 + seed / 10), "haze", version=1 + seed, method=("lavt", "rmsin")[seed])
    runs, _ = collect(tmp_path)
    (table,) = build_boards(runs)[-1].beside
    assert table.labels == ("haze:3", "haze:3 v2")
    assert [row["drop"] for row in table.rows] == [None, None]
    assert "without a mean" in table.remarks[0]


def runs_of(seed: int, shares: dict[str, float], images: int) -> SeedRuns:
    table = make_table(3 * images, seed=7)
    rng = np.random.default_rng(seed)
    clean = table.view("native").copy()
    clean[:, 2] = clean[:, 2] * rng.uniform(0.7, 1, len(clean))
    perturbed = {}
    for name, share in shares.items():
        counts = clean.copy()
        counts[:, 2] = counts[:, 2] * share * rng.uniform(0.8, 1, len(clean))
        rows = slice(0, len(clean) - 3 * (name == "turn"))
        perturbed[name] = RunCounts(table.sample_id[rows], table.image_id[rows], counts[rows])
    return SeedRuns(RunCounts(table.sample_id, table.image_id, clean), perturbed)


@pytest.mark.parametrize("images", [4, 10, 30])
def test_drops_are_those_of_a_naive_reference(images: int) -> None:
    entries = {
        "a": [runs_of(seed, {"haze": 0.9, "turn": 0.8}, images) for seed in (0, 1)],
        "b": [runs_of(seed, {"haze": 0.5, "turn": 0.4}, images) for seed in (2, 3)],
    }
    found = relative_drops(entries, ["haze", "turn"], resamples=200, seed=3)

    def iou(run: RunCounts, ids: set[str]) -> list[float]:
        return [i / (t + p - i) for one, (t, p, i) in zip(run.sample_id, run.counts, strict=True) if one in ids]

    for name, runs in entries.items():
        drops = []
        for perturbation in ("haze", "turn"):
            ids = set(runs[0].perturbed[perturbation].sample_id)
            clean = np.mean([np.mean(iou(run.clean, ids)) for run in runs])
            there = np.mean([np.mean(iou(run.perturbed[perturbation], ids)) for run in runs])
            drops.append(1 - there / clean)
            assert found[name].by[perturbation] == pytest.approx(drops[-1])
        assert found[name].mean == pytest.approx(np.mean(drops))
        if images == 4:  # some resample holds none of the samples that the turn keeps
            assert found[name].interval is None
        else:
            low, high = found[name].interval or (np.nan, np.nan)
            assert low <= np.mean(drops) <= high
    assert (found["a"].rank, found["b"].rank) == ((1, 1) if images == 4 else (1, 2))


def test_export_copies_what_is_filed_under_a_run(tmp_path: Path) -> None:
    table = make_table(12)
    folder = write(tmp_path / "mine", table=table)
    made = file(folder, worse(table, 0.5), "haze")
    target = RunFolder(export(folder, tmp_path / "out"))
    assert check(target.perturbed("haze-3").result_path) == []
    assert target.perturbed("haze-3").result()["perturbation"] == made.result()["perturbation"]
    target.perturbed("haze-3").result_path.unlink()
    assert export(made.path, tmp_path / "out") == target.perturbed("haze-3").path


def test_nothing_is_exported_beside_a_damaged_result(tmp_path: Path) -> None:
    folder = write(tmp_path / "mine", table=make_table(12))
    made = file(folder, make_table(12), "haze")
    made.samples_path.unlink()
    with pytest.raises(UserError, match="not exported"):
        export(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_comparison_says_what_a_result_was_perturbed_by(tmp_path: Path) -> None:
    folder = write(tmp_path, table=make_table(12))
    made = file(folder, make_table(12), "haze")
    found = comparison(folder, made.path, resamples=50)
    assert (found["a"]["name"], found["b"]["name"]) == ("lavt@tiny", "lavt@tiny under haze:3")


def test_an_old_run_takes_its_perturbed_results_with_it(tmp_path: Path) -> None:
    folder = write(tmp_path, table=make_table(12))
    file(folder, make_table(12), "haze")
    moved = RunFolder(folder).set_aside()
    assert moved is not None
    assert not list(tmp_path.rglob("result.json"))
    assert len(list(tmp_path.rglob("result.json.replaced"))) == 2


def test_a_sweep_scores_its_cells_under_perturbations(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "methods: [lavt]\ndatasets: [tiny]\nperturb: [haze:3, mirror]\ncells: {plain: {method: lavt, perturb: []}}\n"
    )
    cell, plain = read_sweep(str(path), tmp_path / "runs").cells
    assert (cell.perturb, plain.perturb) == (("haze:3", "mirror"), ())
    assert Cell.from_json(cell.to_json()) == cell
    assert unscored(cell) == ["haze:3", "mirror"]
    assert unscored(plain) == []
    table = make_table(12)
    record.write_run(cell.folder, make_result(table, training={"seed": 0, "seconds": 1.0}), table, "a: 1\n")
    file(cell.folder.path, table, "haze", training={"seed": 0, "steps": 7})  # of an earlier training
    assert unscored(cell) == ["haze:3", "mirror"]
    file(cell.folder.path, table, "haze", training={"seed": 0, "seconds": 2.0})
    assert unscored(cell) == ["mirror"]
    file(cell.folder.path, table, "haze", version=9)
    assert unscored(cell) == ["haze:3", "mirror"]
    fit, test = command_line(cell).split(" && ")
    assert " fit " in fit
    assert test.endswith(" --overwrite --perturb haze:3 --perturb mirror")
    released = replace(cell, weights="file.pth", request=replace(cell.request, detail=True))
    words = released.perturb_words(["mirror"])
    assert words[0] == "test"
    assert "--detail" in released.words
    assert "--detail" not in words
    assert (words[words.index("--weights") + 1], words[-1]) == ("file.pth", "mirror")
    for bad, message in (("[hase]", "Did you mean 'haze'"), ("[haze:9]", "from 1 to 5"), ("[haze, haze:3]", "twice")):
        path.write_text(f"methods: [lavt]\ndatasets: [tiny]\nperturb: {bad}\n")
        with pytest.raises(UsageError, match=message):
            read_sweep(str(path), tmp_path / "runs")
