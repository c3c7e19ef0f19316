"""The synthetic data sets: drawn scenes and checked expressions, written in the real folder layouts.

`generate` draws a preset into a folder that the real sources read; `Synthetic` is those two in one source.

| preset | side | train | val | test expressions |
|---|---|---|---|---|
| tiny | 128 px | 2,000 | 200 | 400 |
| small | 256 px | 8,000 | 500 | 1,000 |
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rrsis_bench.data.pixels import PixelRule
from rrsis_bench.data.sources.base import SPLITS, Finding, LayoutItem, SourceInfo
from rrsis_bench.errors import UsageError, UserError, did_you_mean

if TYPE_CHECKING:
    from rrsis_bench.data.manifest import Record
    from rrsis_bench.data.sources.base import Source
    from rrsis_bench.data.synthetic.grammar import Expression
    from rrsis_bench.data.synthetic.scenes import Scene

VERSION = 1
"""Raised whenever the same preset and seed would give other scenes or expressions."""
MARKER = "synthetic.json"
"""File in a generated folder that says what it was made from."""
PER_SCENE = 2
"""Expressions taken from a scene at most, each for another object."""
RIVAL_WEIGHT = 2.0
"""How much likelier an object with a rival of its own category is referred to than one without."""
LAYOUTS = {"rrsisd": "RRSISD", "refsegrs": "RefSegRS", "risbench": "RISBench"}
"""Layout -> class of the source that reads it."""


@dataclass(frozen=True)
class Preset:
    """Size of a synthetic data set.

    Attributes:
        side: height and width of the images in pixels.
        counts: expressions of each split.
    """

    side: int
    counts: Mapping[str, int]


PRESETS: dict[str, Preset] = {
    "tiny": Preset(128, {"train": 2000, "val": 200, "test": 400}),
    "small": Preset(256, {"train": 8000, "val": 500, "test": 1000}),
}


def preset_named(name: str) -> Preset:
    """The preset of a name.

    Raises:
        UsageError: there is none; the message lists the known names.
    """
    if name not in PRESETS:
        raise UsageError(f"unknown synthetic preset '{name}'.{did_you_mean(name, list(PRESETS))}")
    return PRESETS[name]


def folder_name(preset: str, seed: int | None = None, layout: str = "rrsisd") -> str:
    """Name of the cache folder of a generated data set; changes whenever its content would."""
    return f"{preset}-{layout}-seed{seed or 0}-v{VERSION}"


def generate(root: Path, preset: str = "tiny", seed: int | None = None, layout: str = "rrsisd") -> None:
    """Write a synthetic data set, unless `root` already holds just this one.

    It is built beside `root` and renamed, so an interrupted run leaves no `root`, and of two at once the second finds
    the first one's.

    Args:
        root: folder to make.
        preset: `tiny` or `small`.
        seed: another one gives other scenes; None is 0.
        layout: whose folder layout: `rrsisd`, `refsegrs` or `risbench`.

    Raises:
        UsageError: unknown preset or layout, or a negative seed.
        UserError: `root` holds something else.
    """
    counts = preset_named(preset).counts
    write(root, {"preset": preset, "seed": seed or 0, "layout": layout}, preset_named(preset).side, counts)


def write(root: Path, recipe: Mapping[str, Any], side: int, counts: Mapping[str, int]) -> None:
    """What `generate` does, for any image side and numbers of expressions; `recipe` is kept in the marker file."""
    layout, seed = str(recipe["layout"]), int(recipe["seed"])
    _check_layout(layout)
    if seed < 0:
        raise UsageError(f"the seed of a synthetic data set must not be negative, but is {seed}.")
    marker = {**recipe, "version": VERSION, "side": side, "counts": dict(counts)}
    if _holds(root, marker):
        return
    writer = import_module(f"rrsis_bench.data.sources.{layout}")
    root.parent.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(prefix=f".{root.name}.", dir=root.parent))
    try:
        building.chmod(0o755)
        writer.write_layout(building, layout_items(side, counts, seed))
        (building / MARKER).write_text(json.dumps(marker, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        try:
            os.replace(building, root)
        except OSError:
            if not _holds(root, marker):
                raise
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _check_layout(layout: str) -> None:
    if layout not in LAYOUTS:
        raise UsageError(f"unknown layout '{layout}' for a synthetic data set.{did_you_mean(layout, list(LAYOUTS))}")


def _holds(root: Path, marker: Mapping[str, Any]) -> bool:
    """Whether `root` is the data set of a marker; an absent or empty folder is not, anything else is an error."""
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return False
    try:
        if json.loads((root / MARKER).read_text(encoding="utf-8")) == dict(marker):
            return True
    except (OSError, ValueError):
        pass
    raise UserError(
        f"{root} holds something else than the synthetic data set asked for; remove it or name another folder."
    )


def layout_items(side: int, counts: Mapping[str, int], seed: int = 0) -> Iterator[LayoutItem]:
    """Every image-expression pair of a synthetic data set, split by split, drawn on the way."""
    number = 0
    for split, count in counts.items():
        left = count
        for scene, chosen in _described_scenes(split, seed, side):
            number += 1
            for expression in chosen[:left]:
                thing = scene.objects[expression.index]
                yield LayoutItem(split, scene.image, thing.mask, expression.text, thing.category, f"{number:05d}")
            left -= len(chosen[:left])
            if left == 0:
                break


def _described_scenes(split: str, seed: int, side: int) -> Iterator[tuple[Scene, list[Expression]]]:
    """Scenes of a split that have expressions, with at most `PER_SCENE` of them."""
    from rrsis_bench.data.synthetic import grammar
    from rrsis_bench.data.synthetic.scenes import sample_scenes, seed_range

    for scene in sample_scenes(seed_range(split, seed), side):
        rng = np.random.default_rng((scene.seed, 1))
        found = grammar.expressions(scene, rng)
        if found:
            categories = [thing.category for thing in scene.objects]
            weights = np.array([RIVAL_WEIGHT if categories.count(categories[e.index]) > 1 else 1.0 for e in found])
            picks = rng.choice(len(found), min(PER_SCENE, len(found)), replace=False, p=weights / weights.sum())
            yield scene, [found[i] for i in sorted(picks)]


class Synthetic:
    """A generated data set as a source; its folder is made on first use and read by the layout's own source.

    Args:
        preset: `tiny` or `small`.
        seed: another one gives other scenes.
        layout: `rrsisd`, `refsegrs` or `risbench`.
    """

    name = "synthetic"
    pixels = PixelRule()

    def __init__(self, preset: str = "tiny", seed: int = 0, layout: str = "rrsisd") -> None:
        self.recipe: dict[str, Any] = {"preset": preset, "seed": seed, "layout": layout}
        self.info = SourceInfo(
            title=f"synthetic scenes ({preset})",
            paper="",
            where="drawn on first use",
            licence="Apache-2.0",
            layout=f"a generated folder in the layout of {layout}",
            counts=dict(preset_named(preset).counts),
        )
        _check_layout(layout)

    def key_files(self, root: Path) -> list[Path]:
        """The marker file; the data set is drawn if it is not there."""
        generate(root, **self.recipe)
        return [root / MARKER]

    def _reader(self) -> Source:
        layout = self.recipe["layout"]
        reader: Source = getattr(import_module(f"rrsis_bench.data.sources.{layout}"), LAYOUTS[layout])()
        return reader

    def prepare(self, root: Path) -> Iterator[Record]:
        """The records, generating the folder if it is not there."""
        generate(root, **self.recipe)
        return self._reader().prepare(root)

    def verify(self, root: Path) -> list[Finding]:
        """The layout's own checks, and that the folder is this recipe's."""
        try:
            made = json.loads((root / MARKER).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            made = {}
        asked = {**self.recipe, "version": VERSION}
        findings = [
            Finding("error", MARKER, f"{key} is {made.get(key)!r}, not {value!r}; remove the folder", "recipe")
            for key, value in asked.items()
            if made.get(key) != value
        ]
        # The layout's published counts are those of the real data set.
        return [*findings, *(found for found in self._reader().verify(root) if found.check != "count")]

    def write_fake(self, root: Path, n_per_split: int, seed: int, faults: Sequence[str] = ()) -> None:
        """A smaller set of the same recipe; faults are planted by the layout's own source."""
        if faults:
            self._reader().write_fake(root, n_per_split, seed, faults)
            return
        counts = dict.fromkeys(SPLITS, n_per_split)
        write(root, {**self.recipe, "seed": seed}, PRESETS[self.recipe["preset"]].side, counts)
