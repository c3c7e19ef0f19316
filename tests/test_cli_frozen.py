"""The set of verbs and flags is a golden list: a renamed flag breaks somebody's script.

After a wanted change: `python tests/test_cli_frozen.py` writes the list anew; look at the difference.
"""

from __future__ import annotations

import argparse
import json
from importlib import import_module
from pathlib import Path
from typing import Any

from rrsis_bench.cli import VERBS

GOLDEN = Path(__file__).parent / "golden" / "cli.json"


def surface() -> dict[str, Any]:
    """Verb -> its flags, positional arguments and sub-verbs, read from the parsers themselves."""
    verbs = {}
    for verb, (module, _) in VERBS.items():
        parser = argparse.ArgumentParser(verb, allow_abbrev=False)
        import_module(module).add_arguments(parser)
        verbs[verb] = describe(parser)
    return verbs


def describe(parser: argparse.ArgumentParser) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for action in parser._actions:
        if isinstance(action, argparse._HelpAction):
            continue
        if isinstance(action, argparse._SubParsersAction):
            found["verbs"] = {name: describe(child) for name, child in sorted(action.choices.items())}
            continue
        entry: dict[str, Any] = {}
        if action.required and action.option_strings:
            entry["required"] = True
        if action.choices is not None:
            entry["choices"] = sorted(map(str, action.choices))
        found[", ".join(sorted(action.option_strings)) or action.dest.upper()] = entry
    return dict(sorted(found.items()))


def text() -> str:
    return json.dumps(surface(), indent=2, sort_keys=True) + "\n"


def test_verbs_and_flags_are_the_golden_ones() -> None:
    assert json.loads(text()) == json.loads(GOLDEN.read_text(encoding="utf-8"))


def test_documented_verbs_are_there() -> None:
    wanted = {"fit", "validate", "test", "predict", "leaderboard", "results", "methods", "data", "profile", "env"}
    assert wanted <= set(VERBS)
    assert {"--image", "--out", "--run", "--text"} <= set(surface()["predict"])


if __name__ == "__main__":
    GOLDEN.write_text(text(), encoding="utf-8")
