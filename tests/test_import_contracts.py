"""Who may import whom, and which commands must answer at once without torch."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LIGHT = [
    ["methods", "list"],
    ["methods", "show", "s4eca"],
    ["data", "list"],
    ["leaderboard"],
    ["weights", "list"],
    ["status", "tiny"],
    ["sweep", "tiny", "--launcher", "print"],
    ["--help"],
    ["--version"],
]
HEAVY = ("torch", "lightning", "transformers", "timm", "torchmetrics", "albumentations")
REPORT = """
import sys
from rrsis_bench.cli import main
code = main(sys.argv[1:])
print("imported:", sorted(set({heavy!r}) & set(sys.modules)), file=sys.stderr)
sys.exit(code)
"""


def words_in(words: list[str], folder: Path) -> list[str]:
    """`leaderboard` writes its tables; here into a folder of the test's own."""
    return [*words, "--results", str(folder)] if words == ["leaderboard"] else words


@pytest.mark.parametrize("words", LIGHT, ids=" ".join)
def test_what_does_not_train_imports_no_torch(words: list[str], tmp_path: Path) -> None:
    command = [sys.executable, "-c", REPORT.format(heavy=HEAVY), *words_in(words, tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.strip().splitlines()[-1] == "imported: []"


@pytest.mark.timing
@pytest.mark.parametrize("words", LIGHT, ids=" ".join)
def test_what_does_not_train_answers_in_half_a_second(words: list[str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "rrsis_bench", *words_in(words, tmp_path)]
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        subprocess.run(command, capture_output=True, cwd=tmp_path, timeout=60, check=True)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.5


def test_import_linter_finds_nothing() -> None:
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run()"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


def circles(imports: dict[str, set[str]]) -> list[list[str]]:
    """Groups of modules that import each other, directly or through others (Tarjan's algorithm)."""
    order: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(module: str) -> None:
        order[module] = lowest[module] = len(order)
        stack.append(module)
        for other in imports.get(module, ()):
            if other not in order:
                visit(other)
                lowest[module] = min(lowest[module], lowest[other])
            elif other in stack:
                lowest[module] = min(lowest[module], order[other])
        if lowest[module] == order[module]:
            at = stack.index(module)
            group, stack[at:] = stack[at:], []
            if len(group) > 1:
                found.append(sorted(group))

    for module in imports:
        if module not in order:
            visit(module)
    return found


def test_circles_are_found() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [["a", "b", "c"]]
    assert circles({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def test_no_circle_of_imports_not_even_a_lazy_one_or_one_for_types() -> None:
    import grimp

    graph = grimp.build_graph("rrsis_bench", "baselines", exclude_type_checking_imports=False, cache_dir=None)
    assert circles({module: graph.find_modules_directly_imported_by(module) for module in sorted(graph.modules)}) == []


def test_only_one_file_imports_albumentations() -> None:
    files = [
        str(path.relative_to(ROOT))
        for folder in ("rrsis_bench", "baselines")
        for path in (ROOT / folder).rglob("*.py")
        if "import albumentations" in path.read_text(encoding="utf-8")
    ]
    assert files == ["rrsis_bench/data/transforms.py"]
