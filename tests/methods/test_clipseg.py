"""CLIPSeg: the library's own processor as referee, sizes, policies, weights from a folder and from CLIP alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from baselines.clipseg import CLIPSeg
from helpers.clipseg_small import SIDE, clip_tokenizer, saved
from rrsis_bench.config import variant_options
from rrsis_bench.data.collate import collate
from rrsis_bench.data.dataset import Item
from rrsis_bench.data.text import load_tokenizer
from rrsis_bench.data.transforms import normalise
from rrsis_bench.errors import MissingResourceError, UsageError
from rrsis_bench.methods.contract.subject import random_batch
from rrsis_bench.nn.encoders.clip_dual import ClipDual
from rrsis_bench.nn.layers.freezing import trainable
from rrsis_bench.nn.weights.files import load_tensors
from rrsis_bench.nn.weights.refs import resolve
from rrsis_bench.types import Batch

pytestmark = pytest.mark.slow  # `make test` runs them; the inner loop does without

TEXT = "the Red ship, next to the harbour"
NATIVE = (50, 70)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("clipseg") / "weights")


def method_of(folder: Path, **options: Any) -> CLIPSeg:
    method = CLIPSeg.from_options({"network_weights": str(folder), "image_size": SIDE, **options})
    assert list(method.load_pretrained()) == ["network"]
    return method.eval()


def batch_of(method: CLIPSeg, image: Image.Image, text: str) -> Batch:
    spec = method.input_spec
    pixels = np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BILINEAR))
    mask = np.zeros((SIDE, SIDE), dtype=np.uint8)
    return collate([Item(0, "0", "0", normalise(pixels, spec), mask, None, load_tokenizer(spec)(text), text, "")])


@torch.no_grad()
def test_logits_are_those_of_the_librarys_own_processor_and_network(folder: Path) -> None:
    from transformers import CLIPSegForImageSegmentation, CLIPSegProcessor
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

    method = method_of(folder, policy="zero-shot")
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (*NATIVE, 3), dtype=np.uint8))
    # As the released `preprocessor_config.json` states.
    images = ViTImageProcessorPil(
        size={"height": SIDE, "width": SIDE},
        resample=2,
        image_mean=[0.485, 0.456, 0.406],
        image_std=[0.229, 0.224, 0.225],
    )
    processor = CLIPSegProcessor(images, clip_tokenizer())
    inputs = processor(text=[TEXT], images=[image], return_tensors="pt", padding="max_length", max_length=77)
    theirs = CLIPSegForImageSegmentation.from_pretrained(folder).eval()(**inputs).logits
    theirs = F.interpolate(theirs.reshape(1, 1, SIDE, SIDE), NATIVE, mode="bilinear")
    logits = method(batch_of(method, image, TEXT).blind()).logits
    ours = F.interpolate(logits, NATIVE, mode="bilinear")
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)
    assert ours.std() > 0.01
    other = method(batch_of(method, image, "a field").blind()).logits
    assert not torch.allclose(other, logits, atol=1e-3)


def test_sizes_are_those_of_the_specification() -> None:
    from transformers import CLIPSegConfig, CLIPSegForImageSegmentation

    with torch.device("meta"):
        default = CLIPSegForImageSegmentation(CLIPSegConfig())
        tuned = CLIPSeg.from_options(variant_options("clipseg", "tuned"))
        still = CLIPSeg.from_options(variant_options("clipseg", "zero-shot"))
    # The library's default has CLIP ViT-B/32 and the plain convolution; the released network neither.
    assert count(default.decoder.parameters()) == 1_122_305
    assert count(default.clip.parameters()) == 151_277_313
    assert count(tuned.network.clip.parameters()) == 149_620_737
    assert count(trainable(tuned.parameters())) == count(tuned.network.decoder.parameters()) == 1_127_009
    assert trainable(still.parameters()) == []
    assert tuned.network.config.extract_layers == (3, 6, 9)
    assert (tuned.network.config.reduce_dim, tuned.network.config.conditional_layer) == (64, 0)
    spec = tuned.input_spec
    assert (spec.image_size, spec.tokenizer, spec.max_tokens) == ((352, 352), "clip", 77)


def count(parameters: Any) -> int:
    return sum(parameter.numel() for parameter in parameters)


def test_lora_adapts_clip_alone_and_starts_as_no_change(folder: Path) -> None:
    plain, adapted = method_of(folder), method_of(folder, lora_rank=2)
    batch = random_batch(plain.input_spec)
    with torch.no_grad():
        torch.testing.assert_close(adapted(batch).logits, plain(batch).logits)
    added = {name for name, p in adapted.named_parameters() if p.requires_grad} - {
        name for name, p in plain.named_parameters() if p.requires_grad
    }
    assert len(added) == 2 * 4 * 2 * 3  # A and B of q, k, v and output in both towers' three blocks
    assert all("lora_" in name and "self_attn" in name for name in added)


def test_clip_alone_loads_from_open_clips_layout() -> None:
    options = variant_options("clipseg", "tiny")
    method = CLIPSeg.from_options(options)
    assert list(method.load_pretrained()) == ["clip"]
    dual = ClipDual("clip-nano")
    tensors = load_tensors(resolve(options["clip_weights"]))
    dual.load_tensors({name: value.float() for name, value in tensors.items()})
    batch = random_batch(replace(method.input_spec, tokenizer="tiny"))
    own = random_batch(method.input_spec)
    with torch.no_grad():
        sentences = dual.encode_text(batch.tokens.ids, batch.tokens.mask).sentence
        torch.testing.assert_close(method.encode_text(own.tokens.ids), sentences)
        patches = method.network.clip.vision_model(own.images).last_hidden_state
        projected = method.network.clip.visual_projection(method.network.clip.vision_model.post_layernorm(patches))
        torch.testing.assert_close(projected[:, 1:].transpose(1, 2), dual.encode_image(own.images).flatten(2))


def test_weights_of_another_network_are_refused(folder: Path, tmp_path: Path) -> None:
    tensors = load_tensors(resolve(str(folder)))
    renamed = {name.replace("film_mul", "film"): value for name, value in tensors.items()}
    torch.save(renamed, tmp_path / "other.pth")
    method = CLIPSeg.from_options({"network_weights": str(folder), "image_size": SIDE})
    with pytest.raises(MissingResourceError, match=r"does not know decoder\.film\..*misses decoder\.film_mul\."):
        method._load(load_tensors(tmp_path / "other.pth"))
    wrong = {**tensors, "decoder.film_mul.bias": torch.zeros(3)}
    with pytest.raises(MissingResourceError, match=r"another shape for decoder\.film_mul\.bias"):
        method._load(wrong)
    (tmp_path / "empty").mkdir()
    with pytest.raises(MissingResourceError, match=r"holds no config\.json"):
        CLIPSeg.from_options({"network_weights": str(tmp_path / "empty")})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"policy": "zero-shot", "lora_rank": 4}, "trains nothing"),
        ({"network_weights": "random", "clip_weights": "random"}, "not both"),
        ({"network": "rd65"}, "must be one of rd64-refined"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        CLIPSeg.from_options(options)
    with pytest.raises(UsageError, match="network_weights names no file"):
        CLIPSeg.from_options({"network": "nano"}).load_pretrained()
