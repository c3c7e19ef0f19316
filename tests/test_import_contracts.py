"""Who may import whom, how long a file may be, and which commands must answer at once without torch."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from graphlib import TopologicalSorter
from pathlib import Path

import grimp
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


@pytest.mark.parametrize(
    ("library", "file"),
    [
        ("albumentations", "rrsis_bench/data/transforms.py"),
        ("open_clip", "rrsis_bench/nn/encoders/clip.py"),
        ("segment_anything", "rrsis_bench/nn/encoders/sam_v1.py"),
    ],
)
def test_only_one_file_imports_a_library(library: str, file: str) -> None:
    """Imports for type checkers too, which import-linter leaves out here."""
    files = [
        str(path.relative_to(ROOT))
        for folder in ("rrsis_bench", "baselines", "tools")
        for path in (ROOT / folder).rglob("*.py")
        if re.search(rf"^\s*(import|from) {library}\b", path.read_text(encoding="utf-8"), re.MULTILINE)
    ]
    assert files == [file]


@pytest.mark.parametrize("folder", ["rrsis_bench", "baselines", "tools", "benchmarks"])
def test_no_file_is_longer_than_350_lines(folder: str) -> None:
    lines = {
        str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines())
        for path in (ROOT / folder).rglob("*.py")
    }
    assert lines
    assert {name: number for name, number in lines.items() if number > 350} == {}


def arrows_of(room: str) -> dict[str, set[str]]:
    """Module of a room -> what it imports of the house, inside functions and for type checkers too."""
    graph = grimp.build_graph("rrsis_bench", "baselines", exclude_type_checking_imports=False)
    inside = [name for name in graph.modules if is_in(name, room)]
    return {name: graph.find_modules_directly_imported_by(name) for name in inside}


def is_in(module: str, room: str) -> bool:
    return module == room or module.startswith(f"{room}.")


def test_no_circle_of_imports_not_even_a_lazy_one_or_one_for_types() -> None:
    arrows = arrows_of("rrsis_bench") | arrows_of("baselines")
    assert any(arrows.values())
    TopologicalSorter(arrows).prepare()  # names the circle in its error


GROUND = ["rrsis_bench.types", "rrsis_bench.errors", "rrsis_bench.files", "rrsis_bench.paths"]


@pytest.mark.parametrize(
    ("room", "below"),
    [
        ("rrsis_bench.registry", [*GROUND, "rrsis_bench.namesakes", "rrsis_bench.kinds"]),
        ("rrsis_bench.nn", [*GROUND, "rrsis_bench.config", "rrsis_bench.nearest"]),
        ("rrsis_bench.families", [*GROUND, "rrsis_bench.nn", "rrsis_bench.methods.base"]),
        ("rrsis_bench.s4eca", [*GROUND, "rrsis_bench.nn", "rrsis_bench.methods.base", "rrsis_bench.families"]),
    ],
)
def test_no_arrow_upward(room: str, below: list[str]) -> None:
    upward = {
        f"{name} -> {imported}"
        for name, others in arrows_of(room).items()
        for imported in others
        if not any(is_in(imported, known) for known in [room, *below])
    }
    assert not upward
