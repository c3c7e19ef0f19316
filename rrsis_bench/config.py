"""Configuration by name: which YAML files a choice of method, data set, variant and trainer stands for.

Precedence, low to high: code defaults < `base.yaml` < protocol < data set < method < its variant < the method's block
for the data set < recipe < trainer < `--config` files in order < flags. The last two are LightningCLI's; all before are
merged here into one mapping, without torch, so that a misspelt name fails in milliseconds.

A method's file holds `published` (name of its published variant), `common`, `variants` and `datasets`:

    published: base
    common: {model: {...}, trainer: {...}}
    variants:
      tiny: {model: {options: {...}}}
      base: {...}
    datasets:
      rrsisd: {trainer: {max_epochs: 65}}

It may hold `recipes` by name: what a way of training changes, and the `protocol` it chooses its checkpoint by. `paper`
is what was published, and the default of the published variant; `suite` is ours.

A data set's file holds `variant` (`tiny`, `lite` or `published`: which variant a method uses there by default) and
`data`, and may hold `model` and `trainer`.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml

from rrsis_bench import registry
from rrsis_bench.errors import UsageError, did_you_mean
from rrsis_bench.paths import config_folders

Config = dict[str, Any]
# libyaml's loader where it is there: it is ten times as fast, and a table of many runs reads many files.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def merge(low: Mapping[str, Any], high: Mapping[str, Any]) -> Config:
    """Deep merge: mappings merge key by key, anything else of `high` replaces what `low` has."""
    merged: Config = deepcopy(dict(low))
    for key, value in high.items():
        here = merged.get(key)
        both = isinstance(here, Mapping) and isinstance(value, Mapping)
        merged[key] = merge(here, value) if both else deepcopy(value)  # type: ignore[arg-type]
    return merged


def load_yaml(path: Path) -> Config:
    """A YAML file that must hold a mapping (an empty file is an empty mapping).

    Raises:
        UsageError: not readable, not UTF-8, not YAML, or no mapping.
    """
    try:
        loaded = yaml.load(path.read_text(encoding="utf-8-sig"), _LOADER)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"cannot read configuration {path}: {' '.join(str(error).split())}") from error
    if loaded is None:
        return {}
    if not isinstance(loaded, dict):
        raise UsageError(f"configuration {path} must hold a mapping, not a {type(loaded).__name__}.")
    return loaded


def names(kind: str) -> list[str]:
    """Names of all configurations of a kind (`datasets`, `trainer`, `protocols`, `methods`, `sweeps`)."""
    return sorted({path.stem for folder in config_folders() for path in (folder / kind).glob("*.yaml")})


def find(kind: str, name: str) -> Path:
    """The first `<kind>/<name>.yaml` on the search path.

    Raises:
        UsageError: there is none; the message lists the known names.
    """
    for folder in config_folders():
        path = folder / kind / f"{name}.yaml"
        if path.is_file():
            return path
    singular = {
        "datasets": "data set", "protocols": "protocol", "methods": "method", "trainer": "trainer preset",
        "sweeps": "sweep",
    }  # fmt: skip
    raise UsageError(f"unknown {singular.get(kind, kind)} '{name}'.{did_you_mean(name, names(kind))}")


def method_config(name: str) -> Config:
    """A method's configuration: from the search path, else `config.yaml` in the method's own package.

    Raises:
        UserError: there is none, or it holds no variants.
    """
    registry.target(name)
    path = find("methods", name) if name in names("methods") else registry.method_folder(name) / "config.yaml"
    if not path.is_file():
        raise UsageError(f"method '{name}' has no configuration: neither methods/{name}.yaml nor {path} exists.")
    loaded = load_yaml(path)
    if not isinstance(loaded.get("variants"), dict):
        raise UsageError(f"configuration {path} of method '{name}' must hold `variants` by name.")
    return loaded


def choose_variant(method: str, blocks: Mapping[str, Any], dataset: Mapping[str, Any], variant: str | None) -> str:
    """The variant to use: the one asked for, else the data set's default, else the published one."""
    known = list(blocks.get("variants", {}))
    if variant is None:
        default = str(dataset.get("variant", "published"))
        variant = default if default in known else str(blocks.get("published", "base"))
    if variant not in known:
        raise UsageError(f"method '{method}' has no variant '{variant}'.{did_you_mean(variant, known)}")
    return variant


def choose_recipe(method: str, blocks: Mapping[str, Any], variant: str, recipe: str | None) -> str | None:
    """The recipe to use: the one asked for, else `paper` for the published variant of a method that has it.

    Raises:
        UsageError: the method has no recipe of that name.
    """
    known = list(blocks.get("recipes") or {})
    if recipe is None:
        return "paper" if "paper" in known and variant == blocks.get("published") else None
    if not known:
        raise UsageError(f"method '{method}' has no recipes to choose from; leave --recipe out.")
    if recipe not in known:
        raise UsageError(f"method '{method}' has no recipe '{recipe}'.{did_you_mean(recipe, known)}")
    return recipe


def variant_options(method: str, variant: str) -> Config:
    """The `model.options` of a method's variant, independent of any data set (for `profile` and the contract tests)."""
    blocks = method_config(method)
    chosen = choose_variant(method, blocks, {}, variant)
    merged = merge(blocks.get("common", {}), blocks["variants"][chosen] or {})
    options: Config = merged.get("model", {}).get("options", {})
    return options


def resolve(
    method: str,
    dataset: str = "tiny",
    variant: str | None = None,
    trainer: str | None = None,
    protocol: str | None = None,
    recipe: str | None = None,
) -> Config:
    """Everything the names stand for, merged by precedence.

    Returns:
        a mapping with `seed_everything`, `model`, `data` and `trainer`; `model.method`, `model.variant` and
        `data.dataset` are filled in. Without a protocol the recipe's is taken, else `native-v1`.

    Raises:
        UsageError: an unknown name, or a file that cannot be read.
    """
    blocks = method_config(method)
    data = load_yaml(find("datasets", dataset))
    chosen = choose_variant(method, blocks, data, variant)
    followed = choose_recipe(method, blocks, chosen, recipe)
    overlay = dict((blocks.get("recipes") or {}).get(followed) or {})
    advised = overlay.pop("protocol", "native-v1")
    layers: list[Mapping[str, Any]] = [
        load_yaml(find(".", "base")),
        load_yaml(find("protocols", protocol or advised)),
        {key: value for key, value in data.items() if key in {"model", "data", "trainer"}},
        blocks.get("common") or {},
        blocks["variants"][chosen] or {},
        (blocks.get("datasets") or {}).get(dataset) or {},
        overlay,
        {"model": {"recipe": followed}} if followed else {},
        load_yaml(find("trainer", trainer)) if trainer else {},
        {"model": {"method": method, "variant": chosen}, "data": {"dataset": dataset}},
    ]
    merged: Config = {}
    for layer in layers:
        merged = merge(merged, layer)
    return merged
