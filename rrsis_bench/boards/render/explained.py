"""The page of `results explain`: the table of kinds, the reliability diagram, and examples of each kind."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from rrsis_bench.boards.render.cells import percent
from rrsis_bench.boards.render.charts import reliability_svg
from rrsis_bench.boards.render.templating import environment
from rrsis_bench.results.explain import MEASURES
from rrsis_bench.stats.failures import KINDS, MEANING


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


def curves(found: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The lines of the reliability diagram, as `charts.reliability_svg` draws them.

    Args:
        found: what `results.explain.explain` returned for each run.
    """
    return [
        {
            "label": run["name"],
            "ece": run["measures"]["ece"]["value"],
            "points": [(point["probability"], point["share"]) for point in run["reliability"]],
        }
        for run in found
    ]


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
        diagram=Markup(reliability_svg(curves(found))),
        source=lambda one: f"data:image/jpeg;base64,{base64.b64encode(one.jpeg).decode('ascii')}",
        interval=lambda ends: "" if ends is None else " … ".join(f"{100 * end:.2f}" for end in ends),
    )  # fmt: skip
