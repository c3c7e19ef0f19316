"""The JSON schema of `result.json`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rrsis_bench.metrics.definitions import GENERALISED, METRICS
from rrsis_bench.metrics.protocols import PROTOCOLS

SCHEMA = Path(__file__).with_name("schema.json")


def schema() -> dict[str, Any]:
    """Read `schema.json`, and require the metrics that a result must hold under each protocol."""
    found: dict[str, Any] = json.loads(SCHEMA.read_text(encoding="utf-8"))
    text = json.dumps(found["$defs"]["scores"])
    found["$defs"]["generalised"] = json.loads(text.replace('"miou"', '"giou"').replace('"oiou"', '"ciou"'))
    for block, metrics in (("scores", METRICS), ("generalised", GENERALISED)):
        scores = found["$defs"][block]
        scores["properties"] |= dict.fromkeys(metrics, scores["additionalProperties"])
        scores["required"] += metrics
        scores["additionalProperties"] = False
    own = {name: {"$ref": "#/$defs/generalised"} for name, one in PROTOCOLS.items() if one.generalised}
    found["properties"]["metrics"]["properties"] = own
    return found


def violations(result: Mapping[str, Any]) -> list[str]:
    """The values of a result that violate the schema: one sentence for each, none if the result is valid."""
    from jsonschema import Draft202012Validator  # takes 0.1 s to import

    validator = Draft202012Validator(schema())
    errors = sorted(validator.iter_errors(result), key=lambda error: error.json_path)
    return [f"{error.json_path}: {error.message[:200]}" for error in errors]
