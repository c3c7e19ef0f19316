"""Released LAVT checkpoints: official parameter names and ours (see `rrsis_bench/families/lavt/names.py`)."""

from __future__ import annotations

from rrsis_bench.families.lavt.names import (
    OURS,
    SHARED_DROPPED,
    SHARED_NAMES,
    STAGE,
    gate_names,
    pwam_names,
)
from rrsis_bench.nn.weights.name_map import NameMap

RELEASED = NameMap(
    "LAVT",
    {
        **SHARED_NAMES,
        **pwam_names(f"{STAGE}.fusion", f"{OURS}.pwam"),
        **gate_names(f"{STAGE}.res_gate", f"{OURS}.gate"),
    },
    SHARED_DROPPED,
)
