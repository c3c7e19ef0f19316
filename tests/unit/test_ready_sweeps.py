"""The ready sweeps: each parses, names its verbs, and states the forecast that the stored figures give."""

from __future__ import annotations

from pathlib import Path

import pytest

from rrsis_bench import config, registry
from rrsis_bench.cli import main
from rrsis_bench.sweep.grid import read_sweep
from tools import forecasts

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
BENCHMARKS = {"rrsisd", "refsegrs", "risbench"}


def test_a_benchmark_s_sweep_has_the_published_variant_of_every_method() -> None:
    for name in BENCHMARKS:
        sweep = read_sweep(name)
        assert {cell.dataset for cell in sweep.cells} == {name}
        found = {(cell.method, cell.variant) for cell in sweep.cells}
        known = registry.BUILT_IN
        assert found >= {(method, config.method_config(method).get("published", "base")) for method in known}
        assert {cell.seed for cell in sweep.cells} == {0, 1, 2}
        assert {cell.verb for cell in sweep.cells} == {"fit"}
        assert all(cell.config["trainer"]["accelerator"] == "gpu" for cell in sweep.cells)


def test_what_trains_nothing_is_tested(tmp_path: Path) -> None:
    zero = read_sweep("zero-shot").cells
    assert {cell.dataset for cell in zero} == BENCHMARKS
    wanted = {
        (method, variant)
        for method in registry.BUILT_IN
        for variant, block in config.method_config(method)["variants"].items()
        if ((block or {}).get("model", {}).get("options") or {}).get("policy") == "zero-shot"
    }
    assert {(cell.method, cell.variant) for cell in zero} == wanted
    assert all(cell.words[0] == "test" and "--resume" not in cell.words for cell in zero)
    released = read_sweep("released", tmp_path).cells
    assert all(cell.verb == "test" and cell.weights for cell in released)
    (ours,) = [cell for cell in released if (cell.method, cell.dataset) == ("rsrefseg2", "refsegrs")]
    assert ours.weights == (
        "hub:KyanChen/RSRefSeg2/refsegrs.pth#sha256=6018af204120cf14e7555ff067f6fa4a921eba084c33be308bc65bc540f826ee"
    )
    place = ours.words.index("--weights")
    assert ours.words[place + 1] == ours.weights
    assert ours.words[ours.words.index("--out") + 1] == str(tmp_path / "refsegrs/rsrefseg2@official/seed0")


def test_the_lite_sweep_has_every_lite_variant() -> None:
    lite = {method for method in registry.BUILT_IN if "lite" in config.method_config(method)["variants"]}
    assert {(cell.method, cell.variant) for cell in read_sweep("lite").cells} == {(method, "lite") for method in lite}


@pytest.mark.parametrize("name", forecasts.SWEEPS)
def test_every_ready_sweep_runs_dry_and_its_header_is_the_stored_forecast(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RRSIS_RUNS", str(tmp_path))
    assert main(["sweep", name, "--dry-run"]) == 0
    said = capsys.readouterr().out
    cells = read_sweep(name).cells
    assert said.count("would run ") == len(cells)
    path = ROOT / "configs" / "sweeps" / f"{name}.yaml"
    stored = forecasts.Stored()
    stated = [line.removeprefix("# ") for line in forecasts.header(stored, name).splitlines()[:-1]]
    shown = "\n".join([f"{name}.yaml states:", *(f"  {line}" for line in stated)])
    assert f"{shown}\n" in said, "the dry run prints the sum of the hours"
    missing = {forecasts.key_of(cell) for cell in cells} - set(stored.entries)
    assert not missing, f"run: python -m tools.forecasts (no forecast of {missing})"
    text = path.read_text(encoding="utf-8")
    assert forecasts.with_header(text, forecasts.header(stored, name)) == text, "run: python -m tools.forecasts"
    assert max(map(len, text.splitlines())) <= 120


def test_every_readme_has_the_stored_forecast() -> None:
    stored = forecasts.Stored()
    readmes = forecasts.readmes(stored)
    assert set(readmes) == {forecasts.readme_of(name) for name in registry.BUILT_IN}
    for path, keys in readmes.items():
        text = path.read_text(encoding="utf-8")
        assert forecasts.with_readme_line(text, forecasts.readme_line(stored, keys)) == text, f"{path}: see above"


def test_the_plans_of_the_stored_forecasts_are_those_of_today() -> None:
    stored = forecasts.Stored()
    for cell in forecasts.cells():
        found = stored.of(forecasts.key_of(cell))
        assert found is None or found[0] == forecasts.planned(cell), f"{cell.name}: run python -m tools.forecasts"


@pytest.mark.slow
def test_a_stored_forecast_is_what_is_computed_anew() -> None:
    stored = forecasts.Stored()
    (cell,) = [cell for cell in read_sweep("lite").cells if cell.name == "rrsisd/detris@lite/seed0"]
    found = stored.of(forecasts.key_of(cell))
    assert found is not None
    cost, sample = forecasts.cost_of(cell.config, forecasts.planned(cell))
    assert (cost, sample) == found[1:]
