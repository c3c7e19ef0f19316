"""The tests' own house: helpers live in `tests/helpers` and are imported in one way."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).resolve().parent
HELPERS = TESTS / "helpers"
FILES = sorted(TESTS.rglob("*.py"))
# Any module's name by which a file outside `helpers` could be imported, whatever folder is on the path.
OTHERS = {path.stem for path in FILES if HELPERS not in path.parents} | {"tests"}


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = "." * node.level + (node.module or "")
            yield from ([f"helpers.{alias.name}" for alias in node.names] if start == "helpers" else [start])


def problem(name: str) -> str:
    """What is wrong with an import; "" if nothing."""
    top, _, rest = name.partition(".")
    if not top:
        return f"{name} is relative: write `from helpers.x import y`"
    if top in OTHERS:
        return f"{name} is no helper: what two tests need lives in tests/helpers (`from helpers.x import y`)"
    return f"there is no {name}" if top == "helpers" and not (HELPERS / f"{rest}.py").is_file() else ""


def test_tests_import_helpers_and_no_other_tests() -> None:
    assert all(map(problem, ("test_fit", "tests.helpers.toy", ".helpers", "helpers.nothing", "conftest", "helpers")))
    assert not any(map(problem, ("helpers.toy", "rrsis_bench.files", "test")))
    named = ((path.relative_to(TESTS), problem(name)) for path in FILES for name in imported(path))
    assert [f"{path}: {what}" for path, what in named if what] == []


def test_helpers_are_not_collected_as_tests() -> None:
    assert [path.name for path in HELPERS.rglob("*.py") if path.stem.startswith("test_")] == []
