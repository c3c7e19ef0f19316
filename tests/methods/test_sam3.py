"""SAM 3: the library's own processor as referee, merging, prompts, sizes, what trains, the queries' losses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from baselines.sam3 import SAM3
from baselines.sam3.queries import mask_boxes, merge_queries, query_losses
from helpers.sam3_small import SIDE, processor, saved
from rrsis_bench.config import variant_options
from rrsis_bench.data.collate import collate
from rrsis_bench.data.dataset import Item
from rrsis_bench.data.phrases import object_words
from rrsis_bench.data.text import load_tokenizer
from rrsis_bench.data.transforms import normalise
from rrsis_bench.errors import UsageError
from rrsis_bench.methods.contract.subject import random_batch, total_loss
from rrsis_bench.nn.encoders.clip import encode_plain
from rrsis_bench.nn.encoders.clip_dual import ClipDual
from rrsis_bench.nn.layers.freezing import trainable
from rrsis_bench.nn.weights.files import load_tensors
from rrsis_bench.nn.weights.refs import resolve
from rrsis_bench.types import Batch

pytestmark = pytest.mark.slow  # `make test` runs them; the inner loop does without

TEXT = "the red ship, next to the harbour"
MASK = SIDE // 2
"""Side of the network's masks."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("sam3") / "weights")


@pytest.fixture(scope="module")
def image() -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)


def method_of(folder: Path, **options: Any) -> SAM3:
    method = SAM3.from_options({"network_weights": str(folder), "policy": "zero-shot", **options})
    assert list(method.load_pretrained()) == ["network"]
    return method.eval()


def batch_of(method: SAM3, image: np.ndarray[Any, Any], text: str) -> Batch:
    spec = method.input_spec
    mask = np.zeros((SIDE, SIDE), dtype=np.uint8)
    return collate([Item(0, "0", "0", normalise(image, spec), mask, None, load_tokenizer(spec)(text), text, "")])


@torch.no_grad()
def test_masks_are_those_of_the_librarys_own_processor_and_post_processing(
    folder: Path, image: np.ndarray[Any, Any]
) -> None:
    from transformers import Sam3Model

    library = processor()
    inputs = library(images=image, text=TEXT, return_tensors="pt")
    found = Sam3Model.from_pretrained(folder).eval()(
        pixel_values=inputs["pixel_values"], input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]
    )
    native = [(MASK, MASK)]
    method = method_of(folder, merge="semantic")
    batch = batch_of(method, image, TEXT)
    torch.testing.assert_close(batch.images, inputs["pixel_values"], rtol=0, atol=1e-5)
    logits = method(batch.blind()).logits
    assert logits.shape == (1, 1, MASK, MASK)
    torch.testing.assert_close(logits, found.semantic_seg, rtol=0, atol=1e-4)
    (semantic,) = library.post_process_semantic_segmentation(found, target_sizes=native)
    assert torch.equal((logits > 0)[0, 0].long(), getattr(semantic, "segmentation", semantic))
    scores = found.pred_logits.sigmoid() * found.presence_logits.sigmoid()
    some = float(scores.sort().values[0, -4:-2].mean())  # three of the ten queries pass
    for threshold in (some, 0.999):
        union = method_of(folder, merge="union", score_threshold=threshold)(batch.blind()).logits
        (kept,) = library.post_process_instance_segmentation(found, threshold=threshold, target_sizes=native)
        theirs = kept["masks"].amax(0) if len(kept["masks"]) else (found.pred_masks[0, scores[0].argmax()] > 0).long()
        assert torch.equal((union > 0)[0, 0].long(), theirs)
    assert len(kept["masks"]) == 0
    best = method_of(folder, merge="best")(batch.blind()).logits
    torch.testing.assert_close(best[0, 0], found.pred_masks[0, scores[0].argmax()], rtol=0, atol=1e-4)


def test_sizes_are_those_of_the_specification() -> None:
    with torch.device("meta"):
        still = SAM3.from_options(variant_options("sam3", "zero-shot"))
        tuned = SAM3.from_options(variant_options("sam3", "tuned"))
        half = SAM3.from_options(variant_options("sam3", "tuned-504"))
    parts = {name: count(part.parameters()) for name, part in still.network.named_children()}
    assert parts == {
        "vision_encoder": 454_038_784,
        "text_encoder": 353_462_272,
        "text_projection": 262_400,
        "geometry_encoder": 8_083_456,
        "detr_encoder": 9_472_512,
        "detr_decoder": 11_575_093,
        "mask_decoder": 2_298_881,
        "dot_product_scoring": 1_182_976,
    }
    assert sum(parts.values()) == 840_376_374
    assert trainable(still.parameters()) == []
    updates = sum(p.numel() for name, p in tuned.named_parameters() if "lora_" in name)
    assert updates == 32 * 4 * 16 * 2 * 1024
    assert count(tuned.parameters()) - updates == 840_376_374
    assert (still.input_spec.image_size, half.input_spec.image_size) == ((1008, 1008), (504, 504))
    assert (still.input_spec.mean, still.input_spec.max_tokens) == ((0.5, 0.5, 0.5), 32)
    assert [layer.position_ids.shape[0] for layer in half.network.vision_encoder.backbone.layers[6:8]] == [576, 36 * 36]


def count(parameters: Any) -> int:
    return sum(parameter.numel() for parameter in parameters)


def test_merging() -> None:
    masks = torch.tensor([[[[1.0]], [[3.0]], [[-2.0]]], [[[4.0]], [[-5.0]], [[6.0]]]])
    scores = torch.tensor([[0.6, 0.7, 0.9], [0.1, 0.3, 0.2]])
    assert merge_queries(masks, scores, None).flatten().tolist() == [-2.0, -5.0]
    assert merge_queries(masks, scores, 0.65).flatten().tolist() == [3.0, -5.0]
    assert merge_queries(masks, scores, 0.0).flatten().tolist() == [3.0, 6.0]
    assert merge_queries(masks, scores, 0.9).flatten().tolist() == [-2.0, -5.0]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("the red ship on the left", "red ship"),
        ("A vehicle is parked next to the building", "vehicle"),
        ("on the left of the road, a small storage tank", "small storage tank"),
        ("the chimney that is above the ground track field", "chimney"),
        ("ship", "ship"),
        ("in the middle", "in the middle"),
        ("", ""),
    ],
)
def test_object_words(text: str, found: str) -> None:
    assert object_words(text) == found


def test_the_prompt_option_changes_what_the_network_reads(folder: Path) -> None:
    whole, part = method_of(folder), method_of(folder, prompt="object")
    ids = [load_tokenizer(method.input_spec)(TEXT).ids for method in (whole, part)]
    assert ids[1] == load_tokenizer(whole.input_spec)("red ship").ids
    assert ids[0] != ids[1]


@pytest.mark.parametrize("queries", [False, True])
def test_what_trains_is_reached_and_nothing_else(folder: Path, queries: bool) -> None:
    method = method_of(folder, policy="tuned", queries=queries, lora_rank=2).train()
    wanted = {name for name, p in method.named_parameters() if p.requires_grad}
    reached: set[str] = set()
    for seed in range(2):
        with torch.no_grad():
            for name, p in method.named_parameters():
                if "lora_B" in name:
                    p.normal_()
        total_loss(method, random_batch(method.input_spec, seed=seed)).backward()
        reached |= {name for name, p in method.named_parameters() if p.grad is not None and bool(p.grad.any())}
    assert wanted - reached <= DEAD
    assert not any(name.startswith(("network.text_encoder", "network.text_projection")) for name in wanted)
    vision = [name for name in wanted if name.startswith("network.vision_encoder")]
    assert len(vision) == 4 * 4 * 2
    assert all("lora_" in name for name in vision)
    assert any(name.startswith("network.detr_decoder") for name in wanted) == queries


DEAD: set[str] = set()


def test_the_queries_losses_are_zero_for_a_perfect_query_and_choose_it() -> None:
    masks = torch.zeros(2, 8, 8, dtype=torch.uint8)
    masks[0, 2:6, 1:4] = 1
    assert mask_boxes(masks).tolist() == [[0.125, 0.25, 0.5, 0.75], [0.0, 0.0, 1.0, 1.0]]
    logits = torch.full((2, 3, 8, 8), -20.0)
    logits[0, 1][masks[0].bool()] = 20.0
    boxes = torch.full((2, 3, 4), 0.1)
    boxes[..., 2:] = 0.9
    boxes[0, 1] = mask_boxes(masks)[0]

    class Found:
        pred_masks = logits
        pred_boxes = boxes
        pred_logits = torch.tensor([[-20.0, 20.0, -20.0], [-20.0, -20.0, -20.0]])
        presence_logits = torch.tensor([[20.0], [-20.0]])

    losses = query_losses(Found, masks)
    assert sorted(losses) == ["presence", "query_box", "query_mask", "query_score"]
    for name, loss in losses.items():
        assert float(loss) == pytest.approx(0.0, abs=1e-6), name
    Found.pred_logits = torch.tensor([[20.0, -20.0, -20.0], [20.0, -20.0, -20.0]])
    assert float(query_losses(Found, masks)["query_score"]) > 10


@torch.no_grad()
def test_the_cost_of_masks_and_boxes_is_the_naive_one() -> None:
    torch.manual_seed(1)
    masks = (torch.rand(1, 8, 8) > 0.5).to(torch.uint8)

    class Found:
        pred_masks = torch.randn(1, 1, 8, 8)
        pred_boxes = torch.tensor([[[0.2, 0.2, 0.7, 0.6]]])
        pred_logits = torch.zeros(1, 1)
        presence_logits = torch.zeros(1, 1)

    truth = masks.float()[:, None]
    probability: Tensor = Found.pred_masks.sigmoid()
    dice = (2 * (probability * truth).sum() + 1) / (probability.sum() + truth.sum() + 1)
    expected = F.binary_cross_entropy(probability, truth) + 1 - dice
    assert float(query_losses(Found, masks)["query_mask"]) == pytest.approx(float(expected), rel=1e-5)


def test_options_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(UsageError, match="merge union answers with queries; train them"):
        SAM3.from_options({"merge": "union", "network": "nano"})
    for others in ({"network_weights": "random"}, {"policy": "zero-shot"}):
        with pytest.raises(UsageError, match="clip_weights starts a training"):
            SAM3.from_options({"clip_weights": "FILE", **others})


@torch.no_grad()
def test_the_tiny_encoders_start_as_clips_without_its_class_token() -> None:
    method = SAM3.from_options(variant_options("sam3", "tiny")).eval()
    assert list(method.load_pretrained()) == ["clip"]
    dual = ClipDual("clip-nano").eval()
    tensors = load_tensors(resolve(method.options.clip_weights))
    named = {name: value.float() for name, value in tensors.items() if not name.startswith("logit")}
    dual.vision.load_state_dict({name[7:]: value for name, value in named.items() if name.startswith("visual.")})
    dual.text.load_state_dict({name: value for name, value in named.items() if not name.startswith("visual.")})
    pixels = torch.rand(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    mean, std = (torch.tensor(values)[:, None, None] for values in (dual.mean, dual.std))
    patches = dual.vision.conv1((pixels - mean) / std).flatten(2).transpose(1, 2) + dual.vision.positional_embedding[1:]
    expected = dual.vision.transformer(dual.vision.ln_pre(patches))
    found = method.network.vision_encoder.backbone((pixels - 0.5) / 0.5).last_hidden_state
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
    ids = torch.tensor([load_tokenizer(method.input_spec)("the red ship").ids])
    words, _ = encode_plain(dual.text, ids, ids > 0)
    real = ids[0] > 0
    torch.testing.assert_close(method.network.text_encoder(ids).last_hidden_state[:, real], words[:, real])


@torch.no_grad()
def test_shared_images_are_encoded_once(folder: Path) -> None:
    method = method_of(folder)
    seen: list[int] = []
    method.network.vision_encoder.register_forward_pre_hook(lambda _m, args: seen.append(len(args[0])))
    batch = random_batch(method.input_spec)
    method(replace(batch, images=batch.images[:1], image_of=torch.zeros(4, dtype=torch.int64)))
    assert seen == [1]
