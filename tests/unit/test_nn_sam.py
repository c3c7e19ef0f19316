"""SAM and SAM 2.1 as promptable segmenters: the libraries' own masks, and weights in every layout."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from segment_anything.modeling.prompt_encoder import PositionEmbeddingRandom
from torch import Tensor, nn

from helpers.noise import add_noise
from rrsis_bench.errors import MissingResourceError, UsageError
from rrsis_bench.nn.encoders.build import build_segmenter
from rrsis_bench.nn.encoders.sam import PromptableSegmenter
from rrsis_bench.nn.encoders.sam_v1 import PositionCode
from rrsis_bench.nn.layers.freezing import trainable
from rrsis_bench.nn.weights.files import load_tensors
from rrsis_bench.nn.weights.refs import resolve

LIBRARIES = ("segment-anything", "transformers")


def randomised(name: str, library: str = "transformers", seed: int = 0) -> PromptableSegmenter:
    torch.manual_seed(seed)
    segmenter = build_segmenter(name, library).eval()
    add_noise(segmenter.parameters())
    return segmenter


def inputs(segmenter: PromptableSegmenter, batch: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(3)
    side = segmenter.image_size
    return (
        torch.randn(batch, 3, side, side, generator=draw),
        torch.randn(batch, 5, segmenter.width, generator=draw),
        torch.randn(batch, 1, *segmenter.prompt_size, generator=draw),
    )


@torch.no_grad()
@pytest.mark.parametrize("source", LIBRARIES)
def test_both_libraries_hold_the_same_sam(source: str) -> None:
    first = randomised("sam-nano", source)
    other = next(library for library in LIBRARIES if library != source)
    second = randomised("sam-nano", other, seed=1)
    first.add_lora(2, 2.0)
    second.add_lora(2, 2.0)
    images, sparse, dense = inputs(first)
    expected = first.segment(first.encode_image(images), sparse, dense)
    plain = {n.replace(".base_layer", ""): v for n, v in first.network.state_dict().items() if "lora" not in n}
    second.load_tensors(plain)
    found = second.segment(second.encode_image(images), sparse, dense)
    assert expected.shape == (2, 1, 64, 64)
    assert (found - expected).abs().max() <= 1e-4 * expected.abs().max()


@torch.no_grad()
def test_segment_anything_gives_the_librarys_own_mask() -> None:
    """Image by image, which is how the library's decoder can be called."""
    segmenter = randomised("sam-nano", "segment-anything")
    images, sparse, dense = inputs(segmenter)
    found = segmenter.segment(segmenter.encode_image(images), sparse, dense)
    network = segmenter.network
    for k in range(2):
        masks, _ = network.mask_decoder(
            image_embeddings=network.image_encoder(images[k : k + 1]),
            image_pe=network.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse[k : k + 1],
            dense_prompt_embeddings=network.prompt_encoder.mask_downscaling(dense[k : k + 1]),
            multimask_output=False,
        )
        assert (masks[0] - found[k]).abs().max() <= 1e-4 * masks.abs().max()


@torch.no_grad()
@pytest.mark.parametrize("stability", [False, True])
def test_sam2_gives_the_librarys_own_mask(stability: bool) -> None:
    segmenter = randomised("sam2.1-nano")
    segmenter.stability = stability
    network = segmenter.network
    images, _, dense = inputs(segmenter)
    points, labels = torch.rand(2, 1, 3, 2) * 64, torch.ones(2, 1, 3, dtype=torch.int32)
    network.mask_decoder.dynamic_multimask_via_stability = stability
    expected = network(
        pixel_values=images, input_points=points, input_labels=labels, input_masks=dense, multimask_output=False
    ).pred_masks[:, 0]
    sparse, _ = network.prompt_encoder(points, labels, None, None)
    found = segmenter.segment(segmenter.encode_image(images), sparse[:, 0], dense)
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


@torch.no_grad()
def test_stability_chooses_another_mask() -> None:
    segmenter = randomised("sam2.1-nano")
    images, sparse, dense = inputs(segmenter)
    features = segmenter.encode_image(images)
    plain = segmenter.segment(features, sparse, dense)
    # Around zero a shift of 0.05 changes much: the single mask is unstable.
    nn.init.zeros_(segmenter.network.mask_decoder.output_hypernetworks_mlps[0].proj_out.weight)
    nn.init.normal_(segmenter.network.mask_decoder.output_hypernetworks_mlps[0].proj_out.bias, std=1e-3)
    single = segmenter.segment(features, sparse, dense)
    segmenter.stability = True
    assert not torch.equal(segmenter.segment(features, sparse, dense), single)
    segmenter.train()
    assert torch.equal(segmenter.segment(features, sparse, dense), single)
    assert not torch.equal(plain, single)


@torch.no_grad()
@pytest.mark.parametrize("name", ["sam2.1-nano", "sam-nano"])
def test_a_samples_mask_does_not_depend_on_its_neighbours(name: str) -> None:
    segmenter = randomised(name)
    images, sparse, dense = inputs(segmenter)
    both = segmenter.segment(segmenter.encode_image(images), sparse, dense)
    alone = segmenter.segment(segmenter.encode_image(images[1:]), sparse[1:], dense[1:])
    assert (both[1:] - alone).abs().max() <= 1e-5 * both.abs().max()


def authors_layout(segmenter: PromptableSegmenter) -> dict[str, Tensor]:
    """SAM 2's own names, with what belongs to video."""
    from helpers.rsrefseg2_names import official_name

    state: dict[str, Tensor] = {}
    for name, value in segmenter.network.state_dict().items():
        if name == "prompt_encoder.point_embed.weight":
            state |= {f"sam_prompt_encoder.point_embeddings.{k}.weight": value[k : k + 1] for k in range(4)}
        elif not name.startswith("shared_image_embedding"):
            official = official_name(f"segmenter.network.{name}").removeprefix("backbone.model.")
            state[official.replace(".base_model.model", "")] = value
    return state | {"memory_encoder.fuser.weight": torch.ones(1), "maskmem_tpos_enc": torch.ones(1)}


@torch.no_grad()
@pytest.mark.parametrize("layout", ["authors", "transformers"])
def test_sam2_loads_published_layouts(layout: str) -> None:
    source, target = randomised("sam2.1-nano"), randomised("sam2.1-nano", seed=1)
    target.add_lora(2, 2.0)
    plain = source.network.state_dict() | {"memory_attention.layers.0.norm1.weight": torch.ones(1)}
    target.load_tensors(authors_layout(source) if layout == "authors" else plain)
    images, sparse, dense = inputs(source)
    expected = source.segment(source.encode_image(images), sparse, dense)
    assert torch.equal(target.segment(target.encode_image(images), sparse, dense), expected)


def test_other_weights_are_refused() -> None:
    segmenter = randomised("sam2.1-nano")
    state = authors_layout(segmenter)
    with pytest.raises(MissingResourceError, match="four point embeddings, found 3"):
        segmenter.load_tensors({n: v for n, v in state.items() if n != "sam_prompt_encoder.point_embeddings.2.weight"})
    with pytest.raises(MissingResourceError, match=r"does not know sam_mask_decoder|does not know mask_decoder\.odd"):
        segmenter.load_tensors(state | {"sam_mask_decoder.odd.weight": torch.ones(1)})
    with pytest.raises(MissingResourceError, match="does not know"):
        build_segmenter("sam-nano").load_tensors(state)


def test_a_sam_pickle_is_read_without_running_it(tmp_path: Path) -> None:
    source = randomised("sam-nano", "segment-anything")
    path = tmp_path / "sam_vit_nano.pth"
    torch.save(source.network.state_dict(), path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    target = build_segmenter("sam-nano", "transformers")
    target.load_tensors(load_tensors(resolve(f"{path}#sha256={digest}")))
    with pytest.raises(MissingResourceError, match="is not the file meant"):
        resolve(f"{path}#sha256={'0' * 64}")

    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (print, ("run",))

    torch.save({"image_encoder.pos_embed": Trap()}, path)
    with pytest.raises(MissingResourceError, match="cannot read weights"):
        load_tensors(path)


@pytest.mark.parametrize(("name", "library"), [("sam2.1-nano", "transformers"), *(("sam-nano", x) for x in LIBRARIES)])
def test_idle_parameters_get_no_gradient_and_all_others_do(name: str, library: str) -> None:
    segmenter = randomised(name, library).train()
    segmenter.add_lora(2, 2.0)
    add_noise(trainable(segmenter.parameters()))
    images, sparse, dense = inputs(segmenter)
    segmenter.segment(segmenter.encode_image(images), sparse, dense).square().mean().backward()
    reached = {n for n, p in segmenter.named_parameters() if p.grad is not None and p.grad.any()}
    idle = {id(p) for p in segmenter.idle()}
    expected = {n for n, p in segmenter.named_parameters() if p.requires_grad and id(p) not in idle}
    assert reached == expected
    assert idle


def test_unknown_names_are_refused() -> None:
    with pytest.raises(UsageError, match=r"Did you mean 'sam2\.1-l'"):
        build_segmenter("sam2.1-xl")
    with pytest.raises(UsageError, match="segment-anything has no"):
        build_segmenter("sam2.1-nano", "segment-anything")


PROMPTABLE = [("sam2.1-nano", "transformers"), *(("sam-nano", x) for x in LIBRARIES)]


def prompts(side: int) -> tuple[Tensor, Tensor, Tensor]:
    points = torch.tensor([[[0.3, 0.4]], [[0.6, 0.2]]]) * side
    return points, torch.tensor([[1], [0]]), torch.tensor([[0.1, 0.2, 0.5, 0.7], [0.4, 0.0, 1.0, 0.5]]) * side


@torch.no_grad()
@pytest.mark.parametrize("kind", ["box and point", "point", "box"])
def test_both_libraries_embed_the_same_prompts(kind: str) -> None:
    first, second = randomised("sam-nano", "segment-anything"), build_segmenter("sam-nano", "transformers")
    second.load_tensors(first.network.state_dict())
    images, _, _ = inputs(first)
    points, labels, boxes = prompts(first.image_size)
    given = (None if kind == "box" else points, None if kind == "box" else labels, None if kind == "point" else boxes)
    sparse, dense = first.prompt(*given)
    theirs, same = second.prompt(*given)
    assert sparse.shape == (2, {"box and point": 3}.get(kind, 2), first.width)
    torch.testing.assert_close(theirs, sparse)
    torch.testing.assert_close(same, dense)
    one = first.segment_prompted(first.encode_image(images), *given)
    other = second.segment_prompted(second.encode_image(images), *given)
    assert one.shape == (2, 1, *first.prompt_size)
    assert (one - other).abs().max() <= 1e-4 * one.abs().max()


@torch.no_grad()
@pytest.mark.parametrize(("name", "library"), PROMPTABLE)
def test_prompted_masks_are_those_of_the_librarys_own_model(name: str, library: str) -> None:
    segmenter = randomised(name, library)
    images, _, _ = inputs(segmenter)
    points, labels, boxes = prompts(segmenter.image_size)
    found = segmenter.segment_prompted(segmenter.encode_image(images), points, labels, boxes)
    network = segmenter.network
    for k in range(2):
        if library == "transformers":
            expected = network(
                pixel_values=images[k : k + 1],
                input_points=points[k][None, None],
                input_labels=labels[k][None, None],
                input_boxes=boxes[k][None, None],
                multimask_output=False,
            ).pred_masks[0]
        else:
            sparse, dense = network.prompt_encoder(
                points=(points[k : k + 1], labels[k : k + 1]), boxes=boxes[k : k + 1], masks=None
            )
            expected, _ = network.mask_decoder(
                network.image_encoder(images[k : k + 1]), network.prompt_encoder.get_dense_pe(), sparse, dense, False
            )
        assert (expected[0] - found[k]).abs().max() <= 1e-4 * expected.abs().max()


@torch.no_grad()
@pytest.mark.parametrize(("name", "library"), PROMPTABLE)
def test_prompts_keep_their_precision(name: str, library: str) -> None:
    """Under autocast to half precision, and in float64."""
    segmenter = randomised(name, library)
    given = prompts(segmenter.image_size)
    sparse, _ = segmenter.prompt(*given)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(segmenter.prompt(*given)[0], sparse)
    double, flat = segmenter.double().prompt(*given)
    assert double.dtype == flat.dtype == torch.float64
    torch.testing.assert_close(double.float(), sparse, rtol=1e-4, atol=1e-4)
    images = inputs(segmenter)[0].double()
    assert segmenter.segment_prompted(segmenter.encode_image(images), *given).dtype == torch.float64


@torch.no_grad()
@pytest.mark.parametrize(("name", "library"), PROMPTABLE)
def test_one_image_serves_several_prompts(name: str, library: str) -> None:
    segmenter = randomised(name, library)
    images, _, _ = inputs(segmenter)
    order = torch.tensor([1, 1, 0])
    points, labels, boxes = (x[[0, 1, 0]] for x in prompts(segmenter.image_size))
    shared = segmenter.segment_prompted(segmenter.encode_image(images).select(order), points, labels, boxes)
    copied = segmenter.segment_prompted(segmenter.encode_image(images[order]), points, labels, boxes)
    assert (shared - copied).abs().max() <= 1e-4 * copied.abs().max()


@pytest.mark.parametrize("given", [(None, None, None), (torch.zeros(1, 1, 2), None, None)])
def test_a_prompt_without_content_is_refused(given: tuple[Tensor | None, ...]) -> None:
    with pytest.raises(ValueError, match="needs points with their labels, a box, or both"):
        build_segmenter("sam-nano").prompt(*given)


def test_the_position_code_draws_no_numbers() -> None:
    """The stored losses of the tiny regressions depend on what is drawn before other parts."""
    code = PositionEmbeddingRandom(32)
    state = torch.get_rng_state()
    assert torch.equal(PositionCode(code)((4, 4)), code((4, 4)))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(("name", "library"), PROMPTABLE)
@pytest.mark.parametrize("kind", ["box and point", "point", "box"])
def test_prompts_have_their_shape_on_the_meta_device(name: str, library: str, kind: str) -> None:
    real = build_segmenter(name, library)
    points, labels, boxes = prompts(real.image_size)
    given = (None if kind == "box" else points, None if kind == "box" else labels, None if kind == "point" else boxes)
    expected = [tuple(one.shape) for one in real.prompt(*given)]
    with torch.device("meta"):
        segmenter = build_segmenter(name, library)
    found = segmenter.prompt(*(None if one is None else one.to("meta") for one in given))
    assert [tuple(one.shape) for one in found] == expected


@torch.no_grad()
@pytest.mark.parametrize("name", ["sam2.1-nano", "sam-nano"])
def test_the_best_of_three_masks_is_the_librarys_own(name: str) -> None:
    segmenter = randomised(name)
    images, _, _ = inputs(segmenter)
    boxes = torch.tensor([[4.0, 8.0, 30.0, 40.0], [10.0, 2.0, 50.0, 20.0]])
    answer = segmenter.network(pixel_values=images, input_boxes=boxes[:, None], multimask_output=True)
    best = answer.iou_scores[:, 0].argmax(1)
    expected = answer.pred_masks[[0, 1], 0, best]
    features = segmenter.encode_image(images)
    prompts = segmenter.prompt(None, None, boxes)
    found = segmenter.decode_best(features, *prompts)
    assert (found[:, 0] - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert not torch.allclose(found, segmenter.decode(features, *prompts))


@torch.no_grad()
def test_segment_anything_has_the_same_three_masks() -> None:
    theirs, ours = randomised("sam-nano"), randomised("sam-nano", "segment-anything")
    ours.load_tensors(theirs.network.state_dict())
    images, _, _ = inputs(theirs)
    boxes = torch.tensor([[4.0, 8.0, 30.0, 40.0], [10.0, 2.0, 50.0, 20.0]])
    found, expected = (
        one.decode_three(one.encode_image(images), *one.prompt(None, None, boxes)) for one in (ours, theirs)
    )
    for mine, other in zip(found, expected, strict=True):
        assert mine.shape[1] == 3
        assert (mine - other).abs().max() <= 1e-4 * other.abs().max()
