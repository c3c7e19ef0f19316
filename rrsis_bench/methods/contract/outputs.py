"""Checks of a method's logits: their form, their meaning, and the inputs that they may depend on.

Shape legend: `B` batch, `L` tokens, `H W` pixels of the input, `h w` pixels of the logits.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from rrsis_bench.methods.base import Method
from rrsis_bench.methods.contract.subject import (
    LEARNING_RATE,
    TEXTS,
    Outcome,
    Subject,
    backward,
    gap,
    random_batch,
    score,
    seeds,
    total_loss,
)
from rrsis_bench.nn.layers.freezing import trainable
from rrsis_bench.types import Batch, MethodOutput

PUSHES = 100  # training steps towards one class, after which the logits must have its sign


def have_form(subject: Subject) -> Outcome:
    """Logits are finite floats (B, 1, h, w) on the images' device. Larger images give larger logits of their shape."""
    method = subject.seeded().eval()
    height, width = method.input_spec.image_size
    shapes: list[tuple[int, ...]] = []
    for size in ((height, width), (2 * height, 2 * width)):
        batch = random_batch(replace(method.input_spec, image_size=size), TEXTS[:2])
        with torch.no_grad():
            output = method(batch.blind())
        if problem := form_problem(output, batch):
            return False, problem
        shapes.append(tuple(output.logits.shape))
        if shapes[-1][2] * size[1] != shapes[-1][3] * size[0]:
            return False, f"logits {shapes[-1]} for images of {size[0]}x{size[1]}: other proportions"
    return shapes[1][2] > shapes[0][2], f"logits {shapes[0]} and {shapes[1]}"


def form_problem(output: object, batch: Batch) -> str | None:
    """The error in the form of an output for a batch, in words; None if there is none."""
    if not isinstance(output, MethodOutput) or not isinstance(output.logits, Tensor):
        return f"forward returns {type(output).__name__}, not a MethodOutput with a tensor of logits"
    logits = output.logits
    if logits.ndim != 4 or logits.shape[:2] != (len(batch), 1):
        return f"logits {tuple(logits.shape)} for {len(batch)} samples; their shape must be ({len(batch)}, 1, h, w)"
    if not logits.is_floating_point():
        return f"logits of {logits.dtype}; they must be floating-point numbers"
    if logits.device != batch.images.device:
        return f"logits on {logits.device}, but images on {batch.images.device}"
    return None if bool(torch.isfinite(logits).all()) else "logits that are NaN or infinite"


def are_logits(subject: Subject) -> Outcome:
    """The logits take both signs: below 0 for background, above 0 for the referent, with values in between.

    Probabilities and masks are never negative, logarithms of probabilities never positive, and a thresholded map has
    two values. If all logits have one sign, the check trains the method towards the other sign before it fails.
    """
    found: set[float] = set()
    for seed in range(3):
        method = subject.seeded(seed)
        batch = random_batch(method.input_spec, seed=seed)
        if not trainable(method.parameters()):
            method.train()(batch)  # such a method learns in this forward pass, and has no logits of use before
        found |= set(score(method, batch).flatten().tolist())
        if min(found) < 0 < max(found) and len(found) > 2:
            break
    low, high = min(found), max(found)
    seen = f"values from {low:.3g} to {high:.3g}"
    if len(found) <= 2:
        return False, f"{seen} and none in between, as of a thresholded map; return what the threshold is applied to"
    if low >= 0 and pushed(subject, 0) >= 0:
        return False, f"{seen}, never negative, as of probabilities or masks; return what the sigmoid is applied to"
    if high <= 0 and pushed(subject, 1) <= 0:
        return False, f"{seen}, never positive, as of logarithms of probabilities; return log-odds"
    return True, seen


def pushed(subject: Subject, truth: int) -> float:
    """Train a method towards one class, and return its most extreme logit.

    Args:
        subject: the method.
        truth: 0 trains towards background and returns the lowest logit, 1 towards foreground and the highest.
    """
    method = subject.seeded()
    batch = random_batch(method.input_spec)
    batch = replace(batch, masks=torch.full_like(batch.masks, truth))
    groups = method.param_groups(LEARNING_RATE, 0.0)
    optimizer = torch.optim.AdamW(groups) if trainable(method.parameters()) else None
    extreme = 0.0
    for step in range(1, PUSHES + 1):
        loss = total_loss(method.train(), batch)
        if optimizer is not None:
            if not loss.requires_grad:
                break
            optimizer.zero_grad()
            backward(method, loss)
            optimizer.step()
        if step % 10 == 0:
            logits = score(method, batch)
            extreme = float(logits.max() if truth else logits.min())
            if extreme > 0 if truth else extreme < 0:
                break
    return extreme


def ignore_the_truth(subject: Subject) -> Outcome:
    """Two batches that differ only in their truth, and the blind batch, have the same logits in evaluation.

    A new network scores each batch twice: if the first pass stored the truth, the second one could show it.
    """
    batch = random_batch(subject.build().input_spec)
    found = []
    for masks in (batch.masks, 1 - batch.masks):
        method, seeing = subject.seeded().eval(), with_truth(batch, masks)
        found.append([evaluate(method, seeing) for _ in range(2)])
    largest = max(gap(one, other)[0] for one, other in zip(*found, strict=True))
    if largest > 0:
        return False, f"another truth changes the logits by up to {largest:.1e}; evaluation must not read the truth"
    largest, _ = gap(found[1][1], evaluate(method, batch.blind()))
    return largest == 0, f"largest difference {largest:.1e}, between two truths and without truth"


def with_truth(batch: Batch, masks: Tensor) -> Batch:
    """A batch as the evaluation loader gives it, whose truth is `masks` (B, H, W); sizes and categories follow."""
    inside = bool(masks.flatten()[0])
    native = F.pad(masks, (0, 8 * inside, 0, 8 * inside))
    size = (native.shape[-2], native.shape[-1])
    named = (f"class {int(inside)}",) * len(batch)
    return replace(batch, masks=masks, truths=native, sizes=(size,) * len(batch), categories=named)


def evaluate(method: Method, batch: Batch) -> Tensor:
    """Logits (B, 1, h, w) of a batch as it is, with a fixed random seed."""
    with torch.no_grad(), seeds(0):
        logits: Tensor = method(batch).logits.float()
    return logits


def permute(subject: Subject) -> Outcome:
    """A permuted batch has the permuted logits: no sample's logits depend on the others."""
    method = subject.seeded()
    order = [2, 0, 3, 1]
    batch = random_batch(method.input_spec)
    tokens = batch.tokens
    turned = replace(
        batch,
        images=batch.images[order],
        tokens=replace(
            tokens,
            ids=tokens.ids[order],
            mask=tokens.mask[order],
            parts={name: part[order] for name, part in tokens.parts.items()},
        ),
        texts=tuple(batch.texts[k] for k in order),
        sample_ids=tuple(batch.sample_ids[k] for k in order),
        image_ids=tuple(batch.image_ids[k] for k in order),
        indices=batch.indices[order],
    )
    largest, good = gap(score(method, batch)[order], score(method, turned))
    return good, f"largest difference {largest:.1e}"


def share(subject: Subject) -> Outcome:
    """A batch that holds each image once has the logits of the batch with an image per sample, also encoded before."""
    method = subject.seeded()
    if not method.shares_images:
        return True, "the method takes one image per sample"
    batch = random_batch(method.input_spec)
    # Not in order of the rows, and not evenly: a method that repeats rows by itself is found.
    shared = replace(batch, images=batch.images[:2], image_of=torch.tensor([1, 0, 1, 1]))
    expected = score(method, shared.expanded())
    largest, good = gap(expected, score(method, shared))
    with torch.no_grad():
        kept = replace(shared, encoded=method.encode_images(shared.images))
    again, same = gap(expected, score(method, kept))
    return good and same, f"largest difference {largest:.1e}, with images encoded before {again:.1e}"


def ignore_padding(subject: Subject) -> Outcome:
    """The same expressions with fewer padding tokens have the same logits."""
    method = subject.seeded()
    long = random_batch(method.input_spec)
    needed = int(long.tokens.mask.sum(1).max())
    if needed >= method.input_spec.max_tokens:
        return False, f"{needed} tokens leave no padding to test; give the variant a larger max_tokens"
    short = random_batch(replace(method.input_spec, max_tokens=needed))
    largest, good = gap(score(method, short), score(method, long))
    return good, f"largest difference between L = {needed} and L = {method.input_spec.max_tokens}: {largest:.1e}"


def take_any_text(subject: Subject) -> Outcome:
    """Empty, over-long and wordless expressions have finite logits."""
    method = subject.seeded()
    logits = score(method, random_batch(method.input_spec, ("", "ship " * 1000, "???", "the bridge")))
    finite = [bool(torch.isfinite(one).all()) for one in logits]
    return all(finite), f"finite logits for empty, 1000-word, sign-only and plain text: {finite}"


def are_deterministic(subject: Subject) -> Outcome:
    """Two passes over one batch have the same logits."""
    method = subject.seeded()
    batch = random_batch(method.input_spec)
    first, second = score(method, batch), score(method, batch)
    return torch.equal(first, second), f"largest difference {float((first - second).abs().max()):.1e}"
