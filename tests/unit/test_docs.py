"""The programs that the pages under `docs/` show do what the pages say."""

from __future__ import annotations

import json
import re
import shlex
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from pycocotools import mask as coco

from rrsis_bench.cli import results as verb
from rrsis_bench.metrics.functional import score_masks
from tools import site

PAGE = Path(__file__).parents[2] / "docs" / "lira.md"


def blocks(language: str) -> list[str]:
    return [textwrap.dedent(one) for one in re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), flags=re.S)]


@pytest.fixture
def program() -> dict[str, Any]:
    names: dict[str, Any] = {}
    exec(blocks("python")[0], names)  # our own page
    return names


@pytest.mark.parametrize(("height", "width"), [(300, 500), (500, 300), (400, 400)])
def test_padding_and_resize_are_undone(program: dict[str, Any], height: int, width: int) -> None:
    truth = np.zeros((height, width), bool)
    truth[40:160, 50:220] = True
    side = max(height, width)
    square = torch.zeros(1, 1, side, side)
    square[0, 0, :height, :width] = torch.from_numpy(truth).float()
    logits = torch.nn.functional.interpolate(square, (1024, 1024), mode="bilinear")[0, 0] * 2 - 1
    found = program["native_mask"](logits, height, width)
    assert found.shape == truth.shape
    assert (found != truth).mean() < 0.005


def test_a_line_is_what_the_verb_reads(program: dict[str, Any]) -> None:
    mask = np.zeros((6, 9), bool)
    mask[2:4, 1:8] = True
    line = json.loads(program["line"]("7", mask))
    assert line["sample_id"] == "7"
    assert (coco.decode(line["rle"]) == mask).all()


def test_the_command_has_flags_that_exist() -> None:
    import argparse

    words = shlex.split(blocks("bash")[0].replace("\\\n", " "))
    parser = argparse.ArgumentParser()
    verb.add_arguments(parser)
    args = parser.parse_args(words[2:])
    assert (args.method, args.selected_on, args.dataset) == ("lira", "none", "rrsisd")


def test_the_example_of_the_score_s_page_is_what_the_suite_computes() -> None:
    folder = PAGE.parent
    pixel = r'<rect x="(\d+)" y="\d+" width="20" height="20" fill="(#\w+)"'
    pixels = re.findall(pixel, (folder / "iou.svg").read_text())
    masks = []
    for side in (0, 1):
        colours = np.array([colour for x, colour in pixels if (int(x) >= 270) == bool(side)]).reshape(6, 8)
        masks.append([np.isin(colours, ["#2a9d8f", alone]) for alone in ("#e9c46a", "#e76f51")])
    areas = [tuple(int(mask.sum()) for mask in (truth, pred, truth & pred)) for truth, pred in masks]
    assert areas == [(12, 16, 6), (2, 2, 2)]
    scores = score_masks([truth for truth, _ in masks], [pred for _, pred in masks], "native-v1")
    page = (folder / "score.md").read_text()
    for title, name in (("mIoU", "miou"), ("oIoU", "oiou"), ("Pr@.5", "pr50")):
        assert re.search(rf"^\| {re.escape(title)} \| .* = {100 * scores[name]:.1f} % \|", page, flags=re.MULTILINE)


def test_links_that_lead_nowhere_are_named(tmp_path: Path) -> None:
    good = [
        "other.html#here",
        "https://arxiv.org/abs/2507.20920",
        "http://a-b.org:80/x?y=1&amp;z",
        "#top",
        "https://a.org/",
    ]
    bad = ["gone.html", "other.html#there", "https://arxiv.org/abs/2507.20920.", "https://github", "http://a.org/x`"]
    (tmp_path / "other.html").write_text('<p id="here">')
    page = tmp_path / "page.html"
    page.write_text('<p id="top">' + "".join(f'<a href="{link}">x</a>' for link in (*good, *bad)))
    assert site.dead(page) == sorted(bad)


def test_every_page_that_the_site_makes_can_be_made_and_stands_in_its_contents() -> None:
    """Pages are made without MkDocs here; its strict build fails where a page is missing from the contents."""
    from rrsis_bench.data.catalogue import describe
    from rrsis_bench.data.sources import SOURCES, create

    class Loader(yaml.SafeLoader):
        pass

    Loader.add_multi_constructor("!", lambda loader, suffix, node: None)  # type: ignore[no-untyped-call]
    contents = yaml.load((site.ROOT / "mkdocs.yml").read_text(encoding="utf-8"), Loader)["nav"]
    listed = set(re.findall(r"[\w./-]+\.md", json.dumps(contents)))
    sets = site.data_sets()
    assert set(sets) == {name for name in SOURCES if describe(name).kind == "benchmark"}
    for name, info in sets.items():
        page, known = site.data_page(name, info), describe(name)
        assert info == {key: value for key, value in vars(create(name).info).items() if value}, "the code is read right"
        assert known.title in page
        assert all(f"{count:,}" in page for count in known.counts.values())
        assert ("not published" in page) == (not known.counts)
    own = {path.name for path in PAGE.parent.glob("*.md")}
    assert listed == own | set(site.PAGES.values()) | {f"data/{name}.md" for name in sets}
