"""Released DETRIS checkpoints, made at small sizes with exactly the released names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from baselines.detris import DETRIS
from baselines.detris.weights import RELEASED, TEXT, VISION
from helpers import toy_data
from helpers.detris_small import batch_of, small
from helpers.official import official_keys
from rrsis_bench.config import variant_options
from rrsis_bench.errors import MissingResourceError, UsageError

DINOV2 = {
    "cls_token", "pos_embed", "mask_token", "register_tokens", "patch_embed.proj.weight", "patch_embed.proj.bias",
    "norm.weight", "norm.bias",
}  # fmt: skip
DINOV2_BLOCK = {
    *(f"{layer}.{kind}" for layer in ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")
      for kind in ("weight", "bias")), "ls1.gamma", "ls2.gamma",
}  # fmt: skip
CLIP = {
    "token_embedding.weight", "positional_embedding", "text_projection", "ln_final.weight", "ln_final.bias",
    "logit_scale", "visual.conv1.weight", "visual.proj",
}  # fmt: skip
CLIP_BLOCK = {
    "attn.in_proj_weight", "attn.in_proj_bias",
    *(f"{layer}.{kind}" for layer in ("attn.out_proj", "ln_1", "mlp.c_fc", "mlp.c_proj", "ln_2")
      for kind in ("weight", "bias")),
}  # fmt: skip
"""The names DINOv2's and CLIP's own files have, written by hand; of CLIP's image half two stand for all."""


def encoder_names(visual_depth: int, text_depth: int) -> set[str]:
    """Released names of both frozen encoders."""
    return {
        *(f"dinov2.{name}" for name in DINOV2),
        *(f"dinov2.blocks.{k}.{name}" for k in range(visual_depth) for name in DINOV2_BLOCK),
        *(f"txt_backbone.{name}" for name in CLIP),
        *(f"txt_backbone.transformer.resblocks.{k}.{name}" for k in range(text_depth) for name in CLIP_BLOCK),
    }


def test_name_map_is_one_to_one_with_the_released_shapes() -> None:
    listed = official_keys("detris_base")
    assert len(listed) == 668
    with torch.device("meta"):
        method = DETRIS.from_options(variant_options("detris", "base"))
    own = method.state_dict()
    placed = {RELEASED.ours(name) or "?": entry.shape for name, entry in listed.items()}
    assert placed == {name: tuple(value.shape) for name, value in own.items() if ".trunk." not in name}
    parameters = {RELEASED.ours(name) for name, entry in listed.items() if entry.is_parameter}
    assert parameters == {name for name, parameter in method.named_parameters() if parameter.requires_grad}
    frozen = {name for name in encoder_names(12, 12) if not RELEASED.is_dropped(name)}
    # timm calls the register tokens so; all else of the encoders keeps its name.
    found = {(RELEASED.ours(name) or "?").replace("register_tokens", "reg_token") for name in frozen}
    assert found == {name for name in own if ".trunk." in name}
    assert {name for name in encoder_names(1, 1) if RELEASED.is_dropped(name)} == {
        "dinov2.mask_token", "txt_backbone.logit_scale", "txt_backbone.visual.conv1.weight", "txt_backbone.visual.proj",
    }  # fmt: skip
    for strange in ("neck", "backbone.x", "proj2.weight", "dinov2x.norm.weight"):
        assert RELEASED.ours(strange) is None


def released(method: DETRIS) -> dict[str, Tensor]:
    """A network of ours as a released checkpoint would hold it, the class token's code apart."""
    own = method.state_dict()
    tokens = torch.randn(1, 1, method.options.vit_width)
    made = {
        "mask_token": torch.zeros(1, method.options.vit_width),
        "register_tokens": own[f"{VISION}reg_token"],
        "cls_token": own[f"{VISION}cls_token"] - tokens,
        "pos_embed": torch.cat((tokens, own[f"{VISION}pos_embed"]), dim=1),
    }
    state: dict[str, Tensor] = {}
    kept = {name for name in official_keys("detris_base") if (RELEASED.ours(name) or "?") in own}
    for name in kept | encoder_names(method.options.vit_depth, method.options.text_depth):
        short = name.removeprefix("dinov2.")
        ours = RELEASED.ours(name)
        if name.startswith("dinov2.") and short in made:
            state[name] = made[short]
        elif ours is None:
            state[name] = torch.zeros(1)
        else:
            state[name] = own[ours].clone()
    return state


WRAPPERS: dict[str, Any] = {
    "bare": lambda state: state,
    "state_dict": lambda state: {"epoch": 3, "best_iou": 0.5, "state_dict": state},
    "module": lambda state: {"state_dict": {f"module.{name}": value for name, value in state.items()}},
}

# The published list knows blocks 1, 3, ... of both encoders and three decoder layers; the small network has these.
LAYERS: dict[str, Any] = {"text_layers": (1,), "decoder_layers": 3}


@torch.no_grad()
@pytest.mark.parametrize("form", WRAPPERS)
def test_loads_a_released_checkpoint(form: str, tmp_path: Path) -> None:
    source, target, batch = small(1, **LAYERS).eval(), small(2, **LAYERS).eval(), batch_of()
    source.train()(batch)  # moves running statistics off their start
    source.eval()
    torch.save(WRAPPERS[form](released(source)), tmp_path / "released.pth")
    assert not torch.allclose(target(batch).logits, source(batch).logits, atol=1e-3)
    assert len(target.load_official(tmp_path / "released.pth")) == 64
    assert torch.allclose(target(batch).logits, source(batch).logits, atol=1e-5)
    own, theirs = target.state_dict(), source.state_dict()
    different = [name for name in own if not torch.equal(own[name], theirs[name])]
    assert different in ([], [f"{VISION}cls_token"])  # the sum of token and code rounds


@torch.no_grad()
def test_what_the_file_leaves_out_comes_from_the_base_weights(tmp_path: Path) -> None:
    source, batch = small(1, **LAYERS).eval(), batch_of()
    files = {}
    for encoder, prefix in (("visual", VISION), ("text", TEXT)):
        own = {n.removeprefix(prefix): v.contiguous() for n, v in source.state_dict().items() if n.startswith(prefix)}
        save_file(own, tmp_path / f"{encoder}.safetensors")
        files[f"{encoder}_weights"] = str(tmp_path / f"{encoder}.safetensors")
    state = {
        n: v for n, v in released(source).items() if "adapter" in n or not n.startswith(("dinov2", "txt_backbone"))
    }
    torch.save(state, tmp_path / "trained.pth")
    target = small(2, **LAYERS, **files).eval()
    target.load_official(tmp_path / "trained.pth")
    assert torch.equal(target(batch).logits, source(batch).logits)
    with pytest.raises(UsageError, match="visual_weights names no file"):
        small(2, **LAYERS, visual_weights="").load_official(tmp_path / "trained.pth")
    with pytest.raises(MissingResourceError, match=r"trained\.pth: .*gone\.safetensors"):
        small(2, **LAYERS, visual_weights="/nowhere/gone.safetensors").load_official(tmp_path / "trained.pth")


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    state = released(small(1, **LAYERS))
    path = tmp_path / "released.pth"

    def refused(checkpoint: dict[str, Any], message: str, **changes: Any) -> None:
        torch.save(checkpoint, path)
        with pytest.raises(MissingResourceError, match=message) as caught:
            small(**{**LAYERS, **changes}).load_official(path)
        assert str(path) in str(caught.value)

    refused(state | {"neck.extra": torch.ones(1)}, r"does not know head\.neck\.extra")
    refused(state | {"backbone.x.weight": torch.ones(1)}, r"cannot place backbone\.x\.weight")
    refused({n: v for n, v in state.items() if n != "proj.txt.bias"}, r"misses head\.projector\.txt\.bias")
    gone = "dinov2.blocks.3.adapter.cross.back_proj.bias"
    refused({n: v for n, v in state.items() if n != gone}, r"misses vision\.adapters\.3\.cross\.back_proj\.bias")
    refused({n: v for n, v in state.items() if n != "dinov2.norm.bias"}, r"misses vision\.trunk\.norm\.bias")
    refused(state, "another shape", width=16)
    refused({"epoch": 3}, "holds no tensors")
    with pytest.raises(MissingResourceError, match="does not exist"):
        small().load_official(tmp_path / "gone.pth")


@pytest.mark.slow
def test_the_command_scores_released_weights(tmp_path: Path) -> None:
    toy_data.make(tmp_path / "data")
    # The released decoder has three layers and the words' width.
    changes = {"decoder_layers": 3, "width": 64}
    method = DETRIS.from_options(variant_options("detris", "tiny") | changes)
    torch.save({"state_dict": released(method)}, tmp_path / "released.pth")
    words = ["test", "--method", "detris", "--variant", "tiny", "--dataset", "toyset", "--model.pretrained=false"]
    words += [f"--model.options.{name}={value}" for name, value in changes.items()]
    done = toy_data.run(tmp_path, *words, "--weights", str(tmp_path / "released.pth"), "--out", str(tmp_path / "run"))
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["kind"] == "official-weights"
    assert result["dataset"]["n_samples"] == toy_data.COUNTS["test"]
    assert "paper-detris-v1" in result["metrics"]
    (tmp_path / "wrong.pth").write_bytes(b"no checkpoint")
    refused = toy_data.run(tmp_path, *words, "--weights", str(tmp_path / "wrong.pth"), "--out", str(tmp_path / "no"))
    assert refused.returncode == 3
    assert "wrong.pth" in refused.stderr.strip().splitlines()[-1]
    assert "Traceback" not in refused.stderr
