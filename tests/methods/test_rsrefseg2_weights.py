"""Released RSRefSeg 2 checkpoints, made at small sizes with exactly the released names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from baselines.rsrefseg2 import RSRefSeg2
from baselines.rsrefseg2.weights import convert, load_official, our_name
from helpers.rsrefseg2_names import official_name
from helpers.rsrefseg2_small import make_batch, small
from rrsis_bench.errors import MissingResourceError

POINTS = "segmenter.network.prompt_encoder.point_embed.weight"
CODE = "segmenter.network.shared_image_embedding.positional_embedding"
EXAMPLES = {
    "backbone.model.image_encoder.base_model.model.trunk.pos_embed_window": (1, 16, 4, 4),
    "backbone.model.image_encoder.base_model.model.trunk.patch_embed.proj.weight": (16, 3, 7, 7),
    "backbone.model.image_encoder.base_model.model.trunk.blocks.0.norm1.weight": (16,),
    "backbone.model.image_encoder.base_model.model.trunk.blocks.1.attn.qkv.base_layer.weight": (96, 16),
    "backbone.model.image_encoder.base_model.model.trunk.blocks.1.attn.qkv.lora_A.default.weight": (2, 16),
    "backbone.model.image_encoder.base_model.model.trunk.blocks.1.proj.weight": (32, 16),
    "backbone.model.image_encoder.base_model.model.trunk.blocks.0.mlp.layers.1.weight": (16, 64),
    "backbone.model.image_encoder.base_model.model.neck.convs.0.conv.base_layer.weight": (32, 128, 1, 1),
    "backbone.model.image_encoder.base_model.model.neck.convs.3.conv.lora_B.default.weight": (32, 2, 1, 1),
    "backbone.model.sam_prompt_encoder.pe_layer.positional_encoding_gaussian_matrix": (2, 16),
    "backbone.model.sam_prompt_encoder.point_embeddings.3.weight": (1, 32),
    "backbone.model.sam_prompt_encoder.mask_downscaling.6.weight": (32, 16, 1, 1),
    "backbone.model.sam_mask_decoder.transformer.layers.1.cross_attn_image_to_token.out_proj.weight": (32, 16),
    "backbone.model.sam_mask_decoder.transformer.norm_final_attn.bias": (32,),
    "backbone.model.sam_mask_decoder.output_hypernetworks_mlps.3.layers.1.weight": (32, 32),
    "backbone.model.sam_mask_decoder.pred_obj_score_head.layers.2.weight": (1, 32),
    "backbone.model.sam_mask_decoder.conv_s0.weight": (4, 32, 1, 1),
    "backbone.model.no_mem_embed": (1, 1, 32),
    "clip_vision_encoder.base_model.model.model.encoder.layers.1.self_attn.q_proj.base_layer.weight": (32, 32),
    "clip_vision_encoder.base_model.model.model.head.attention.out_proj.lora_A.default.weight": (2, 32),
    "clip_vision_encoder.base_model.model.model.head.probe": (1, 1, 32),
    "clip_text_encoder.base_model.model.model.head.lora_B.default.weight": (32, 2),
    "clip_text_encoder.base_model.model.model.embeddings.token_embedding.weight": (64, 32),
    "clip_text_encoder.base_model.model.logit_scale": (1,),
    "prompter.img_pe": (1, 32, 4, 4),
    "prompter.dense_prompt_conv.1.running_var": (16,),
    "decode_head.logit_bias2": (1,),
}
"""Names as the released configurations and code give them, written by hand, with their shapes at the small sizes."""


def released(method: RSRefSeg2, only_trained: bool = False) -> dict[str, Tensor]:
    """A network of ours as a released checkpoint would hold it."""
    trained = {name for name, p in method.named_parameters() if p.requires_grad}
    buffers = {name for name, _ in method.named_buffers() if name.startswith("prompter.")}
    state: dict[str, Tensor] = {}
    for name, value in method.state_dict().items():
        if name == CODE or (only_trained and name not in trained | buffers):
            continue
        if name == POINTS:
            prefix = "backbone.model.sam_prompt_encoder.point_embeddings"
            state |= {f"{prefix}.{k}.weight": value[k : k + 1].clone() for k in range(4)}
        else:
            state[official_name(name)] = value.clone()
    return state


def official(seed: int, **changes: Any) -> RSRefSeg2:
    return small(seed, official=True, **changes).eval()


def test_the_made_checkpoint_has_the_released_names() -> None:
    state = released(official(0))
    for name, shape in EXAMPLES.items():
        assert tuple(state[name].shape) == shape, name
    assert len(state) == len(official(0).state_dict()) - 2 + 4


@pytest.mark.slow
@torch.no_grad()
@pytest.mark.parametrize("form", ["flat", "state_dict", "module"])
def test_a_whole_checkpoint_loads(form: str, tmp_path: Path) -> None:
    source, target, batch = official(1), official(2), make_batch()
    state = released(source)
    # Other releases of the library keep scalars without an axis.
    state["clip_text_encoder.base_model.model.logit_scale"].squeeze_(0)
    saved: dict[str, Any] = {
        "flat": state,
        "state_dict": {"state_dict": state, "meta": {"epoch": 3}},
        "module": {"state_dict": {f"module.{name}": value for name, value in state.items()}},
    }[form]
    path = tmp_path / "refsegrs.pth"
    torch.save(saved, path)
    assert not torch.equal(target(batch).logits, source(batch).logits)
    placed = load_official(target, path)
    assert torch.equal(target(batch).logits, source(batch).logits)
    assert placed.whole
    assert placed.form == ("flat" if form == "flat" else "state_dict")
    assert set(placed.names) == set(state)
    assert set(placed.names.values()) == set(source.state_dict()) - {CODE}
    assert f"everything): placed {len(state)} tensors" in str(placed)
    assert len(target.load_official(path)) == 64


@torch.no_grad()
def test_what_only_trains_goes_over_the_base_weights(tmp_path: Path) -> None:
    """Both networks start from the same frozen values; the file holds the rest."""
    source, target, batch = official(1), official(1), make_batch()
    for parameter in target.parameters():
        if parameter.requires_grad:
            parameter.zero_()
    path = tmp_path / "rrsisd.pth"
    torch.save(released(source, only_trained=True), path)
    placed = load_official(target, path)
    assert not placed.whole
    assert "only what trains, over the base weights" in str(placed)
    assert torch.equal(target(batch).logits, source(batch).logits)


def test_what_only_trains_needs_base_weights(tmp_path: Path) -> None:
    source = official(1)
    path = tmp_path / "rrsisd.pth"
    torch.save(released(source, only_trained=True), path)
    with pytest.raises(MissingResourceError, match=r"gone\.safetensors does not exist"):
        load_official(official(1, dual_weights=str(tmp_path / "gone.safetensors")), path)


@pytest.mark.slow
def test_what_has_no_place_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "other.pth"
    state = released(official(0))

    def refused(checkpoint: dict[str, Any], message: str, **changes: Any) -> None:
        torch.save(checkpoint, path)
        with pytest.raises(MissingResourceError, match=message) as caught:
            load_official(small(**changes), path)
        assert str(path) in str(caught.value)

    refused(state | {"prompter.extra.weight": torch.ones(1)}, r"cannot place prompter\.extra\.weight", official=True)
    refused({"conv1.weight": torch.ones(1)}, r"cannot place conv1\.weight", official=True)
    refused(state, r"cannot place clip_vision_encoder.*pooling head: set model\.options\.official")
    refused(
        {n: v for n, v in state.items() if n != "prompter.img_pe"}, r"misses prompter\.image_position", official=True
    )
    refused(state | {"prompter.img_pe": torch.ones(1, 32, 2, 2)}, r"image_position \(1, 32, 2, 2\)", official=True)
    lost = {n: v for n, v in state.items() if not n.endswith("point_embeddings.0.weight")}
    refused(lost, "four point embeddings, found 3", official=True)
    refused({"state_dict": 3}, "a int where parameters should be", official=True)
    refused(state, "cannot place .*another variant", official=True, depth=1)
    with pytest.raises(MissingResourceError, match="does not exist"):
        load_official(small(), tmp_path / "gone.pth")


@pytest.mark.slow
@torch.no_grad()
def test_sam_v1_checkpoints_load_into_transformers_sam(tmp_path: Path) -> None:
    pair = {"segmenter": "sam-nano", "segmenter_library": "transformers"}
    source, target, batch = official(1, **pair), official(2, **pair), make_batch(side=128)
    state: dict[str, Tensor] = {}
    for name, value in source.state_dict().items():
        if name.startswith("segmenter.network."):
            inner = name.removeprefix("segmenter.network.")
            wrapped = inner.replace("vision_encoder.", "vision_encoder.base_model.model.")
            state[f"backbone.model.{wrapped}"] = value
        else:
            state[official_name(name)] = value
    path = tmp_path / "sam.pth"
    torch.save(state, path)
    load_official(target, path)
    assert torch.equal(target(batch).logits, source(batch).logits)
    with pytest.raises(MissingResourceError, match="set segmenter to its size and segmenter_library to transformers"):
        load_official(official(2, segmenter="sam-nano", segmenter_library="segment-anything"), path)


def test_name_map_is_one_to_one() -> None:
    method = official(0)
    names = {official_name(name): name for name in method.state_dict() if name not in (POINTS, CODE)}
    assert {name: our_name(name) for name in names} == names
    for strange in ("backbone.model.memory_encoder.weight", "decode_head.conv_seg.weight", "clip_text_encoder.head"):
        assert our_name(strange) is None
    with pytest.raises(MissingResourceError, match="cannot place a, b, c and 1 more"):
        convert(dict.fromkeys("abcd", torch.ones(1)))
