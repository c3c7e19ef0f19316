"""What a request means: the one place that knows which configuration wins over which. No torch.

From low to high: code defaults < `base.yaml` < the data set < the method < its
variant < what the method says of the data set for that variant (`config.dataset_layers`) < the method's default
recipe < the user's files in order < a typed recipe < a typed trainer preset < a typed protocol < typed values and the
seed.

Whatever the user typed wins over every file. Names that files give (`model.method`, `data.dataset`, ...) hold where the
user typed none. With `RunRequest.run`, the run's saved configuration takes the place of all layers below the files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rrsis_bench import config
from rrsis_bench.config import Config, flat, merge
from rrsis_bench.errors import UsageError, did_you_mean
from rrsis_bench.metrics import protocols
from rrsis_bench.metrics.protocols import DEFAULT
from rrsis_bench.run.folder import RunFolder
from rrsis_bench.run.request import NAMES, RunRequest

_PLACES: Mapping[str, tuple[str, ...]] = {
    "method": ("model", "method"),
    "variant": ("model", "variant"),
    "recipe": ("model", "recipe"),
    "dataset": ("data", "dataset"),
    "seed": ("seed_everything",),
}
"""Choice -> where a configuration states it."""


@dataclass(frozen=True)
class ResolvedRun:
    """A request resolved.

    Attributes:
        config: the whole configuration, merged; code defaults are not in it.
        folder: the run folder.
        logger: a further logger (`wandb`), or None.
        notes: what a user might not expect, one sentence each.
    """

    config: Config
    folder: RunFolder
    logger: str | None = None
    notes: tuple[str, ...] = ()


def resolve(request: RunRequest) -> ResolvedRun:
    """The configuration and the folder that a request stands for.

    Raises:
        UsageError: an unknown name, no method, choices that contradict each other, or an unreadable file.
    """
    files = [(path, _choosing(config.load_yaml(path))) for path in request.files]
    values = _choosing(nested(request.values))
    typed = {name: _typed(request, values, name) for name in _PLACES}
    if request.run is None:
        names = _names(typed, files)
        lower, left_out = _named_layers(names)
    else:
        saved = _choosing(RunFolder(request.run).config())
        names = {name: _stem(_at(saved, place)) for name, place in _PLACES.items()}
        _refuse_another(request, typed, names)
        lower, left_out = saved, []
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
    model["protocols"] = protocols.expand(model.pop("select_by", None), model.pop("score_by", protocols.ALL))
    merged = _seeded_data(
        merged, lower if request.run is not None else {}, [*(content for _, content in files), values]
    )
    folder = RunFolder(request.out) if request.out is not None else _usual_folder(request, merged)
    return ResolvedRun(merged, folder, request.logger, tuple(notes))


def nested(values: Mapping[str, Any]) -> Config:
    """Values by dotted key as nested mappings; a key that ends in `+` appends to a list.

    Raises:
        UsageError: an empty part of a key.
    """
    found: Config = {}
    for key, value in values.items():
        parts = key.split(".")
        if not all(parts):
            raise UsageError(f"--{key} is no key of the configuration, such as trainer.max_epochs.")
        entry: Any = value
        for part in reversed(parts):
            entry = {part: entry}
        found = merge(found, entry)
    return found


def _typed(request: RunRequest, values: Config, name: str) -> Any:
    """A choice as the user typed it, by its own flag or by its key; the more exact of both.

    Raises:
        UsageError: both were typed and contradict each other.
    """
    flag, value = getattr(request, name), _at(values, _PLACES[name])
    if flag is None or value is None or flag == value:
        return value if flag is None else flag
    if name == "variant" and str(value).startswith(f"{flag}+"):
        return value  # the label of a sweep's named cell
    key = ".".join(_PLACES[name])
    raise UsageError(f"--{name} {flag} and --{key}={value} contradict each other; leave one of them out.")


def _names(typed: Mapping[str, Any], files: Sequence[tuple[Path, Config]]) -> dict[str, Any]:
    """Method, data set, variant and recipe by name: typed, else of the last file that names them."""
    found = {name: _stem(typed[name] or _last(files, place)) for name, place in _PLACES.items() if name != "seed"}
    if found["method"] is None:
        raise UsageError("name a method: --method s4eca (rrsis-bench methods list shows them all).")
    found["dataset"] = found["dataset"] or "tiny"
    blocks = config.method_config(found["method"])
    data = config.load_yaml(config.find("datasets", found["dataset"]))
    found["variant"] = config.choose_variant(found["method"], blocks, data, found["variant"])
    return found


def _named_layers(names: Mapping[str, Any]) -> tuple[Config, list[str]]:
    """What the names alone stand for, without the typed recipe, trainer and protocol.

    The second value holds keys of the method's block for the data set that are for other variants.
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


def _choosing(layer: Mapping[str, Any]) -> Config:
    """A layer that lists `model.protocols`, as a run's saved configuration does, with what the list stands for."""
    listed = _at(layer, ("model", "protocols"))
    if listed is None:
        return dict(layer)
    if not isinstance(listed, list | tuple) or not listed:
        raise UsageError(f"model.protocols must be a list of protocols, not {listed!r}.")
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
    """The lower layers under the recipe, the trainer preset and the protocol that the user typed, and notes.

    A preset that replaces a value of the user's own file is named, since both were asked for.
    """
    layers: list[tuple[str, Mapping[str, Any]]] = []
    if typed["recipe"] is not None:
        blocks = config.method_config(method)
        known = list(blocks.get("recipes") or {})
        if typed["recipe"] not in known:
            hint = did_you_mean(str(typed["recipe"]), known)
            raise UsageError(f"method '{method}' has no recipe '{typed['recipe']}'.{hint}")
        # A recipe that names no protocol chooses by ours, whatever stood there before.
        overlay = merge({"model": {"select_by": DEFAULT}}, blocks["recipes"][typed["recipe"]] or {})
        layers.append((f"--recipe {typed['recipe']}", overlay))
    if request.trainer is not None:
        layers.append((f"--trainer {request.trainer}", config.load_yaml(config.find("trainer", request.trainer))))
    if request.protocol is not None:
        stated = _at(values, ("model", "select_by"))
        if stated not in {None, protocols.get(request.protocol).name}:
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
    """Keys to which both mappings give a value, and not the same."""
    for key in low.keys() & high.keys():
        name = f"{where}.{key}" if where else str(key)
        if isinstance(low[key], Mapping) and isinstance(high[key], Mapping):
            yield from _replaced(low[key], high[key], name)
        elif low[key] != high[key]:
            yield name, low[key], high[key]


def _refuse_another(request: RunRequest, typed: Mapping[str, Any], saved: Mapping[str, Any]) -> None:
    """Raise UsageError where a name is typed that is not the run's own: its checkpoint is of nothing else."""
    for name in ("method", "dataset", "variant"):
        if typed[name] is not None and _stem(typed[name]) != saved[name]:
            raise UsageError(
                f"--{name} {typed[name]}: {request.run} is a run of {name} {saved[name]}; leave the name out, or name "
                "another run."
            )


def _refuse_mixture(typed: Mapping[str, Any], path: Path, content: Config) -> None:
    """Raise UsageError where a file holds the settings of another method, variant or data set than the typed one."""
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
    """With `data.seed` following the run's seed, unless it was set apart from it."""
    seed = merged.get("seed_everything", 0)
    apart = any(_at(content, ("data", "seed")) is not None for content in stated)
    apart |= saved != {} and _at(saved, ("data", "seed")) not in {None, saved.get("seed_everything")}
    return merged if apart else merge(merged, {"data": {"seed": seed}})


def _usual_folder(request: RunRequest, merged: Config) -> RunFolder:
    if request.run is not None:
        return RunFolder(request.run)
    model, data = merged["model"], merged["data"]
    try:
        seed = int(merged.get("seed_everything", 0))
    except (TypeError, ValueError) as error:
        raise UsageError(f"seed_everything must be a whole number, not {merged['seed_everything']!r}.") from error
    return RunFolder.of(str(data["dataset"]), str(model["method"]), str(model["variant"]), seed)


def _last(files: Sequence[tuple[Path, Config]], place: tuple[str, ...]) -> Any:
    return next((found for _, content in reversed(files) if (found := _at(content, place)) is not None), None)


def _at(content: Any, place: Sequence[str]) -> Any:
    for key in place:
        content = content.get(key) if isinstance(content, Mapping) else None
    return content


def _stem(name: Any) -> Any:
    """A variant without the label of a sweep's named cell."""
    return name.partition("+")[0] if isinstance(name, str) else name


__all__ = ["NAMES", "ResolvedRun", "RunRequest", "nested", "resolve"]
