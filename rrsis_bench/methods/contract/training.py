"""Checks of a method's training: its losses, their gradients, and whether the losses fall."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fnmatch import fnmatchcase

import torch
from torch import Tensor

from rrsis_bench.methods.build import overrides
from rrsis_bench.methods.contract.outputs import form_problem
from rrsis_bench.methods.contract.subject import (
    LEARNING_RATE,
    Outcome,
    Subject,
    backward,
    gap,
    random_batch,
    seeds,
    total_loss,
)
from rrsis_bench.nn.layers.freezing import trainable
from rrsis_bench.nn.layers.losses import binary_cross_entropy, reduce_mask
from rrsis_bench.types import MethodOutput

STEPS = 20
EPOCHS = (0.0, 0.5, 1.0, 50.0)  # a loss may change its weight during training, but must keep its name


def losses_are_scalars(subject: Subject) -> Outcome:
    """Every loss is a finite scalar with a gradient, under the same name in every step, for any truth.

    The truth may be empty, since a small referent can vanish at the input's size.
    """
    method = subject.seeded().train()
    learns = bool(trainable(method.parameters()))
    names: tuple[list[str], list[str]] | None = None
    batch = random_batch(method.input_spec)
    truths = (batch.masks, torch.zeros_like(batch.masks), torch.ones_like(batch.masks), batch.masks)
    for epochs, masks in zip(EPOCHS, truths, strict=True):
        method.progress(epochs)
        batch = replace(batch, masks=masks)
        output = method(batch)
        losses, watched = method.loss(output, batch), output.aux.get("watched", {})
        if problem := loss_problem(losses, output, learns) or watched_problem(watched, output):
            return False, problem
        names = names or (list(losses), list(watched))
        if names != (list(losses), list(watched)):
            return False, f"names change between steps: {names[0] + names[1]}, then {[*losses, *watched]}"
    assert names is not None
    return True, f"{', '.join(names[0])}" + (f"; watched {', '.join(names[1])}" if names[1] else "")


def loss_problem(losses: object, output: MethodOutput, learns: bool) -> str | None:
    """The error in the losses of a step, in words; None if there is none.

    Args:
        losses: value that the method's `loss` returned.
        output: output that the losses were computed from.
        learns: whether the method has trainable parameters.
    """
    if not isinstance(losses, Mapping) or not losses:
        return f"loss returns {'no loss' if isinstance(losses, Mapping) else type(losses).__name__}; name at least one"
    for name, loss in losses.items():
        if problem := scalar_problem(name, loss, output):
            return problem
        if learns and not loss.requires_grad:
            return f"'{name}' has no gradient; what is only to be logged belongs under aux['watched']"
    return None


def watched_problem(watched: object, output: MethodOutput) -> str | None:
    """The error in the scalars of `aux["watched"]`, in words; None if there is none."""
    if not isinstance(watched, Mapping):
        return f"aux['watched'] is {type(watched).__name__}, not scalars by name"
    return next((found for name, value in watched.items() if (found := scalar_problem(name, value, output))), None)


def scalar_problem(name: str, value: object, output: MethodOutput) -> str | None:
    """The reason why a value is no finite scalar tensor on the logits' device; None if it is one."""
    if not isinstance(value, Tensor):
        return f"'{name}' is {type(value).__name__}, not a tensor"
    if value.ndim or not value.is_floating_point():
        return f"'{name}' has shape {tuple(value.shape)} and type {value.dtype}; it must be a floating-point scalar"
    if value.device != output.logits.device:
        return f"'{name}' is on {value.device}, but the logits are on {output.logits.device}"
    return None if bool(torch.isfinite(value)) else f"'{name}' is {float(value.detach())}"


def gradients_arrive(subject: Subject) -> Outcome:
    """Every trainable parameter gets a gradient, except those that the card excuses. No frozen parameter gets one."""
    method = subject.seeded().train()
    wanted = {name for name, p in method.named_parameters() if p.requires_grad}
    reached: set[str] = set()
    for seed in range(3):  # a ReLU may give zero for all of one batch
        method.zero_grad()
        backward(method, total_loss(method, random_batch(method.input_spec, seed=seed)))
        reached |= {name for name, p in method.named_parameters() if p.grad is not None and bool(p.grad.any())}
    excused = {name for name in wanted if any(fnmatchcase(name, pattern) for pattern in subject.no_gradient)}
    missing, leaked = sorted(wanted - reached - excused), sorted(reached - wanted)
    if missing or leaked:
        return False, f"without gradient: {missing[:4]} ({len(missing)}); frozen, but with one: {leaked[:4]}"
    return True, f"{len(wanted & reached)} reached, {len(excused)} excused by the card"


def recomputes(subject: Subject) -> Outcome:
    """A training step has the same loss and gradients with `checkpoint_activations` as without."""
    if not overrides(type(subject.build()), "checkpoint_activations"):
        return True, "the method cannot, and the suite refuses model.activation_checkpointing"
    found: list[dict[str, Tensor]] = []
    for again in (False, True):
        method = subject.seeded().train()
        if again:
            method.checkpoint_activations()
        with seeds(0):
            loss = total_loss(method, random_batch(method.input_spec))
            backward(method, loss)
        gradients = {name: p.grad for name, p in method.named_parameters() if p.grad is not None}
        found.append({"the loss": loss.detach(), **gradients})
    if found[0].keys() != found[1].keys():
        return False, f"gradients of other parameters: {sorted(found[0].keys() ^ found[1].keys())[:4]}"
    gaps = {name: gap(value, found[1][name]) for name, value in found[0].items()}
    worst = max(gaps, key=lambda name: gaps[name][0])
    return all(good for _, good in gaps.values()), f"largest difference {gaps[worst][0]:.1e}, of {worst}"


def calibrates(subject: Subject) -> Outcome:
    """The method takes batches of the validation split, and its logits are finite afterwards."""
    method = subject.seeded().eval()
    batches = [random_batch(method.input_spec, seed=seed) for seed in range(2)]
    with torch.no_grad():
        method.calibrate(batches)
        output = method(batches[0].blind())
    problem = form_problem(output, batches[0])
    return problem is None, problem or "two batches with their truth"


def frozen_stays(subject: Subject) -> Outcome:
    """The optimiser's groups hold each trainable parameter once. A step does not change the frozen parameters."""
    method = subject.seeded().train()
    before = {name: p.detach().clone() for name, p in method.named_parameters() if not p.requires_grad}
    groups = method.param_groups(LEARNING_RATE, 1e-2)
    grouped = [id(p) for group in groups for p in group["params"]]
    names = {id(p): name for name, p in method.named_parameters()}
    wrong = [names.get(i, "?") for i in grouped if names.get(i) in before or i not in names]
    left_out = [
        name
        for name, p in method.named_parameters()
        if p.requires_grad and id(p) not in grouped and not any(fnmatchcase(name, q) for q in subject.no_gradient)
    ]
    if len(grouped) != len(set(grouped)) or wrong or left_out:
        repeated = len(grouped) - len(set(grouped))
        return False, f"optimiser groups: {repeated} twice, frozen or foreign {wrong[:3]}, left out {left_out[:3]}"
    optimizer = torch.optim.AdamW(groups)
    backward(method, total_loss(method, random_batch(method.input_spec)))
    optimizer.step()
    moved = [name for name, p in method.named_parameters() if name in before and not torch.equal(p, before[name])]
    return not moved, f"{len(before)} frozen tensors, {len(moved)} moved by a step {moved[:3] or ''}".rstrip()


def loss_falls(subject: Subject) -> Outcome:
    """The method's loss and the cross-entropy of its logits both fall; with a wrong sign, only the loss would."""
    method = subject.seeded().train()
    batch = random_batch(method.input_spec)
    optimizer = torch.optim.AdamW(method.param_groups(LEARNING_RATE, 0.0))
    losses, errors = [], []
    for _ in range(STEPS):
        optimizer.zero_grad()
        output = method(batch)
        loss = torch.stack(list(method.loss(output, batch).values())).sum()
        backward(method, loss)
        optimizer.step()
        losses.append(float(loss.detach()))
        size = (output.logits.shape[-2], output.logits.shape[-1])
        errors.append(float(binary_cross_entropy(output.logits.detach(), reduce_mask(batch.masks, size))))
    fell = []
    for values in (losses, errors):
        first, last = values[0], sum(values[-3:]) / 3
        fell.append((last < first - 0.1 * abs(first), f"{first:.4f} to {last:.4f}"))
    detail = f"loss {fell[0][1]}, cross-entropy of the logits {fell[1][1]} in {STEPS} steps"
    return fell[0][0] and fell[1][0], detail


def runs_in_bf16(subject: Subject) -> Outcome:
    """A training step under bf16 autocast has a finite loss and finite gradients."""
    method = subject.seeded().train()
    batch = random_batch(method.input_spec)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = total_loss(method, batch)
    backward(method, loss)
    gradients = [p.grad for p in method.parameters() if p.grad is not None]
    finite = bool(torch.isfinite(loss)) and all(bool(torch.isfinite(grad).all()) for grad in gradients)
    return finite, f"loss {float(loss.detach()):.4f}, {len(gradients)} gradients, all finite: {finite}"
