"""Pictures that are written as SVG directly, without a plotting library: reliability, and kinds of predictions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from rrsis_bench.boards.render.cells import percent
from rrsis_bench.boards.render.colours import COLOURS, INK, PAPER, RULE
from rrsis_bench.stats.failures import KINDS

_SIDE, _LEFT, _TOP, _LINE = 260, 48, 14, 16
"""Side of the diagram's square, its margins and the height of a line of its legend, in pixels."""
_WIDE, _BAR = 340, 12
"""Width of the bars of kinds, and height of a bar, in pixels."""
_LETTER = 6.2
"""Width of a letter in pixels at most, but for the widest ones; a picture must not depend on a machine's fonts."""
_OF_KIND = dict(zip(KINDS, (COLOURS[2], COLOURS[0], COLOURS[4], COLOURS[3], COLOURS[1]), strict=True))
_NO_XML = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def printable(text: str) -> str:
    """Leave out the signs that no XML file may hold."""
    return _NO_XML.sub("", text)


def xml(text: str) -> str:
    """Escape a text for SVG."""
    return escape(printable(text))


def reliability_svg(curves: Sequence[Mapping[str, Any]]) -> str:
    """Draw the share of true pixels against the predicted probability, a line for each run or method.

    Args:
        curves: `label`, `ece` (a fraction or None), and `points`: pairs of probability and share (None: no pixels).
    """
    high = _TOP + _SIDE
    parts = []
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
    legend = []
    for number, curve in enumerate(curves):
        colour = COLOURS[number % len(COLOURS)]
        points = [
            (f"{_LEFT + _SIDE * probability:.1f}", f"{_TOP + _SIDE * (1 - share):.1f}")
            for probability, share in curve["points"]
            if share is not None
        ]
        line = " ".join(f"{x},{y}" for x, y in points)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x}" cy="{y}" r="2.5" fill="{colour}"/>' for x, y in points]
        legend.append((f"{curve['label']}: ECE {percent(curve['ece'])} %", colour))
    y = high + 56
    for number, (text, colour) in enumerate(legend):
        parts += _entry(_LEFT, y + _LINE * number, text, colour)
    wide = max([_LEFT + _SIDE + 20.0, *(_LEFT + 16 + _LETTER * len(text) for text, _ in legend)])
    label = f"reliability of {', '.join(curve['label'] for curve in curves)}"
    return _svg(wide, y + _LINE * len(legend), label, parts)


def failures_svg(bars: Sequence[Mapping[str, Any]]) -> str:
    """Draw the shares of the kinds of predictions as a stacked bar for each method.

    Args:
        bars: `label`, and `shares`: kind -> fraction, None where the kind is not known.
    """
    parts: list[str] = []
    present = [kind for kind in KINDS if any(bar["shares"].get(kind) is not None for bar in bars)]
    x = 4.0
    for kind in present:
        parts += _entry(x, 16, kind, _OF_KIND[kind])
        x += 28 + _LETTER * len(kind)
    wide = max([_WIDE + 8.0, x, *(8 + _LETTER * len(bar["label"]) for bar in bars)])
    for number, bar in enumerate(bars):
        y = 40 + number * (_BAR + 24)
        parts.append(f'<text x="4" y="{y}">{xml(bar["label"])}</text>')
        begin = 4.0
        for kind in present:
            share = bar["shares"].get(kind) or 0.0
            end = begin + (wide - 8) * share
            title = f"<title>{xml(bar['label'])}: {kind} {percent(share)} %</title>"
            place = f'x="{begin:.1f}" y="{y + 5}" width="{end - begin:.1f}" height="{_BAR}"'
            parts.append(f'<rect {place} fill="{_OF_KIND[kind]}">{title}</rect>' if share else "")
            begin = end
    label = f"shares of {', '.join(present)} predictions of {', '.join(bar['label'] for bar in bars)}"
    return _svg(wide, 40 + len(bars) * (_BAR + 24), label, filter(None, parts))


def _entry(x: float, y: float, text: str, colour: str) -> list[str]:
    """A line of a legend: a swatch and its words."""
    return [
        f'<rect x="{x:g}" y="{y - 9:g}" width="10" height="10" fill="{colour}"/>',
        f'<text x="{x + 16:g}" y="{y:g}">{xml(text)}</text>',
    ]


def _svg(wide: float, high: float, label: str, parts: Iterable[str]) -> str:
    style = f'font-family="sans-serif" font-size="11" fill="{INK}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{xml(label)}"'
    ground = f'<rect width="100%" height="100%" fill="{PAPER}"/>'
    style += f' style="max-width: {1.35 * wide:.0f}px"'  # letters of 15 pixels at most
    return "\n".join([f'{head} viewBox="0 0 {wide:g} {high:g}" {style}>', ground, *parts, "</svg>"]) + "\n"
