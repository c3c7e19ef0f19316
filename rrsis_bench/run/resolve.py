"""Turns a request into a configuration and a run folder; only this file knows which value wins. No torch.

Each layer of this list wins over those above it:

1. the defaults in the code
2. `base.yaml`
3. the data set's file
4. the method's file: its block `common`, then its variant, its block for the data set (`config.dataset_layers`), its
   recipe
5. the user's own files, in order
6. `--recipe`, `--trainer` and `--protocol`, in this order
7. values by dotted key (`--trainer.max_epochs=5`) and `--seed`

"Typed" below means given by a flag, by a dotted key or by an argument of the Python API: layers 6 and 7. A name that
the user did not type may come from a file (`model.method`, `data.dataset`, ...). With `RunRequest.run`, the run's saved
configuration takes the place of layers 2 to 4.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rrsis_bench import config
from rrsis_bench.config import Config, flat, merge
from rrsis_bench.data.catalogue import settings
from rrsis_bench.data.empty_truth import REASON
from rrsis_bench.errors import UsageError, did_you_mean
from rrsis_bench.kinds import TEXT, shown
from rrsis_bench.metrics import protocols
from rrsis_bench.metrics.definitions import choosing
from rrsis_bench.metrics.protocols import DEFAULT
from rrsis_bench.run.folder import RunFolder
from rrsis_bench.run.request import NAMES, RunRequest
from rrsis_bench.run.values import check, check_blocks, check_effect

_PLACES: Mapping[str, tuple[str, ...]] = {
    "method": ("model", "method"),
    "variant": ("model", "variant"),
    "recipe": ("model", "recipe"),
    "dataset": ("data", "dataset"),
    "seed": ("seed_everything",),
}
"""Keys that lead to a name or the seed in a configuration."""


@dataclass(frozen=True)
class ResolvedRun:
    """The configuration and the folder of a run.

    Attributes:
        config: the merged configuration of all layers but the defaults in the code.
        folder: the run folder.
        logger: a further logger (`wandb`), or None.
        notes: sentences that name values of the user's files which a typed preset replaces.
        typed: dotted keys of the values that the user typed.
        detail: store the samples' detail when the run is scored on test.
    """

    config: Config
    folder: RunFolder
    logger: str | None = None
    notes: tuple[str, ...] = ()
    typed: tuple[str, ...] = ()
    detail: bool = False

    @property
    def zero_shot(self) -> bool:
        """Whether the method runs on published weights as they are; see `zero_shot` of `config`."""
        return config.zero_shot(self.config)


def resolve(request: RunRequest) -> ResolvedRun:
    """Merge all layers of a request and name its run folder.

    Raises:
        UsageError: an unknown name, no method, flags or files that contradict each other, or an unreadable file.
    """
    files = [(path, _choosing(config.load_yaml(path), path)) for path in request.files]
    for path, content in files:
        check(content, f"{path}: ")
    values = _choosing(nested(request.values))
    typed = {name: _typed(request, values, name) for name in _PLACES}
    if request.run is None:
        names = _names(typed, files)
        lower, left_out = _named_layers(names)
    else:
        saved = _choosing(RunFolder(request.run).config())
        names = {name: _stem(_at(saved, place)) for name, place in _PLACES.items()}
        _refuse_another(request, typed, names)
        lower, left_out = saved if request.elsewhere is None else _elsewhere(saved, request.elsewhere), []
    for path, content in files:
        _refuse_mixture(typed, path, content)
        lower = merge(lower, content)
    merged, notes = _with_typed(lower, request, typed, values, str(names["method"]), files)
    if left_out:
        notes.append(
            f"variant {names['variant']} of {names['method']} keeps its own values; what the method says of "
            f"{names['dataset']} is for its published variants ({', '.join(left_out)})."
        )
    if request.run is None:
        label = typed["variant"] or _last(files, _PLACES["variant"]) or names["variant"]
        merged = merge(merged, {"model": {"method": names["method"], "variant": label}})
        merged = merge(merged, {"data": {"dataset": names["dataset"]}})
    merged = merge(merged, values)
    if request.seed is not None:
        merged = merge(merged, {"seed_everything": request.seed})
    model = merged["model"]
    generalised = merged["data"].get(REASON) == "no-target"
    listed = protocols.expand(model.pop("select_by", None), model.pop("score_by", protocols.ALL), generalised)
    model["protocols"] = listed
    if isinstance(model.get("monitor"), str):
        model["monitor"] = choosing(model["monitor"], listed[0])
    merged = _seeded_data(
        merged, lower if request.run is not None else {}, [*(content for _, content in files), values]
    )
    check(merged)
    keys = tuple(flat(values))
    check_effect(merged, keys)
    folder = RunFolder(request.out) if request.out is not None else _usual_folder(request, merged)
    return ResolvedRun(merged, folder, request.logger, tuple(notes), keys, request.detail)


def nested(values: Mapping[str, Any]) -> Config:
    """Turn values by dotted key into nested mappings. LightningCLI appends to a list if its key ends in `+`.

    Raises:
        UsageError: a part of a key is empty.
    """
    found: Config = {}
    for key, value in values.items():
        parts = key.split(".")
        if not all(parts):
            raise UsageError(f"--{key} is no key of a configuration; a key looks like trainer.max_epochs.")
        entry: Any = value
        for part in reversed(parts):
            entry = {part: entry}
        found = merge(found, entry)
    return found


def _typed(request: RunRequest, values: Config, name: str) -> Any:
    """The value of a name as the user typed it, by its own flag or by its dotted key.

    Raises:
        UsageError: both were typed, and they contradict each other.
    """
    flag, value = getattr(request, name), _at(values, _PLACES[name])
    if flag is None or value is None or flag == value:
        return value if flag is None else flag
    if name == "variant" and str(value).startswith(f"{flag}+"):
        return value  # "variant+label": a named cell of a sweep, which is more exact than the flag
    key = ".".join(_PLACES[name])
    raise UsageError(f"--{name} {flag} and --{key}={value} contradict each other; leave one of them out.")


def _names(typed: Mapping[str, Any], files: Sequence[tuple[Path, Config]]) -> dict[str, Any]:
    """The names of method, data set, variant and recipe: the typed one, else that of the last file with one."""
    found = {
        name: _stem(_last(files, place) if typed[name] is None else typed[name])
        for name, place in _PLACES.items()
        if name != "seed"
    }
    if found["method"] is None:
        raise UsageError("name a method: --method s4eca (rrsis-bench methods list shows them all).")
    found["dataset"] = "tiny" if found["dataset"] is None else found["dataset"]
    for name, value in found.items():
        _check_name(name, value)
    blocks = config.method_config(found["method"])
    data = config.load_yaml(config.find("datasets", found["dataset"]))
    found["variant"] = config.choose_variant(found["method"], blocks, data, found["variant"])
    return found


def _check_name(name: str, value: Any) -> None:
    if value is not None and not TEXT.fits(value):
        raise UsageError(f"{'.'.join(_PLACES[name])} (--{name}) must be a name, not {shown(value)}.")


def _named_layers(names: Mapping[str, Any]) -> tuple[Config, list[str]]:
    """Merge layers 2 to 4 of the module's list.

    Returns:
        the configuration, and the keys of the method's block for the data set that are for other variants.
    """
    method, dataset, variant = names["method"], names["dataset"], names["variant"]
    blocks, data = config.method_config(method), config.load_yaml(config.find("datasets", dataset))
    recipe = config.choose_recipe(method, blocks, variant, names["recipe"])
    of_dataset, left_out = config.dataset_layers(blocks, dataset, variant)
    layers: list[Mapping[str, Any]] = [
        config.load_yaml(config.find(".", "base")),
        {key: value for key, value in data.items() if key in {"model", "data", "trainer"}},
        blocks.get("common") or {},
        blocks["variants"][variant] or {},
        *of_dataset,
        (blocks.get("recipes") or {}).get(recipe) or {},
        {"model": {"recipe": recipe}} if recipe else {},
    ]
    merged: Config = {}
    for layer in layers:
        merged = merge(merged, _choosing(layer))
    here = flat(merged)
    return merged, sorted(key for key, value in flat(left_out).items() if value not in ({}, here.get(key)))


def _choosing(layer: Mapping[str, Any], path: Path | None = None) -> Config:
    """Replace `model.protocols`, as a saved configuration lists them, by `model.select_by` and `model.score_by`.

    Args:
        layer: a part of a configuration.
        path: the file it was read from. A block of a file may be left empty.

    Raises:
        UsageError: a block is no mapping, or `model.protocols` is no list, or an empty one.
    """
    if path is not None:
        layer = {key: value for key, value in layer.items() if value is not None}
    check_blocks(layer, "" if path is None else f"{path}: ")
    listed = _at(layer, ("model", "protocols"))
    if listed is None:
        return dict(layer)
    if not isinstance(listed, list | tuple) or not listed:
        raise UsageError(f"model.protocols must be a list of protocols, not {shown(listed)}.")
    model = {key: value for key, value in layer["model"].items() if key != "protocols"}
    return {**layer, "model": {"select_by": listed[0], "score_by": list(listed), **model}}


def _with_typed(
    lower: Config,
    request: RunRequest,
    typed: Mapping[str, Any],
    values: Config,
    method: str,
    files: Sequence[tuple[Path, Config]],
) -> tuple[Config, list[str]]:
    """Merge the typed recipe, trainer preset and protocol into the lower layers.

    Returns:
        the merged configuration, and a note for each flag that replaces values of one of the user's files.

    Raises:
        UsageError: the recipe or the protocol is unknown, or two typed protocols contradict each other.
    """
    layers: list[tuple[str, Mapping[str, Any]]] = []
    if typed["recipe"] is not None:
        blocks = config.method_config(method)
        known = list(blocks.get("recipes") or {})
        if typed["recipe"] not in known:
            hint = did_you_mean(str(typed["recipe"]), known)
            raise UsageError(f"method '{method}' has no recipe '{typed['recipe']}'.{hint}")
        # A recipe without a protocol chooses by the default one, even if a lower layer names another.
        overlay = merge({"model": {"select_by": DEFAULT}}, blocks["recipes"][typed["recipe"]] or {})
        layers.append((f"--recipe {typed['recipe']}", overlay))
    if request.trainer is not None:
        preset = config.find("trainer", request.trainer)
        layers.append((f"--trainer {request.trainer}", _choosing(config.load_yaml(preset), preset)))
    if request.protocol is not None:
        stated = _at(values, ("model", "select_by"))
        if stated not in (None, protocols.get(request.protocol).name):
            raise UsageError(
                f"--protocol {request.protocol} and the typed choice of {stated} contradict each other; "
                "leave one of them out."
            )
        layers.append((f"--protocol {request.protocol}", {"model": {"select_by": request.protocol}}))
    notes: list[str] = []
    for flag, layer in layers:
        for path, content in files:
            changed = [f"{key}={new}" for key, old, new in _replaced(content, layer)]
            if changed:
                notes.append(f"{flag} wins over {path}: {', '.join(changed)}.")
        lower = merge(lower, layer)
    return (lower if typed["recipe"] is None else merge(lower, {"model": {"recipe": typed["recipe"]}})), notes


def _replaced(low: Any, high: Any, where: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield (dotted key, low's value, high's value) for each key with different values in two mappings."""
    for key in low.keys() & high.keys():
        name = f"{where}.{key}" if where else str(key)
        if isinstance(low[key], Mapping) and isinstance(high[key], Mapping):
            yield from _replaced(low[key], high[key], name)
        elif low[key] != high[key]:
            yield name, low[key], high[key]


def _refuse_another(request: RunRequest, typed: Mapping[str, Any], saved: Mapping[str, Any]) -> None:
    """Raise UsageError if a typed name differs from the run's own: its checkpoint fits no other name."""
    for name in ("method", "dataset", "variant"):
        if typed[name] is not None and _stem(typed[name]) != saved[name]:
            raise UsageError(
                f"--{name} {typed[name]}: {request.run} is a run of {name} {saved[name]}; leave the name out, or name "
                "another run."
            )


def _refuse_mixture(typed: Mapping[str, Any], path: Path, content: Config) -> None:
    """Raise UsageError if a file holds settings of another method, variant or data set than the typed one."""
    for name, block, part in (("method", "model", "options"), ("variant", "model", "options"), ("dataset", "data", "")):
        stated = _at(content, _PLACES[name])
        if typed[name] is None or stated is None or _stem(stated) == _stem(typed[name]):
            continue
        inside = content[block].get(part) if part else {key for key in content[block] if key != name}
        if inside:
            raise UsageError(
                f"{path} holds settings of {name} {stated}, not of the {name} {typed[name]} that --{name} names; "
                "leave one of them out."
            )


def _seeded_data(merged: Config, saved: Config, stated: Sequence[Config]) -> Config:
    """Set `data.seed` to the run's seed, unless a file, a typed value or the saved run sets it apart."""
    seed = merged.get("seed_everything", 0)
    apart = any(_at(content, ("data", "seed")) is not None for content in stated)
    apart |= saved != {} and _at(saved, ("data", "seed")) not in {None, saved.get("seed_everything")}
    return merged if apart else merge(merged, {"data": {"seed": seed}})


def _elsewhere(saved: Config, name: str) -> Config:
    """A saved configuration with another data set and the protocols that score it; batches stay those of the run."""
    own, stated = saved["data"], config.load_yaml(config.find("datasets", name)).get("model") or {}
    kept: Config = {key: own[key] for key in ("batch_size", "eval_batch_size", "num_workers", "seed") if key in own}
    # Nothing is chosen here; the metric must only be one of the protocol's.
    model = {**saved["model"], "monitor": "miou", "select_by": stated.get("select_by"), "score_by": protocols.ALL}
    return {**saved, "data": {**kept, **settings(name)}, "model": model}


def _usual_folder(request: RunRequest, merged: Config) -> RunFolder:
    if request.run is not None:
        return RunFolder(request.run)
    model, data = merged["model"], merged["data"]
    return RunFolder.of(data["dataset"], model["method"], model["variant"], merged.get("seed_everything", 0))


def _last(files: Sequence[tuple[Path, Config]], place: tuple[str, ...]) -> Any:
    return next((found for _, content in reversed(files) if (found := _at(content, place)) is not None), None)


def _at(content: Any, place: Sequence[str]) -> Any:
    for key in place:
        content = content.get(key) if isinstance(content, Mapping) else None
    return content


def _stem(name: Any) -> Any:
    """A name without the "+label" that a sweep's named cell appends to its variant."""
    return name.partition("+")[0] if isinstance(name, str) else name


__all__ = ["NAMES", "ResolvedRun", "RunRequest", "nested", "resolve"]
