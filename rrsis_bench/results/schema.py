"""The JSON schema of `result.json`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rrsis_bench.metrics.definitions import METRICS

SCHEMA = Path(__file__).with_name("schema.json")


def schema() -> dict[str, Any]:
    """Read `schema.json`, and require the metrics that a result must hold under each protocol."""
    found: dict[str, Any] = json.loads(SCHEMA.read_text(encoding="utf-8"))
    scores = found["$defs"]["scores"]
    scores["properties"] |= dict.fromkeys(METRICS, scores["additionalProperties"])
    scores["required"] += METRICS
    scores["additionalProperties"] = False
    return found


def violations(result: Mapping[str, Any]) -> list[str]:
    """The values of a result that violate the schema: one sentence for each, none if the result is valid."""
    from jsonschema import Draft202012Validator  # takes 0.1 s to import

    validator = Draft202012Validator(schema())
    errors = sorted(validator.iter_errors(result), key=lambda error: error.json_path)
    return [f"{error.json_path}: {error.message[:200]}" for error in errors]
