"""The checks every method must pass, whoever wrote it: `rrsis-bench methods check NAME`.

They run on a small variant with random weights, so they need neither downloads nor a GPU. A method's card may declare
`no_gradient` (glob patterns of parameters that its published design leaves without a gradient) and
`published_parameters` (variant -> number of parameters of the published network).

Shape legend: `B` batch, `L` tokens, `h w` pixels of the logits.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase

import numpy as np
import torch
from torch import Tensor

from rrsis_bench import config, registry
from rrsis_bench.data.collate import collate
from rrsis_bench.data.dataset import Item
from rrsis_bench.data.text import load_tokenizer
from rrsis_bench.data.transforms import normalise
from rrsis_bench.methods.base import Method
from rrsis_bench.nn.layers.freezing import trainable
from rrsis_bench.nn.layers.losses import binary_cross_entropy, reduce_mask
from rrsis_bench.types import Batch, InputSpec

TEXTS = ("the red ship", "a white airplane on the left", "the largest storage tank", "the bridge")
TOLERANCE = 1e-4
PARAMETER_SHARE = 0.02  # a network may differ this much from the published size
STEPS = 20
LEARNING_RATE = 1e-3


@dataclass(frozen=True)
class Check:
    """Outcome of one check.

    Attributes:
        name: what was checked.
        passed: whether it holds.
        detail: the figures behind it.
    """

    name: str
    passed: bool
    detail: str


@dataclass(frozen=True)
class Subject:
    """A method under test.

    Attributes:
        build: makes it afresh with random weights.
        no_gradient: glob patterns of trainable parameters that may go without a gradient.
        published: variant -> (number of parameters published, builder of that variant for the meta device).
    """

    build: Callable[[], Method]
    no_gradient: Sequence[str] = ()
    published: Mapping[str, tuple[int, Callable[[], Method]]] = field(default_factory=dict)

    def seeded(self, seed: int = 0) -> Method:
        """A network whose trainable parameters are off their starting point.

        Zero-initialised projections would hide what lies behind them from every check.
        """
        with seeds(seed):
            method = self.build()
            with torch.no_grad():
                for parameter in method.parameters():
                    if parameter.requires_grad:
                        parameter.add_(torch.randn_like(parameter), alpha=0.02)
        return method


def check_method(name: str, variant: str = "tiny") -> list[Check]:
    """Run all checks on a registered method.

    Args:
        name: registry name.
        variant: a variant small enough for a CPU.

    Raises:
        UsageError: unknown method or variant, or a method without a card.
    """
    card = registry.card(name)
    options = config.variant_options(name, variant)
    kind = registry.load_class(name)

    def builder(chosen: str) -> Callable[[], Method]:
        return lambda: kind.from_options(config.variant_options(name, chosen))

    published = {size: (int(n), builder(size)) for size, n in (card.get("published_parameters") or {}).items()}
    return run_checks(Subject(lambda: kind.from_options(options), registry.dead_parameters(name), published))


def run_checks(subject: Subject) -> list[Check]:
    """Run every check; an exception inside one is its failure, not the end."""
    return [run_check(name, subject) for name in CHECKS]


def run_check(name: str, subject: Subject) -> Check:
    """Run one check by its name in `CHECKS`."""
    try:
        with seeds(0):
            passed, detail = CHECKS[name](subject)
    except Exception as error:  # whatever a foreign method raises is the finding
        reason = " ".join(str(error).split())[:200]
        return Check(name, False, f"{type(error).__name__}: {reason}")
    return Check(name, passed, detail)


@contextmanager
def seeds(seed: int) -> Iterator[None]:
    """A fixed random state inside, the caller's own afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def random_batch(spec: InputSpec, texts: Sequence[str] = TEXTS, seed: int = 0) -> Batch:
    """Noise images with a rectangle each as the truth, made by the suite's own transforms and tokenizer.

    Args:
        spec: the method's input.
        texts: B expressions.
        seed: of images and rectangles.
    """
    rng = np.random.default_rng(seed)
    tokenizer = load_tokenizer(spec)
    height, width = spec.image_size
    items = []
    for index, text in enumerate(texts):
        image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        top, left = int(rng.integers(0, height // 2)), int(rng.integers(0, width // 2))
        mask = np.zeros((height, width), dtype=np.uint8)
        mask[top : top + height // 3, left : left + width // 3] = 1
        image[mask > 0] //= 3  # something to learn
        items.append(Item(index, str(index), str(index), normalise(image, spec), mask, None, tokenizer(text), text, ""))
    return collate(items)


def _logits(method: Method, batch: Batch) -> Tensor:
    method.eval()
    with torch.no_grad():
        logits: Tensor = method(batch).logits.float()
        return logits


def _total(method: Method, batch: Batch) -> Tensor:
    return torch.stack(list(method.loss(method(batch), batch).values())).sum()


def _backward(method: Method, loss: Tensor) -> None:
    """Gradients of a loss; a method without trainable parameters has none and learned in its forward pass."""
    if trainable(method.parameters()):
        torch.autograd.backward(loss)


def _gap(first: Tensor, second: Tensor) -> tuple[float, bool]:
    """Largest difference, and whether it is within the tolerance of the logits' spread."""
    if first.shape != second.shape:
        return float("inf"), False
    gap = float((first - second).abs().max())
    return gap, gap <= TOLERANCE * max(1.0, float(first.abs().max()))


def _builds(subject: Subject) -> tuple[bool, str]:
    method = subject.build()
    spec = method.input_spec
    names = [name for name, _ in method.named_parameters()]
    known = isinstance(method, Method) and isinstance(spec, InputSpec) and bool(method.state_dict())
    return known, f"{len(names)} parameters, input {spec.image_size[0]}x{spec.image_size[1]}, {spec.max_tokens} tokens"


def _shapes(subject: Subject) -> tuple[bool, str]:
    method = subject.seeded()
    height, width = method.input_spec.image_size
    seen = []
    good = True
    for size in ((height, width), (2 * height, 2 * width)):
        logits = _logits(method, random_batch(replace(method.input_spec, image_size=size), TEXTS[:2]))
        good &= logits.ndim == 4 and tuple(logits.shape[:2]) == (2, 1) and bool(torch.isfinite(logits).all())
        good &= logits.ndim == 4 and logits.shape[2] * size[1] == logits.shape[3] * size[0]
        seen.append(tuple(logits.shape))
    return good and seen[1][2] > seen[0][2], f"logits {seen[0]} and {seen[1]}"


def _gradients(subject: Subject) -> tuple[bool, str]:
    method = subject.seeded().train()
    wanted = {name for name, p in method.named_parameters() if p.requires_grad}
    reached: set[str] = set()
    for seed in range(3):  # a ReLU may be shut for one batch
        method.zero_grad()
        _backward(method, _total(method, random_batch(method.input_spec, seed=seed)))
        reached |= {name for name, p in method.named_parameters() if p.grad is not None and bool(p.grad.any())}
    excused = {name for name in wanted if any(fnmatchcase(name, pattern) for pattern in subject.no_gradient)}
    missing, leaked = sorted(wanted - reached - excused), sorted(reached - wanted)
    if missing or leaked:
        return False, f"without gradient: {missing[:4]} ({len(missing)}); frozen, but with one: {leaked[:4]}"
    return True, f"{len(wanted & reached)} reached, {len(excused)} excused by the card"


def _frozen(subject: Subject) -> tuple[bool, str]:
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
        twice = len(grouped) - len(set(grouped))
        return False, f"optimiser groups: {twice} twice, frozen or foreign {wrong[:3]}, left out {left_out[:3]}"
    optimizer = torch.optim.AdamW(groups)
    _backward(method, _total(method, random_batch(method.input_spec)))
    optimizer.step()
    moved = [name for name, p in method.named_parameters() if name in before and not torch.equal(p, before[name])]
    return not moved, f"{len(before)} frozen tensors, {len(moved)} moved by a step {moved[:3] or ''}".rstrip()


def _learns(subject: Subject) -> tuple[bool, str]:
    """The method's own loss must fall, and with it the cross-entropy of its logits: a turned sign lowers only one."""
    method = subject.seeded().train()
    batch = random_batch(method.input_spec)
    optimizer = torch.optim.AdamW(method.param_groups(LEARNING_RATE, 0.0))
    losses, errors = [], []
    for _ in range(STEPS):
        optimizer.zero_grad()
        output = method(batch)
        loss = torch.stack(list(method.loss(output, batch).values())).sum()
        _backward(method, loss)
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


def _permutes(subject: Subject) -> tuple[bool, str]:
    method = subject.seeded()
    order = [2, 0, 3, 1]
    batch = random_batch(method.input_spec)
    tokens = batch.tokens
    turned = replace(
        batch,
        images=batch.images[order],
        masks=batch.masks[order],
        tokens=replace(
            tokens,
            ids=tokens.ids[order],
            mask=tokens.mask[order],
            parts={name: part[order] for name, part in tokens.parts.items()},
        ),
        texts=tuple(batch.texts[k] for k in order),
        indices=batch.indices[order],
    )
    gap, good = _gap(_logits(method, batch)[order], _logits(method, turned))
    return good, f"largest difference {gap:.1e}"


def _padding(subject: Subject) -> tuple[bool, str]:
    method = subject.seeded()
    long = random_batch(method.input_spec)
    needed = int(long.tokens.mask.sum(1).max())
    if needed >= method.input_spec.max_tokens:
        return False, f"{needed} tokens leave no padding to test; give the variant a larger max_tokens"
    short = random_batch(replace(method.input_spec, max_tokens=needed))
    gap, good = _gap(_logits(method, short), _logits(method, long))
    return good, f"largest difference between L = {needed} and L = {method.input_spec.max_tokens}: {gap:.1e}"


def _odd_texts(subject: Subject) -> tuple[bool, str]:
    method = subject.seeded()
    logits = _logits(method, random_batch(method.input_spec, ("", "ship " * 1000, "???", "the bridge")))
    finite = [bool(torch.isfinite(one).all()) for one in logits]
    return all(finite), f"finite logits for empty, 1000-word, sign-only and plain text: {finite}"


def _deterministic(subject: Subject) -> tuple[bool, str]:
    method = subject.seeded()
    batch = random_batch(method.input_spec)
    first, second = _logits(method, batch), _logits(method, batch)
    return torch.equal(first, second), f"largest difference {float((first - second).abs().max()):.1e}"


def _reloads(subject: Subject) -> tuple[bool, str]:
    method = subject.seeded(0)
    batch = random_batch(method.input_spec)
    method.train()(batch)  # moves running statistics off their start
    stored = io.BytesIO()
    torch.save(method.state_dict(), stored)
    stored.seek(0)
    again = subject.seeded(1)
    again.load_state_dict(torch.load(stored, weights_only=True), strict=True)
    gap, _ = _gap(_logits(method, batch), _logits(again, batch))
    return gap == 0, f"largest difference {gap:.1e}"


def _bf16(subject: Subject) -> tuple[bool, str]:
    method = subject.seeded().train()
    batch = random_batch(method.input_spec)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = _total(method, batch)
    _backward(method, loss)
    gradients = [p.grad for p in method.parameters() if p.grad is not None]
    finite = bool(torch.isfinite(loss)) and all(bool(torch.isfinite(grad).all()) for grad in gradients)
    return finite, f"loss {float(loss.detach()):.4f}, {len(gradients)} gradients, all finite: {finite}"


def _size(subject: Subject) -> tuple[bool, str]:
    if not subject.published:
        return True, "the card gives no published number of parameters"
    good, seen = True, []
    for variant, (expected, build) in subject.published.items():
        with torch.device("meta"):
            count = sum(parameter.numel() for parameter in build().parameters())
        good &= abs(count - expected) <= PARAMETER_SHARE * expected
        seen.append(f"{variant}: {count:,} built, {expected:,} published")
    return good, "; ".join(seen)


CHECKS: Mapping[str, Callable[[Subject], tuple[bool, str]]] = {
    "builds": _builds,
    "output shape at two image sizes": _shapes,
    "gradients reach what trains, and nothing else": _gradients,
    "frozen stays frozen, optimiser groups are complete": _frozen,
    "loss falls on one batch": _learns,
    "permuting the batch permutes the outputs": _permutes,
    "padding tokens do not change logits": _padding,
    "empty and over-long text work": _odd_texts,
    "evaluation is deterministic": _deterministic,
    "save and load give identical logits": _reloads,
    "bf16 autocast runs": _bf16,
    "size is the published one": _size,
}
