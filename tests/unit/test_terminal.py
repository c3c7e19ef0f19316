"""What a terminal of 80 or 110 columns shows: every number and word of what a pipe gets, none of them cut or broken."""

from __future__ import annotations

import io
import os
import re
import shlex
import subprocess
import sys
from collections import Counter

import pytest
from rich.table import Table

from helpers.pseudo_terminal import run_in_terminal
from helpers.results import make_table, write
from rrsis_bench import terminal
from rrsis_bench.boards.tables import print_scores
from rrsis_bench.cli import main
from rrsis_bench.metrics.definitions import shown

FRAME = re.compile(r"[│┃┏┓┗┛━┳┻┡┩╇└┘┴─┼├┤]")
STYLE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
WIDTHS = (80, 110)


def plain(text):
    """A text without frames and styles."""
    return FRAME.sub(" ", STYLE.sub("", text))


class Screen(io.StringIO):
    """Standard output that says it is a terminal."""

    def isatty(self):
        return True


def on_screen(monkeypatch, columns, act):
    """What a terminal of that many columns shows."""
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm")
    screen = Screen()
    with monkeypatch.context() as inside:
        inside.setattr(sys, "stdout", screen)
        act()
    return plain(screen.getvalue())


def in_pipe(capsys, act):
    capsys.readouterr()
    act()
    return plain(capsys.readouterr().out)


def check(seen, whole, columns):
    """Every line fits; every word and number of the pipe is there, and nothing else is."""
    assert max(map(len, seen.splitlines())) <= columns
    assert "…" not in seen
    assert "…" not in whole
    words, parts = Counter(whole.split()), Counter(seen.split())
    long = [word for word in words if len(word) > columns - 20]
    for part in parts:
        # An address that is longer than a line breaks after a slash, never within a name.
        assert part in words or part == "\\" or any(part in word and re.search(r"[/=#,]", word) for word in long), part
    for word, count in words.items():
        if word not in long and any(sign.isdigit() for sign in word):
            assert parts[word] >= count, word
    # Where rows are paragraphs, the first cell stands without its heading.
    assert set(words) - set(parts) <= {*long, "name", "what", "protocol", "category"}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    names = ["Expressway-Service-area", "ground track field", "ship", "storage tank", "dam"]
    found = []
    for method, quality in (("a", 0.8), ("b", 0.3)):
        table = make_table(60, quality=quality, category=[names[k % 5 if k > 3 else 0] for k in range(60)])
        found.append(write(root, method=method, table=table))
    return found


VERBS = (
    "methods list", "methods show s4eca", "methods show rsrefseg2", "data list", "data stats tiny", "status tiny",
    "sweep tiny --dry-run", "sweep tiny --dry-run --launcher slurm", "weights list", "weights list --method lavt",
)  # fmt: skip


@pytest.mark.parametrize("columns", WIDTHS)
@pytest.mark.parametrize("words", VERBS)
def test_verbs(words, columns, monkeypatch, capsys):
    monkeypatch.delenv("RRSIS_DATA", raising=False)
    for name in [name for name in os.environ if name.startswith("RRSIS_") and name != "RRSIS_CACHE"]:
        monkeypatch.delenv(name)

    def act():
        assert main(words.split()) == 0

    check(on_screen(monkeypatch, columns, act), in_pipe(capsys, act), columns)


@pytest.mark.parametrize("columns", WIDTHS)
def test_comparing(columns, runs, monkeypatch, capsys):
    def act():
        assert main(["results", "compare", "a", "b"]) == 0

    monkeypatch.chdir(runs[0].parents[3])
    for name, run in zip("ab", runs, strict=True):
        if not os.path.islink(name):
            os.symlink(run, name)
    seen = on_screen(monkeypatch, columns, act)
    check(seen, in_pipe(capsys, act), columns)
    assert "too few" in seen


@pytest.mark.parametrize("columns", WIDTHS)
@pytest.mark.parametrize("value", [1.0, 0.5, 0.0, None])
def test_scores(columns, value, monkeypatch, capsys):
    scores = {metric.name: value for metric in shown("terminal")}
    rows = {"native-v1": scores, "paper-rsrefseg2-v1": scores}
    whole = in_pipe(capsys, lambda: print_scores("tiny test", rows))
    check(on_screen(monkeypatch, columns, lambda: print_scores("tiny test", rows)), whole, columns)


def test_a_pipe_gets_lines_of_any_length_whatever_columns_says(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "40")
    table = Table()
    for place in range(12):
        table.add_column(f"heading {place}", justify="right")
    table.add_row(*["12345.67"] * 12)
    terminal.show(table)
    terminal.say("word " * 60)
    out = capsys.readouterr().out
    assert out.splitlines()[-1].split() == ["word"] * 60
    assert out.count("12345.67") == 12


def test_a_narrow_table_loses_its_frame_and_then_becomes_paragraphs(monkeypatch):
    def table():
        made = Table()
        made.add_column("name")
        for place in range(6):
            made.add_column(f"n{place}", justify="right")
        made.add_row("[bold]a[/] :ship:", *["1,234.56 ± 0.12"] * 6)
        return made

    framed = on_screen(monkeypatch, 140, lambda: terminal.show(table()))
    assert "[bold]a[/] :ship:" in framed, "text is no markup"
    bare = on_screen(monkeypatch, 122, lambda: terminal.show(table()))
    assert bare.count("1,234.56 ± 0.12") == framed.count("1,234.56 ± 0.12") == 6
    paragraphs = on_screen(monkeypatch, 60, lambda: terminal.show(table()))
    assert paragraphs.splitlines() == ["[bold]a[/] :ship:", *[f"  n{place}  1,234.56 ± 0.12" for place in range(6)]]


@pytest.mark.parametrize("columns", [30, 50])
def test_a_broken_shell_line_is_still_the_same_command(columns, monkeypatch):
    words = [
        "rrsis-bench",
        "fit",
        "--out",
        "a folder/with 'quotes'",
        '--x="y"',
        "--data.manifest=",
        "a\\b",
        "long" * 9,
    ]
    line = shlex.join(words)
    seen = on_screen(monkeypatch, columns, lambda: terminal.command(line, "    "))
    assert "\\\n" in seen
    printed = subprocess.run(
        ["bash", "-c", f"printf '%s\\0' {seen}"], capture_output=True, text=True, check=True
    ).stdout.split("\0")[:-1]
    assert printed == words


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminal")
def test_in_a_pseudo_terminal(tmp_path):
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    for columns in WIDTHS:
        command = [sys.executable, "-m", "rrsis_bench", "methods", "list"]
        said, code = run_in_terminal(command, environment, columns)
        assert code == 0
        seen = plain(said.replace("\r\n", "\n"))
        whole = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout
        check(seen, plain(whole), columns)
