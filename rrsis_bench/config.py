"""Configuration by name: reads the YAML files of methods, data sets, trainer presets and sweeps. No torch.

`run/resolve.py` merges them and documents which value wins.

`model.select_by` names the protocol that chooses the checkpoint. `model.score_by` is `all` (the default) or the list of
protocols that a test scores by. `run/resolve.py` turns both keys into `model.protocols`, an argument of the task.

A method's file holds `published` (name of its published variant), `common`, `variants` and `datasets`:

    published: base
    common: {model: {...}, trainer: {...}}
    variants:
      tiny: {model: {options: {...}}}
      base: {...}
    datasets:
      rrsisd:
        trainer: {max_epochs: 65}                            # the published variants
        common: {model: {options: {classes: rrsisd}}}        # every variant
        variants: {tiny: {model: {optimizer: {lr: 5e-4}}}}   # one variant

A data set's block holds what was published for it. It leaves the small variants (`SMALL`) as they are: their rate,
epochs and batch belong to their size. `common` inside the block is for all variants, `variants` for those it names.

A method's file may hold `recipes` by name: values that a recipe changes. The recipe `paper` is the published way of
training and the default of the published variant; `suite` is our own.

A data set's file holds `variant`, the variant that methods use on it by default: `tiny`, `lite` or `published`. It also
holds `data`, and may hold `info` (see `data/catalogue.py`), `model` and `trainer`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from rrsis_bench import registry
from rrsis_bench.errors import UsageError, did_you_mean
from rrsis_bench.kinds import shown
from rrsis_bench.paths import config_folders

Config = dict[str, Any]

GROUPS = ("model", "data", "trainer", "seed_everything", "checkpoint_every_n_steps")
"""Keys of a configuration. A layer of a method's file holds some of them."""

SMALL = ("tiny", "lite")
"""The suite's own sizes, for trials. Every other variant is a published one, and so is the one `published` names."""

_METHOD_KEYS = ("published", "common", "variants", "datasets", "recipes")


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Loads plain YAML values. It reads `1e-4` as a number, which YAML 1.1 reads as text.

    The base class is libyaml's loader if it is installed: it is ten times as fast, and a board reads many files.
    """


# YAML 1.1 reads 12:30 as 750. Here it stays text: a time limit is written DD:HH:MM:SS.
_Loader.yaml_implicit_resolvers = {
    first: [(tag, re.compile(f"(?![^:]*:)(?:{pattern.pattern})", pattern.flags)) for tag, pattern in resolvers]
    if first in "-+0123456789"
    else resolvers
    for first, resolvers in _Loader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:\d+\.?\d*[eE][-+]?\d+|\.\d+(?:[eE][-+]?\d+)?)$"),
    list("-+.0123456789"),
)


def merge(low: Mapping[str, Any], high: Mapping[str, Any]) -> Config:
    """Merge two mappings deeply: mappings merge key by key, and any other value of `high` replaces that of `low`."""
    merged: Config = deepcopy(dict(low))
    for key, value in high.items():
        here = merged.get(key)
        both = isinstance(here, Mapping) and isinstance(value, Mapping)
        merged[key] = merge(here, value) if both else deepcopy(value)  # type: ignore[arg-type]
    return merged


@lru_cache(maxsize=256)
def _parsed(text: str) -> Any:
    # A sweep reads the same few files for each of its cells.
    return yaml.load(text, _Loader)


def load_yaml(path: Path) -> Config:
    """Read a YAML file that holds a mapping; an empty file is an empty mapping.

    Raises:
        UsageError: the file is unreadable, not UTF-8, not YAML, or holds no mapping.
    """
    try:
        loaded = deepcopy(_parsed(path.read_text(encoding="utf-8-sig")))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise UsageError(f"cannot read configuration {path}: {reason}.") from error
    if loaded is None:
        return {}
    if not isinstance(loaded, dict):
        raise UsageError(f"configuration {path} must hold a mapping (key: value), not {shown(loaded)[:60]}.")
    return loaded


def from_yaml(text: str) -> Any:
    """The value of a flag's text, read as YAML. Invalid YAML stays text; empty text is None."""
    try:
        return yaml.load(text, _Loader) if text else None
    except yaml.YAMLError:
        return text


def names(kind: str) -> list[str]:
    """Names of all configurations of a kind (`datasets`, `trainer`, `methods`, `sweeps`)."""
    return sorted({path.stem for folder in config_folders() for path in (folder / kind).glob("*.yaml")})


def find(kind: str, name: str) -> Path:
    """The first `<kind>/<name>.yaml` on the search path.

    Raises:
        UsageError: there is no such file; the message lists the known names.
    """
    for folder in config_folders():
        path = folder / kind / f"{name}.yaml"
        if path.is_file():
            return path
    singular = {
        "datasets": "data set", "methods": "method", "trainer": "trainer preset", "sweeps": "sweep",
    }  # fmt: skip
    raise UsageError(f"unknown {singular.get(kind, kind)} '{name}'.{did_you_mean(name, names(kind))}")


def method_config(name: str) -> Config:
    """A method's configuration: `methods/<name>.yaml` of the search path, else `config.yaml` of the method's package.

    Raises:
        UserError: the method is unknown, or its configuration is missing or holds no variants.
    """
    registry.target(name)
    path = find("methods", name) if name in names("methods") else registry.method_folder(name) / "config.yaml"
    if not path.is_file():
        raise UsageError(f"method '{name}' has no configuration: neither methods/{name}.yaml nor {path} exists.")
    loaded = load_yaml(path)
    if not isinstance(loaded.get("variants"), dict):
        raise UsageError(f"configuration {path} of method '{name}' must hold `variants` by name.")
    _check_method(path, loaded)
    return loaded


def _check_method(path: Path, loaded: Config) -> None:
    """Raise UsageError if a method's file holds a key that nothing reads, whose values would have no effect."""
    only(path, "", loaded, _METHOD_KEYS)
    variants = list(loaded["variants"])
    layers = {"common": loaded.get("common")}
    for kind in ("variants", "recipes"):
        layers |= {f"{kind}.{name}": layer for name, layer in mapping(path, kind, loaded.get(kind)).items()}
    for name, block in mapping(path, "datasets", loaded.get("datasets")).items():
        where = f"datasets.{name}"
        block = mapping(path, where, block)
        only(path, f"{where}.", block, (*GROUPS, "common", "variants"))
        layers[f"{where}.common"] = block.get("common")
        own = mapping(path, f"{where}.variants", block.get("variants"))
        only(path, f"{where}.variants.", own, variants)
        layers |= {f"{where}.variants.{variant}": layer for variant, layer in own.items()}
    for where, layer in layers.items():
        only(path, f"{where}.", mapping(path, where, layer), GROUPS)


def mapping(path: Path, where: str, value: Any) -> Config:
    """A part of a file that must be a mapping; None becomes an empty one.

    Raises:
        UsageError: the value is no mapping; the message names the file and the part.
    """
    if not isinstance(value, dict | None):
        raise UsageError(f"{path}: {where} must be a mapping, not {shown(value)}.")
    return value or {}


def only(path: Path, where: str, given: Mapping[str, Any], known: Sequence[str]) -> None:
    """Raise UsageError if a part of a file holds an unknown key; `where` is the part's name and a dot, or ""."""
    for key in given:
        if key not in known:
            raise UsageError(f"{path}: unknown key '{where}{key}'.{did_you_mean(str(key), list(known))}")


def dataset_layers(blocks: Config, dataset: str, variant: str) -> tuple[list[Config], Config]:
    """The layers of a method's block for a data set.

    Args:
        blocks: content of the method's file.
        dataset: name of the data set.
        variant: name of one of the method's variants.

    Returns:
        the layers for the variant, a later one winning over an earlier one, and the values that are for other variants.
    """
    block = (blocks.get("datasets") or {}).get(dataset) or {}
    published = {key: value for key, value in block.items() if key in GROUPS}
    own = (block.get("variants") or {}).get(variant) or {}
    small = variant in SMALL and variant != blocks.get("published")
    common = block.get("common") or {}
    return ([common, own], published) if small else ([common, published, own], {})


def flat(config: Mapping[str, Any], where: str = "") -> Config:
    """A configuration's values by dotted key, tuples as lists. An empty mapping is a value."""
    found: Config = {}
    for key, value in config.items():
        name = f"{where}.{key}" if where else str(key)
        if isinstance(value, Mapping) and value:
            found |= flat(value, name)
        else:
            found[name] = list(value) if isinstance(value, tuple) else value
    return found


def choose_variant(method: str, blocks: Mapping[str, Any], dataset: Mapping[str, Any], variant: str | None) -> str:
    """The variant to use: the given one, else the data set's default, else the published one.

    Raises:
        UsageError: the method has no variant of that name.
    """
    known = list(blocks.get("variants", {}))
    if variant is None:
        default = str(dataset.get("variant", "published"))
        variant = default if default in known else str(blocks.get("published", "base"))
    if variant not in known:
        raise UsageError(f"method '{method}' has no variant '{variant}'.{did_you_mean(variant, known)}")
    return variant


def choose_recipe(method: str, blocks: Mapping[str, Any], variant: str, recipe: str | None) -> str | None:
    """The recipe to use: the given one, else `paper` if the method has it and the variant is the published one.

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


def zero_shot(run: Mapping[str, Any]) -> bool:
    """Whether a run's configuration uses published weights as they are: its method's option `policy` is `zero-shot`.

    Nothing is trained then: `fit` refuses the run, and `test` needs no checkpoint.

    Args:
        run: the resolved configuration of a run.
    """
    return bool(((run.get("model") or {}).get("options") or {}).get("policy") == "zero-shot")


def variant_options(method: str, variant: str) -> Config:
    """The `model.options` of a method's variant, without the values of any data set or recipe."""
    blocks = method_config(method)
    chosen = choose_variant(method, blocks, {}, variant)
    merged = merge(blocks.get("common", {}), blocks["variants"][chosen] or {})
    options: Config = merged.get("model", {}).get("options", {})
    return options
