"""C3VG: sizes, training, released quirks, losses, weights. `test_c3vg_parity.py` compares the network's outputs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torchvision.ops import generalized_box_iou, roi_pool

from baselines.c3vg import C3VG
from baselines.c3vg.interaction import corner_cells, touched_cells
from baselines.c3vg.losses import box_distance, consistency, mask_loss, rectangle, share_inside
from baselines.c3vg.text import clean
from baselines.c3vg.weights import RELEASED, SCALE, convert
from helpers.c3vg_small import SMALL, make_batch, released_shapes, small
from rrsis_bench import config, registry
from rrsis_bench.cost.profile import gflops
from rrsis_bench.data.text import load_tokenizer
from rrsis_bench.errors import MissingResourceError, UsageError
from rrsis_bench.methods.options import build_options
from rrsis_bench.nn.layers.boxes import to_xyxy
from rrsis_bench.types import Batch, InputSpec

pytestmark = pytest.mark.slow  # `make test` runs them; the inner loop does without

BASE = released_shapes("c3vg_base")
ALL, USED, MASK_TOKEN = 247_802_700, 240_294_729, 768
SPM = Path(__file__).resolve().parents[1] / "fixtures" / "tiny.spm"


def numbers(method: nn.Module) -> tuple[int, int]:
    parameters = list(method.parameters())
    return sum(p.numel() for p in parameters), sum(p.numel() for p in parameters if p.requires_grad)


@pytest.mark.parametrize(("options", "expected"), [({"official": True}, (ALL, ALL)), ({}, (USED + MASK_TOKEN, USED))])
def test_published_sizes_names_and_rates(options: dict[str, bool], expected: tuple[int, int]) -> None:
    with torch.device("meta"):
        method = C3VG.from_options(options)
        official = {name: torch.empty(shape) for name, shape in BASE.items()}
    assert numbers(method) == expected
    own = {name: tuple(value.shape) for name, value in method.state_dict().items()}
    placed = convert(official, method, keep_idle=bool(options))
    assert {name: tuple(value.shape) for name, value in placed.items()} == own
    head, beit = method.param_groups(5e-4, 0.0)
    assert (head["lr"], beit["lr"]) == (5e-4, pytest.approx(5e-5))
    assert sum(p.numel() for p in beit["params"]) == 221_144_064 - (0 if options else MASK_TOKEN)


def test_published_operations() -> None:
    """The released 109.2 GFLOPs hold 0.9 of an attention whose output is thrown away."""
    with torch.device("meta"):
        method = C3VG.from_options({"official": True, "tokenizer": "tiny"}).eval()
    assert gflops(method, torch.device("meta")) == pytest.approx(109.2 - 0.9, rel=0.005)


def test_the_card_names_the_published_sizes() -> None:
    card = registry.card("c3vg")
    assert card["published_parameters"] == {"official": ALL, "base": USED + MASK_TOKEN}
    assert "no number of C3VG on an RRSIS data set is published" in " ".join(card["fidelity_note"].split())
    assert config.variant_options("c3vg", "official")["official"] is True


def losses_of(method: C3VG, batch: Batch) -> dict[str, Tensor]:
    return method.loss(method(batch), batch)


def test_what_trains_is_reached_and_nothing_else() -> None:
    method = small().train()
    for seed in range(3):
        sum(losses_of(method, make_batch(seed=seed)).values()).backward()
    reached = {name for name, p in method.named_parameters() if p.grad is not None and p.grad.any()}
    wanted = {name for name, p in method.named_parameters() if p.requires_grad}
    zero = {f"query_reads_{what}.layers.0.attentions.0.in_proj_weight" for what in ("words", "places")}
    assert reached == wanted - zero
    assert {name for name, _ in method.named_parameters()} - wanted == {"beit3.vision_embed.mask_token"}
    released = small(official=True)
    assert all(p.requires_grad for p in released.parameters())


def test_recomputed_activations_give_the_same_gradients() -> None:
    plain, saving, batch = small(drop_path=0.0).train(), small(drop_path=0.0).train(), make_batch()
    saving.checkpoint_activations()
    for method in (plain, saving):
        for part in method.modules():
            if isinstance(part, nn.Dropout | nn.MultiheadAttention):
                part.eval()
        sum(losses_of(method, batch).values()).backward()
    for (name, one), other in zip(plain.named_parameters(), saving.parameters(), strict=True):
        if one.grad is not None:
            torch.testing.assert_close(one.grad, other.grad, msg=lambda why, name=name: f"{name}: {why}")


@torch.no_grad()
def test_the_sentence_is_what_an_inverted_integer_mask_takes() -> None:
    words = torch.randn(4, 9, 32)
    lengths = torch.tensor([9, 8, 7, 3])
    mask = torch.arange(9)[None] < lengths[:, None]
    released, repaired = small(official=True), small(sentence="max")
    for k in range(4):
        padding = (~mask[k]).to(torch.int64)
        taken = words[k][~padding].amax(0)
        assert torch.equal(released.sentence(words, mask)[k], taken)
        assert torch.equal(repaired.sentence(words, mask)[k], words[k, : lengths[k]].amax(0))


@torch.no_grad()
def test_the_blank_query_is_the_released_sentence_where_two_positions_are_empty() -> None:
    same = {"word_positions": "released", "box_pooling": "released"}
    batch, shorter = make_batch((5, 10), tokens=12), make_batch((5, 10), tokens=10)
    blank, as_released = small(**same), small(official=True)
    blank.load_state_dict({name: x for name, x in as_released.state_dict().items() if not name.startswith("idle.")})
    torch.testing.assert_close(blank(batch).logits, as_released(batch).logits, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(blank(shorter).logits, blank(batch).logits, rtol=1e-4, atol=1e-5)
    gap = (as_released(shorter).logits - as_released(batch).logits).abs().amax((1, 2, 3))
    assert float(gap[0]) < 1e-4 < 1e-3 < float(gap[1]), "as released, a sentence without padding has another vector"


@torch.no_grad()
def test_released_word_positions_differ_in_two_channels() -> None:
    words = torch.zeros(1, 6, 8)
    found = small(official=True).word_code(words)
    for t in range(6):
        place = torch.tensor(float(t))
        assert torch.allclose(found[t], torch.tensor([place.sin(), place.cos(), 0, 1, 0, 1, 0, 1]))
    sine = small().word_code(words)
    assert all(len(sine[:, channel].unique()) > 1 for channel in range(8))


def test_box_features_come_from_the_corner_or_from_the_box() -> None:
    draw = torch.Generator().manual_seed(0)
    extreme = torch.tensor([[1.0, 1, 1, 1], [0, 0, 1, 1], [0.5, 0.5, 0, 0]])
    boxes = torch.cat((torch.rand(60, 4, generator=draw), extreme))
    features = torch.rand(len(boxes), 3, 5, 5, generator=draw)
    rois = torch.cat((torch.arange(len(boxes))[:, None].float(), to_xyxy(boxes)), 1)
    pooled = (features * corner_cells(boxes, 5)[:, None]).amax((2, 3))
    assert torch.equal(pooled, roi_pool(features, rois, 1)[:, :, 0, 0])
    touched = touched_cells(boxes, 5)
    for box, cells in zip(to_xyxy(boxes), touched, strict=True):
        left, top, right, bottom = (5 * box).tolist()
        for i in range(5):
            for j in range(5):
                inside = i + 1 > top and i < bottom and j + 1 > left and j < right
                # A border exactly on a cell's edge, or a box without area, may touch or not.
                if min(abs(x - round(x)) for x in (left, top, right, bottom)) > 1e-4 and right > left:
                    assert bool(cells[i, j]) == inside
    moved = small(), small(box_pooling="released")
    maps = torch.rand(2, 32, 4, 4)
    one, other = torch.tensor([[0.8, 0.8, 0.1, 0.1]] * 2), torch.tensor([[0.6, 0.8, 0.1, 0.1]] * 2)
    for method, differs in zip(moved, (True, False), strict=True):
        query = method.interaction
        with torch.no_grad():
            query.coordinates.weight.zero_()
            assert (not torch.equal(query.box_query(maps, one), query.box_query(maps, other))) is differs


def test_losses_are_the_written_formulas() -> None:
    """Loops over pixels, and torchvision's generalised IoU."""
    draw = torch.Generator().manual_seed(1)
    m = torch.randn(3, 1, 6, 8, generator=draw).double() - 0.5
    m[2] = -1  # without foreground
    y = (torch.rand(3, 1, 6, 8, generator=draw) > 0.6).double()
    b = torch.tensor([[0.4, 0.5, 0.5, 0.6], [0.9, 0.2, 0.4, 0.5], [0.5, 0.5, 0.5, 0.5]]).double()
    p = m.sigmoid()
    bce = -(y * p.log() + (1 - y) * (1 - p).log()).mean()
    dice = sum(1 - (2 * (p[k] * y[k]).sum() + 1) / (p[k].sum() + y[k].sum() + 1) for k in range(3)) / 3
    torch.testing.assert_close(mask_loss(m, y), bce + dice)
    found, agreement = share_inside(m, b, soft=False), consistency(m, b, soft=False)
    for k in range(3):
        corners = to_xyxy(b[k]) * torch.tensor([8, 6, 8, 6])
        left, top, right, bottom = (int(x) for x in corners.tolist())
        places = [(i, j) for i in range(6) for j in range(8) if float(p[k, 0, i, j]) > 0.5]
        inside = [(i, j) for i, j in places if max(top, 0) <= i < min(bottom, 6) and max(left, 0) <= j < min(right, 8)]
        share = len(inside) / len(places) if places else 0.0
        assert float(found[k]) == pytest.approx(share)
        rows, columns = [i for i, _ in places] or [0], [j for _, j in places] or [0]
        r = torch.tensor([min(columns) / 8, min(rows) / 6, max(columns) / 8, max(rows) / 6]).double()
        torch.testing.assert_close(to_xyxy(rectangle(m))[k], r)
        giou = generalized_box_iou(r[None], to_xyxy(b[k])[None])[0, 0]
        centred = torch.cat(((r[:2] + r[2:]) / 2, r[2:] - r[:2]))
        apart = 5 * (centred - b[k]).abs().sum() + 2 * (1 - giou)
        torch.testing.assert_close(box_distance(rectangle(m), b)[k], apart)
        torch.testing.assert_close(agreement[k], 0.3 * (1 - share) + 0.1 * apart)


def test_the_consistency_loss_moves_the_mask_only_if_it_is_soft() -> None:
    for soft in (False, True):
        m, b = torch.randn(2, 1, 8, 8).requires_grad_(), torch.rand(2, 4).requires_grad_()
        consistency(m, b, soft).sum().backward()
        assert (m.grad is not None and bool(m.grad.any())) is soft
        assert bool(b.grad.any())


def test_an_empty_truth_has_no_box_loss_and_finite_others() -> None:
    batch, method = make_batch(), small()
    some = batch.masks.clone()
    some[0] = 0
    for masks in (torch.zeros_like(some), torch.ones_like(some), some):
        losses = {name: loss.detach() for name, loss in losses_of(method, replace(batch, masks=masks)).items()}
        assert all(bool(torch.isfinite(loss)) for loss in losses.values())
        assert (float(losses["box_second"]) > 0) is bool(masks.any())
    kept = method(batch)
    own = {name: value[1:] for name, value in kept.aux.items()}
    part = replace(kept, logits=kept.logits[1:], aux=own)
    alone = method.loss(part, replace(batch, masks=some[1:]))
    whole = method.loss(kept, replace(batch, masks=some))
    for name in ("box_first", "box_second", "consistency_first", "consistency_second"):
        torch.testing.assert_close(whole[name], alone[name])


@torch.no_grad()
def test_logits_and_boxes_fit_the_image() -> None:
    method = small()
    for side in (64, 96):
        output = method(make_batch(side=side))
        assert output.logits.shape == (3, 1, side, side)
        assert output.aux["boxes"].shape == (3, 4)
        assert bool(((output.aux["boxes"] >= 0) & (output.aux["boxes"] <= 1)).all())


def released(method: C3VG) -> dict[str, Tensor]:
    """The parameters of a small network under the released names."""
    own, state = method.state_dict(), {}
    for name in BASE:
        ours = "idle.logit_scale" if name == SCALE else RELEASED.ours(name)
        assert ours is not None
        if ours in own:
            state[name] = own[ours].clone()
    return state


@torch.no_grad()
def test_released_files_load_strictly(tmp_path: Path) -> None:
    source, target, batch = small(1, official=True), small(2, official=True), make_batch()
    state, path = released(source), tmp_path / "segm_best.pth"
    for prefix in ("", "module."):
        torch.save({"state_dict": {prefix + name: x for name, x in state.items()}, "epoch": 3}, path)
        target = small(2, official=True)
        assert not torch.equal(target(batch).logits, source(batch).logits)
        assert len(target.load_official(path)) == 64
        assert torch.equal(target(batch).logits, source(batch).logits)
    same = {"sentence": "released", "word_positions": "released", "box_pooling": "released"}
    without = small(2, **same)
    without.load_official(path)
    assert torch.equal(without(batch).logits, source(batch).logits)

    def refused(changed: dict[str, Tensor], message: str) -> None:
        torch.save(changed, path)
        with pytest.raises(MissingResourceError, match=message) as caught:
            target.load_official(path)
        assert str(path) in str(caught.value)

    refused(state | {"head.odd.weight": torch.ones(1)}, r"cannot place head\.odd\.weight")
    refused({n: x for n, x in state.items() if n != "head.logit_scale"}, r"misses idle\.logit_scale")
    refused({n: x for n, x in state.items() if "lan_embedding" not in n}, r"misses words\.weight")
    refused(state | {"head.lan_embedding.weight": torch.ones(2, 2)}, r"words\.weight \(2, 2\)")


@torch.no_grad()
def test_base_weights_load_at_another_image_size(tmp_path: Path) -> None:
    source = small(1, image_size=96)
    beit = {f"beit3.{name}": value for name, value in source.beit3.state_dict().items()}
    path = tmp_path / "beit3.zip"
    torch.save({"model": {**beit, "mlm_head.bias": torch.ones(2)}}, path)
    target = small(2, beit_weights=str(path))
    assert set(target.load_pretrained()) == {"beit"}
    assert torch.equal(target.beit3.text_embed.weight, source.beit3.text_embed.weight)
    assert target.beit3.encoder.embed_positions.A.weight.shape == (3 + 16, 32)
    assert small().load_pretrained() == {}


def test_expressions_are_cleaned_as_released() -> None:
    text = "The  Left-most plane, (no. 3)/runway?"
    cleaned, places = clean(text)
    assert cleaned == "the  left most plane no 3 runway"
    assert all(text[place].lower() == letter for letter, place in zip(cleaned, places, strict=True) if letter != " ")
    spec = InputSpec((64, 64), "baselines.c3vg.text:C3VGTokenizer", 20, tokenizer_path=str(SPM))
    plain = load_tokenizer(replace(spec, tokenizer="beit3"))
    found, expected = load_tokenizer(spec)(text), plain(cleaned)
    assert (found.ids, found.mask) == (expected.ids, expected.mask)
    assert found.ids[-1] == 1
    words = [(start, end) for start, end in found.spans if end > start]
    assert "".join(text[start:end] for start, end in words).lower().replace(" ", "").startswith("theleft")
    empty = load_tokenizer(spec)("?!")
    assert empty.ids == [0, 2] + [1] * 18


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_tokens": 1022}, "between 3 and 1021"),
        ({"image_size": 100}, "multiple of 16"),
        ({"image_size": 16}, "multiple of 16 from 32 on"),
        ({"beit_width": 30}, "beit_width must be a multiple of 4"),
        ({"width": 30}, "width 30 must be a multiple of 4"),
        ({"sentence": "mean"}, "one of blank, released, max"),
    ],
)
def test_values_that_cannot_work_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build_options("c3vg", C3VG.Options, {**SMALL, **changes})
