"""Made-up sample tables, results and run folders."""

from __future__ import annotations

import json
from copy import deepcopy
from functools import cache

import numpy as np

from rrsis_bench.files import json_text
from rrsis_bench.metrics.protocols import PROTOCOLS, views
from rrsis_bench.results import record
from rrsis_bench.results.provenance import Start, provenance
from rrsis_bench.results.samples import SampleTable
from rrsis_bench.run.folder import RunFolder


def make_table(n=25, seed=0, quality=0.8, **changes):
    rng = np.random.default_rng(seed)
    shape = (n, len(views(PROTOCOLS)))
    truth = rng.integers(1, 1000, shape)
    inter = (truth * rng.random(shape) ** (1 - quality)).astype(np.int64)
    columns = {
        "sample_id": [f"s{k:04d}" for k in range(n)],
        "image_id": [f"i{k // 3}" for k in range(n)],
        "category": [("ship", "dam", "")[k % 3] for k in range(n)],
        "text": [("the ship on the left", "the ship next to the dam", "the, dam")[k % 3] for k in range(n)],
        "height": [64] * n,
        "width": [100] * n,
        "views": [view.name for view in views(PROTOCOLS)],
        "counts": np.stack([truth, inter + rng.integers(0, 300, shape), inter], axis=-1),
    }
    return SampleTable.build(**{**columns, **changes})


@cache
def made():
    """A provenance, cached, since it reads the versions of a dozen packages."""
    return provenance(config_yaml="a: 1\n", started=Start("2024-01-01T00:00:00Z"))


def make_result(table=None, kind="smoke", dataset="tiny", method="lavt", variant="tiny", seed=0, said=None, **changes):
    table = make_table(seed=seed) if table is None else table
    return record.build_result(
        **{
            "kind": kind,
            "method": {"name": method, "variant": variant, "target": "baselines.lavt:LAVT", "fidelity": "from-code"},
            "dataset": {
                "name": dataset, "split": "test", "source": "rrsisd", "synthetic": dataset == "tiny",
                "content_hash": "c" * 64, **(said or {}),
            },
            "samples": table,
            "protocols": list(PROTOCOLS),
            "selected_on": "val",
            "training": {"seed": seed},
            "efficiency": {"parameters": 10, "trainable_parameters": 5},
            "language_control": record.language_control(table, make_table(seed=99, quality=0.1)),
            "provenance": deepcopy(made()),
            **changes,
        }
    )  # fmt: skip


def write(root, seed=0, dataset="tiny", method="lavt", variant="tiny", table=None, **changes):
    table = make_table(seed=seed) if table is None else table
    folder = root / dataset / f"{method}@{variant}" / f"seed{seed}"
    result = make_result(table, dataset=dataset, method=method, variant=variant, seed=seed, **changes)
    record.write_run(RunFolder(folder), result, table, "a: 1\n")
    return folder


def edit(path, change):
    """Edit a result file by hand: its checksum stays as it was."""
    result = json.loads(path.read_text())
    change(result)
    path.write_text(json_text(result))
