"""Every small variant of every method makes a step on every real data set's layout, with the batch that is its own."""

from __future__ import annotations

import inspect
import signal
from pathlib import Path

import pytest

from rrsis_bench import config, registry
from rrsis_bench.data.catalogue import settings
from rrsis_bench.data.sources import create
from rrsis_bench.engine.trainer import build_cli
from rrsis_bench.run.request import RunRequest
from rrsis_bench.run.resolve import resolve

pytestmark = pytest.mark.slow

REAL = [name for name in config.names("datasets") if not settings(name).get("generator")]
CASES = [
    (method, dataset, variant)
    for variant in config.SMALL
    for method in sorted(registry.BUILT_IN)
    if variant in config.method_config(method)["variants"]
    for dataset in REAL
]


@pytest.fixture(scope="module")
def fakes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for `RRSIS_DATA`; data sets are made when they are first asked for."""
    return tmp_path_factory.mktemp("fakes")


def made(folder: Path, dataset: str) -> Path:
    root = folder / dataset
    if not root.is_dir():
        told = settings(dataset)
        source = create(str(told.get("source") or dataset), **(told.get("source_options") or {}))
        sized = {"size": 96} if "size" in inspect.signature(source.write_fake).parameters else {}
        source.write_fake(root, 17, 0, **sized)
    return root


@pytest.mark.parametrize(("method", "dataset", "variant"), CASES)
def test_a_small_variant_makes_a_step_on_every_data_set(
    method: str, dataset: str, variant: str, fakes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RRSIS_CACHE", str(fakes / "cache"))
    values = {
        "data.root": str(made(fakes, dataset)),
        "data.num_workers": 0,
        "trainer.max_steps": 1,
        "trainer.limit_val_batches": 0,
        "trainer.logger": False,
    }
    if not method.startswith("prior"):
        values["model.schedule.warmup_steps"] = 0  # of a run of one step; the priors have no optimiser
    request = RunRequest(method, dataset, variant, "cpu", values=values, out=tmp_path / "run")
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    cli = build_cli(resolve(request), training=True)
    cli.trainer.fit(cli.model, cli.datamodule)
    # A handler that stays would keep the trainer and its network for ever.
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    layers = config.method_config(method)
    own = config.merge(layers["common"], layers["variants"][variant] or {})
    assert cli.datamodule.batch_size * cli.trainer.accumulate_grad_batches == own["data"]["batch_size"]
    assert cli.trainer.global_step == 1
