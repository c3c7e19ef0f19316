"""The page of `results explain`: the table of kinds, the reliability diagram, and examples of each kind."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from markupsafe import Markup

from rrsis_bench.boards.render.cells import percent
from rrsis_bench.boards.render.plots import COLOURS, INK, PAPER, RULE
from rrsis_bench.boards.render.templating import environment
from rrsis_bench.results.explain import MEASURES
from rrsis_bench.stats.failures import KINDS, MEANING

_SIDE, _LEFT, _TOP, _LINE = 260, 48, 14, 16
"""Side of the diagram's square, its margins and the height of a line of its legend, in pixels."""


@dataclass(frozen=True)
class Example:
    """A sample whose prediction is shown.

    Attributes:
        kind: what the prediction is.
        sample_id: id of the sample.
        text: the expression.
        iou: native IoU as a fraction.
        jpeg: the picture with truth and prediction.
    """

    kind: str
    sample_id: str
    text: str
    iou: float
    jpeg: bytes


def reliability_svg(found: Sequence[Mapping[str, Any]]) -> str:
    """Draw the share of true pixels against the predicted probability, a line for each run, as SVG.

    Args:
        found: what `results.explain.explain` returned for each run.
    """

    def point(entry: Mapping[str, Any]) -> str:
        return f"{_LEFT + _SIDE * entry['probability']:.1f},{_TOP + _SIDE * (1 - entry['share']):.1f}"

    high = _TOP + _SIDE
    parts = [f'<rect width="100%" height="100%" fill="{PAPER}"/>']
    for step in range(0, 11, 2):
        x, y = _LEFT + _SIDE * step / 10, high - _SIDE * step / 10
        parts.append(f'<path d="M{_LEFT} {y:.1f}H{_LEFT + _SIDE}M{x:.1f} {_TOP}V{high}" stroke="{RULE}" fill="none"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{step / 10:.1f}</text>')
        parts.append(f'<text x="{x:.1f}" y="{high + 16}" text-anchor="middle">{step / 10:.1f}</text>')
    parts.append(f'<path d="M{_LEFT} {high}L{_LEFT + _SIDE} {_TOP}" stroke="{INK}" stroke-dasharray="4 4"/>')
    middle = _LEFT + _SIDE / 2
    parts.append(f'<text x="{middle}" y="{high + 34}" text-anchor="middle">probability of foreground</text>')
    turned = f'transform="translate(12 {_TOP + _SIDE / 2}) rotate(-90)"'
    parts.append(f'<text {turned} text-anchor="middle">share of true pixels</text>')
    for number, run in enumerate(found):
        colour = COLOURS[number % len(COLOURS)]
        points = [point(entry) for entry in run["reliability"] if entry["share"] is not None]
        parts.append(f'<polyline points="{" ".join(points)}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x}" cy="{y}" r="2.5" fill="{colour}"/>' for x, y in (one.split(",") for one in points)]
        y = high + 56 + _LINE * number
        ece = percent(run["measures"]["ece"]["value"])
        parts.append(f'<rect x="{_LEFT}" y="{y - 9}" width="10" height="10" fill="{colour}"/>')
        parts.append(f'<text x="{_LEFT + 16}" y="{y}">{escape(run["name"])}: ECE {ece} %</text>')
    box = f"0 0 {_LEFT + _SIDE + 20} {high + 56 + _LINE * len(found)}"
    label = escape(f"reliability of {', '.join(run['name'] for run in found)}")
    style = f'font-family="sans-serif" font-size="11" fill="{INK}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{label}" viewBox="{box}" {style}>'
    return "\n".join([head, *parts, "</svg>"]) + "\n"


def page(found: Sequence[Mapping[str, Any]], examples: Sequence[Sequence[Example]], notes: Sequence[str]) -> str:
    """Write the self-contained HTML page.

    Args:
        found: what `results.explain.explain` returned for each run.
        examples: each run's examples.
        notes: why a run has no examples.
    """
    runs = [
        {
            **run,
            "parts": [(by, list(parts.items())) for by, parts in run["by"].items()],
            "shown": [(kind, [one for one in mine if one.kind == kind]) for kind in KINDS],
        }
        for run, mine in zip(found, examples, strict=True)
    ]
    return environment("html").get_template("explain.html.j2").render(
        runs=runs, kinds=KINDS, meaning=MEANING, measures=MEASURES, notes=notes, percent=percent,
        diagram=Markup(reliability_svg(found)),
        source=lambda one: f"data:image/jpeg;base64,{base64.b64encode(one.jpeg).decode('ascii')}",
        interval=lambda ends: "" if ends is None else " … ".join(f"{100 * end:.2f}" for end in ends),
    )  # fmt: skip
