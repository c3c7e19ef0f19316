"""Zero-shot variants: `test` needs no checkpoint, `fit` names `test`, and their rows have tables of their own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import rrsis_bench
from helpers import toy_data
from helpers.clipseg_small import SIDE, saved
from helpers.results import make_result, write
from rrsis_bench.boards.board import build_boards
from rrsis_bench.boards.collect import collect
from rrsis_bench.boards.render.views import views
from rrsis_bench.errors import UsageError, UserError
from rrsis_bench.nn.encoders.library import library_class
from rrsis_bench.nn.weights.refs import MissingDownloadError, resolve

WORDS = ("--method", "clipseg", "--variant", "zero-shot", "--dataset", "toyset")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("zero")
    toy_data.make(root / "data")
    saved(root / "weights")
    return root


def flags(weights: Path | str) -> tuple[str, ...]:
    return (f"--model.options.network_weights={weights}", f"--model.options.image_size={SIDE}")


@pytest.mark.slow
def test_published_weights_are_scored_without_a_checkpoint_and_predict(folder: Path) -> None:
    done = toy_data.run(folder, "test", *WORDS, *flags(folder / "weights"), "--data.num_workers=0")
    assert done.returncode == 0, done.stderr
    run = folder / "runs" / "toyset" / "clipseg@zero-shot" / "seed0"
    result = json.loads((run / "result.json").read_text())
    assert (result["kind"], result["selected_on"], result["training"]) == ("zero-shot", "none", None)
    assert (result["method"]["fidelity"], result["method"]["policy"]) == ("library", "nothing")
    assert result["efficiency"]["trainable_parameters"] == 0
    assert result["dataset"]["n_samples"] == toy_data.COUNTS["test"]
    image = next((folder / "data").rglob("*.jpg"))
    words = ("predict", "--run", str(run), "--image", str(image), "--text", "the ship", "--out", str(folder / "out"))
    predicted = toy_data.run(folder, *words, "--device", "cpu")
    assert predicted.returncode == 0, predicted.stderr
    (facts,) = (folder / "out").glob("*.json")
    assert json.loads(facts.read_text())["method"]["checkpoint"] is None


@pytest.mark.slow
def test_missing_and_random_weights_are_refused(folder: Path) -> None:
    missing = toy_data.run_alone(folder, "test", *WORDS, "--seed", "1", HF_HUB_OFFLINE="1", HF_HOME=str(folder / "hub"))
    assert missing.returncode == 3, missing.stderr
    (line,) = missing.stderr.strip().splitlines()
    assert "CIDAS/clipseg-rd64-refined" in line
    random = toy_data.run(folder, "test", *WORDS, "--seed", "1", *flags("random"), "--model.options.network=nano")
    assert random.returncode == 2, random.stderr
    assert "scores published weights, but its configuration names none" in random.stderr


def test_fit_says_what_to_run_instead() -> None:
    with pytest.raises(UsageError, match=r"nothing is trained; score it: rrsis-bench test --method clipseg --variant"):
        rrsis_bench.fit(method="clipseg", variant="zero-shot", dataset="tiny")
    with pytest.raises(UsageError, match="--dataset tiny"):
        rrsis_bench.fit(method="clipseg", variant="tiny", values={"model.options.policy": "zero-shot"})


def test_a_trained_variant_still_needs_a_checkpoint() -> None:
    for request in ({}, {"method": "clipseg", "variant": "tiny"}):
        with pytest.raises(UsageError, match="name what to score"):
            rrsis_bench.test(**request)  # type: ignore[arg-type]


def test_rows_stand_in_a_table_of_their_own(tmp_path: Path) -> None:
    for dataset, other in (("rrsisd", "retrained"), ("tiny", "smoke")):
        write(tmp_path / "runs", dataset=dataset, kind=other, variant="tuned")
        write(tmp_path / "runs", dataset=dataset, kind="zero-shot", variant="zero-shot", selected_on="none", seed=1)
    runs, warnings = collect(tmp_path)
    assert warnings == []
    boards = {board.name: board for board in build_boards(runs)}
    assert [table.kind for table in boards["rrsisd"].tables] == ["retrained", "zero-shot"]
    assert [table.kind for table in boards["smoke"].tables] == ["zero-shot", "smoke"]
    for name in ("rrsisd", "smoke"):
        assert all(len(table.rows) == 1 for table in boards[name].tables)
    assert "nothing trained here" in views(boards["rrsisd"])[1].caption
    assert make_result(kind="zero-shot", dataset="rrsisd")["kind"] == "zero-shot"


def test_gated_weights_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(MissingDownloadError, match=r"gated: accept its licence on that page and log in") as caught:
        resolve("hub:facebook/sam3/model.safetensors")
    assert caught.value.exit_code == 3
    with pytest.raises(MissingDownloadError) as open_one:
        resolve("hub:CIDAS/clipseg-rd64-refined/model.safetensors")
    assert "gated" not in str(open_one.value)


def test_a_library_without_the_class_names_the_version_that_has_it() -> None:
    assert library_class("CLIPSegConfig", "4.22").__name__ == "CLIPSegConfig"
    with pytest.raises(UserError, match=r"has no Sam9Model: pip install 'transformers>=9\.1'"):
        library_class("Sam9Model", "9.1")
