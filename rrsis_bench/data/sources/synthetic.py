"""The synthetic data sets: drawn scenes and checked expressions, written in the real folder layouts.

`generate` draws a preset into a folder that the real sources read. `Synthetic` is a source that generates and reads.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rrsis_bench.data.empty_truth import EmptyTruth
from rrsis_bench.data.info import SPLITS, SourceInfo
from rrsis_bench.data.pixels import PixelRule
from rrsis_bench.data.sources.base import Finding, LayoutItem
from rrsis_bench.data.synthetic.presets import PRESETS, VERSION, preset_named
from rrsis_bench.errors import UsageError, UserError, did_you_mean
from rrsis_bench.files import atomic_folder

if TYPE_CHECKING:
    from rrsis_bench.data.manifest import Pair
    from rrsis_bench.data.sources.base import Source
    from rrsis_bench.data.synthetic.generalised import SetExpression
    from rrsis_bench.data.synthetic.scenes import Scene

MARKER = "synthetic.json"
"""File in a generated folder that says what it was made from."""
PER_SCENE = 2
"""Expressions taken from a scene at most, each for another object."""
RIVAL_WEIGHT = 2.0
"""How much likelier an object with a rival of its own category is referred to than one without."""
LAYOUTS = {"rrsisd": "RRSISD", "refsegrs": "RefSegRS", "risbench": "RISBench"}
"""Layout -> class of the source that reads it."""


def generate(root: Path, preset: str = "tiny", seed: int | None = None, layout: str = "rrsisd") -> None:
    """Write a synthetic data set, unless `root` already holds just this one.

    The data set is built beside `root` and renamed: an interrupted run leaves no `root`. Of two processes at once, the
    second uses what the first one wrote.

    Args:
        root: folder to make.
        preset: `tiny`, `small` or `tiny-generalised`.
        seed: another one gives other scenes; None is 0.
        layout: whose folder layout: `rrsisd`, `refsegrs` or `risbench`.

    Raises:
        UsageError: unknown preset or layout, or a negative seed.
        UserError: `root` holds something else.
    """
    counts = preset_named(preset).counts
    write(root, {"preset": preset, "seed": seed or 0, "layout": layout}, preset_named(preset).side, counts)


def write(root: Path, recipe: Mapping[str, Any], side: int, counts: Mapping[str, int]) -> None:
    """Generate with any image side and numbers of expressions; `recipe` is kept in the marker file."""
    layout, seed = str(recipe["layout"]), int(recipe["seed"])
    _check_layout(layout)
    if seed < 0:
        raise UsageError(f"the seed of a synthetic data set must not be negative, but is {seed}.")
    known = PRESETS.get(str(recipe["preset"]))
    generalised = known is not None and known.generalised
    marker = {**recipe, "version": VERSION, "side": side, "counts": dict(counts)}
    if _holds(root, marker):
        return
    writer = import_module(f"rrsis_bench.data.sources.{layout}")
    try:
        with atomic_folder(root) as building:
            writer.write_layout(building, layout_items(side, counts, seed, generalised))
            (building / MARKER).write_text(json.dumps(marker, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    except UserError:
        if not _holds(root, marker):
            raise


def _check_layout(layout: str) -> None:
    if layout not in LAYOUTS:
        raise UsageError(f"unknown layout '{layout}' for a synthetic data set.{did_you_mean(layout, list(LAYOUTS))}")


def _holds(root: Path, marker: Mapping[str, Any]) -> bool:
    """Whether `root` is the data set of a marker. False for an absent or empty folder, an error for any other."""
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


def layout_items(
    side: int, counts: Mapping[str, int], seed: int = 0, generalised: bool = False
) -> Iterator[LayoutItem]:
    """Every image-expression pair of a synthetic data set, split by split, drawn on the way.

    Args:
        side: height and width of the images in pixels.
        counts: expressions of each split.
        seed: another one gives other scenes.
        generalised: whether expressions may fit nothing or several objects.
    """
    number = 0
    for split, count in counts.items():
        left = count
        described = _generalised_scenes if generalised else _described_scenes
        for scene, chosen in described(split, seed, side):
            number += 1
            for expression in chosen[:left]:
                mask = np.zeros(scene.size, np.uint8)
                for index in expression.indices:
                    mask |= scene.objects[index].mask
                yield LayoutItem(split, scene.image, mask, expression.text, expression.category, f"{number:05d}")
            left -= len(chosen[:left])
            if left == 0:
                break


def _described_scenes(split: str, seed: int, side: int) -> Iterator[tuple[Scene, list[SetExpression]]]:
    """Scenes of a split that have expressions, with at most `PER_SCENE` of them."""
    from rrsis_bench.data.synthetic import generalised, grammar
    from rrsis_bench.data.synthetic.scenes import sample_scenes, seed_range

    for scene in sample_scenes(seed_range(split, seed), side):
        rng = np.random.default_rng((scene.seed, 1))
        found = grammar.expressions(scene, rng)
        if found:
            categories = [thing.category for thing in scene.objects]
            weights = np.array([RIVAL_WEIGHT if categories.count(categories[e.index]) > 1 else 1.0 for e in found])
            picks = rng.choice(len(found), min(PER_SCENE, len(found)), replace=False, p=weights / weights.sum())
            yield scene, [generalised.of_one(scene, found[i]) for i in sorted(picks)]


def _generalised_scenes(split: str, seed: int, side: int) -> Iterator[tuple[Scene, list[SetExpression]]]:
    """Scenes of a split with up to `PER_SCENE` expressions that fit any number of objects."""
    from rrsis_bench.data.synthetic.generalised import set_expressions
    from rrsis_bench.data.synthetic.scenes import sample_scenes, seed_range

    for scene in sample_scenes(seed_range(split, seed), side):
        if found := set_expressions(scene, np.random.default_rng((scene.seed, 2)), PER_SCENE):
            yield scene, found


class Synthetic:
    """A generated data set as a source; its folder is made on first use and read by the layout's own source.

    Args:
        preset: `tiny`, `small` or `tiny-generalised`.
        seed: another one gives other scenes.
        layout: `rrsisd`, `refsegrs` or `risbench`.
    """

    name = "synthetic"
    pixels = PixelRule()
    empty_truth: EmptyTruth = "skip"
    dataset = ""

    def __init__(self, preset: str = "tiny", seed: int = 0, layout: str = "rrsisd") -> None:
        self.recipe: dict[str, Any] = {"preset": preset, "seed": seed, "layout": layout}
        self.info = SourceInfo(
            title=f"synthetic scenes ({preset})",
            paper="",
            where="drawn on first use",
            licence="Apache-2.0",
            layout=f"a generated folder in the layout of {layout}",
            counts=dict(preset_named(preset).counts),
            kind="synthetic",
        )
        _check_layout(layout)

    def key_files(self, root: Path) -> list[Path]:
        """The marker file and those of the layout; the data set is drawn if it is not there."""
        generate(root, **self.recipe)
        return [root / MARKER, *self._reader().key_files(root)]

    def _reader(self) -> Source:
        layout = self.recipe["layout"]
        reader: Source = getattr(import_module(f"rrsis_bench.data.sources.{layout}"), LAYOUTS[layout])()
        # Its own says what is published of the real data set.
        reader.info = replace(self.info, classes=reader.info.classes)
        return reader

    def prepare(self, root: Path) -> Iterator[Pair]:
        """The pairs, generating the folder if it is not there."""
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
        return [*findings, *self._reader().verify(root)]

    def write_fake(self, root: Path, n_per_split: int, seed: int, faults: Sequence[str] = ()) -> None:
        """A smaller set of the same recipe; faults are planted by the layout's own source."""
        if faults:
            self._reader().write_fake(root, n_per_split, seed, faults)
            return
        counts = dict.fromkeys(SPLITS, n_per_split)
        write(root, {**self.recipe, "seed": seed}, PRESETS[self.recipe["preset"]].side, counts)
