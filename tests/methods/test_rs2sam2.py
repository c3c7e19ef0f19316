"""RS2-SAM2: sizes, training, padding, losses, weights. `test_rs2sam2_parity.py` compares the network's outputs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.rs2sam2 import RS2SAM2
from baselines.rs2sam2.adapters import MLPAdapter, SpaceAdapter
from baselines.rs2sam2.losses import boundary, edges, two_class_dice, weighted_cross_entropy
from baselines.rs2sam2.weights import convert
from helpers.rs2sam2_small import SMALL, fixture_options, make_batch, released_shapes, small
from rrsis_bench import config, registry
from rrsis_bench.cost.profile import gflops
from rrsis_bench.errors import MissingResourceError, UsageError
from rrsis_bench.methods.options import build_options
from rrsis_bench.types import Batch, TextTokens

pytestmark = pytest.mark.slow  # `make test` runs them; the inner loop does without

LARGE = released_shapes("rs2sam2_large")


def numbers(method: nn.Module) -> tuple[int, int]:
    parameters = list(method.parameters())
    return sum(p.numel() for p in parameters), sum(p.numel() for p in parameters if p.requires_grad)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"official": True}, (934_813_404, 722_110_124)),
        ({"train_idle": True}, (927_045_739, 714_342_459)),
        # Point and mask embeddings, two heads, three hyper-networks, the mask token, the last block's words, one layer.
        ({}, (927_045_739, 714_342_459 - 1_536 - 264_453 - 419_424 - 1_024 - 406_912 - 257)),
    ],
)
def test_published_sizes(options: dict[str, bool], expected: tuple[int, int]) -> None:
    with torch.device("meta"):
        method = RS2SAM2.from_options(options)
        official = {name: torch.empty(shape) for name, shape in LARGE.items()}
    assert numbers(method) == expected
    own = method.state_dict()
    placed = convert(official, keep_idle=bool(options.get("official")))
    assert set(placed) == set(own)
    assert {name: tuple(x.shape) for name, x in placed.items()} == {name: tuple(x.shape) for name, x in own.items()}


def test_published_rates() -> None:
    with torch.device("meta"):
        method = RS2SAM2.from_options({"official": True})
    groups = method.param_groups(5e-5, 0.01)
    assert [(g["lr"], sum(p.numel() for p in g["params"])) for g in groups] == [
        (1e-4, 35_843_753),
        (5e-5, 686_266_371),
    ]
    assert {g["weight_decay"] for g in groups} == {0.01}


@pytest.mark.slow
def test_published_operations() -> None:
    """2,133.4 GFLOPs with 20 words; the suite's own tokens are padded to more, which costs 1 %."""
    for length in (20, 40):
        with torch.device("meta"):
            method = RS2SAM2.from_options({"max_tokens": length, "tokenizer": "tiny"}).eval()
        assert gflops(method, torch.device("meta")) == pytest.approx(2133.4, rel=0.03)


def test_the_card_names_the_published_sizes() -> None:
    card = registry.card("rs2sam2")
    assert card["published_parameters"] == {"official": 934_813_404, "large": 927_045_739}
    assert config.variant_options("rs2sam2", "official")["official"] is True


def losses_of(method: RS2SAM2, batch: Batch) -> dict[str, Tensor]:
    return method.loss(method(batch), batch)


@pytest.mark.parametrize("trained", [False, True])
def test_what_trains_is_reached_and_nothing_else(trained: bool) -> None:
    method = small(train_trunk=trained).train()
    for seed in range(3):
        sum(losses_of(method, make_batch(seed=seed)).values()).backward()
    reached = {name for name, p in method.named_parameters() if p.grad is not None and p.grad.any()}
    assert reached == {name for name, p in method.named_parameters() if p.requires_grad}
    frozen = {name for name, p in method.named_parameters() if not p.requires_grad}
    assert ("sam.vision_encoder.backbone.blocks.0.attn.qkv.weight" in frozen) is not trained
    assert "sam.vision_encoder.backbone.blocks.0.space_adapter.up.weight" in reached
    assert "edge.weight" in frozen


def test_the_boundary_loss_cannot_move_the_mask() -> None:
    method = small(boundary_weight=1.0, ce_weight=0.0, dice_weight=0.0).train()
    batch = make_batch()
    losses = losses_of(method, batch)
    assert set(losses) == {"ce", "dice", "boundary"}
    losses["boundary"].backward()
    reached = {name.split(".")[0] for name, p in method.named_parameters() if p.grad is not None and bool(p.grad.any())}
    assert reached == {"edge", "words", "beit3"}
    assert set(losses_of(small(), batch)) == {"ce", "dice"}


@torch.no_grad()
def test_padding_changes_nothing_unless_released() -> None:
    batch, longer = make_batch((5, 7), tokens=7), make_batch((5, 7), tokens=12)
    method = small()
    torch.testing.assert_close(method(batch).logits, method(longer).logits, rtol=1e-4, atol=1e-5)
    alone = Batch(
        **{
            **vars(batch),
            "images": batch.images[:1],
            "masks": batch.masks[:1],
            "tokens": TextTokens(batch.tokens.ids[:1], batch.tokens.mask[:1]),
            "texts": batch.texts[:1],
            "indices": batch.indices[:1],
        }
    )
    torch.testing.assert_close(method(alone).logits, method(batch).logits[:1], rtol=1e-4, atol=1e-5)
    released = small(official=True)
    torch.testing.assert_close(released(batch).logits, released(longer).logits, rtol=1e-4, atol=1e-5)
    gap = (released(alone).logits - released(batch).logits[:1]).abs().max()
    assert float(gap) > 1e-3, "as released, the adapters read the padding that the longer neighbour causes"


@torch.no_grad()
def test_an_unknown_word_is_padding_for_beit_and_a_word_for_the_adapters() -> None:
    method, batch = small(), make_batch((5, 5), tokens=5)
    ids = batch.tokens.ids.clone()
    ids[:, 2] = 3
    unknown = replace(batch, tokens=TextTokens(ids, batch.tokens.mask))
    states = method.read(batch.images[:, :, ::2, ::2], ids, batch.tokens.mask)
    masked = batch.tokens.mask.clone()
    masked[:, 2] = False
    expected = method.beit3(batch.images[:, :, ::2, ::2], ids, masked)
    assert torch.equal(states.joined, expected.joined)
    hidden = replace(batch, tokens=TextTokens(ids, masked))
    assert float((method(unknown).logits - method(hidden).logits).abs().max()) > 1e-4


@torch.no_grad()
def test_logits_are_twice_the_mask_less_one_at_the_image_s_size() -> None:
    method = small(boundary_weight=0.2)
    for side in (64, 96):
        output = method(make_batch(side=side))
        assert output.logits.shape == (3, 1, side, side)
        torch.testing.assert_close(output.logits, 2 * output.aux["mask"] - 1)


def test_recomputed_activations_give_the_same_gradients() -> None:
    plain, saving, batch = small().train(), small().train(), make_batch()
    saving.checkpoint_activations()
    for method in (plain, saving):
        sum(losses_of(method, batch).values()).backward()
    for (name, one), other in zip(plain.named_parameters(), saving.parameters(), strict=True):
        if one.grad is not None:
            torch.testing.assert_close(one.grad, other.grad, msg=lambda why, name=name: f"{name}: {why}")


def test_adapters_start_as_the_framework_does_or_without_effect() -> None:
    x, words = torch.randn(1, 4, 4, 16), torch.randn(1, 3, 8)
    for zero_start in (False, True):
        space, mlp = SpaceAdapter(16, 8, 2, zero_start), MLPAdapter(16, zero_start)
        with torch.no_grad():
            changed = float((space(x, words, None)[0] - x).abs().max()), float(mlp(x).abs().max())
        assert all(value == 0 for value in changed) if zero_start else all(value > 1e-3 for value in changed)


def test_losses_are_the_written_formulas() -> None:
    """A naive loop over pixels in the formulas of two classes with the scores 1 - m and m."""
    draw = torch.Generator().manual_seed(0)
    m = torch.randn(2, 1, 5, 6, generator=draw).double()
    y = (torch.rand(2, 1, 5, 6, generator=draw) > 0.6).double()
    p = torch.cat((1 - m, m), 1).softmax(1)
    for k in range(2):
        weights = torch.tensor([0.9, 1.1]).double()
        ce = F.cross_entropy(torch.cat((1 - m, m), 1)[k : k + 1], y[k].long(), weights)
        torch.testing.assert_close(weighted_cross_entropy(2 * m - 1, y)[k], ce)
        dice = 0.0
        for c, truth in enumerate((1 - y[k, 0], y[k, 0])):
            shared, areas = (p[k, c] * truth).sum(), p[k, c].sum() + truth.sum()
            dice = dice + 1 - (2 * shared + 1e-6) / (areas + 1e-6)
        torch.testing.assert_close(two_class_dice(2 * m - 1, y)[k], dice)
        total = 0.0
        for i in range(5):
            for j in range(6):
                near = [(a, b) for a, b in ((i - 1, j), (i, j - 1)) if min(a, b) >= 0]
                drawn, wanted = (
                    sum(abs(float(mask[i, j]) - float(mask[place])) for place in near)
                    for mask in ((m[k, 0] > 0).double(), y[k, 0])
                )
                total += (0.7 * drawn - 0.7 * wanted) ** 2
        found = boundary(m, y, torch.full((2,), 0.7).double())[k]
        assert float(found) == pytest.approx(total / 30)
    assert edges(torch.eye(3)[None, None]).tolist() == [[[[0, 1, 0], [1, 2, 1], [0, 1, 2]]]]


def test_an_empty_truth_has_finite_losses() -> None:
    batch = make_batch()
    for masks in (torch.zeros_like(batch.masks), torch.ones_like(batch.masks)):
        losses = losses_of(small(boundary_weight=0.2), replace(batch, masks=masks))
        assert all(bool(torch.isfinite(loss)) for loss in losses.values())


def released(method: RS2SAM2, keys: str = "rs2sam2_small_seed21") -> dict[str, Tensor]:
    """The parameters of one of our networks of a fixture's size under the released names."""
    own = method.state_dict()
    state = {}
    for name, shape in released_shapes(keys).items():
        ones = convert_one(name, shape)
        state[name] = own[ones].clone() if ones else torch.zeros(shape)
    for k in range(4):
        table = own["sam.prompt_encoder.point_embed.weight"]
        state[f"visual_model.sam_prompt_encoder.point_embeddings.{k}.weight"] = table[k : k + 1].clone()
    return state


def convert_one(name: str, shape: tuple[int, ...]) -> str | None:
    """Our name of one released parameter; None for idle parts and point embeddings."""
    points = {
        f"visual_model.sam_prompt_encoder.point_embeddings.{k}.weight": torch.empty(1, shape[-1]) for k in range(4)
    }
    if name in points:
        return None
    found = set(convert({name: torch.empty(shape, device="meta"), **points}, keep_idle=False))
    found -= {"sam.prompt_encoder.point_embed.weight", "sam.shared_image_embedding.positional_embedding"}
    return found.pop() if found else None


FIXTURE = fixture_options(
    {
        "image": 128,
        "hiera_width": 32,
        "hiera_heads": 2,
        "hiera_stages": (1, 2, 3, 1),
        "hiera_global": (4,),
        "hiera_windows": (8, 4, 8, 4),
        "prompt_width": 32,
        "beit_width": 64,
        "beit_heads": 4,
        "beit_layers": 2,
        "beit_image": 64,
        "vocab": 120,
    }
)


def built(seed: int, **changes: object) -> RS2SAM2:
    torch.manual_seed(seed)
    return RS2SAM2.from_options({**FIXTURE, "tokenizer": "tiny", **changes}).eval()


@torch.no_grad()
@pytest.mark.parametrize("prefix", ["", "module.evf_model."])
def test_released_files_load_strictly(prefix: str, tmp_path: Path) -> None:
    source, target, batch = built(1), built(2), make_batch(side=128)
    state = {prefix + name: value for name, value in released(source).items()}
    path = tmp_path / "pytorch_model.bin"
    torch.save(state, path)
    assert not torch.equal(target(batch).logits, source(batch).logits)
    assert len(target.load_official(path)) == 64
    assert torch.equal(target(batch).logits, source(batch).logits)

    def refused(changed: dict[str, Tensor], message: str) -> None:
        torch.save(changed, path)
        with pytest.raises(MissingResourceError, match=message) as caught:
            target.load_official(path)
        assert str(path) in str(caught.value)

    refused(state | {f"{prefix}odd.weight": torch.ones(1)}, r"cannot place odd\.weight")
    refused({n: v for n, v in state.items() if "mask_linear" not in n}, r"misses generator\.linear")
    refused(state | {f"{prefix}visual_model.odd": torch.ones(1)}, r"does not know sam\.odd")
    refused(state | {f"{prefix}mask_product.bias": torch.ones(2)}, r"generator\.product\.bias \(2,\)")
    refused({n: v for n, v in state.items() if "embeddings.2" not in n}, "four point embeddings, found 3")


def test_idle_parts_load_where_they_are_built() -> None:
    with torch.device("meta"):
        method = RS2SAM2.from_options({"official": True})
        state = convert({name: torch.empty(shape) for name, shape in LARGE.items()}, keep_idle=True)
    idle = {name for name in state if name.startswith("idle.")}
    assert sum(p.numel() for p in method.idle.parameters()) == 7_505_265 + 262_400
    assert idle == {name for name in method.state_dict() if name.startswith("idle.")}


@torch.no_grad()
def test_base_weights_of_both_encoders_load(tmp_path: Path) -> None:
    """SAM 2's file lacks the adapters and holds the memory; BEiT-3's may hold heads."""
    source = built(1)
    prefix, left_out = "visual_model.", ("_Adapter.", "vlfusion_module.")
    sam = {
        name.removeprefix(prefix): value
        for name, value in released(source).items()
        if name.startswith(prefix) and not any(part in name for part in left_out)
    }
    sam |= {"memory_encoder.out_proj.weight": torch.ones(2), "memory_attention.norm.bias": torch.ones(2)}
    beit = {f"beit3.{name}": value for name, value in source.beit3.state_dict().items()}
    torch.save({"model": sam}, tmp_path / "sam2_hiera.pt")
    torch.save({"model": {**beit, "mlm_head.bias": torch.ones(2)}}, tmp_path / "beit3.pth")
    target = built(2, segmenter_weights=str(tmp_path / "sam2_hiera.pt"), beit_weights=str(tmp_path / "beit3.pth"))
    before = target.sam.vision_encoder.backbone.blocks[0].mlp_adapter.up.weight.clone()
    digests = target.load_pretrained()
    assert set(digests) == {"beit", "segmenter"}
    assert all(len(digest) == 64 for digest in digests.values())
    assert torch.equal(target.sam.vision_encoder.backbone.blocks[0].mlp_adapter.up.weight, before)
    for name, value in source.sam.state_dict().items():
        if "adapter" not in name:
            assert torch.equal(target.sam.state_dict()[name], value), name
    assert torch.equal(target.beit3.text_embed.weight, source.beit3.text_embed.weight)
    torch.save({"model": {n: v for n, v in sam.items() if "neck" not in n}}, tmp_path / "sam2_hiera.pt")
    with pytest.raises(MissingResourceError, match=r"misses vision_encoder\.neck"):
        target.load_pretrained()


def test_a_frozen_trunk_does_not_start_from_random_values() -> None:
    with pytest.raises(UsageError, match="segmenter_weights names no file"):
        small().load_pretrained()
    assert small(train_trunk=True).load_pretrained() == {}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_tokens": 1023}, "between 3 and 1022"),
        ({"image_size": 100}, "multiple of 32"),
        ({"beit_width": 30}, "beit_width must be a multiple of 4"),
        ({"hiera_width": 24, "adapter_heads": 4}, "hiera_width must be a multiple of 16"),
        ({"prompt_width": 60}, "prompt_width must be a multiple of 8"),
        ({"text_padding": "seen"}, "one of masked, longest"),
    ],
)
def test_values_that_cannot_work_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build_options("rs2sam2", RS2SAM2.Options, {**SMALL, **changes})
