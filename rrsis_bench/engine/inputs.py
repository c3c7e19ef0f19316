"""What `predict` is asked for: image files by name, folder or pattern, and expressions from a file. No torch."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from rrsis_bench.errors import UsageError

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff"})
_WRITTEN = re.compile(r"_[0-9a-f]{8}_(mask\.png|overlay\.png|mask\.tif)")


def find_images(given: Sequence[Path]) -> list[Path]:
    """The image files that paths, folders and patterns name, each once, in the given order.

    A folder stands for the images right in it, by name. Neither a folder nor a pattern stands for files that `predict`
    has written.

    Args:
        given: files, folders, or patterns such as `scenes/*.tif` and `scenes/**/*.png`. A file that exists is no
            pattern, whatever its name.

    Raises:
        UsageError: a folder holds no image, or nothing matches a pattern.
    """
    return list({path.resolve(): path for one in given for path in _expanded(one)}.values())


def _expanded(given: Path) -> Iterator[Path]:
    if given.is_dir():
        found = [path for path in sorted(given.iterdir()) if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()]
        nothing = f"--image {given}: the folder holds no image ({', '.join(sorted(IMAGE_SUFFIXES))})."
    elif glob.has_magic(str(given)) and not given.exists():
        found = [path for path in map(Path, sorted(glob.glob(str(given), recursive=True))) if path.is_file()]
        nothing = f"--image {given}: no file matches this pattern."
    else:
        yield given  # whoever opens the file says what is wrong with it
        return
    if not (found := [path for path in found if not _WRITTEN.search(path.name)]):
        raise UsageError(nothing)
    yield from found


def read_expressions(path: Path) -> list[str]:
    """The expressions of a text file (UTF-8), one a line; empty lines are left out.

    Raises:
        UsageError: the file cannot be read, or holds no expression.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else error.strerror
        raise UsageError(f"--texts: cannot read {path}: {reason}.") from error
    if not (found := [line.strip() for line in lines if line.strip()]):
        raise UsageError(f"--texts {path} holds no expression; write one a line.")
    return found
