"""Released FIANet checkpoints: official parameter names and ours (see `rrsis_bench/families/lavt/names.py`)."""

from __future__ import annotations

from rrsis_bench.families.lavt.names import (
    OURS,
    SHARED_DROPPED,
    SHARED_NAMES,
    STAGE,
    attention_names,
    gate_names,
    pwam_names,
)
from rrsis_bench.nn.layers.multiscale import shell_names
from rrsis_bench.nn.weights.name_map import NameMap

_ALIGN, _OUR_ALIGN = f"{STAGE}.object_position_align_blk", f"{OURS}.align"
_BLOCK, _OUR_BLOCK = "backbone.tmem.block.*", "refine.blocks.*"

RELEASED = NameMap(
    "FIANet",
    {
        **SHARED_NAMES,
        **pwam_names(f"{STAGE}.context_pixel_attn", f"{OURS}.pwam"),
        **gate_names(f"{STAGE}.context_tanh_gate", f"{OURS}.gate"),
        f"{STAGE}.fc1": f"{OURS}.channels.squeeze",
        f"{STAGE}.fc2": f"{OURS}.channels.excite",
        **attention_names(f"{_ALIGN}.go_cross_attn", f"{_OUR_ALIGN}.objects"),
        **gate_names(f"{_ALIGN}.go_tanh_gating", f"{_OUR_ALIGN}.gate"),
        f"{_ALIGN}.go_embedding": f"{_OUR_ALIGN}.unused",
        **attention_names(f"{_ALIGN}.sp_cross_attn", f"{_OUR_ALIGN}.positions"),
        f"{_ALIGN}.conv1": f"{_OUR_ALIGN}.where",
        **shell_names("backbone.tmem", "refine.shell"),
        f"{_BLOCK}.norm1": f"{_OUR_BLOCK}.norm1",
        **attention_names(f"{_BLOCK}.tma", f"{_OUR_BLOCK}.attention"),
        f"{_BLOCK}.norm2": f"{_OUR_BLOCK}.norm2",
        f"{_BLOCK}.ff.net.0": f"{_OUR_BLOCK}.feed.0",
        f"{_BLOCK}.ff.net.3": f"{_OUR_BLOCK}.feed.2",
    },
    SHARED_DROPPED,
)
