"""SigLIP and CLIP as dual encoders: the libraries' own outputs, their weights, their tokens."""

from __future__ import annotations

from pathlib import Path

import open_clip
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import SiglipConfig, SiglipModel

from rrsis_bench.data.text import load_tokenizer
from rrsis_bench.errors import MissingResourceError, UsageError
from rrsis_bench.nn.encoders.build import build_dual_encoder
from rrsis_bench.nn.encoders.clip_dual import ClipDual, split_attention
from rrsis_bench.nn.encoders.siglip import SIZES, CasedSiglipTokenizer, Siglip, resize_table
from rrsis_bench.types import InputSpec

IDS = torch.tensor([[5, 6, 7, 1, 0, 0], [9, 1, 0, 0, 0, 0]])
MASK = torch.tensor([[1, 1, 1, 1, 0, 0], [1, 1, 0, 0, 0, 0]], dtype=torch.bool)


def siglip_model() -> SiglipModel:
    size = SIZES["siglip2-nano"]
    shared = {
        "hidden_size": size.width,
        "intermediate_size": size.hidden,
        "num_hidden_layers": size.depth,
        "num_attention_heads": size.heads,
    }
    torch.manual_seed(1)
    return SiglipModel(
        SiglipConfig(
            vision_config={**shared, "image_size": size.image, "patch_size": size.patch},
            text_config={
                **shared,
                "vocab_size": size.vocabulary,
                "max_position_embeddings": size.context,
                "projection_size": size.width,
            },
        )
    ).eval()


@torch.no_grad()
def test_siglip_gives_the_librarys_features() -> None:
    model, dual = siglip_model(), Siglip("siglip2-nano").eval()
    dual.add_lora(2, 2.0, pooling_head=True)
    dual.load_tensors(model.state_dict())
    images = torch.randn(2, 3, 64, 64)
    seen = model.vision_model(images).last_hidden_state
    assert (dual.encode_image(images).flatten(2).mT - seen).abs().max() <= 1e-6
    padded = torch.nn.functional.pad(IDS, (0, 10))
    text = model.text_model(padded)
    heard = dual.encode_text(IDS, MASK)
    assert (heard.words - text.last_hidden_state).abs().max() <= 1e-6
    assert (heard.sentence - text.pooler_output).abs().max() <= 1e-6
    assert heard.mask.shape == (2, 16)
    assert torch.equal(heard.mask[:, :6], MASK)
    short = model.text_model(IDS)
    assert (dual.encode_text(IDS, MASK, padded=False).sentence - short.pooler_output).abs().max() <= 1e-6
    assert torch.equal(dual.log_scale, model.logit_scale)
    assert torch.equal(dual.bias, model.logit_bias)


def test_siglip_refuses_other_weights() -> None:
    state = siglip_model().state_dict()
    for wrong, message in (
        (state | {"visual.conv1.weight": torch.ones(1)}, r"does not know visual\.conv1\.weight"),
        ({name: value for name, value in state.items() if name != "logit_bias"}, "logit_bias is missing"),
        ({n: v for n, v in state.items() if n != "text_model.head.bias"}, r"misses head\.bias"),
    ):
        with pytest.raises(MissingResourceError, match=message):
            Siglip("siglip2-nano").load_tensors(wrong)


def clip_model() -> open_clip.CLIP:
    torch.manual_seed(2)
    return open_clip.CLIP(
        64,
        {"image_size": 128, "layers": 4, "width": 96, "patch_size": 8, "head_width": 24},
        {"context_length": 32, "vocab_size": 64, "width": 64, "heads": 4, "layers": 4},
        quick_gelu=True,
    ).eval()


@torch.no_grad()
def test_clip_gives_the_librarys_features() -> None:
    model, dual = clip_model(), ClipDual("clip-nano").eval()
    dual.add_lora(2, 2.0)
    dual.load_tensors(model.state_dict())
    images = torch.randn(2, 3, 128, 128)
    model.visual.output_tokens = True
    tokens = model.visual(images)[1] @ model.visual.proj
    assert (dual.encode_image(images).flatten(2).mT - tokens).abs().max() <= 1e-5
    # open_clip reads the sentence at the highest id.
    ids = torch.tensor([[5, 6, 7, 63, 0, 0], [9, 63, 0, 0, 0, 0]])
    full = torch.nn.functional.pad(ids, (0, 26))
    heard = dual.encode_text(ids, MASK)
    assert (heard.sentence - model.encode_text(full)).abs().max() <= 1e-5
    assert heard.words.shape == (2, 6, 64)
    torch.testing.assert_close(heard.words[1, 1], heard.sentence[1])
    assert dual.log_scale.item() == pytest.approx(model.logit_scale.item())


def test_clip_attention_is_split_not_changed() -> None:
    joint = torch.nn.MultiheadAttention(8, 2, batch_first=True)
    state = split_attention({f"attn.{name}": value for name, value in joint.state_dict().items()})
    assert {name.split(".")[1] for name in state} == {"q_proj", "k_proj", "v_proj", "out_proj"}
    whole = torch.cat([state[f"attn.{x}_proj.weight"] for x in "qkv"])
    assert torch.equal(whole, joint.in_proj_weight)


@torch.no_grad()
@pytest.mark.parametrize("name", ["siglip2-nano", "clip-nano"])
def test_another_image_size_resizes_the_position_table(name: str) -> None:
    native, larger = build_dual_encoder(name).eval(), build_dual_encoder(name, 192).eval()
    state: dict[str, Tensor] = {}
    for tower, prefix in (("vision", "visual." if name == "clip-nano" else "vision_model."), ("text", "")):
        prefix = "text_model." if tower == "text" and name == "siglip2-nano" else prefix
        state |= {f"{prefix}{key}": value for key, value in getattr(native, tower).state_dict().items()}
    larger.load_tensors(state | {"logit_scale": native.log_scale, "logit_bias": native.bias})
    assert larger.grid == 192 // native.patch
    assert larger.encode_image(torch.randn(1, 3, 192, 192)).shape == (1, native.width, larger.grid, larger.grid)
    with pytest.raises(UsageError, match="no multiple of its patch"):
        build_dual_encoder(name, 100)


def test_position_tables_resize() -> None:
    flat = torch.arange(4.0)[:, None].expand(4, 3)
    assert resize_table(flat, 2) is flat
    torch.testing.assert_close(resize_table(torch.ones(1 + 9, 2), 5, prefix=1), torch.ones(1 + 25, 2))


def test_unknown_names_are_refused() -> None:
    with pytest.raises(UsageError, match="Did you mean 'clip-b16'"):
        build_dual_encoder("clip-b61")


@pytest.fixture
def vocabulary(tmp_path: Path) -> Path:
    words = {"<pad>": 0, "<eos>": 1, "<bos>": 2, "the": 3, "red": 4, "ship": 5, "Red": 6, "<unk>": 7}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return tmp_path / "tokenizer.json"


def spec(path: Path | None, length: int = 5, kind: str = "SiglipTokenizer") -> InputSpec:
    return InputSpec(
        (64, 64), f"rrsis_bench.nn.encoders.siglip:{kind}", length, tokenizer_path=None if path is None else str(path)
    )


def test_siglip_tokens_end_in_the_end_token(vocabulary: Path) -> None:
    tokenizer = load_tokenizer(spec(vocabulary))
    tokens = tokenizer("the Red ship")
    assert (tokens.ids, tokens.mask, tokens.truncated) == ([3, 4, 5, 1, 0], [1, 1, 1, 1, 0], False)
    assert load_tokenizer(spec(vocabulary, kind="CasedSiglipTokenizer"))("the Red ship").ids == [3, 6, 5, 1, 0]
    assert tokenizer("").ids == [1, 0, 0, 0, 0]
    long = tokenizer("ship " * 100)
    assert (long.ids, long.mask, long.truncated) == ([5, 5, 5, 5, 1], [1] * 5, True)
    assert issubclass(CasedSiglipTokenizer, type(tokenizer))


def test_siglip_tokenizer_says_what_it_lacks(vocabulary: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"needs its tokenizer\.json"):
        load_tokenizer(spec(None))
    with pytest.raises(UsageError, match="at least 2"):
        load_tokenizer(spec(vocabulary, 1))
    with pytest.raises(MissingResourceError, match=r"gone\.json does not exist"):
        load_tokenizer(spec(tmp_path / "gone.json"))
    (tmp_path / "broken.json").write_text("{}")
    with pytest.raises(MissingResourceError, match=r"broken\.json is no tokenizer\.json"):
        load_tokenizer(spec(tmp_path / "broken.json"))
    other = Tokenizer(models.WordLevel({"a": 0}, unk_token="a"))
    other.save(str(tmp_path / "other.json"))
    with pytest.raises(MissingResourceError, match="no <eos> or <pad>"):
        load_tokenizer(spec(tmp_path / "other.json"))
