"""A data set's configuration leads to a manifest in the cache. No torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rrsis_bench import paths
from rrsis_bench.data.catalogue import GENERATOR, describe
from rrsis_bench.data.manifest import write_manifest
from rrsis_bench.data.sources import create
from rrsis_bench.errors import MissingResourceError, UsageError, did_you_mean

if TYPE_CHECKING:
    from rrsis_bench.data.sources.base import Source

_FORMAT = 1


@dataclass(frozen=True)
class Located:
    """A data set on this machine: its name, its source, the folder it is read from, and the source's options."""

    dataset: str
    source: Source
    root: Path
    options: Mapping[str, Any]


def locate(data: Mapping[str, Any]) -> Located:
    """Find a data set's folder and its source. A generated data set is drawn if its folder does not exist.

    Args:
        data: the `data` block of a configuration: `dataset`, `source`, `source_options`, `root`, `manifest`,
            `generator`. Without `root`, a `manifest` file's own folder is the root.

    Returns:
        the data set. `ensure_manifest` checks whether its files are complete.
    """
    dataset, generator = str(data["dataset"]), data.get("generator")
    options, named = dict(data.get("source_options") or {}), str(data.get("source") or dataset)
    if data.get("manifest"):
        options["manifest"] = str(data["manifest"])
    source, described = create(named, **options), describe(dataset, named)
    if described.kind != "unknown":
        # For messages and checks. The classes stay the source's own: some sources find categories by them.
        source.info = replace(described, classes=source.info.classes)
    if data.get("root"):
        root = Path(str(data["root"])).expanduser()
    elif generator:
        from rrsis_bench.data.synthetic.presets import folder_name

        root = paths.cache_root() / "synthetic" / folder_name(**_recipe(generator))
    elif data.get("manifest"):
        root = Path(str(data["manifest"])).expanduser().absolute().parent
    else:
        root = paths.data_root() / dataset
    if generator:
        from rrsis_bench.data.sources.synthetic import generate

        generate(root, **_recipe(generator))
    return Located(dataset, source, root, options)


def _recipe(generator: Mapping[str, Any]) -> dict[str, Any]:
    """The generator's arguments; a configuration calls the preset `name`.

    Raises:
        UsageError: an argument the generator does not take.
    """
    recipe = dict(generator)
    for key in recipe:
        if key not in GENERATOR:
            raise UsageError(f"the generator does not take '{key}'.{did_you_mean(str(key), list(GENERATOR))}")
    return {"preset": str(recipe.pop("name", "tiny")), **recipe}


def ensure_manifest(located: Located) -> Path:
    """The manifest of a data set. It is written once and used again while it is up to date.

    Args:
        located: the data set.

    Returns:
        `<cache>/manifests/<dataset>-<hash>.jsonl`; the hash is over the root and the key files' sizes and times.

    Raises:
        MissingResourceError: the data set is missing, or a file of it cannot be used.
    """
    path = manifest_path(located)
    if not path.is_file() and write_manifest(path, located.source.prepare(located.root)) == 0:
        path.unlink()
        raise MissingResourceError(
            f"{located.source.info.title} in {located.root} holds no image-expression pair; "
            f"`rrsis-bench data verify {located.dataset}` says why."
        )
    return path


def manifest_path(located: Located) -> Path:
    """The path of the manifest of a data set in its present state.

    Raises:
        MissingResourceError: the data set is missing.
    """
    root = located.root.resolve()
    state: list[Any] = [_FORMAT, type(located.source).__qualname__, str(root), dict(located.options)]
    for file in located.source.key_files(located.root):
        found = file.stat()
        state.append([str(file), found.st_mtime_ns, found.st_size])
    digest = hashlib.sha256(json.dumps(state, sort_keys=True, default=str).encode("utf-8")).hexdigest()
    return paths.cache_root() / "manifests" / f"{located.dataset}-{digest[:16]}.jsonl"
