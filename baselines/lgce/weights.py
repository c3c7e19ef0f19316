"""LGCE's parameter names and ours.

We know of no released LGCE checkpoint. The names are those of the code that this network was rebuilt from; a file with
these names would load strictly.
"""

from __future__ import annotations

from collections.abc import Mapping

from rrsis_bench.families.lavt.names import (
    OURS,
    SHARED_DROPPED,
    SHARED_NAMES,
    STAGE,
    gate_names,
    pwam_names,
)
from rrsis_bench.nn.weights.name_map import NameMap

UNUSED: Mapping[str, str] = {
    r"classifier\.msb[23]\..*": "for the finer pairs of scales; built, never run",
    r"classifier\.msb1\.patch_embed\..*": "built, never run",
    r"classifier\.lg_layer[12]\..*": "guides of the finer scales; built, never run",
}
EXCHANGE: Mapping[str, str] = {
    r"classifier\.msb1\.msb\.(projs|fusion|revert_projs)\..*": "changes only tokens that are dropped after it",
}


def exchange_names(official: str, ours: str) -> dict[str, str]:
    """Names of the exchange of first tokens between two scales."""
    inner = {"norm1": "norm", "attn.wq": "query", "attn.wk": "key", "attn.wv": "value", "attn.proj": "output"}
    return {
        f"{official}.projs": f"{ours}.into",
        f"{official}.revert_projs": f"{ours}.back",
        **{f"{official}.fusion.*.0.{theirs}": f"{ours}.attend.*.{name}" for theirs, name in inner.items()},
    }


def pair_names(number: int, ours: str) -> dict[str, str]:
    """Names of the module of a pair of scales; inside the blocks they are timm's."""
    official = f"classifier.msb{number}.msb"
    return {f"{official}.blocks": f"{ours}.blocks", **exchange_names(official, f"{ours}.exchange")}


MODULES: Mapping[str, str] = {
    **SHARED_NAMES,
    **pwam_names(f"{STAGE}.fusion", f"{OURS}.pwam"),
    **gate_names(f"{STAGE}.res_gate", f"{OURS}.gate"),
    "classifier.lg_layer1": "refine.unused.guides.0",
    "classifier.lg_layer2": "refine.unused.guides.1",
    "classifier.lg_layer3": "refine.guides.0",
    "classifier.lg_layer4": "refine.guides.1",
    **pair_names(1, "refine.mix"),
    **pair_names(2, "refine.unused.mixes.0"),
    **pair_names(3, "refine.unused.mixes.1"),
    **{f"classifier.msb{pair}.patch_embed.*.proj": f"refine.unused.patches.{pair - 1}.*" for pair in (1, 2, 3)},
}


def names_for(cross_scale: str) -> NameMap:
    """The names of a network with the parts that `cross_scale` names; those of the other parts are dropped."""
    dropped = {
        "kept": SHARED_DROPPED,
        "acting": {**SHARED_DROPPED, **UNUSED},
        "none": {**SHARED_DROPPED, **UNUSED, **EXCHANGE},
    }
    return NameMap("LGCE", MODULES, dropped[cross_scale])
