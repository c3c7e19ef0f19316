"""One test per bug that gives wrong numbers without an error. All were seen in released code or in libraries."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from PIL import Image
from torch.nn import functional

from rrsis_bench.data.sampler import ImageSampler, ResumableSampler
from rrsis_bench.data.transforms import Augment, Augmenter, resize_image
from rrsis_bench.metrics.counts import count
from rrsis_bench.metrics.functional import scores
from rrsis_bench.metrics.metric import SampleCounts
from rrsis_bench.metrics.protocols import get, views
from rrsis_bench.nearest import resize_mask
from rrsis_bench.nn.layers.losses import binary_cross_entropy, dice_loss
from rrsis_bench.types import Batch, InputSpec, TextTokens


def small_objects(n: int = 24) -> list[np.ndarray]:
    """Masks of 800x800 with one ellipse of 8-40 px."""
    rng = np.random.default_rng(0)
    masks = []
    for _ in range(n):
        mask = np.zeros((800, 800), dtype=np.uint8)
        centre = tuple(int(v) for v in rng.integers(60, 740, 2))
        axes = tuple(int(v) for v in rng.integers(4, 20, 2))
        cv2.ellipse(mask, centre, axes, float(rng.uniform(0, 180)), 0, 360, 1, -1)
        masks.append(mask)
    return masks


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.count_nonzero((a != 0) & (b != 0)) / np.count_nonzero((a != 0) | (b != 0)))


def batch_of(truths: list[np.ndarray]) -> Batch:
    n = len(truths)
    ids = tuple(map(str, range(n)))
    tokens = TextTokens(torch.zeros(n, 2, dtype=torch.int64), torch.ones(n, 2, dtype=torch.bool))
    return Batch(
        images=torch.zeros(n, 3, 8, 8),
        masks=torch.zeros(n, 8, 8, dtype=torch.uint8),
        tokens=tokens,
        texts=ids,
        categories=("",) * n,
        sample_ids=ids,
        image_ids=ids,
        indices=torch.arange(n),
        truths=torch.from_numpy(np.stack(truths)),
        sizes=tuple((truth.shape[0], truth.shape[1]) for truth in truths),
    )


def test_masks_resize_as_pil_does_and_not_as_opencv_does_by_default() -> None:
    agreement = []
    for mask in small_objects():
        ours = resize_mask(mask, (480, 480))
        pil = np.asarray(Image.fromarray(mask).resize((480, 480), Image.Resampling.NEAREST))
        assert (ours == pil).all()
        agreement.append(iou(pil, cv2.resize(mask, (480, 480), interpolation=cv2.INTER_NEAREST)))
    assert np.mean(agreement) < 0.95  # the trap is a real one


def test_logits_are_upsampled_before_the_threshold_not_masks_after_it() -> None:
    truths = small_objects()
    soft = torch.stack([torch.from_numpy(cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 1.5)) for mask in truths])
    logits = functional.interpolate(soft[:, None] - 0.5, (480, 480), mode="bilinear", align_corners=False)
    counted = count(logits, batch_of(truths), (480, 480), views(["native-v1"])).numpy()[:, 0]
    ours = scores(counted, "native-v1")["miou"]
    thresholded = (logits > 0).float()
    late = functional.interpolate(thresholded, (800, 800), mode="nearest-exact")[:, 0].numpy()
    assert ours > np.mean([iou(mask, back) for mask, back in zip(truths, late, strict=True)]) + 0.01


def test_two_processes_score_five_samples_once_each() -> None:
    dealt = [list(ImageSampler(range(5), rank, 2)) for rank in range(2)]
    assert sorted(dealt[0] + dealt[1]) == [0, 1, 2, 3, 4]


def test_a_sample_that_arrives_twice_counts_once() -> None:
    metric = SampleCounts()
    counts = torch.tensor([[[10, 10, 10]], [[10, 10, 0]], [[10, 10, 10]]])
    metric.update(torch.tensor([0, 1, 0]), counts)
    indices, kept = metric.compute()
    assert indices.tolist() == [0, 1]
    assert scores(kept.numpy()[:, 0], "native-v1")["miou"] == 0.5


def test_iou_is_that_of_the_foreground_alone() -> None:
    # torchmetrics' MeanIoU averages the background in and gives 0.722 here.
    truth, pred = np.zeros((6, 6), dtype=np.uint8), np.zeros((6, 6), dtype=np.uint8)
    truth[:2, :2] = 1
    truth[:2, 2:4] = 1
    pred[:2, :2] = 1
    logits = torch.from_numpy(pred.astype(np.float32))[None, None] - 0.5
    counted = count(logits, batch_of([truth]), (6, 6), views(["native-v1"])).numpy()[:, 0]
    assert scores(counted, "native-v1")["miou"] == 0.5


def test_losses_are_batch_means() -> None:
    # A Dice term summed over the batch, as released, changes its weight with the batch per GPU.
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 1, 8, 8, generator=generator)
    target = (torch.rand(2, 1, 8, 8, generator=generator) > 0.5).float()
    for loss in (dice_loss, binary_cross_entropy):
        once, thrice = loss(logits, target), loss(logits.repeat(3, 1, 1, 1), target.repeat(3, 1, 1, 1))
        assert torch.allclose(once, thrice)


def test_a_resumed_epoch_goes_on_where_it_stopped_and_epochs_differ() -> None:
    sampler = ResumableSampler(20, seed=1)
    first = list(sampler)
    sampler.set_epoch(1)
    second = list(sampler)
    assert first != second
    assert sorted(first) == sorted(second)
    resumed = ResumableSampler(20, seed=1)
    resumed.load_state_dict({"epoch": 1, "position": 8})
    assert list(resumed) == second[8:]


def test_a_mirrored_image_gets_a_mirrored_expression() -> None:
    image = np.zeros((4, 6, 3), dtype=np.uint8)
    image[:, 0] = 255
    mask = np.zeros((4, 6), dtype=np.uint8)
    mask[:, 0] = 1
    mirror = Augmenter(Augment(flip=1.0))
    flipped, truth, text = mirror(image, mask, "the ship on the left", False, np.random.default_rng(0))
    assert text == "the ship on the right"
    assert truth[:, -1].all()
    assert (flipped[:, -1] == 255).all()
    same = Augmenter(Augment())(image, mask, "the ship on the left", False, np.random.default_rng(0))
    assert same[2] == "the ship on the left"
    assert (same[0] == image).all()


def test_the_image_filter_is_the_methods_own() -> None:
    image = np.random.default_rng(0).integers(0, 256, (800, 800, 3), dtype=np.uint8)
    resized = {
        name: resize_image(image, InputSpec((480, 480), "tiny", 8, interpolation=name)).astype(int)
        for name in ("pil-bilinear", "cv2-linear")
    }
    pil = np.asarray(Image.fromarray(image).resize((480, 480), Image.Resampling.BILINEAR))
    assert (resized["pil-bilinear"] == pil).all()
    assert (resized["cv2-linear"] == cv2.resize(image, (480, 480), interpolation=cv2.INTER_LINEAR)).all()
    assert np.abs(resized["pil-bilinear"] - resized["cv2-linear"]).mean() > 2


def test_the_papers_rules_differ_where_they_say_so() -> None:
    empty, exact = np.array([[0, 0, 0]]), np.array([[10, 5, 5]])  # both empty; IoU exactly 0.5
    seen = {
        name: (scores(empty, name)["miou"], scores(exact, name)["pr50"])
        for name in ("native-v1", "paper-lavt480-v1", "paper-rsrefseg2-v1", "paper-detris-v1")
    }
    assert seen["native-v1"] == (1.0, 1.0)
    assert seen["paper-lavt480-v1"] == (0.0, 1.0)
    assert np.isnan(seen["paper-rsrefseg2-v1"][0])
    assert seen["paper-rsrefseg2-v1"][1] == 0.0
    assert seen["paper-detris-v1"] == (0.0, 0.0)
    assert get("paper-detris-v1").view.threshold == 0.35
