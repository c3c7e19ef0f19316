"""Released RMSIN checkpoints: official parameter names and ours (see `rrsis_bench/families/lavt/names.py`)."""

from __future__ import annotations

from rrsis_bench.families.lavt.names import (
    OURS,
    SHARED_DROPPED,
    SHARED_NAMES,
    STAGE,
    gate_names,
    pwam_names,
)
from rrsis_bench.nn.layers.multiscale import shell_names
from rrsis_bench.nn.weights.name_map import NameMap

CIM, BLOCK = "backbone.cim", "refine.blocks.*"


def half_names(official: str, ours: str, suffix: str) -> dict[str, str]:
    """Names of one half of the intra-scale branch; the second half's modules have a suffix."""
    inner = {
        f"brb_1x1{suffix}.conv": "point",
        f"brb_1x1{suffix}.bn": "point_bn",
        f"brb_3x3{suffix}.conv1": "inner",
        f"brb_3x3{suffix}.bn1": "inner_bn",
        f"brb_3x3{suffix}.conv2": "wide",
        f"brb_3x3{suffix}.bn2": "wide_bn",
        f"brb_identity{suffix}": "same_bn",
    }
    return {f"{official}.{theirs}": f"{ours}.{name}" for theirs, name in inner.items()}


def attention_names(official: str, ours: str) -> dict[str, str]:
    """Names of a cross-scale attention."""
    inner = {
        "bn1": "bn",
        "DWConv1.0": "coarse",
        "DWConv1.1": "coarse_bn",
        "DWConv2.0": "coarser",
        "DWConv2.1": "coarser_bn",
        "attention.qkv.c": "attention.project",
        "attention.qkv.bn": "attention.project_bn",
        "attention.proj": "attention.gather",
        "attention.parallel_conv.1": "attention.depthwise",
        "attention.to_out": "attention.output",
        "bn4": "output_bn",
        "conv": "output",
    }
    return {f"{official}.{theirs}": f"{ours}.{name}" for theirs, name in inner.items()}


def routing_names(official: str, ours: str) -> dict[str, str]:
    """Names of a rotated convolution's routing; the released name is misspelt."""
    inner = {"dwc": "depthwise", "norm.norm": "norm", "fc_alpha": "strength", "fc_theta": "angle"}
    return {f"{official}.rounting_func.{theirs}": f"{ours}.routing.{name}" for theirs, name in inner.items()}


RELEASED = NameMap(
    "RMSIN",
    {
        # Before the family's names, since the first match counts: there `classifier.conv2_4` is a plain convolution.
        **{
            name: ours
            for start in (4, 3, 2)
            for name, ours in routing_names(f"classifier.conv2_{start}", f"decoder.steps.{4 - start}.conv2").items()
        },
        **SHARED_NAMES,
        **pwam_names(f"{STAGE}.fusion", f"{OURS}.pwam"),
        **gate_names(f"{STAGE}.res_gate", f"{OURS}.gate"),
        **gate_names(f"{STAGE}.visual_gate", f"{OURS}.visual_gate"),
        **half_names(f"{STAGE}.visual_residual.repblock", f"{OURS}.intra.first", ""),
        **half_names(f"{STAGE}.visual_residual.repblock", f"{OURS}.intra.second", "_2"),
        **shell_names(CIM, "refine.shell"),
        **attention_names(f"{CIM}.block.*.csa1.m", f"{BLOCK}.attention1"),
        **attention_names(f"{CIM}.block.*.csa2.m", f"{BLOCK}.attention2"),
        **{f"{CIM}.block.*.intra_ff.m.ff{share + 1}.m": f"{BLOCK}.share_feed.{share}" for share in range(4)},
        f"{CIM}.block.*.ff.m": f"{BLOCK}.feed",
    },
    SHARED_DROPPED,
)
