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
from pycocotools import mask as coco

from rrsis_bench.cli import results as verb

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
