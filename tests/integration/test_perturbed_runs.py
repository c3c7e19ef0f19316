"""`test --perturb` and `test --run R --dataset OTHER` end to end on the smallest data: files, blocks, refusals."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from helpers import toy_data
from rrsis_bench.boards.collect import collect
from rrsis_bench.cli import main
from rrsis_bench.data.sources import synthetic
from rrsis_bench.results.maintain import check
from rrsis_bench.results.samples import read_samples
from rrsis_bench.run.folder import RunFolder
from rrsis_bench.run.seal import training_of

pytestmark = pytest.mark.slow
QUICK = ("--data.num_workers=0", "--trainer.enable_progress_bar=false")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of the data sets `toyset` and `otherset`, of which one image is planted, and of a run on `toyset`."""
    root = toy_data.make(tmp_path_factory.mktemp("perturbed") / "data").parent
    recipe = {"preset": "toy", "seed": 1, "layout": "rrsisd"}
    synthetic.write(root / "data" / "otherset", recipe, 96, {"train": 4, "val": 4, "test": 9})
    ours, theirs = (sorted((root / "data" / name).rglob("*.jpg")) for name in ("toyset", "otherset"))
    shutil.copy(ours[0], theirs[-1])  # of the training of one, and of the test of the other
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (
            ("DATA", root / "data"),
            ("RUNS", root / "runs"),
            ("CACHE", root / "cache"),
            ("CONFIGS", toy_data.RUNNER.parent / "toy_configs"),
        ):
            patch.setenv(f"RRSIS_{name}", str(value))
        words = ["fit", "--method", "prior-image", "--dataset", "toyset", "--trainer.max_epochs=1", *QUICK]
        assert main(words) == 0
        yield root


@pytest.fixture(scope="module")
def folder(root: Path) -> RunFolder:
    return RunFolder(root / "runs" / "toyset" / "prior-image@tiny" / "seed0")


def refusal(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The one line that a command is refused by."""
    capsys.readouterr()
    assert main(["test", *words, *QUICK]) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    return line


def test_perturbed_results_are_filed_under_the_run(
    root: Path, folder: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("haze:5", "turn-90", "synonyms", "noise:5")
    assert main(["test", "--run", str(folder), *QUICK, *(w for name in names for w in ("--perturb", name))]) == 0
    assert "toyset test, haze, severity 5" in capsys.readouterr().out
    clean, table = folder.result(), read_samples(folder)
    assert "perturbation" not in clean
    areas = dict(zip(table.sample_id, table.view("native")[:, 0].tolist(), strict=True))
    for label in ("haze-5", "turn-90-1", "synonyms-1", "noise-5"):
        made = folder.perturbed(label)
        assert {"config.yaml", "result.json", "samples.csv.gz"} <= {path.name for path in made.path.iterdir()}
        assert check(made.result_path) == []
        result, scored = made.result(), read_samples(made)
        block = result["perturbation"]
        assert f"{block['name']}-{block['severity']}" == label
        assert len(scored) == len(table) - block["n_left_out"]
        assert training_of(result) == training_of(clean)
        assert result["status"] == "complete"
        for sample_id, area in zip(scored.sample_id, scored.view("native")[:, 0].tolist(), strict=True):
            assert area == areas[sample_id]
    again = root / "again"
    assert main(["test", "--run", str(folder), *QUICK, "--perturb", "noise:5", "--out", str(again)]) == 0
    there = RunFolder(again).perturbed("noise-5").result()
    assert there["samples_sha256"] == folder.perturbed("noise-5").result()["samples_sha256"]
    assert "already holds a result" in refusal(capsys, "--run", str(folder), "--perturb", "noise:5")
    permuted = refusal(
        capsys, "--run", str(folder), "--perturb", "jpeg:1", "--data.permute_expressions=true", "--out", str(again)
    )
    assert "permute_expressions" in permuted
    assert not (again / "perturb" / "jpeg-1" / "result.json").exists()
    for words, said in (((), False), (("--data.limit.val=2",), True)):
        capsys.readouterr()
        assert main(["validate", "--run", str(folder), *QUICK, *words]) == 0
        assert ("only 2 of 5 samples of the val split were scored" in capsys.readouterr().out) is said
    other = root / "permuted"
    assert main(["test", "--run", str(folder), *QUICK, "--data.permute_expressions=true", "--out", str(other)]) == 0
    assert RunFolder(other).result()["status"] == "changed"
    (warning,) = collect(other)[1]
    assert "whose expressions are permuted" in warning


def test_a_run_elsewhere_is_filed_under_the_run(
    root: Path, folder: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["test", "--run", str(folder), "--dataset", "otherset", *QUICK]
    assert main(words) == 0
    assert "otherset test, trained on toyset" in capsys.readouterr().out
    there = folder.elsewhere("otherset")
    whole, table = there.result(), read_samples(there)
    assert check(there.result_path) == []
    assert (whole["dataset"]["name"], len(table), whole["status"]) == ("otherset", 9, "complete")
    block = whole["transfer"]
    assert block["trained_on"] == "toyset"
    assert set(block["shared"]) | set(block["unseen"]) == set(table.category)
    assert training_of(whole) == training_of(folder.result())
    assert whole["selected_on"] == "val"

    listed = root / "list.jsonl"
    assert main(["data", "overlap", "toyset", "otherset", "--out", str(listed), "--pictures", str(root / "p.jpg")]) == 0
    assert "toyset train - otherset test: 1 pairs" in capsys.readouterr().out
    assert (root / "p.jpg").stat().st_size > 1000
    assert main([*words, "--exclude-overlap", str(listed)]) == 0
    left = folder.elsewhere("otherset-without-overlap")
    kept = read_samples(left)
    out = left.result()["transfer"]["excluded"]["n_samples"]
    assert out == len(table) - len(kept) > 0
    assert left.result()["status"] == "complete"
    rows = np.flatnonzero(np.isin(table.sample_id, kept.sample_id))
    assert (table.counts[rows] == kept.counts).all()

    named = ("--ckpt", str(folder.checkpoint()), "--method", "prior-image", "--dataset", "otherset")
    assert "was trained on toyset, not on otherset" in refusal(capsys, *named)
    assert "own data set" in refusal(capsys, *words[1:5], "--perturb", "haze")
    assert "--detail is of the run's own split" in refusal(capsys, *words[1:5], "--detail")
    assert "--detail is of the run's own split" in refusal(capsys, *words[1:3], "--detail", "--perturb", "haze")
    other = next((root / "data" / "otherset").rglob("*.jpg"))
    shutil.copy(sorted((root / "data" / "otherset").rglob("*.jpg"))[-1], other)
    capsys.readouterr()
    assert main([*words, "--exclude-overlap", str(listed), "--overwrite"]) == 1
    assert "make it again: rrsis-bench data overlap toyset otherset." in capsys.readouterr().err
