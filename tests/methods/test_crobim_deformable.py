"""The CroBIM-style network's level fusion: against loops over points, its start, and what is counted."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from baselines.crobim.deformable import LevelFusion, level_deficit, mass_deficit
from rrsis_bench.nn.layers.deformable import Sampling, cell_centres, ring_offsets

SIZES = [(6, 4), (3, 2), (2, 1)]
CELLS = [height * width for height, width in SIZES]
TOKENS, HEADS, POINTS, WIDTH = sum(CELLS), 4, 3, 16


def fusion(spread: float = 1.0, deformable: bool = True) -> LevelFusion:
    torch.manual_seed(0)
    built = LevelFusion(WIDTH, HEADS, len(SIZES), POINTS, deformable).double()
    if built.offsets is not None:
        torch.nn.init.normal_(built.offsets.weight, std=0.3 * spread)
        built.offsets.bias.data.mul_(spread)
    torch.nn.init.normal_(built.weights.weight, std=0.5)
    return built


def tokens() -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(1)
    queries = torch.randn(2, TOKENS, WIDTH, generator=draw, dtype=torch.float64)
    return queries, torch.randn(2, TOKENS, WIDTH, generator=draw, dtype=torch.float64)


def bilinear(level: Tensor, x: float, y: float) -> Tensor:
    """A map (h, w, c) at a point of the unit square, zero beyond; pixel centres at (i + 0.5) / n."""
    height, width, _ = level.shape
    column, row = x * width - 0.5, y * height - 0.5
    total = torch.zeros_like(level[0, 0])
    for j in (math.floor(row), math.floor(row) + 1):
        for i in (math.floor(column), math.floor(column) + 1):
            if 0 <= i < width and 0 <= j < height:
                total = total + level[j, i] * (1 - abs(column - i)) * (1 - abs(row - j))
    return total


@pytest.mark.parametrize("deformable", [True, False])
@torch.no_grad()
def test_the_fused_tokens_are_those_of_a_loop_over_points(deformable: bool) -> None:
    built = fusion(deformable=deformable)
    queries, read = tokens()
    fused, plan = built(queries, read, SIZES)
    levels = torch.split(built.value(read), CELLS, 1)
    expected = torch.zeros(2, TOKENS, WIDTH, dtype=torch.float64)
    each = WIDTH // HEADS
    for b in range(2):
        for head in range(HEADS):
            part = slice(head * each, (head + 1) * each)
            for sampling, level, (height, width) in zip(plan, levels, SIZES, strict=True):
                square = level[b, :, part].reshape(height, width, each)
                for n in range(TOKENS):
                    for k in range(sampling.x.shape[-1]):
                        x, y = float(sampling.x[b, head, n, k]), float(sampling.y[b, head, n, k])
                        expected[b, n, part] += sampling.weight[b, head, n, k] * bilinear(square, x, y)
    assert torch.allclose(fused, built.output(expected), atol=1e-10)
    beyond = any(bool(((s.x < 0) | (s.x > 1) | (s.y < 0) | (s.y > 1)).any()) for s in plan)
    assert beyond == deformable  # points beyond the map are among those that were compared


@torch.no_grad()
def test_all_attention_is_counted_while_no_point_leaves_the_map() -> None:
    queries, read = tokens()
    for built in (fusion(spread=0.0), fusion(deformable=False)):
        _, plan = built(queries, read, SIZES)
        mass = torch.cat([sampling.mass() for sampling in plan], 1)
        assert mass.shape == (2, TOKENS)
        assert torch.allclose(mass.sum(1), torch.full((2,), float(TOKENS * HEADS), dtype=torch.float64))
    _, plan = fusion(spread=4.0)(queries, read, SIZES)
    left = torch.cat([sampling.mass() for sampling in plan], 1).sum(1)
    assert (left < TOKENS * HEADS - 1).all()


@torch.no_grad()
def test_mass_is_that_of_a_loop_over_points() -> None:
    queries, read = tokens()
    _, plan = fusion()(queries, read, SIZES)
    for sampling in plan:
        height, width = sampling.size
        expected = torch.zeros(2, height * width, dtype=torch.float64)
        flat = zip(sampling.x.flatten(1), sampling.y.flatten(1), sampling.weight.flatten(1), strict=True)
        for b, (xs, ys, weights) in enumerate(flat):
            for x, y, weight in zip(xs.tolist(), ys.tolist(), weights.tolist(), strict=True):
                column, row = math.floor(x * width), math.floor(y * height)
                if 0 <= column < width and 0 <= row < height:
                    expected[b, row * width + column] += weight
        assert torch.allclose(sampling.mass(), expected)


def test_a_cell_that_nothing_looks_at_lacks_all_and_one_above_the_mean_nothing() -> None:
    x = torch.tensor([0.1, 0.1, 0.6, 0.1]).reshape(1, 1, 4, 1)
    y = torch.tensor([0.1, 0.1, 0.2, 0.9]).reshape(1, 1, 4, 1)
    weight = torch.ones(1, 1, 4, 1, requires_grad=True)
    deficit = mass_deficit([Sampling((2, 2), x, y, weight)])
    assert deficit.tolist() == [[0.0, 0.0, 0.0, 1.0]]
    assert not deficit.requires_grad
    # Nothing inside: nothing to divide by, and all cells lack all.
    assert mass_deficit([Sampling((2, 2), x + 5, y, weight)]).tolist() == [[1.0] * 4]


@torch.no_grad()
def test_what_a_token_leaves_to_level_deficit() -> None:
    queries, read = tokens()
    _, plan = fusion()(queries, read, SIZES)
    lost = level_deficit(plan)
    starts = [0, CELLS[0], CELLS[0] + CELLS[1]]
    own = [
        plan[level].weight[:, :, starts[level] + n].sum(-1).mean(1)
        for level, cells in enumerate(CELLS)
        for n in range(cells)
    ]
    assert torch.allclose(lost, 1 - torch.stack(own, 1))


@torch.no_grad()
def test_it_starts_with_even_weights_on_a_ring() -> None:
    built = LevelFusion(WIDTH, 8, len(SIZES), 4)
    queries = torch.randn(1, TOKENS, WIDTH)
    plan = built.samplings(queries, SIZES)
    assert torch.allclose(torch.stack([s.weight for s in plan]), torch.tensor(1 / 12))
    around = ring_offsets(8, 3, 4).reshape(8, 3, 4, 2)
    assert torch.equal(around[:, 0], around[:, 2])
    assert torch.allclose(around[:, 0].abs().amax(-1), torch.arange(1.0, 5).expand(8, 4))
    assert len({tuple(row) for row in around[:, 0, 0].mul(4).round().tolist()}) == 8
    x, y = cell_centres(SIZES, queries)
    height, width = SIZES[0]
    assert torch.allclose((plan[0].x[0, 3, 5] - x[5]) * width, around[3, 0, :, 0], atol=1e-5)
    assert torch.allclose((plan[0].y[0, 3, 5] - y[5]) * height, around[3, 0, :, 1], atol=1e-5)


@torch.no_grad()
def test_places_are_exact_under_low_precision() -> None:
    """In bfloat16 the centres of 60 cells would not all differ."""
    built = LevelFusion(WIDTH, 2, 1, 1, deformable=False)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        plan = built.samplings(torch.randn(1, 3600, WIDTH).bfloat16(), [(60, 60)])
    assert plan[0].x.dtype == torch.float32
    assert plan[0].x[0, 0, :, 0].unique().numel() == 60
