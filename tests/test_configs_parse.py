"""Every YAML under configs/ is read by the very parser that trains, for every method and data set."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from helpers.resolved import configured
from rrsis_bench import config, registry
from rrsis_bench.metrics.protocols import PROTOCOLS

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
METHODS = sorted(name for name in registry.BUILT_IN)


@cache
def parser() -> Any:
    """The parser of LightningCLI for our classes; made once, since that takes twice as long as parsing."""
    from lightning.pytorch import Trainer
    from lightning.pytorch.cli import LightningArgumentParser

    from rrsis_bench.data.datamodule import ReferringDataModule
    from rrsis_bench.engine.task import ReferringSegmentationTask

    made = LightningArgumentParser(exit_on_error=False)
    made.add_argument("--seed_everything", type=int)
    made.add_argument("--checkpoint_every_n_steps", type=int)
    made.add_lightning_class_args(Trainer, "trainer")
    made.add_lightning_class_args(ReferringSegmentationTask, "model")
    made.add_lightning_class_args(ReferringDataModule, "data")
    return made


def parse(merged: config.Config) -> Any:
    """What the parser understands, without building anything."""
    return parser().parse_object(merged)


@pytest.mark.parametrize("path", sorted(CONFIGS.rglob("*.yaml")), ids=lambda path: str(path.relative_to(CONFIGS)))
def test_every_file_is_a_mapping_without_class_paths(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert isinstance(yaml.safe_load(text), dict)
    assert "class_path" not in text
    assert text.startswith("#"), "a configuration says in its first line what it is"


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dataset", config.names("datasets"))
def test_every_method_on_every_data_set(method: str, dataset: str) -> None:
    parsed = parse(configured(method, dataset))
    assert (parsed.model.method, parsed.data.dataset) == (method, dataset)


INNER = ("s4eca",)
"""Methods whose variants the inner loop parses; `make test` parses them all."""


@pytest.mark.parametrize(
    "method", [pytest.param(name, marks=() if name in INNER else pytest.mark.slow) for name in METHODS]
)
def test_every_variant_with_every_preset_and_protocol(method: str) -> None:
    for variant in config.method_config(method)["variants"]:
        parse(configured(method, "tiny", variant))
    for trainer in config.names("trainer"):
        parse(configured(method, "tiny", trainer=trainer))
    for protocol in PROTOCOLS:
        merged = configured(method, "tiny", protocol=protocol)
        assert merged["model"]["protocols"][0] == protocol
        parse(merged)


@pytest.mark.parametrize("method", METHODS)
def test_options_are_the_method_s_own(method: str) -> None:
    kind = registry.load_class(method)
    known = set(kind.Options.__dataclass_fields__)
    for variant in config.method_config(method)["variants"]:
        assert set(config.variant_options(method, variant)) <= known
