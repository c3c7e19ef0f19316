"""The leaderboard files: their names, their text, and whether the committed ones are up to date."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from rrsis_bench.boards.board import Board, make_board
from rrsis_bench.boards.collect import load
from rrsis_bench.boards.render import csv, html, json, latex, markdown, plots
from rrsis_bench.boards.render.cells import address
from rrsis_bench.boards.render.drawings import bare, fill
from rrsis_bench.errors import UsageError, UserError, did_you_mean
from rrsis_bench.files import prove_writable, write_together

PAGES: Mapping[str, Callable[[Board], str]] = {
    "md": markdown.page,
    "csv": csv.page,
    "json": json.page,
    "tex": latex.page,
}
"""Formats with a file for each board; `html` is one file for all, `svg` one for each plot."""
FORMATS = (*PAGES, "html", "svg")
DRAWN = (".html", ".svg")
"""Files that plots are drawn in. In others, a name that somebody gave to a method may look like a plot's slot."""
FOLDER = "leaderboard"


def select(boards: Sequence[Board], name: str | None) -> list[Board]:
    """Choose all boards, or the one named.

    Raises:
        UsageError: the board is unknown; the message lists the known ones.
    """
    known = [board.name for board in boards]
    if name is not None and name not in known:
        raise UsageError(f"unknown board '{name}'.{did_you_mean(name, known)}")
    return [board for board in boards if name in (None, board.name)]


def pages(boards: Sequence[Board], formats: Iterable[str], whole: bool = True) -> dict[str, str]:
    """Write the text of every page: file name -> text, plots not drawn yet. A pure function of the boards.

    Args:
        boards: what to show.
        formats: some of `FORMATS`.
        whole: whether these are all boards. If they are, the HTML page is `index.html`, and `README.md` lists them;
            else the HTML page has the board's name.
    """
    wanted = set(formats)
    found = {f"{board.name}.{suffix}": PAGES[suffix](board) for board in boards for suffix in PAGES if suffix in wanted}
    if "svg" in wanted:
        found |= {f"{stem}.svg": plots.page(data) for board in boards for stem, data in plots.plots(board).items()}
    if "html" in wanted:
        beside = [suffix for suffix in PAGES if suffix in wanted]
        found["index.html" if whole else f"{boards[0].name}.html"] = html.page(boards, beside)
    if whole:
        found["README.md"] = markdown.index(boards)
    return found


def inject(readme: str, boards: Iterable[Board], link: str) -> str:
    """Put the boards' tables between their markers in a README; boards without markers are left out.

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
        readme = f"{head}{opening}\n{markdown.section(board, link, published=False)}\n{closing}{tail}"
    return readme


def outputs(
    results: Path, board: str | None = None, formats: Sequence[str] = FORMATS, out: Path | None = None
) -> tuple[dict[Path, str], list[Board], list[str]]:
    """Make the text of every file of the leaderboard, and write none.

    The README beside a results folder that holds `runs/` is one of the files if it has markers, unless `out` is given.

    Returns:
        file -> text (see `pages`), the boards, and a warning for each result that was kept out.

    Raises:
        UsageError: no such folder, or an unknown board.
        UserError: a README with a marker that is never closed, or that cannot be read.
    """
    if not results.is_dir():
        raise UsageError(
            f"there is no folder {results}: train and test a method first, or name a folder of results with --results."
        )
    boards, warnings = load(results)
    chosen = select(boards, board)
    folder = results / FOLDER if out is None else out
    files = {folder / name: text for name, text in pages(chosen, formats, whole=board is None).items()}
    readme = Path(os.path.normpath(results.absolute())).parent / "README.md"
    if out is None and "md" in formats and (results / "runs").is_dir() and readme.is_file():
        text = _read(readme)
        marked = re.findall(r"<!-- leaderboard:(\S+) -->", text)
        known = {entry.name: entry for entry in chosen}
        # A marker of a data set without results says so, rather than keep an old table.
        shown = [known.get(name, make_board(name)) for name in marked if board in (None, name)]
        if shown:
            files[readme] = inject(text, shown, f"{address(results.absolute().name)}/")
    return files, chosen, warnings


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8")  # not read_text, which would change the line ends
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {path}: {error}.") from error


def drifted(files: Mapping[Path, str]) -> list[Path]:
    """List files that are missing or out of date: text is compared byte for byte, drawings by their data."""
    return [path for path, text in files.items() if not path.is_file() or _comparable(path) != text]


def _comparable(path: Path) -> str:
    return bare(_read(path)) if path.suffix in DRAWN else _read(path)


_MADE = "Made by `rrsis-bench leaderboard`"
_SIGNS: Mapping[str, tuple[str, ...]] = {
    ".md": (_MADE, "<!-- leaderboard:"),
    ".html": (_MADE,),
    ".tex": (_MADE,),
    ".csv": ("dataset,split,kind",),
    ".json": ('"notice"',),
    ".svg": ("<!-- plot:",),
}
"""Ending of a file -> words that a leaderboard's file of this ending holds, of this or an earlier version."""


def write(files: Mapping[Path, str]) -> list[Path]:
    """Draw and write what differs: all files, or none.

    Returns:
        the files written.

    Raises:
        UsageError: a file of this name is somebody's own.
        UserError: a plot has to be drawn and matplotlib is not installed, or a file cannot be written.
    """
    stale = drifted(files)
    for path in stale:
        if path.is_file() and not any(sign in _read(path) for sign in _SIGNS[path.suffix]):
            raise UsageError(
                f"{path} is not a file that rrsis-bench leaderboard made: move it away, or choose another --out."
            )
    prove_writable(*stale)
    drawn = {path: fill(files[path], plots.draw) if path.suffix in DRAWN else files[path] for path in stale}
    write_together(drawn)
    return list(drawn)
