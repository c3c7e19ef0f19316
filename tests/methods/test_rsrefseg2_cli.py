"""RSRefSeg 2 from the command line: sizes without weights, memory saved by a preset."""

from __future__ import annotations

import json

import pytest

from helpers.resolved import configured
from helpers.rsrefseg2_small import SMALL
from rrsis_bench.cli import main
from rrsis_bench.engine.task import ReferringSegmentationTask
from rrsis_bench.nn.weights.needs import named_weights


@pytest.mark.slow
def test_profile_prints_the_published_size_without_weights(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["profile", "--method", "rsrefseg2", "--variant", "siglip2-so400m-sam2.1-l", "--meta", "--json"]
    assert main(words) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["parameters"] == 1_447_126_199
    assert report["trainable_parameters"] == 97_867_223
    assert [row["added_parameters"] for row in report["encoders"]] == [4_192_768, 2_661_376, 4_018_176]
    assert report["gflops"] == pytest.approx(2944.57, abs=0.01)


def test_prefetching_takes_the_vocabulary_along() -> None:
    found = {weight.part: weight.source for weight in named_weights("rsrefseg2", "siglip2-so400m-sam2.1-l")}
    assert set(found) == {"dual", "segmenter", "vocabulary"}
    assert found["vocabulary"].endswith("google/siglip2-so400m-patch16-512/resolve/main/tokenizer.json")


def test_the_low_memory_preset_checkpoints_activations() -> None:
    assert configured("rsrefseg2", trainer="low-memory")["model"]["activation_checkpointing"] is True
    for wanted in (False, True):
        task = ReferringSegmentationTask("rsrefseg2", "tiny", dict(SMALL), activation_checkpointing=wanted)
        assert all(("forward" in vars(block)) is wanted for block in task.method.dual.blocks())
