"""The draw of the language control: whole images, each class in its share, the same samples each time, and cheap."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from rrsis_bench.data.control import LIMIT, draw, permuted
from rrsis_bench.data.dataset import ReferringDataset
from rrsis_bench.data.manifest import Manifest, Pair, write_manifest
from rrsis_bench.types import InputSpec


def split(images: int, each: int, classes: int = 4) -> list[Pair]:
    """Samples of images in turn; an image's class comes by a rule that makes the first class the commonest."""
    return [
        Pair(f"s{number}", f"i{image}", f"{image}.png", 4, 4, {}, f"text {number}", "test", f"c{image**2 % classes}")
        for number in range(images * each)
        for image in [number % images]
    ]


def numbers(pairs: list[Pair]) -> np.ndarray:
    first: dict[str, int] = {}
    return np.array([first.setdefault(pair.image_id, at) for at, pair in enumerate(pairs)], np.int64)


def drawn(pairs: list[Pair], size: int | str | None = None, seed: int = 0) -> np.ndarray | None:
    return draw(pairs, numbers(pairs), np.arange(len(pairs)), size, seed)  # type: ignore[arg-type]


def test_small_splits_are_scored_whole() -> None:
    assert all(drawn(split(count, 1)) is None for count in (1, 400, 793, LIMIT))
    assert drawn(split(LIMIT + 1, 1), "full") is None
    assert len(drawn(split(LIMIT + 1, 1))) == LIMIT  # type: ignore[arg-type]


def test_rrsisd_pays_less_than_three_tenths() -> None:
    """RRSIS-D's 3,481 test samples, one to an image: the control and its overheads stay under 0.3 of the score."""
    found = drawn(split(3481, 1))
    assert found is not None
    assert len(found) == LIMIT <= 0.24 * 3481
    assert (np.diff(found) > 0).all()


@pytest.mark.parametrize(("images", "each", "size"), [(300, 7, 200), (40, 50, 500), (3, 700, 100)])
def test_images_stay_whole_and_classes_keep_their_shares(images: int, each: int, size: int) -> None:
    pairs = split(images, each)
    found = drawn(pairs, size)
    assert found is not None
    assert len(found) == size
    counts = np.unique(numbers(pairs)[found], return_counts=True)[1]
    assert (counts == each).sum() >= len(counts) - 1, "at most one image is cut"
    assert len(counts) == -(-size // each)
    for name in {pair.category for pair in pairs}:
        members = [at for at, pair in enumerate(pairs) if pair.category == name]
        share = len(members) / len(pairs)
        assert abs(np.isin(members, found).sum() - share * size) <= 2 * each


def test_the_seed_decides_alone() -> None:
    pairs = split(500, 2)
    first = drawn(pairs, 300)
    assert np.array_equal(first, drawn(pairs, 300))
    assert not np.array_equal(first, drawn(pairs, 300, seed=1))


def test_it_is_drawn_from_what_has_a_score() -> None:
    pairs = split(100, 3)
    scored = np.arange(0, 300, 2)
    found = draw(pairs, numbers(pairs), scored, 40, 0)
    assert found is not None
    assert len(found) == 40
    assert np.isin(found, scored).all()
    assert draw(pairs, numbers(pairs), scored, 150, 0) is None


def test_drawn_samples_have_the_expressions_of_the_whole_permutation(tmp_path: Path) -> None:
    pairs = split(30, 2)
    write_manifest(tmp_path / "m.jsonl", pairs)
    whole = ReferringDataset(Manifest.open(tmp_path / "m.jsonl"), tmp_path, InputSpec((4, 4), "tiny", 8))
    assert len(whole.images) == 60
    positions = drawn(pairs, 20)
    assert positions is not None
    control, part = permuted(whole, 3), permuted(whole, 3, positions)
    assert len(part) == len(part.images) == 20
    for at, position in enumerate(positions.tolist()):
        assert part.pair(at) == control.pair(position)
        assert part.manifest[at] == pairs[position]
    assert json.dumps([pair.text for pair in map(whole.pair, range(60))]) == json.dumps([pair.text for pair in pairs])
