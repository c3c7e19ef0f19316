"""What each variant of each method is trained with on each data set is a golden table: recipes change on purpose only.

After a wanted change: `python tests/test_resolved_table.py` writes the table anew; look at the difference.
"""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from helpers.resolved import configured
from rrsis_bench import config, registry
from rrsis_bench.config import Config, flat
from rrsis_bench.engine.trainer import accumulation
from rrsis_bench.metrics.definitions import monitored

GOLDEN = Path(__file__).parent / "golden" / "resolved.csv"
COLUMNS = {
    "optimizer": "model.optimizer.name",
    "lr": "model.optimizer.lr",
    "decay": "model.optimizer.weight_decay",
    "schedule": "model.schedule.name",
    "warmup": "model.schedule.warmup_steps",
    "floor": "model.schedule.floor",
    "epochs": "trainer.max_epochs",
    "clip": "trainer.gradient_clip_val",
    "batch": "data.batch_size",
    "global_batch": "data.global_batch",
    "eval_batch": "data.eval_batch_size",
    "augment": "data.augment.recipe",
    "monitor": "model.monitor",
    "recipe": "model.recipe",
}
"""Column -> the value it shows; an empty cell is the code's default."""
DATASETS = sorted(path.stem for path in (Path(__file__).resolve().parents[1] / "configs" / "datasets").glob("*.yaml"))
GENERALISED = {"earthreason", "nwpurefer", "tiny-generalised"}
"""Data sets whose files set `empty_truth: no-target`."""
CASES = [
    (method, variant, dataset)
    for method in sorted(registry.BUILT_IN)
    for variant in config.method_config(method)["variants"]
    for dataset in DATASETS
]


def row(method: str, variant: str, dataset: str) -> dict[str, str]:
    """One line of the table."""
    found = configured(method, dataset, variant)
    values = flat(found)
    shown = {column: text(values.get(key)) for column, key in COLUMNS.items()}
    model = found["model"]
    return {
        "method": method,
        "variant": variant,
        "dataset": dataset,
        **shown,
        "chosen_by": model["protocols"][0],
        "loss_weights": text(model.get("loss_weights")),
        # The variant's own options stand in its file; here is what the data set makes of them.
        "options": text(changed(config.variant_options(method, variant), model.get("options") or {})),
    }


def changed(own: Config, now: Config) -> Config:
    return {key: now.get(key) for key in sorted(own.keys() | now.keys()) if own.get(key) != now.get(key)}


def text(value: Any) -> str:
    return "" if value in (None, {}) else value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def table() -> str:
    rows = [row(*case) for case in CASES]
    stream = io.StringIO()
    writer = csv.DictWriter(stream, rows[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


@pytest.fixture(scope="module")
def golden() -> dict[tuple[str, ...], dict[str, str]]:
    with GOLDEN.open(encoding="utf-8", newline="") as stream:
        return {(line["method"], line["variant"], line["dataset"]): line for line in csv.DictReader(stream)}


@pytest.mark.parametrize("method", sorted(registry.BUILT_IN))
def test_recipes_are_the_golden_ones(method: str, golden: dict[tuple[str, ...], dict[str, str]]) -> None:
    cases = [case for case in CASES if case[0] == method]
    assert cases == [case for case in golden if case[0] == method]
    for case in cases:
        assert row(*case) == golden[case]


@pytest.mark.parametrize(
    ("method", "variant"),
    sorted({case[:2] for case in CASES if case[1] in config.SMALL}),
    ids=lambda value: str(value),
)
def test_no_data_set_changes_how_a_small_variant_is_trained(
    method: str, variant: str, golden: dict[tuple[str, ...], dict[str, str]]
) -> None:
    # Published rates and lengths belong to published sizes: LAVT's tiny variant was trained with the rate of Swin-B.
    # Generalised data sets choose the checkpoint by the metric of the same formula; nothing else may differ.
    apart = {"dataset", "options", "monitor", "chosen_by"}
    lines = {dataset: golden[method, variant, dataset] for dataset in DATASETS}
    assert len({tuple(value for key, value in line.items() if key not in apart) for line in lines.values()}) == 1
    assert {name for name, line in lines.items() if line["chosen_by"] == "generalised-v1"} == GENERALISED
    usual = {(line["monitor"], line["chosen_by"]) for name, line in lines.items() if name not in GENERALISED}
    ((monitor, _),) = usual
    assert {lines[name]["monitor"] for name in GENERALISED} == {monitored(monitor, "generalised-v1")}


def test_a_step_of_one_process_is_a_whole_number_of_batches(golden: dict[tuple[str, ...], dict[str, str]]) -> None:
    for line in golden.values():
        wanted = int(line["global_batch"]) if line["global_batch"] else None
        assert accumulation(int(line["batch"]), wanted, 1, 1) >= 1, line


if __name__ == "__main__":
    GOLDEN.write_text(table(), encoding="utf-8")
