"""What the name of a data set stands for: the checked settings of its YAML file, and what is known of it. No torch.

A data set's file, `datasets/<name>.yaml`, may hold `info`: the fields of `SourceInfo` that the source does not state.

    info: {title: My benchmark, kind: benchmark, where: "https://...", licence: CC BY 4.0}
    data: {source: "my_package.my_module:MySource"}
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from rrsis_bench import config
from rrsis_bench.data.info import KINDS, SPLITS, SourceInfo
from rrsis_bench.data.sources import SOURCES, create
from rrsis_bench.data.synthetic.presets import preset_named
from rrsis_bench.errors import UsageError, UserError, did_you_mean

BLOCKS = ("variant", "info", "data", "model", "trainer")
"""What a data set's file may hold."""

SETTINGS = (
    "dataset", "source", "root", "batch_size", "eval_batch_size", "global_batch", "num_workers", "seed", "augment",
    "generator", "source_options", "manifest", "permute_expressions", "limit", "select_on", "pixels",
    "empty_truth", "expressions_per_image", "leave_out", "cache", "cache_gb", "control_samples",
)  # fmt: skip
"""What its `data` block may hold: the arguments of `ReferringDataModule`, named here because that one needs torch."""

GENERATOR = ("name", "seed", "layout")
INFO = tuple(field.name for field in fields(SourceInfo))


def settings(name: str) -> dict[str, Any]:
    """The `data` block of a data set's file, with `dataset` filled in.

    Raises:
        UsageError: an unknown data set, or a key that nothing reads.
    """
    return {**_read(name)["data"], "dataset": name}


def describe(name: str, source: str | None = None) -> SourceInfo:
    """What is known of a data set: what its file says, and for the rest what its source says.

    A source speaks for the data set of its own name. Under another name the title is the name, and the kind is `own`
    unless the file says otherwise: the `manifest` and `coco` sources read any data set. A name without a file is
    `unknown`, since a result that names a source does not say what the source read.

    Args:
        name: of the data set.
        source: what reads it where that is known; a file that names another source says nothing of it.

    Raises:
        UsageError: the file holds an unknown key, or a value of the wrong type.
    """
    unknown = SourceInfo(name, kind="unknown")
    if name not in config.names("datasets"):
        return create(name).info if name in SOURCES and source in (None, name) else unknown
    blocks = _read(name)
    if source not in (None, blocks["data"].get("source") or name):
        return unknown
    return replace(_from_source(name, blocks["data"]), **blocks["info"])


def benchmarks() -> list[str]:
    """Names of the benchmarks among the suite's own sources whose splits have published sizes, in their order.

    They have a board before anyone has a result for it; the others get theirs with the first result.
    """
    known = {name: describe(name) for name in SOURCES}
    return [name for name, info in known.items() if info.kind == "benchmark" and info.counts]


def _from_source(name: str, data: Mapping[str, Any]) -> SourceInfo:
    generator = data.get("generator")
    if generator:
        preset = str(generator.get("name", "tiny"))
        return SourceInfo(
            title=f"synthetic scenes ({preset})",
            where="drawn on first use",
            licence="Apache-2.0",
            layout=f"a generated folder in the layout of {data.get('source') or name}",
            counts=preset_named(preset).counts,
            kind="synthetic",
        )
    try:
        source = create(str(data.get("source") or name), **(data.get("source_options") or {}))
    except UserError:
        # A package that is not installed here. Opening the data set raises this error; its board needs no source.
        return SourceInfo(name, kind="unknown")
    if source.name == name or source.info.kind == "synthetic":
        return source.info
    return replace(source.info, title=name, kind="own", counts={})


def _read(name: str) -> dict[str, dict[str, Any]]:
    """The `info` and `data` blocks of a data set's file, checked."""
    path = config.find("datasets", name)
    loaded = config.load_yaml(path)
    config.only(path, "", loaded, BLOCKS)
    blocks = {block: config.mapping(path, block, loaded.get(block)) for block in ("info", "data")}
    config.only(path, "data.", blocks["data"], SETTINGS)
    config.only(
        path, "data.generator.", config.mapping(path, "data.generator", blocks["data"].get("generator")), GENERATOR
    )
    config.only(path, "info.", blocks["info"], INFO)
    return {"data": blocks["data"], "info": _checked_info(path, blocks["info"])}


def _checked_info(path: Path, info: dict[str, Any]) -> dict[str, Any]:
    for key, value in info.items():
        if key == "kind" and value not in KINDS[:-1]:
            raise UsageError(f"{path}: unknown info.kind '{value}'.{did_you_mean(str(value), list(KINDS[:-1]))}")
        if key == "counts":
            if not isinstance(value, Mapping) or not all(
                split in SPLITS and type(count) is int and count >= 0 for split, count in value.items()
            ):
                raise UsageError(f"{path}: info.counts must give numbers of pairs for {', '.join(SPLITS)}.")
        elif key in {"classes", "notes", "drive_holds"}:
            if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
                what = "sentences" if key == "notes" else "names"
                raise UsageError(f"{path}: info.{key} must be a list of {what}.")
            info = {**info, key: tuple(one.lower() if key == "classes" else one for one in value)}
        elif not isinstance(value, str):
            raise UsageError(f"{path}: info.{key} must be text, not {value!r}.")
    return info
