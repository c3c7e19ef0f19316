"""The leaderboard files: which there are, what is in them, and whether the committed ones still say it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from rrsis_bench.errors import UsageError, UserError, did_you_mean
from rrsis_bench.results.atomic import write_text
from rrsis_bench.results.board import Board, build_boards, collect, make_board
from rrsis_bench.results.render import csv, json, markdown

FORMATS: Mapping[str, Callable[[Board], str]] = {"md": markdown.page, "csv": csv.page, "json": json.page}
FOLDER = "leaderboard"


def select(boards: Sequence[Board], name: str | None) -> list[Board]:
    """All boards, or the one named.

    Raises:
        UsageError: there is no such board; the message lists those there are.
    """
    known = [board.name for board in boards]
    if name is not None and name not in known:
        raise UsageError(f"unknown board '{name}'.{did_you_mean(name, known)}")
    return [board for board in boards if name in (None, board.name)]


def pages(boards: Sequence[Board], formats: Iterable[str], with_index: bool = True) -> dict[str, str]:
    """File name -> text of every page. A pure function of the boards."""
    found = {f"{board.name}.{suffix}": FORMATS[suffix](board) for board in boards for suffix in formats}
    if with_index:
        found["README.md"] = markdown.index(boards)
    return found


def inject(readme: str, boards: Iterable[Board], link: str) -> str:
    """A README with the boards' tables between their markers; boards without markers are left out.

    Args:
        readme: text that may hold `<!-- leaderboard:NAME -->` ... `<!-- /leaderboard:NAME -->`.
        boards: what to put there.
        link: leads from the README to the results folder, such as `results/`.

    Raises:
        UserError: an opening marker without its closing one.
    """
    for board in boards:
        opening, closing = f"<!-- leaderboard:{board.name} -->", f"<!-- /leaderboard:{board.name} -->"
        head, found, rest = readme.partition(opening)
        if not found:
            continue
        _, found, tail = rest.partition(closing)
        if not found:
            raise UserError(f"README.md has '{opening}' but not '{closing}' after it: add the closing marker.")
        readme = f"{head}{opening}\n{markdown.section(board, link)}\n{closing}{tail}"
    return readme


def outputs(
    results: Path, board: str | None = None, formats: Sequence[str] = tuple(FORMATS), out: Path | None = None
) -> tuple[dict[Path, str], list[Board], list[str]]:
    """Everything the leaderboard consists of, without writing any of it.

    The README beside a results folder that holds `runs/` is part of it where it has markers, unless `out` is given.

    Returns:
        file -> text, the boards, and a warning for each result that was kept out.

    Raises:
        UsageError: an unknown board.
        UserError: a README with a marker that is never closed, or that cannot be read.
    """
    runs, warnings = collect(results)
    chosen = select(build_boards(runs), board)
    folder = results / FOLDER if out is None else out
    files = {folder / name: text for name, text in pages(chosen, formats, with_index=board is None).items()}
    readme = Path(os.path.normpath(results.absolute())).parent / "README.md"
    if out is None and "md" in formats and (results / "runs").is_dir() and readme.is_file():
        text = _read(readme)
        marked = re.findall(r"<!-- leaderboard:(\S+) -->", text)
        known = {entry.name: entry for entry in chosen}
        # A marker of a data set without results says so, rather than keep an old table.
        shown = [known.get(name, make_board(name)) for name in marked if board in (None, name)]
        if shown:
            files[readme] = inject(text, shown, f"{results.absolute().name}/")
    return files, chosen, warnings


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8")  # not read_text, which would change the line ends
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {path}: {error}.") from error


def drifted(files: Mapping[Path, str]) -> list[Path]:
    """Files that are missing or differ from what they should hold, byte for byte."""
    return [path for path, text in files.items() if not path.is_file() or path.read_bytes() != text.encode("utf-8")]


def write(files: Mapping[Path, str]) -> list[Path]:
    """Write what differs, atomically.

    Returns:
        the files written.
    """
    changed = drifted(files)
    for path in changed:
        write_text(path, files[path])
    return changed
