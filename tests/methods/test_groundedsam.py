"""Grounded SAM: the libraries' own processors as referees, boxes and losses, sizes, what trains, the prompts of SAM."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import box_convert, masks_to_boxes

from baselines.groundedsam import GroundedSAM
from baselines.groundedsam.boxes import soft_box, target_boxes
from baselines.groundedsam.detectors import GroundingDino, build_detector
from helpers.groundedsam_small import SIDE, VOCABULARY, saved, saved_sam, small_detector
from rrsis_bench.config import variant_options
from rrsis_bench.data.collate import collate
from rrsis_bench.data.dataset import Item
from rrsis_bench.data.text import load_tokenizer
from rrsis_bench.data.transforms import normalise
from rrsis_bench.errors import UsageError
from rrsis_bench.methods.contract.subject import random_batch
from rrsis_bench.nn.encoders.dinov2 import build_dinov2
from rrsis_bench.nn.layers.freezing import trainable
from rrsis_bench.nn.promptable import FoundBoxes
from rrsis_bench.nn.weights.files import load_tensors
from rrsis_bench.nn.weights.refs import resolve
from rrsis_bench.types import Batch

pytestmark = pytest.mark.slow  # `make test` runs them; the inner loop does without

TEXT = "The red ship, next to the harbour"
needs_vocabulary = pytest.mark.skipif(VOCABULARY is None, reason="needs the extra lite, which brings BERT's vocabulary")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("grounded")
    saved(root / "detector", small_detector())
    saved_sam(root / "sam.pth")
    return root


def method_of(folder: Path, **options: Any) -> GroundedSAM:
    method = GroundedSAM.from_options(
        {
            "policy": "zero-shot", "detector_weights": str(folder / "detector"), "detector_size": SIDE,
            "segmenter": "sam-nano", "segmenter_weights": str(folder / "sam.pth"), "max_tokens": 32, **options,
        }
    )  # fmt: skip
    assert list(method.load_pretrained()) == ["detector", "segmenter"]
    return method.eval()


def batch_of(method: GroundedSAM, image: np.ndarray[Any, Any], text: str) -> Batch:
    spec = method.input_spec
    mask = np.zeros((SIDE, SIDE), dtype=np.uint8)
    return collate([Item(0, "0", "0", normalise(image, spec), mask, None, load_tokenizer(spec)(text), text, "")])


@needs_vocabulary
@torch.no_grad()
@pytest.mark.parametrize("multimask", [True, False])
def test_masks_are_those_of_the_libraries_own_processors(folder: Path, multimask: bool) -> None:
    from transformers import (
        BertTokenizerFast,
        GroundingDinoForObjectDetection,
        GroundingDinoProcessor,
        SamImageProcessor,
        SamProcessor,
    )
    from transformers.models.grounding_dino.image_processing_pil_grounding_dino import GroundingDinoImageProcessorPil

    image = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    method = method_of(folder, multimask=multimask)
    images = GroundingDinoImageProcessorPil(size={"shortest_edge": SIDE, "longest_edge": SIDE})
    processor = GroundingDinoProcessor(images, BertTokenizerFast(vocab=str(VOCABULARY)))
    inputs = processor(images=image, text=[[TEXT]], return_tensors="pt")
    found = GroundingDinoForObjectDetection.from_pretrained(folder / "detector").eval()(**inputs)
    (theirs,) = processor.post_process_grounded_object_detection(found, threshold=0.0, target_sizes=[(SIDE, SIDE)])
    batch = batch_of(method, image, TEXT).blind()
    ours = method.detector.find(batch)
    torch.testing.assert_close(ours.scores[0], theirs["scores"], rtol=0, atol=1e-5)
    torch.testing.assert_close(ours.boxes[0] * SIDE, theirs["boxes"], rtol=0, atol=1e-3)
    assert ours.scores.std() > 1e-3
    best = theirs["boxes"][theirs["scores"].argmax()]
    library = SamProcessor(SamImageProcessor(size={"longest_edge": SIDE}, pad_size={"height": SIDE, "width": SIDE}))
    prompt = library(images=image, input_boxes=[[best.tolist()]], return_tensors="pt")
    answer = method.segmenter.network(
        pixel_values=prompt["pixel_values"], input_boxes=prompt["input_boxes"].float(), multimask_output=multimask
    )
    chosen = answer.pred_masks[0, 0, answer.iou_scores[0, 0].argmax()]
    expected = F.interpolate(chosen[None, None], (SIDE, SIDE), mode="bilinear")
    torch.testing.assert_close(method(batch).logits, expected, rtol=0, atol=1e-4)


def test_sizes_are_those_of_the_specification() -> None:
    from transformers import Owlv2Config, Owlv2ForObjectDetection

    with torch.device("meta"):
        assert count(Owlv2ForObjectDetection(Owlv2Config()).parameters()) / 1e6 == pytest.approx(153.97, abs=0.01)
    # At 960 px, OWLv2's table of positions is larger than at the library's default of 768 px.
    sizes = {"grounding-dino-tiny": 172.3, "mm-grounding-dino-tiny": 172.3, "owlv2-b16-ensemble": 154.97}
    for name, millions in sizes.items():
        with torch.device("meta"):
            detector = build_detector(name, "", None)  # type: ignore[arg-type]
        assert count(detector.parameters()) / 1e6 == pytest.approx(millions, abs=0.2), name
    with torch.device("meta"):
        tuned = GroundedSAM.from_options(variant_options("groundedsam", "tuned"))
        still = GroundedSAM.from_options(variant_options("groundedsam", "zero-shot"))
    assert trainable(still.parameters()) == []
    assert not trainable(tuned.segmenter.parameters())
    assert (tuned.input_spec.image_size, tuned.detector.size, tuned.input_spec.max_tokens) == ((1024, 1024), 800, 256)


def count(parameters: Any) -> int:
    return sum(parameter.numel() for parameter in parameters)


@torch.no_grad()
def test_all_boxes_above_the_threshold_answer_together(folder: Path) -> None:
    method = method_of(folder, boxes="all", box_threshold=0.5, tokenizer=TINY)
    batch = random_batch(method.input_spec)
    features = method.segmenter.encode_image(batch.images)
    boxes = torch.rand(4, 3, 4)
    boxes[..., 2:] = boxes[..., :2] + 0.2
    scores = torch.tensor([[0.6, 0.1, 0.7], [0.1, 0.2, 0.3], [0.5, 0.5, 0.5], [0.9, 0.8, 0.7]])
    each = torch.stack([method._masks(features, boxes[:, k]) for k in range(3)], 1)
    chosen = [[0, 2], [2], [0], [0, 1, 2]]
    expected = torch.stack([each[k, places].amax(0) for k, places in enumerate(chosen)])
    found = method.outline(features, FoundBoxes(boxes, scores))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    best = method_of(folder, tokenizer=TINY).outline(features, FoundBoxes(boxes, scores))
    torch.testing.assert_close(
        best, torch.stack([each[k, p] for k, p in enumerate([2, 2, 0, 0])]), rtol=1e-4, atol=1e-4
    )


TINY = "baselines.groundedsam.text:TinyCaptionTokenizer"


@torch.no_grad()
def test_the_prompt_is_the_box_its_middle_or_both(folder: Path) -> None:
    box = torch.tensor([[0.25, 0.5, 0.75, 1.0]])
    seen: list[tuple[Any, ...]] = []
    for prompt in ("box", "point", "both"):
        method = method_of(folder, prompt=prompt, tokenizer=TINY)
        own = method.segmenter.prompt
        method.segmenter.prompt = lambda *given, own=own: seen.append(given) or own(*given)  # type: ignore[method-assign]
        features = method.segmenter.encode_image(torch.randn(1, 3, SIDE, SIDE))
        method._masks(features, box)
    (_, _, first), (points, labels, none), (again, _, both) = seen
    assert seen[0][:2] == (None, None)
    assert none is None
    assert first.tolist() == both.tolist() == [[32.0, 64.0, 96.0, 128.0]]
    assert points.tolist() == again.tolist() == [[[64.0, 96.0]]]
    assert labels.tolist() == [[1.0]]


def test_target_boxes() -> None:
    masks = torch.zeros(3, 40, 50, dtype=torch.uint8)
    masks[0, 5:15, 10:20] = 1
    masks[0, 20:30, 30:45] = 1
    masks[0, 35:38, 0:5] = 1  # 15 pixels
    masks[2, 0, 0] = 1
    whole = target_boxes(masks, "whole", 16)
    scale = torch.tensor([50.0, 40.0, 50.0, 40.0])
    corners = masks_to_boxes(masks[:1]) + torch.tensor([0.0, 0.0, 1.0, 1.0])
    torch.testing.assert_close(whole[0], box_convert(corners, "xyxy", "cxcywh") / scale)
    regions = box_convert(target_boxes(masks, "regions", 16)[0] * scale, "cxcywh", "xyxy")
    torch.testing.assert_close(regions, torch.tensor([[10.0, 5.0, 20.0, 15.0], [30.0, 20.0, 45.0, 30.0]]))
    assert [len(boxes) for boxes in whole] == [1, 0, 1]
    assert [len(boxes) for boxes in target_boxes(masks, "regions", 16)] == [2, 0, 0]


def test_a_soft_box_is_positive_inside_and_has_a_gradient() -> None:
    boxes = torch.tensor([[0.25, 0.5, 0.75, 1.0]], requires_grad=True)
    maps = soft_box(boxes, (8, 16))
    expected = torch.zeros(8, 16)
    expected[4:, 4:12] = 1
    assert torch.equal((maps[0, 0] > 0).float(), expected)
    maps.sum().backward()
    assert boxes.grad is not None
    assert bool(boxes.grad.all())


@needs_vocabulary
def test_the_losses_are_the_librarys_own(folder: Path) -> None:
    method = method_of(folder, policy="tuned")
    assert isinstance(method.detector, GroundingDino)
    batch = random_batch(method.input_spec)
    boxes = target_boxes(batch.masks, "whole", 16)
    maps = method.detector.encode_images(batch.images)
    found = method.detector.respond(maps, batch.tokens)
    losses = method.detector.losses(found, batch.tokens, boxes, attached=False)
    network = small_detector()
    labels = [{"class_labels": torch.zeros(1, dtype=torch.int64), "boxes": one} for one in boxes]
    expected = network(batch.images, batch.tokens.ids, attention_mask=batch.tokens.mask.long(), labels=labels)
    assert sorted(losses) == ["bbox", "ce", "ce_enc", "giou"]
    weights = {"ce": 2.0, "bbox": 5.0, "giou": 2.0, "ce_enc": 2.0}
    for name, weight in weights.items():
        assert float(losses[name]) == pytest.approx(weight * float(expected.loss_dict[f"loss_{name}"]), rel=1e-4), name


@pytest.mark.parametrize("kind", ["GroundingDino", "MMGroundingDino"])
@pytest.mark.parametrize("proposals", ["detached", "attached"])
def test_what_trains_is_reached_and_nothing_else(kind: str, proposals: str, tmp_path: Path) -> None:
    saved(tmp_path / "detector", small_detector(kind))
    saved_sam(tmp_path / "sam.pth")
    detector = "mm-grounding-dino-tiny" if kind.startswith("MM") else "grounding-dino-tiny"
    method = method_of(tmp_path, policy="tuned", detector=detector, proposals=proposals, tokenizer=TINY).train()
    with torch.no_grad():
        for parameter in trainable(method.parameters()):
            parameter.add_(torch.randn_like(parameter), alpha=0.02)  # the box heads' last layers start at zero
    reached: set[str] = set()
    for seed in range(3):
        batch = random_batch(method.input_spec, seed=seed)
        method.zero_grad()
        torch.stack(list(method.loss(method(batch), batch).values())).sum().backward()
        reached |= {name for name, p in method.named_parameters() if p.grad is not None and bool(p.grad.any())}
    wanted = {name for name, p in method.named_parameters() if p.requires_grad}
    assert reached <= wanted
    missing = {name for name in wanted - reached if "token_type" not in name}
    assert not missing


def test_captions() -> None:
    method = GroundedSAM.from_options({**variant_options("groundedsam", "tiny")})
    tokenizer = load_tokenizer(method.input_spec)
    found = tokenizer("the red ship")
    plain = load_tokenizer(replace(method.input_spec, tokenizer="tiny"))("the red ship")
    assert found.ids == [101, *plain.ids[1:4], 1012, 102, *[0] * 10]
    assert sum(found.mask) == 6
    long = tokenizer("ship " * 40)
    assert (len(long.ids), long.ids[0], long.ids[-2:], long.truncated) == (16, 101, [1012, 102], True)


@needs_vocabulary
def test_captions_of_bert_are_those_of_the_processor(folder: Path) -> None:
    from transformers import BertTokenizerFast

    tokenize = load_tokenizer(method_of(folder).input_spec)
    theirs = BertTokenizerFast(vocab=str(VOCABULARY))
    for text in (TEXT, "ship.", "two ships. one is red"):
        caption = text.lower() if text.endswith(".") else f"{text.lower()}."
        ids = theirs(caption)["input_ids"]
        assert tokenize(text).ids[: len(ids)] == ids
        assert sum(tokenize(text).mask) == len(ids)
    cut = tokenize("ship " * 100)
    assert (len(cut.ids), cut.ids[-2:]) == (32, [1012, 102])


def test_options_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(UsageError, match="no loss for OWLv2"):
        GroundedSAM.from_options({"detector": "owlv2-b16-ensemble"})
    with pytest.raises(UsageError, match="detector_weights: random alone"):
        GroundedSAM.from_options({"detector_weights": "here", "backbone_weights": "there"})


@torch.no_grad()
def test_the_tiny_backbone_starts_as_timms_and_the_fusion_open() -> None:
    method = GroundedSAM.from_options(variant_options("groundedsam", "tiny"))
    assert sorted(method.load_pretrained()) == ["backbone", "segmenter"]
    tensors = load_tensors(resolve(method.options.backbone_weights))
    timm = build_dinov2(96, 4, 4, 8, 16, 4).eval()
    timm.load_state_dict({name: value.float() for name, value in tensors.items()})
    images = torch.rand(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    patches = timm.forward_features(images)[:, timm.num_prefix_tokens :]
    (features,) = method.eval().detector.encode_images(images)
    torch.testing.assert_close(features.flatten(2).transpose(1, 2), patches, rtol=0, atol=1e-5)
    scales = [p for name, p in method.named_parameters() if name.endswith(("vision_param", "text_param"))]
    assert len(scales) == 4
    assert all(bool((scale == 1).all()) for scale in scales)


@torch.no_grad()
def test_both_image_encoders_run_once_per_image(folder: Path) -> None:
    method = method_of(folder, tokenizer=TINY)
    seen: list[int] = []
    for encoder in (method.segmenter.encoder(), method.detector.backbones()[0]):
        encoder.register_forward_pre_hook(lambda _m, args: seen.append(len(args[0])))
    batch = random_batch(method.input_spec)
    method(replace(batch, images=batch.images[:1], image_of=torch.zeros(4, dtype=torch.int64)))
    assert seen == [1, 1]


@torch.no_grad()
def test_owlv2_answers_as_the_library_does() -> None:
    from transformers import Owlv2Config, Owlv2ForObjectDetection

    from baselines.groundedsam.detectors import IMAGENET, Owlv2
    from baselines.groundedsam.options import DETECTORS
    from rrsis_bench.nn.encoders.clip import OPENAI_INPUT
    from rrsis_bench.types import TextTokens

    torch.manual_seed(0)
    tower = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    vision = {**tower, "image_size": 64, "patch_size": 16}
    sizes = {"text_config": tower, "vision_config": vision, "projection_dim": 32}
    detector = Owlv2(replace(DETECTORS["owlv2-b16-ensemble"], values=sizes), "", 64).eval()
    network = Owlv2ForObjectDetection(Owlv2Config(**sizes)).eval()
    network.load_state_dict(detector.network.state_dict())
    ids = torch.tensor([[49406, 320, 1000, 49407, 0], [49406, 500, 49407, 0, 0]])
    images = torch.rand(2, 3, 64, 64)

    def scaled(values: Any) -> Tensor:
        mean, std = (torch.tensor(one)[:, None, None] for one in values)
        return (images - mean) / std

    theirs = network(ids, scaled(OPENAI_INPUT.values()), attention_mask=(ids > 0).long())
    found = detector.boxes(detector.respond(detector.encode_images(scaled(IMAGENET)), TextTokens(ids, ids > 0)))
    torch.testing.assert_close(found.scores, theirs.logits[..., 0].sigmoid(), rtol=0, atol=1e-4)
    torch.testing.assert_close(box_convert(found.boxes, "xyxy", "cxcywh"), theirs.pred_boxes, rtol=0, atol=1e-4)
