"""Encoders by name: the tables agree with each other, and what a method does not use is not imported."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields
from typing import get_args

import pytest
import torch

from rrsis_bench.nn.encoders import build
from rrsis_bench.nn.encoders.staged import StagedEncoder
from rrsis_bench.nn.encoders.staged_and_bert import EncoderOptions, build_staged_encoder, encoder_input
from rrsis_bench.types import InputSpec


def test_names_and_tables_agree() -> None:
    staged = [name for name, row in build.IMAGE_ENCODERS.items() if row.staged]
    assert list(get_args(build.StagedName)) == staged
    assert list(get_args(build.EncoderPair)) == list(build.ENCODER_PAIRS)
    for image, text in build.ENCODER_PAIRS.values():
        assert image in build.IMAGE_ENCODERS
        assert text in build.TEXT_ENCODERS


@pytest.mark.parametrize("name", get_args(build.StagedName))
def test_a_staged_encoder_comes_with_its_input(name: build.StagedName) -> None:
    options = EncoderOptions(encoder=name, image_size=64, swin_width=8, swin_depths=(1, 1), swin_heads=(1, 1))
    with torch.device("meta"):
        encoder = build_staged_encoder(options)
    assert isinstance(encoder, StagedEncoder)
    assert set(build.IMAGE_ENCODERS[name].input) <= {field.name for field in fields(InputSpec)}
    plain = InputSpec((64, 64), "bert", 20)
    assert (encoder_input(options) == plain) == (not build.IMAGE_ENCODERS[name].input)


def test_every_size_is_found_under_its_kind() -> None:
    for kind, load in build.DUAL_ENCODERS.items():
        assert all(name.partition("-")[0] == kind for name in load().sizes)
    for kind, by_library in build.SEGMENTERS.items():
        assert {name.partition("-")[0] for load in by_library.values() for name in load().sizes} == {kind}
    with torch.device("meta"):
        assert type(build.build_dual_encoder("clip-nano")).__name__ == "ClipDual"
        assert type(build.build_segmenter("sam-nano", "segment-anything")).__name__ == "SegmentAnything"


@pytest.mark.slow
def test_a_method_imports_no_library_that_it_does_not_use() -> None:
    program = (
        "import sys; from baselines.lavt import LAVT; from rrsis_bench.config import variant_options;"
        "LAVT.from_options(variant_options('lavt', 'tiny'));"
        "print(sorted({'open_clip', 'segment_anything', 'peft'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "[]"
