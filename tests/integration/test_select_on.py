"""A checkpoint chosen on test, as some papers do it, is one that says so."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from helpers import toy_data
from rrsis_bench.data.datamodule import ReferringDataModule
from rrsis_bench.errors import UsageError
from rrsis_bench.types import InputSpec

SPEC = InputSpec((32, 32), "tiny", 16)


def test_only_val_and_test_can_choose() -> None:
    with pytest.raises(UsageError, match="'val' or 'test', not 'train'"):
        ReferringDataModule("toyset", source="rrsisd", select_on="train")


def test_validation_runs_on_the_split_that_chooses(tmp_path: Path) -> None:
    toy_data.make(tmp_path)
    for split, count in (("val", toy_data.COUNTS["val"]), ("test", toy_data.COUNTS["test"])):
        data = ReferringDataModule("toyset", source="rrsisd", root=str(tmp_path / "toyset"), select_on=split)
        data.input_spec = SPEC
        data.setup()
        assert len(data.val_dataset) == count
        assert len(data.test_dataset) == toy_data.COUNTS["test"]


@pytest.mark.slow
def test_the_result_says_which_split_chose(tmp_path: Path) -> None:
    toy_data.make(tmp_path / "data")
    done = toy_data.run(tmp_path, "fit", "--method", "toy", "--dataset", "toyset", "--data.select_on", "test")
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "runs" / "toyset" / "toy@tiny" / "seed0" / "result.json").read_text())
    assert result["selected_on"] == "test"
