from __future__ import annotations

import pickle

import numpy as np
import pytest
from PIL import Image

from rrsis_bench.data.transforms import Augment, Augmenter, normalise, resize_image
from rrsis_bench.errors import UsageError
from rrsis_bench.types import InputSpec

RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (80, 100, 3), np.uint8)


def test_images_resize_by_the_specification():
    done = {
        kind: resize_image(IMAGE, InputSpec((40, 50), "tiny", 8, interpolation=kind))
        for kind in ("pil-bilinear", "pil-bicubic", "cv2-linear", "cv2-cubic")
    }
    assert all(image.shape == (40, 50, 3) for image in done.values())
    expected = np.asarray(Image.fromarray(IMAGE).resize((50, 40), Image.Resampling.BILINEAR))
    assert np.array_equal(done["pil-bilinear"], expected)
    assert len({image.tobytes() for image in done.values()}) == 4
    with pytest.raises(UsageError, match="unknown interpolation"):
        resize_image(IMAGE, InputSpec((40, 50), "tiny", 8, interpolation="nearest"))


def test_normalise_is_the_formula():
    spec = InputSpec((80, 100), "tiny", 8)
    expected = (IMAGE / 255 - np.array(spec.mean)) / np.array(spec.std)
    done = normalise(IMAGE, spec)
    assert done.dtype == np.float32
    assert done.shape == (3, 80, 100)
    assert np.allclose(done, expected.transpose(2, 0, 1), atol=1e-6)


def augmented(seed: int, **shares):
    mask = np.zeros((80, 100), np.uint8)
    mask[:, :20] = 1
    boxed = shares.get("boxes", 0) > 0
    return mask, Augmenter(Augment(**shares))(IMAGE, mask, "the left ship", boxed, np.random.default_rng(seed))


def test_nothing_by_default():
    mask, (image, same, text) = augmented(0)
    assert image is IMAGE
    assert same is mask
    assert text == "the left ship"


def test_flip_mirrors_image_mask_and_words():
    mask, (image, flipped, text) = augmented(0, flip=1.0)
    assert np.array_equal(image, IMAGE[:, ::-1])
    assert np.array_equal(flipped, mask[:, ::-1])
    assert text == "the right ship"


def test_boxes_are_black_squares_of_the_recipe():
    assert Augment.from_config({"recipe": "paper"}) == Augment(boxes=0.2)
    large = np.full((800, 800, 3), 200, np.uint8)
    mask = np.zeros((800, 800), np.uint8)
    image, same, _ = Augmenter(Augment(boxes=1.0))(large, mask, "", True, np.random.default_rng(3))
    black = (image == 0).all(axis=2)
    assert 32 * 32 * 20 * 0.5 < black.sum() <= 32 * 32 * 60
    assert ((image == 0) | (image == 200)).all()
    assert same is mask
    assert (large == 200).all()


def test_chance_is_only_in_the_generator_passed_in():
    np.random.seed(1)
    first = augmented(7, flip=0.5, boxes=1.0, jitter=1.0)[1]
    np.random.seed(2)
    again = augmented(7, flip=0.5, boxes=1.0, jitter=1.0)[1]
    other = augmented(8, flip=0.5, boxes=1.0, jitter=1.0)[1]
    assert np.array_equal(first[0], again[0])
    assert not np.array_equal(first[0], other[0])


def test_augmenter_can_be_sent_to_a_worker():
    augmenter = Augmenter(Augment(jitter=1.0))
    mask = np.zeros((80, 100), np.uint8)
    here = augmenter(IMAGE, mask, "", False, np.random.default_rng(0))
    there = pickle.loads(pickle.dumps(augmenter))(IMAGE, mask, "", False, np.random.default_rng(0))
    assert np.array_equal(here[0], there[0])


@pytest.mark.parametrize("values", [{"flips": 0.5}, {"recipe": "papr"}, {"flip": 2}, {"flip": "yes"}, {"boxes": True}])
def test_wrong_settings_are_refused(values):
    with pytest.raises(UsageError):
        Augment.from_config(values)
