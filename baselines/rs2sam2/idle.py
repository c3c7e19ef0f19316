"""Parts of the released network that never run: SAM 2's memory for videos, and one linear layer.

They count among the published parameters, and released files hold them.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

Shapes = dict[str, tuple[int, ...]]

LAYERS = 4
FRAMES = 7


def idle_parts(width: int, joint_width: int) -> nn.Module:
    """Parameters under the released names, all zero, in a module that runs nothing.

    Args:
        width: P; the memory has a quarter of it.
        joint_width: D.
    """
    root = nn.Module()
    for name, shape in {**_memory(width), **_linear("meo_linear", joint_width, width)}.items():
        *path, last = name.split(".")
        node = root
        for part in path:
            if part not in node._modules:
                node.add_module(part, nn.Module())
            node = node.get_submodule(part)
        node.register_parameter(last, nn.Parameter(torch.zeros(shape)))
    return root


def _memory(width: int) -> Shapes:
    small = width // 4
    shapes: Shapes = {
        "maskmem_tpos_enc": (FRAMES, 1, 1, small),
        "no_mem_pos_enc": (1, 1, width),
        "no_obj_ptr": (1, width),
        **_convolution("mask_downsample", 1, 1, 4),
        **_norm("memory_attention.norm", width),
        **_convolution("memory_encoder.pix_feat_proj", width, width, 1),
        **_convolution("memory_encoder.out_proj", width, small, 1),
    }
    for number in range(3):
        shapes |= _linear(f"obj_ptr_proj.layers.{number}", width, width)
    for number in range(LAYERS):
        layer = f"memory_attention.layers.{number}"
        for part, source in (("self_attn", width), ("cross_attn_image", small)):
            for name, inputs in (("q", width), ("k", source), ("v", source), ("out", width)):
                shapes |= _linear(f"{layer}.{part}.{name}_proj", inputs, width)
        shapes |= _linear(f"{layer}.linear1", width, 8 * width) | _linear(f"{layer}.linear2", 8 * width, width)
        for norm in (1, 2, 3):
            shapes |= _norm(f"{layer}.norm{norm}", width)
    encoder, channels = "memory_encoder.mask_downsampler.encoder", 1
    for number in range(4):
        shapes |= _convolution(f"{encoder}.{3 * number}", channels, 4 * channels, 3)
        channels *= 4
        shapes |= _norm(f"{encoder}.{3 * number + 1}", channels)
    shapes |= _convolution(f"{encoder}.12", channels, width, 1)
    for number in range(2):
        layer = f"memory_encoder.fuser.layers.{number}"
        shapes |= {f"{layer}.gamma": (width,), **_norm(f"{layer}.norm", width)}
        shapes |= {f"{layer}.dwconv.weight": (width, 1, 7, 7), f"{layer}.dwconv.bias": (width,)}
        shapes |= _linear(f"{layer}.pwconv1", width, 4 * width) | _linear(f"{layer}.pwconv2", 4 * width, width)
    return shapes


def _linear(name: str, inputs: int, outputs: int) -> Shapes:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def _convolution(name: str, inputs: int, outputs: int, kernel: int) -> Shapes:
    return {f"{name}.weight": (outputs, inputs, kernel, kernel), f"{name}.bias": (outputs,)}


def _norm(name: str, width: int) -> Mapping[str, tuple[int, ...]]:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}
