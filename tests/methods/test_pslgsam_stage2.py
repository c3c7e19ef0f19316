"""CFPG and MBO, stage 2 of PSLG-SAM: stored points and masks, and properties that each step must have."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from baselines.pslgsam.boundary import BoundaryChoices, refine
from baselines.pslgsam.point import FoundPoint, PointChoices, find_point
from helpers.golden import FIXTURES

SCENES = range(8)


@pytest.fixture(scope="module")
def golden() -> tuple[dict[str, NDArray[Any]], list[str]]:
    path = FIXTURES / "pslg_stage2_seed41.safetensors"
    from safetensors import safe_open

    with safe_open(path, framework="np") as opened:
        tensors = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118 - no mapping
        return tensors, opened.metadata()["steps"].split(",")


@pytest.mark.parametrize("scene", SCENES)
def test_every_step_of_the_point_is_the_stored_one(golden: tuple[dict[str, Any], list[str]], scene: int) -> None:
    tensors, steps = golden
    found = find_point(tensors[f"{scene}.image"], tuple(tensors[f"{scene}.box"]), PointChoices())
    assert (found.x, found.y) == pytest.approx(tensors[f"{scene}.point"].tolist(), abs=1e-9)
    assert found.step == steps[scene]
    stored = {name.partition(".")[2] for name in tensors if name.startswith(f"{scene}.")}
    assert set(found.stages) == stored - {"image", "box", "point", "mask_in", "mask_out"}
    for name, value in found.stages.items():
        assert np.array_equal(value, tensors[f"{scene}.{name}"]), name


@pytest.mark.parametrize("scene", SCENES)
def test_the_refined_mask_is_the_stored_one(golden: tuple[dict[str, Any], list[str]], scene: int) -> None:
    tensors, _ = golden
    before, after = (tensors[f"{scene}.mask_{side}"] > 0 for side in ("in", "out"))
    refined = refine(tensors[f"{scene}.image"], before, BoundaryChoices(erode=2, dilate=2, rounds=5))
    assert refined is not None
    assert np.array_equal(refined, after)
    assert not np.array_equal(before, after)


def scene(side: int = 64) -> NDArray[np.uint8]:
    """A red square at (24, 16), 16 wide and 24 high, on green ground."""
    image = np.zeros((side, side, 3), np.uint8)
    image[..., 1] = 120
    image[16:40, 24:40] = (200, 20, 20)
    return image


def point(box: tuple[float, float, float, float], **choices: Any) -> FoundPoint:
    return find_point(scene(), box, PointChoices(**choices))


@pytest.mark.parametrize("space", ["rgb", "lab"])
@pytest.mark.parametrize("place", ["centroid", "deepest"])
def test_the_point_lies_on_the_object(space: str, place: str) -> None:
    found = point((18, 10, 52, 46), space=space, place=place)
    assert found.step == "convex"
    assert 24 < found.x < 40
    assert 16 < found.y < 40


def test_the_rule_chooses_the_cluster() -> None:
    """A frame round a hole: the hole is in the middle and small, the frame has all of the rim."""
    image = np.full((40, 40, 3), 200, np.uint8)
    image[14:26, 14:26] = 10
    box = (0.0, 0.0, 40.0, 40.0)
    inside = {
        rule: find_point(image, box, PointChoices(foreground=rule, min_area=0.0)).stages["foreground"][20, 20]
        for rule in ("border", "ring", "centre", "minority")
    }
    # Within the middle half (20 x 20) the frame has more pixels than the hole (12 x 12).
    assert inside == {"border": 1, "ring": 1, "centre": 0, "minority": 1}


def test_small_regions_do_not_count() -> None:
    assert point((18, 10, 52, 46), min_area=0.2).step == "convex"
    assert point((18, 10, 52, 46), min_area=0.9).step == "largest"


@pytest.mark.parametrize("box", [(10.0, 10.0, 12.0, 40.0), (70.0, 70.0, 90.0, 90.0), (0.0, 0.0, 8.0, 8.0)])
def test_no_crop_or_one_colour_gives_the_centre_of_the_box(box: tuple[float, float, float, float]) -> None:
    found = point(box)
    assert (found.x, found.y, found.step) == ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2, "centre")


def test_a_large_crop_is_shrunk_and_its_point_scaled_back() -> None:
    large = np.kron(scene(), np.ones((4, 4, 1), np.uint8))
    full = find_point(large, (72, 40, 208, 184), PointChoices(max_crop=1000))
    shrunk = find_point(large, (72, 40, 208, 184), PointChoices(max_crop=40))
    assert max(shrunk.stages["region"].shape) == 40
    assert abs(full.x - shrunk.x) < 8
    assert abs(full.y - shrunk.y) < 8


def noisy() -> tuple[NDArray[np.uint8], NDArray[np.bool_], NDArray[np.bool_]]:
    """The scene with noise, its object, and the object two pixels larger on each side."""
    noise = np.random.default_rng(0).integers(-15, 16, (64, 64, 3))
    truth, grown = np.zeros((64, 64), bool), np.zeros((64, 64), bool)
    truth[16:40, 24:40] = True
    grown[14:42, 22:42] = True
    return (scene().astype(int) + noise).clip(0, 255).astype(np.uint8), truth, grown


def test_refining_moves_the_boundary_to_the_edge() -> None:
    image, truth, grown = noisy()
    refined = refine(image, grown, BoundaryChoices(erode=4, dilate=3))
    assert refined is not None
    assert (refined ^ truth).sum() < 0.1 * (grown ^ truth).sum()
    # RLE decoders give arrays in Fortran's order.
    assert np.array_equal(refine(image, np.asfortranarray(grown), BoundaryChoices(erode=4, dilate=3)), refined)


def test_masks_that_cannot_be_refined_stay() -> None:
    small, everything = np.zeros((64, 64), bool), np.ones((64, 64), bool)
    small[:3, :3] = True
    for mask in (small, everything):
        assert refine(scene(), mask, BoundaryChoices()) is None


@pytest.mark.parametrize(("keep", "kept"), [(0.0, False), (0.6, False), (0.8, True)])
def test_a_mask_that_changes_too_much_is_kept(keep: float, kept: bool) -> None:
    """The object is 69 % of the mask."""
    image, _, grown = noisy()
    assert (refine(image, grown, BoundaryChoices(erode=4, keep=keep)) is None) == kept
