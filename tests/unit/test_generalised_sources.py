"""Sources of data sets whose expressions may fit nothing or many: read as written, and every planted fault named."""

from __future__ import annotations

import pytest

from rrsis_bench.data.masks import decode
from rrsis_bench.data.pixels import read_rgb
from rrsis_bench.data.sources import create
from rrsis_bench.data.verify import BLOCKING
from rrsis_bench.errors import MissingResourceError

PAIRS = {"nwpurefer": 4, "rislad": 4, "earthreason": 8}
"""Source -> samples of a split of its made-up folder of four images a split."""
EMPTY = {"nwpurefer": 1, "rislad": 0, "earthreason": 2}
FAULTS = {
    "nwpurefer": {
        "missing-image": "missing-image",
        "corrupt-image": "corrupt-image",
        "size-mismatch": "size-mismatch",
        "bad-polygon": "corrupt-mask",
        "unknown-id": "unknown-id",
        "chinese-only": "empty-text",
        "corrupt-pickle": "format",
        "corrupt-json": "format",
        "leak": "leak",
    },
    "rislad": {
        "missing-image": "missing-image",
        "corrupt-image": "corrupt-image",
        "missing-mask": "missing-mask",
        "corrupt-mask": "corrupt-mask",
        "size-mismatch": "size-mismatch",
        "outside": "format",
        "no-expression": "format",
        "corrupt-json": "format",
        "empty-text": "empty-text",
    },
    "earthreason": {
        "missing-image": "format",
        "corrupt-image": "corrupt-image",
        "corrupt-mask": "corrupt-mask",
        "size-mismatch": "size-mismatch",
        "no-questions": "format",
        "corrupt-json": "format",
        "empty-text": "empty-text",
    },
}
ODD = {
    ("nwpurefer", "unknown-split"): "unknown-split",
    ("earthreason", "other-name"): "file-name",
    ("earthreason", "no-answer"): "mask-values",
}


def plant(name, root, *faults):
    source = create(name)
    source.write_fake(root, 4, 0, faults, size=64)
    return source, [finding for finding in source.verify(root) if finding.severity != "info"]


@pytest.mark.parametrize("name", list(PAIRS))
def test_a_clean_folder_is_found_clean_and_read_as_written(name, tmp_path):
    source, findings = plant(name, tmp_path)
    assert [one for one in findings if one.check not in {"empty-mask"}] == []
    pairs = list(source.prepare(tmp_path))
    for split in ("train", "val", "test"):
        own = [pair for pair in pairs if pair.split == split]
        assert len(own) == PAIRS[name]
        assert sum(pair.empty for pair in own) == EMPTY[name]
    assert len({pair.sample_id for pair in pairs}) == len(pairs)
    assert all(pair.text.isascii() for pair in pairs)
    for pair in pairs:
        image, mask = read_rgb(tmp_path / pair.image), decode(pair.rle)
        if not pair.empty:  # also where two references share the halves of one target
            assert image[mask == 1].mean() > 200 > image[mask == 0].mean()


def test_references_of_one_expression_are_one_sample_with_all_targets(tmp_path):
    source, _ = plant("nwpurefer", tmp_path)
    pairs = [pair for pair in source.prepare(tmp_path) if pair.split == "train"]
    assert [pair.sample_id for pair in pairs] == ["1", "2", "4", "5"], "the second and third reference are one sample"
    mask = decode(pairs[1].rle)
    bright = (read_rgb(tmp_path / pairs[1].image) > 230).all(axis=2)
    assert abs(int(mask.sum()) - int(bright.sum())) <= 0.1 * mask.sum(), "both halves belong to it"


@pytest.mark.parametrize(("name", "fault"), [(name, fault) for name, faults in FAULTS.items() for fault in faults])
def test_each_planted_fault_is_an_error_with_its_check(name, fault, tmp_path):
    source, findings = plant(name, tmp_path, fault)
    errors = {finding.check for finding in findings if finding.severity == "error"}
    assert errors == {FAULTS[name][fault]}
    if errors <= BLOCKING:
        with pytest.raises(MissingResourceError, match=f"data verify {name}") as raised:
            list(source.prepare(tmp_path))
        assert "\n" not in str(raised.value)


@pytest.mark.parametrize(("name", "fault"), list(ODD))
def test_each_oddity_is_a_warning_and_does_not_stop(name, fault, tmp_path):
    source, findings = plant(name, tmp_path, fault)
    assert {one.check for one in findings if one.check != "empty-mask"} == {ODD[name, fault]}
    assert {finding.severity for finding in findings} == {"warning"}
    assert len(list(source.prepare(tmp_path))) >= 3 * PAIRS[name] - 1
