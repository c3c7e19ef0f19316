from __future__ import annotations

import numpy as np
import pytest

from rrsis_bench.engine.overlay import PREDICTION_COLOUR, TRUTH_COLOUR, draw_overlay, enlarged


def scene(height: int = 120, width: int = 160) -> tuple[np.ndarray, np.ndarray]:
    image = np.full((height, width, 3), 120, dtype=np.uint8)
    mask = np.zeros((height, width), dtype=np.uint8)
    mask[height // 3 : height // 2, width // 4 : width // 2] = 1
    return image, mask


def has(picture: np.ndarray, colour: tuple[int, int, int]) -> bool:
    return bool((picture == np.asarray(colour, dtype=np.uint8)).all(axis=-1).any())


def test_referent_is_tinted_the_rest_dimmed_and_the_caption_below() -> None:
    image, mask = scene()
    picture = draw_overlay(image, mask, "the grey patch")
    assert picture.dtype == np.uint8
    assert picture.shape[0] > 120
    assert picture.shape[1:] == (160, 3)
    assert (picture[0, 0] < 120).all()
    inside = picture[50, 60].astype(int)
    assert inside[0] > 140
    assert inside[1] < 120
    assert has(picture[:120], PREDICTION_COLOUR)
    assert picture[120:].max() > 200  # letters


def test_one_pixel_object_is_still_outlined() -> None:
    image, mask = scene()
    mask[:] = 0
    mask[30, 30] = 1
    picture = draw_overlay(image, mask, "dot")
    assert (picture[28:33, 28:33] == np.asarray(PREDICTION_COLOUR)).all(axis=-1).sum() >= 4


def test_truth_gets_its_own_outline_and_the_iou_a_line() -> None:
    image, mask = scene()
    truth = np.roll(mask, 10, axis=1)
    plain = draw_overlay(image, mask, "x")
    both = draw_overlay(image, mask, "x", truth)
    assert has(both[:120], TRUTH_COLOUR)
    assert not has(plain[:120], TRUTH_COLOUR)
    assert both.shape[0] > plain.shape[0]


def test_empty_prediction_leaves_the_image_as_it_is() -> None:
    image, mask = scene()
    picture = draw_overlay(image, np.zeros_like(mask), "nothing")
    assert (picture[:120] == image).all()


def test_long_text_is_wrapped_then_cut() -> None:
    image, mask = scene()
    one = draw_overlay(image, mask, "short")
    some = draw_overlay(image, mask, "a somewhat longer expression that does not fit on one line")
    endless = draw_overlay(image, mask, "word " * 1000)
    monster = draw_overlay(image, mask, "w" * 5000)
    assert one.shape[0] < some.shape[0] < 3 * 120
    assert endless.shape[0] < 3 * 120
    assert monster.shape[0] < 3 * 120


@pytest.mark.parametrize("size", [(3, 5), (20, 600), (600, 20), (1500, 2000)])
def test_any_size(size: tuple[int, int]) -> None:
    image, mask = scene(*size)
    picture = draw_overlay(image, mask, "the white airplane on the left", mask)
    assert picture.shape[1] == size[1]
    assert picture.shape[0] > size[0]


def test_sizes_must_agree() -> None:
    image, mask = scene()
    with pytest.raises(ValueError, match="mask is"):
        draw_overlay(image, mask[:-1], "x")
    with pytest.raises(ValueError, match="truth is"):
        draw_overlay(image, mask, "x", mask[:-1])


def test_enlarged_by_a_whole_factor() -> None:
    image, mask = scene(128, 100)
    grown, grown_mask = enlarged(image, mask, 512)
    assert grown.shape == (512, 400, 3)
    assert grown_mask.shape == (512, 400)
    assert (grown_mask[::4, ::4] == mask).all()
    same, _ = enlarged(np.zeros((600, 10, 3), np.uint8), np.zeros((600, 10), np.uint8), 512)
    assert same.shape == (600, 10, 3)


@pytest.mark.parametrize("box", [(20.0, 30.0, 90.0, 80.0), (-5.0, -5.0, 3.0, 400.0), (159.9, 119.9, 160.0, 120.0)])
def test_a_box_is_a_frame_inside_the_image(box: tuple[float, float, float, float]) -> None:
    image, _ = scene()
    empty = np.zeros((120, 160), np.uint8)
    picture = draw_overlay(image, empty, "x", box=box)[:120]
    drawn = (picture == np.asarray(PREDICTION_COLOUR)).all(axis=-1)
    rows, columns = np.flatnonzero(drawn.any(1)), np.flatnonzero(drawn.any(0))
    left, top, right, bottom = (
        max(0, round(box[0])),
        max(0, round(box[1])),
        min(160, round(box[2])),
        min(120, round(box[3])),
    )
    left, top = min(left, 159), min(top, 119)
    assert (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1) == (left, top, right, bottom)
    assert (picture[~drawn] == image[~drawn]).all()
    if right - left > 10:
        assert not drawn[(top + bottom) // 2, (left + right) // 2]
