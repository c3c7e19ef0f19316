"""One file per data set, which makes a manifest of its folder. `create` imports a source only when it is used."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from inspect import signature
from typing import TYPE_CHECKING, Any

from rrsis_bench.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from rrsis_bench.data.sources.base import Source

SOURCES: Mapping[str, str] = {
    "rrsisd": "rrsis_bench.data.sources.rrsisd:RRSISD",
    "refsegrs": "rrsis_bench.data.sources.refsegrs:RefSegRS",
    "risbench": "rrsis_bench.data.sources.risbench:RISBench",
    "nwpurefer": "rrsis_bench.data.sources.nwpurefer:NWPURefer",
    "rislad": "rrsis_bench.data.sources.rislad:RISLAD",
    "earthreason": "rrsis_bench.data.sources.earthreason:EarthReason",
    "manifest": "rrsis_bench.data.sources.manifest_file:ManifestFile",
    "parquet": "rrsis_bench.data.sources.tables:TableFiles",
    "coco": "rrsis_bench.data.sources.coco:CocoInstances",
    "synthetic": "rrsis_bench.data.sources.synthetic:Synthetic",
}


def create(name: str, **options: Any) -> Source:
    """A source by name (or by "module:Class").

    Args:
        name: a key of `SOURCES`.
        options: what the source's class takes; options that are None are left out.

    Raises:
        UsageError: an unknown source, or an option it does not take.
    """
    if name not in SOURCES and ":" not in name:
        raise UsageError(f"unknown source '{name}'.{did_you_mean(name, list(SOURCES))}")
    module, _, attribute = SOURCES.get(name, name).partition(":")
    given = {key: value for key, value in options.items() if value is not None}
    try:
        build = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"source '{name}' cannot be loaded: {error}.") from error
    known = list(signature(build).parameters)
    for option in given:
        if option not in known:
            raise UsageError(f"source '{name}' does not take the option '{option}'.{did_you_mean(option, known)}")
    source: Source = build(**given)
    return source
