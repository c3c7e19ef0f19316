"""The documentation of the perturbations: a page with ten example sentences of each, and a contact sheet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from rrsis_bench.data.perturb.table import PERTURBATIONS, SEVERITIES, Choice, Perturbation
from rrsis_bench.data.pixels import encoded
from rrsis_bench.data.synthetic.grammar import expressions
from rrsis_bench.data.synthetic.scenes import draw_scene, seed_range
from rrsis_bench.files import write_together

PAGE, SHEET = "robustness.md", "robustness.jpg"
EXAMPLES = 10
_SIDE, _GAP, _LABEL = 150, 6, 22

_HEAD = """<!-- Made by `rrsis-bench data perturbations --page docs`; edits are overwritten. -->

# Robustness: perturbed images and words

`rrsis-bench test --run RUN --perturb NAME[:SEVERITY]` scores a run on its test split, perturbed. The result lies under
the run, in `perturb/<name>-<severity>/`, with the files of any other. No ordinary board shows it; the robustness board
does. `--perturb` may be repeated, and a sweep takes `perturb: [haze:3, synonyms]`.

- A perturbation leaves what is meant: the truth is that of the split, turned where the image turns.
- A severity is a number from 1 to 5, 3 if it is left out. A perturbation without severities has one form.
- Draws depend on the run's data seed, the perturbation's name and the sample alone. All samples of an image see the
  same perturbed image; all severities share their draws: a worse image is the same one, worse.
- Turns and the mirror change the words of place too. A sample whose words cannot be turned is left out, and the result
  counts it (`n_left_out`). `n_unchanged` counts expressions that a perturbation of words leaves as they are.
- Where an expression may mean several objects, `no-articles` is refused: "red ships" is not "the red ships".
- `--detail`, `--dataset` and `--exclude-overlap` do not go with `--perturb`.
- Results state the perturbation's version, which is raised when its outcome changes.
- Words are perturbed by rules and tables for English. Tokenizers with a short limit may cut the end of long requests.
"""


def sentences(count: int, seed: int = 0) -> list[str]:
    """Expressions of drawn scenes, and some in the style of people, which the examples are made from."""
    written = [
        "The gray storage tank located at the center of the image.",
        "A small vehicle is located at the bottom-right corner of the image.",
        "The harbor near an airplane",
    ]
    found: list[str] = []
    for scene in map(draw_scene, seed_range("test", seed)):
        if len(found) >= count - len(written):
            return [*found[: count - len(written)], *written]
        drawn = expressions(scene, np.random.default_rng(scene.seed))
        longest = max(drawn, key=lambda one: len(one.text), default=None)
        found += [] if longest is None or longest.text in found else [longest.text]
    raise AssertionError("the seeds of a split do not end")


def text() -> str:
    """The page as Markdown."""
    lines = [_HEAD, "## Images", f"![The image perturbations at severities 1, 3 and 5]({SHEET})", ""]
    lines += ["| name | severities | version | what it does |", "|:---|:---|:---|:---|"]
    lines += [_row(one) for one in PERTURBATIONS.values() if one.kind != "words"]
    lines += ["", "## Words", "", "| name | severities | version | what it does |", "|:---|:---|:---|:---|"]
    lines += [_row(one) for one in PERTURBATIONS.values() if one.kind == "words"]
    examples = sentences(EXAMPLES)
    for one in PERTURBATIONS.values():
        if one.kind != "image":
            lines += ["", f"### {one.name}", "", *_examples(one, examples)]
    return "\n".join(lines) + "\n"


def _row(one: Perturbation) -> str:
    return f"| `{one.name}` | {'1-5' if one.graded else ''} | {one.version} | {one.what} |"


def _examples(one: Perturbation, examples: Sequence[str]) -> Iterator[str]:
    """Ten pairs of sentences; severities take turns where there are several."""
    yield "| | expression | becomes |" if not one.graded else "| severity | expression | becomes |"
    yield "|:---|:---|:---|"
    for place, sentence in enumerate(examples):
        choice = Choice(one.name, 1 + place % len(SEVERITIES) if one.graded else 1)
        changed = choice.text(sentence, f"example-{place}", 0)
        shown = "left out" if changed is None else changed
        yield f"| {choice.severity if one.graded else ''} | {sentence} | {shown} |"


def sheet() -> NDArray[np.uint8]:
    """A contact sheet (H, W, 3): each image perturbation at severities 1, 3 and 5, turns and resolutions once."""
    scene = draw_scene(seed_range("test")[7], 2 * _SIDE).image
    rows: list[list[tuple[str, NDArray[np.uint8]]]] = []
    single: list[tuple[str, NDArray[np.uint8]]] = [("clean", scene)]
    for one in PERTURBATIONS.values():
        if one.kind == "words":
            continue
        made = [
            (f"{one.name}:{severity}" if one.graded else one.name,
             Choice(one.name, severity).image(scene, ("sheet", ""), 0))
            for severity in ((1, 3, 5) if one.graded else (1,))
        ]  # fmt: skip
        if one.graded:
            rows.append(made)
        else:
            single += made
    pairs = [[*left, *right] for left, right in zip(rows[0::2], rows[1::2], strict=True)]
    pairs += [single[start : start + 6] for start in range(0, len(single), 6)]
    height, width = len(pairs) * (_SIDE + _LABEL) + _GAP, 6 * (_SIDE + _GAP) + _GAP
    canvas = Image.new("RGB", (width, height), "white")
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(size=13)
    for y, row in enumerate(pairs):
        for x, (label, image) in enumerate(row):
            place = (_GAP + x * (_SIDE + _GAP), _GAP + y * (_SIDE + _LABEL))
            small = cv2.resize(image, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
            canvas.paste(Image.fromarray(small), place)
            pen.text((place[0], place[1] + _SIDE), label, "black", font)
    return np.asarray(canvas)


def write(folder: Path) -> list[Path]:
    """Write the page and its picture.

    Returns:
        the files written.
    """
    files: dict[Path, bytes | str] = {folder / PAGE: text(), folder / SHEET: encoded(".jpg", sheet(), 85)}
    write_together(files)
    return list(files)
