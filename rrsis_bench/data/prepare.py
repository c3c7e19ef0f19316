"""From a data set's configuration to a manifest in the cache. No torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rrsis_bench import paths
from rrsis_bench.data.manifest import write_manifest
from rrsis_bench.data.pixels import PixelRule
from rrsis_bench.data.sources import create
from rrsis_bench.data.sources.base import Source
from rrsis_bench.errors import MissingResourceError

_FORMAT = 1


@dataclass(frozen=True)
class Located:
    """A data set found: its name, its source and the folder it is read from."""

    dataset: str
    source: Source
    root: Path
    options: Mapping[str, Any]


def locate(data: Mapping[str, Any]) -> Located:
    """Where a data set is and what reads it. A generated data set is generated if its folder does not exist.

    Args:
        data: the `data` block of a configuration: `dataset`, `source`, `source_options`, `root`, `manifest`,
            `generator`, `pixels`. Without `root`, a `manifest` file's own folder is the root.

    Returns:
        the data set; that its files are complete is for `ensure_manifest` to find out.
    """
    dataset, generator = str(data["dataset"]), data.get("generator")
    options = dict(data.get("source_options") or {})
    if data.get("manifest"):
        options["manifest"] = str(data["manifest"])
    source = create(str(data.get("source") or dataset), **options)
    source.pixels = PixelRule.from_config(data.get("pixels"))
    if data.get("pixels"):
        options["pixels"] = source.pixels.to_config()
    if data.get("root"):
        root = Path(str(data["root"])).expanduser()
    elif generator:
        from rrsis_bench.data.sources.synthetic import folder_name

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
    """The generator's arguments; a configuration calls the preset `name`."""
    recipe = dict(generator)
    return {"preset": str(recipe.pop("name", "tiny")), **recipe}


def ensure_manifest(located: Located) -> Path:
    """The manifest of a data set, written once; an up-to-date one is used again.

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
    """Where the manifest of a data set in its present state belongs.

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
