"""A data set's configuration leads to a manifest in the cache. No torch."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rrsis_bench import paths
from rrsis_bench.data import empty_truth
from rrsis_bench.data.catalogue import GENERATOR, describe
from rrsis_bench.data.empty_truth import EmptyTruth
from rrsis_bench.data.fetch import origin
from rrsis_bench.data.fetch.origin import Origin
from rrsis_bench.data.info import SPLITS
from rrsis_bench.data.manifest import Manifest, write_manifest
from rrsis_bench.data.pixels import PixelRule
from rrsis_bench.data.sources import create
from rrsis_bench.data.state import Contents, FileState, identity_of
from rrsis_bench.data.tables import container
from rrsis_bench.errors import MissingResourceError, UsageError, UserError, did_you_mean
from rrsis_bench.files import prove_writable, write_text

if TYPE_CHECKING:
    from rrsis_bench.data.sources.base import Source

_FORMAT = 4
_UNUSED_SECONDS = 30 * 24 * 3600


@dataclass(frozen=True)
class Located:
    """A data set on this machine: its name, its source, the folder it is read from, and the source's options.

    The manifest holds the samples with an empty truth, too; `empty_truth` is what to do with them.
    """

    dataset: str
    source: Source
    root: Path
    options: Mapping[str, Any]
    empty_truth: EmptyTruth = "skip"

    def empty(self, path: Path) -> str:
        """Say how many samples of a manifest have an empty truth, by split, and what is done with them.

        Returns:
            the sentence; "" if there is none, or if the data set means them.
        """
        if self.empty_truth == "no-target":
            return ""
        counts = {split: Manifest.open(path, split).n_empty for split in SPLITS}
        return empty_truth.told(counts, self.empty_truth)


def locate(data: Mapping[str, Any]) -> Located:
    """Find a data set's folder and its source. A generated data set is drawn if its folder does not exist.

    Args:
        data: the `data` block of a configuration: `dataset`, `source`, `source_options`, `root`, `manifest`,
            `generator`, `pixels`, `empty_truth`. Without `root`, a `manifest` file's own folder is the root.

    Returns:
        the data set. `ensure_manifest` checks whether its files are complete.
    """
    dataset, generator = str(data["dataset"]), data.get("generator")
    options, named = dict(data.get("source_options") or {}), str(data.get("source") or dataset)
    if data.get("manifest"):
        options["manifest"] = str(data["manifest"])
    source, described = create(named, **options), describe(dataset, named)
    source.dataset = dataset
    if described.kind != "unknown":
        # For messages and checks. The classes stay the source's own: some sources find categories by them.
        source.info = replace(described, classes=source.info.classes)
    source.pixels = PixelRule.from_config(data.get("pixels"))
    if data.get("pixels"):
        options["pixels"] = source.pixels.to_config()
    source.empty_truth = empty_truth.rule(data.get(empty_truth.REASON))
    root = folder(data)
    if generator:
        from rrsis_bench.data.sources.synthetic import generate

        generate(root, **_recipe(generator))
    return Located(dataset, source, root, options, source.empty_truth)


def folder(data: Mapping[str, Any]) -> Path:
    """The folder a data set is read from, whether it exists or not.

    Args:
        data: the `data` block of a configuration.
    """
    if data.get("root"):
        return Path(str(data["root"])).expanduser()
    if data.get("generator"):
        from rrsis_bench.data.synthetic.presets import folder_name

        return paths.cache_root() / "synthetic" / folder_name(**_recipe(data["generator"]))
    if data.get("manifest"):
        return Path(str(data["manifest"])).expanduser().absolute().parent
    return paths.data_root() / str(data["dataset"])


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


def ensure_manifest(located: Located, force: bool = False) -> Path:
    """The manifest of a data set. It is written once and used again while every file of the data set is the same.

    Args:
        located: the data set.
        force: read all files and write the manifest, whatever the cache says.

    Returns:
        `<cache>/manifests/<dataset>-<hash>.jsonl`; see `manifest_path`.

    Raises:
        MissingResourceError: the data set is missing, or a file of it cannot be used.
        UserError: a file changed during the preparation, or the cache cannot be written.
    """
    files = _files(located)
    if force or not is_recorded(located):
        prove_writable(_named(located, ""))
    contents = files.contents(afresh=True) if force else None
    identity = files.identity()
    path = _named(located, identity)
    images = _images_path(path)
    if not force and path.is_file() and images.is_file():
        _note_origin(located, path, identity)
        with contextlib.suppress(OSError):  # the time says that it is still in use; a read-only cache keeps the old one
            os.utime(images)
        return path
    contents = files.contents() if contents is None else contents
    path = _named(located, identity_of(contents))
    prove_writable(path, _images_path(path))
    pairs = list(located.source.prepare(located.root))
    if not pairs:
        raise MissingResourceError(
            f"{located.source.info.title} in {located.root} holds no image-expression pair; "
            f"`rrsis-bench data verify {located.dataset}` says why."
        )
    # Files that change meanwhile would leave, under the name of one state, a manifest of another.
    if files.contents() != contents:
        raise UserError(
            f"{located.source.info.title} in {located.root}: files changed while they were read; "
            f"run the command again when nothing writes there."
        )
    # An image in a cell stands and falls with the file that holds it.
    hashes = {pair.image: contents.get(pair.image) or contents.get(container(pair.image), "") for pair in pairs}
    lines = sorted(f"{image}\0{content}\n" for image, content in hashes.items())
    write_text(_images_path(path), hashlib.sha256("".join(lines).encode("utf-8", "surrogatepass")).hexdigest() + "\n")
    _note_origin(located, path, identity_of(contents))
    write_manifest(path, pairs)
    _remove_unused(located.dataset, path)
    return path


def manifest_path(located: Located) -> Path:
    """The path of the manifest of a data set in its present state, whether it is written or not.

    Returns:
        `<cache>/manifests/<dataset>-<hash>.jsonl`; the hash is over source, root and options, and the path and content
        of every file. Contents are read again only where size or time changed since they were last read.

    Raises:
        MissingResourceError: the data set is missing.
    """
    return _named(located, _files(located).identity())


def images_sha256(path: Path) -> str:
    """The sha256 over paths and contents of all images that a manifest names, as they were when it was written.

    Args:
        path: a manifest that `ensure_manifest` returned.
    """
    return _images_path(path).read_text(encoding="utf-8").strip()


def manifest_origin(path: Path) -> Origin | None:
    """Where the files of a manifest were fetched from; None if `data fetch` did not fetch them, or they changed since.

    Args:
        path: a manifest that `ensure_manifest` returned.
    """
    return origin.parse(_origin_path(path))


def _note_origin(located: Located, path: Path, identity: str) -> None:
    """Keep what `data fetch` recorded of these very files beside their manifest."""
    recorded = origin.read(located.root)
    if recorded is not None and recorded.identity == identity and manifest_origin(path) != recorded:
        with contextlib.suppress(UserError):  # a read-only cache
            recorded.write(_origin_path(path))


def is_recorded(located: Located) -> bool:
    """Whether the files' contents were read before: then only changed files need reading."""
    return _files(located).record.is_file()


def file_contents(located: Located) -> Contents:
    """What the files of a data set hold, as recorded when they were last read."""
    return Contents(located.root, _files(located).kept())


def reread(located: Located) -> Path:
    """`manifest_path` after reading every file, also those whose size and times are as recorded."""
    return _named(located, identity_of(_files(located).contents(afresh=True)))


def _key(located: Located) -> list[Any]:
    return [_FORMAT, type(located.source).__qualname__, str(located.root.resolve()), dict(located.options)]


def _files(located: Located) -> FileState:
    record = paths.cache_root() / "states" / f"{located.dataset}-{_digest(_key(located))}.json"
    return FileState(record, located.root, tuple(located.source.key_files(located.root)))


def _named(located: Located, identity: str) -> Path:
    name = f"{located.dataset}-{_digest([*_key(located), identity])}.jsonl"
    return paths.cache_root() / "manifests" / name


def _images_path(path: Path) -> Path:
    return path.parent.with_name("content") / f"{path.stem}.images"


def _origin_path(path: Path) -> Path:
    return _images_path(path).with_suffix(".origin.json")


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode("utf-8")).hexdigest()[:16]


def _remove_unused(dataset: str, kept: Path) -> None:
    """Remove a data set's manifests that nobody opened for `_UNUSED_SECONDS`: each state of its files leaves one."""
    name = re.compile(re.escape(dataset) + r"-[0-9a-f]{16}\.jsonl")
    with contextlib.suppress(OSError):
        for path in kept.parent.iterdir():
            images = _images_path(path)
            if path != kept and name.fullmatch(path.name):
                opened = (images if images.is_file() else path).stat().st_mtime
                if time.time() - opened > _UNUSED_SECONDS:
                    images.unlink(missing_ok=True)
                    _origin_path(path).unlink(missing_ok=True)
                    path.unlink(missing_ok=True)
