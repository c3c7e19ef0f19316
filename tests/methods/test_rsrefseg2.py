"""RSRefSeg 2: sizes to the unit, options, gradients, batches and memory."""

from __future__ import annotations

import math
from collections import Counter
from fnmatch import fnmatchcase
from typing import Any

import pytest
import torch
from torch import nn

from baselines.rsrefseg2 import RSRefSeg2
from baselines.rsrefseg2.options import OFFICIAL, RSRefSeg2Options
from helpers.memory import PeakMemory
from helpers.resolved import configured
from helpers.rsrefseg2_small import SMALL, alone, make_batch, small
from rrsis_bench.config import method_config, variant_options
from rrsis_bench.errors import MissingResourceError, UsageError
from rrsis_bench.registry import card, dead_parameters

PUBLISHED = "siglip2-so400m-sam2.1-l"
SPEC_IDLE = (
    "segmenter.network.prompt_encoder.*point_embed*",
    "segmenter.network.prompt_encoder.no_mask_embed*",
    "segmenter.network.mask_decoder.iou_prediction_head*",
    "segmenter.network.mask_decoder.pred_obj_score_head*",
    "segmenter.network.mask_decoder.output_hypernetworks_mlps.[123]*",
    "dual.vision.head.*lora_*",
    "contrast.log_scale1",
    "contrast.bias*",
)
"""Trainable in the released network, though nothing ever reaches them."""


def count(module: nn.Module, trained: bool = False) -> int:
    return sum(p.numel() for p in module.parameters() if p.requires_grad or not trained)


def lora(module: nn.Module) -> int:
    return sum(p.numel() for name, p in module.named_parameters() if "lora_" in name)


@pytest.fixture(scope="module")
def published() -> RSRefSeg2:
    with torch.device("meta"):
        return RSRefSeg2.from_options(variant_options("rsrefseg2", PUBLISHED))


def test_published_parameters_to_the_unit(published: RSRefSeg2) -> None:
    dual, segmenter = published.dual, published.segmenter
    encoder = segmenter.encoder()
    assert count(dual) - lora(dual) == 1_136_555_698
    assert count(segmenter) - lora(segmenter) == 216_924_865
    assert count(encoder) - lora(encoder) == 212_703_280
    assert count(segmenter.network.prompt_encoder) == 6_220
    assert count(segmenter.network.mask_decoder) == 4_215_109
    assert segmenter.network.no_memory_embedding.numel() == 256
    assert count(published.prompter) == 82_773_312
    assert (lora(dual.vision), lora(dual.text), lora(encoder)) == (4_192_768, 4_018_176, 2_661_376)
    assert count(published.contrast) == 4
    total = card("rsrefseg2")["published_parameters"][PUBLISHED]
    assert count(published) == total == 1_447_126_199
    assert count(published, trained=True) == 97_867_223  # 97.87 M


def test_published_lora_targets(published: RSRefSeg2) -> None:
    found: Counter[str] = Counter()
    for name, module in published.named_modules():
        if hasattr(module, "lora_A") and "default" in module.lora_A:
            assert module.r["default"] == 16
            assert module.scaling["default"] == 1.0
            kind = "".join(c for c in name if not c.isdigit()).replace("..", ".")
            found[kind] += 1
    attention = {f"{x}_proj" for x in ("q", "k", "v", "out")}
    expected = {f"dual.{t}.encoder.layers.self_attn.{x}": 27 for t in ("vision", "text") for x in attention}
    expected |= {"dual.text.head": 1, "dual.vision.head.attention.out_proj": 1, "dual.vision.head.mlp.fc": 2}
    hiera = "segmenter.network.vision_encoder.backbone.blocks.attn"
    expected |= {f"{hiera}.qkv": 48, f"{hiera}.proj": 48, "segmenter.network.vision_encoder.neck.convs.": 4}
    assert found == expected


def test_our_default_leaves_out_what_gets_no_gradient() -> None:
    with torch.device("meta"):
        ours = RSRefSeg2.from_options({})
    assert lora(ours.dual.vision) == 4_192_768 - 211_456
    assert count(ours) == 1_447_126_199 - 211_456


def test_the_card_names_what_a_step_never_reaches() -> None:
    method = small(train_idle=True, pooling_head_lora=True)
    batch = make_batch()
    torch.stack(list(method.loss(method(batch), batch).values())).sum().backward()
    # Added to all logits of a softmax: its gradient is zero but for rounding.
    assert float(method.contrast.bias2.grad.abs()) < 1e-7
    method.contrast.bias2.grad = None
    idle = {name for name, p in method.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())}
    patterns = dead_parameters("rsrefseg2")
    trained = [name for name, p in method.named_parameters() if p.requires_grad]
    assert idle == {name for name in trained if any(fnmatchcase(name, pattern) for pattern in patterns)}
    assert len(idle) > 30
    assert all(any(fnmatchcase(name, pattern) for name in idle) for pattern in patterns)


@pytest.mark.parametrize(
    ("dual", "segmenter", "library"),
    [
        ("siglip2-nano", "sam-nano", "segment-anything"),
        ("siglip2-nano", "sam-nano", "transformers"),
        ("clip-nano", "sam2.1-nano", "transformers"),
        ("clip-nano", "sam-nano", "segment-anything"),
    ],
)
def test_any_pair_works(dual: str, segmenter: str, library: str) -> None:
    method = small(dual=dual, segmenter=segmenter, segmenter_library=library)
    with torch.no_grad():
        method.dual.log_scale.fill_(1.0)  # drawn larger, it may leave a loss that is 0 in float32
    batch = make_batch(side=method.segmenter.image_size)
    output = method(batch)
    assert output.logits.shape == (3, 1, method.segmenter.image_size, method.segmenter.image_size)
    losses = method.loss(output, batch)
    assert set(losses) == {"bce", "dice", "diversity", "contrast"}
    torch.stack(list(losses.values())).sum().backward()
    idle = [n for n, p in method.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())]
    assert not idle


@pytest.mark.slow
@pytest.mark.parametrize("variant", sorted(method_config("rsrefseg2")["variants"]))
def test_variants_build(variant: str) -> None:
    with torch.device("meta"):
        method = RSRefSeg2.from_options(variant_options("rsrefseg2", variant))
    assert method.input_spec.max_tokens <= method.dual.context
    assert method.prompter.image_position.shape[-1] == method.dual.grid


def test_released_network_trains_what_it_says() -> None:
    method, batch = small(official=True).train(), make_batch()
    torch.stack(list(method.loss(method(batch), batch).values())).sum().backward()
    idle = {n for n, p in method.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())}
    named = {n for n, p in method.named_parameters() if any(fnmatchcase(n, pattern) for pattern in SPEC_IDLE)}
    # Adding one number to all logits of a softmax changes nothing but rounding.
    assert idle | {"contrast.bias2"} == named
    assert [len(group["params"]) for group in method.param_groups(1e-4, 0.05)] == [
        sum(p.requires_grad for p in method.parameters())
    ]


@torch.no_grad()
def test_a_sample_does_not_depend_on_its_batch_mates() -> None:
    method, batch = small().eval(), make_batch()
    together = method(batch).logits
    for k in range(3):
        one = method(alone(batch, k)).logits[0]
        assert (one - together[k]).abs().max() <= 1e-5 * together.abs().max().clamp(min=1)


@torch.no_grad()
def test_released_padding_depends_on_them() -> None:
    """The sentence vector is read at the last position of the batch's longest expression."""
    method, batch = small(text_padding="longest").eval(), make_batch((4, 9, 6))
    together = method(batch).logits
    assert (method(alone(batch, 1)).logits[0] - together[1]).abs().max() <= 1e-5
    assert (method(alone(batch, 0)).logits[0] - together[0]).abs().max() > 1e-4


@torch.no_grad()
def test_both_forms_of_the_dense_prompt_give_the_same_logits() -> None:
    method, naive, batch = small().eval(), small(low_memory=False).eval(), make_batch()
    ours, theirs = method(batch), naive(batch)
    torch.testing.assert_close(ours.aux["dense"], theirs.aux["dense"], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ours.logits, theirs.logits, rtol=1e-4, atol=1e-5)


def test_checkpointing_saves_memory_and_changes_nothing() -> None:
    batch = make_batch()
    seen: list[tuple[float, dict[str, torch.Tensor], int]] = []
    for checkpointing in (False, True):
        method = small().train()
        if checkpointing:
            method.checkpoint_activations()
        with PeakMemory() as memory:
            loss = torch.stack(list(method.loss(method(batch), batch).values())).sum()
            held = memory.alive
        loss.backward()
        gradients = {n: p.grad for n, p in method.named_parameters() if p.grad is not None}
        seen.append((loss.item(), gradients, held))
    (plain, first, large), (again, second, little) = seen
    assert plain == pytest.approx(again, rel=1e-6)
    assert set(first) == set(second)
    for name, gradient in first.items():
        torch.testing.assert_close(second[name], gradient, rtol=1e-4, atol=1e-6)
    assert little < 0.7 * large


@torch.no_grad()
def test_each_encoder_sees_its_own_scaling_and_size() -> None:
    method = small(dual_image_size=32)
    grey = torch.full((1, 3, 64, 64), 0.25)
    spec = method.input_spec
    normal = (grey - torch.tensor(spec.mean)[:, None, None]) / torch.tensor(spec.std)[:, None, None]
    seen = method.for_dual(normal)
    assert seen.shape == (1, 3, 32, 32)
    torch.testing.assert_close(seen, torch.full_like(seen, (0.25 - 0.5) / 0.5), rtol=1e-5, atol=1e-5)
    assert (spec.image_size, spec.interpolation) == ((64, 64), "cv2-linear")


@torch.no_grad()
def test_learned_factors_are_kept_in_bounds() -> None:
    method, batch = small(stability=False).eval(), make_batch()
    method.dual.log_scale.fill_(math.log(120.0))
    expected = method(batch).logits
    method.dual.log_scale.fill_(9.0)
    assert torch.equal(method(batch).logits, expected)
    free = small(clamp_scales=False).eval()
    free.dual.log_scale.fill_(9.0)
    assert not torch.equal(free(batch).logits, expected)


def test_decay_spares_norms_biases_tables_and_scalars() -> None:
    method = small()
    groups = method.param_groups(1e-4, 0.05)
    assert [group["weight_decay"] for group in groups] == [0.05, 0.0]
    names = {id(p): name for name, p in method.named_parameters()}
    decayed, plain = ({names[id(p)] for p in group["params"]} for group in groups)
    assert {"prompter.split.0.own1.attention.q_proj.weight", "prompter.dense.conv.0.weight"} <= decayed
    spared = {"prompter.image_position", "prompter.prompt_start", "dual.log_scale", "prompter.sparse.layers.0.bias"}
    spared |= {"segmenter.network.mask_decoder.mask_tokens.weight", "segmenter.network.no_memory_embedding"}
    assert spared <= plain
    assert not [name for name in decayed if name.endswith("bias") or "norm" in name]


def test_official_sets_every_released_choice() -> None:
    ours = RSRefSeg2Options()
    settled = RSRefSeg2Options(official=True, text_padding="masked").settled()
    for name, value in OFFICIAL.items():
        assert getattr(settled, name) == value
        assert name == "dense_norm" or getattr(ours, name) != value
    assert ours.settled() is ours
    cased = RSRefSeg2.from_options(SMALL | {"official": True}).input_spec.tokenizer
    assert cased.endswith(":CasedSiglipTokenizer")
    assert RSRefSeg2.from_options(SMALL).input_spec.tokenizer.endswith(":SiglipTokenizer")


def test_recipe() -> None:
    merged = configured("rsrefseg2", "rrsisd")
    assert merged["model"]["variant"] == PUBLISHED
    assert merged["model"]["optimizer"] == {"name": "adamw", "lr": 1e-4, "weight_decay": 0.05}
    assert (merged["data"]["global_batch"], merged["trainer"]["gradient_clip_val"]) == (64, 3.0)
    assert configured("rsrefseg2", "refsegrs")["model"]["optimizer"]["lr"] == 2e-4
    released = configured("rsrefseg2", "rrsisd", "official")
    assert released["model"]["options"]["official"] is True
    # Strictly above a threshold counts, as the released metric has it.
    assert released["model"]["protocols"][0] == "paper-rsrefseg2-v1"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"text_padding": "none"}, "'text_padding' must be one of masked, longest, not 'none'"),
        ({"dense_norm": "layer"}, "'dense_norm' must be one of batch, group, not 'layer'"),
        ({"contrast_label": "all"}, "'contrast_label' must be one of area, threshold, not 'all'"),
        ({"heads": 3}, "no multiple of heads"),
        ({"depth": 0}, "at least 1"),
        ({"max_tokens": 17}, "takes 16 at most"),
        ({"dual": "siglip"}, "unknown dual encoder"),
        ({"lora_ranks": 2}, "Did you mean 'lora_rank'"),
    ],
)
def test_options_that_cannot_work_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        RSRefSeg2.from_options(SMALL | changes)


def test_group_norm_for_small_batches() -> None:
    method = small(dense_norm="group").train()
    assert not [m for m in method.modules() if isinstance(m, nn.BatchNorm2d)]
    torch.stack(list(method.loss(method(make_batch((5,))), make_batch((5,))).values())).sum().backward()


def test_weights_never_start_random_silently() -> None:
    assert small().load_pretrained() == {}
    with pytest.raises(UsageError, match="dual_weights names no file"):
        small(dual_weights="").load_pretrained()
    with pytest.raises(MissingResourceError, match=r"absent\.safetensors"):
        small(segmenter_weights="/nowhere/absent.safetensors").load_pretrained()


def test_tiny_starts_from_the_committed_encoders() -> None:
    options = variant_options("rsrefseg2", "tiny")
    method = RSRefSeg2.from_options(options)
    digests = method.load_pretrained()
    assert digests == {part: options[f"{part}_weights"][-64:] for part in ("dual", "segmenter")}
    for encoder in method.encoders().values():
        base = [p for name, p in encoder.named_parameters() if "lora_" not in name]
        assert base
        assert not any(p.requires_grad for p in base)
