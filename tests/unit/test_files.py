"""Files are there wholly or not at all, whatever fails and whoever is killed; and nothing writes them another way."""

from __future__ import annotations

import ast
import errno
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from helpers.limits import file_size_limit
from rrsis_bench import files
from rrsis_bench.errors import UserError

ROOT = Path(__file__).resolve().parents[2]


def full(*args: object, **kwargs: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*"))


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_full_disk_leaves_the_old_file_and_no_rubbish(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "result.json"
    files.write_text(path, "old")
    monkeypatch.setattr(os, call, full)
    with pytest.raises(UserError, match=r"result\.json.*disk is full.*free some.*earlier result\.json is unchanged\.$"):
        files.write_text(path, "new")
    monkeypatch.undo()
    assert path.read_text() == "old"
    assert names(tmp_path) == ["result.json"]


def test_without_an_earlier_file_none_is_called_unchanged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError) as error:
        files.write_text(tmp_path / "new" / "folder" / "a.txt", "x")
    assert "changed" not in str(error.value)
    assert names(tmp_path) == [], "new folders go again"


def test_a_write_cut_in_the_middle_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    files.write_bytes(path, b"old")
    with file_size_limit(100_000), pytest.raises(UserError, match=r"cannot write .*a\.bin: File too large"):
        files.write_bytes(path, bytes(300_000))
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a.bin"]


def test_a_library_cannot_hide_what_the_disk_refused(tmp_path: Path) -> None:
    def careless() -> None:
        with files.atomic(tmp_path / "a.bin") as stream, suppress(OSError):
            stream.write(bytes(300_000))

    with file_size_limit(100_000), pytest.raises(UserError, match="File too large"):
        careless()
    assert names(tmp_path) == []


def test_what_the_block_raises_passes_through(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"

    def write_half(error: BaseException) -> None:
        with files.atomic(path) as stream:
            stream.write(b"half")
            raise error

    files.write_bytes(path, b"old")
    for error in (FileNotFoundError("another file"), ValueError(), KeyboardInterrupt()):
        with pytest.raises(type(error)) as caught:
            write_half(error)
        assert caught.value is error
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a.bin"]


def test_a_folder_in_the_way_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "file" / "result.json", tmp_path / "folder"):
        with pytest.raises(UserError, match="cannot write"):
            files.write_text(path, "x")
    assert names(tmp_path) == ["file", "folder"]


@pytest.mark.parametrize("mask", [0o022, 0o027, 0o002])
def test_permissions_are_those_of_any_new_file(mask: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = os.umask(mask)
    try:
        # Reading the umask means setting it, for all threads at once.
        monkeypatch.setattr(os, "umask", lambda mask: pytest.fail("the umask was changed"))
        files.write_text(tmp_path / "a", "x")
        files.write_together({tmp_path / "b": "x"})
        (tmp_path / "ordinary").write_text("x")
    finally:
        monkeypatch.undo()
        os.umask(before)
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o666 & ~mask}


@pytest.mark.parametrize("together", [False, True])
def test_the_folder_is_synced_after_the_move_and_new_ones_in_their_parents(
    together: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[tuple[int, bool]] = []
    path = tmp_path / "new" / "folder" / "a.txt"

    def fsync(descriptor: int) -> None:
        synced.append((os.fstat(descriptor).st_ino, path.exists()))

    monkeypatch.setattr(os, "fsync", fsync)
    if together:
        files.write_together({path: "x"})
    else:
        files.write_text(path, "x")
    assert synced[0] == (path.stat().st_ino, False), "the content first"
    assert {inode for inode, moved in synced[1:] if moved} == {
        folder.stat().st_ino for folder in (path.parent, path.parent.parent, tmp_path)
    }


def test_names_may_be_as_long_as_the_file_system_allows(tmp_path: Path) -> None:
    for name in ("a" * 255, "ü" * 127, "[*]" * 80):
        files.write_text(tmp_path / name, "x")
        files.write_text(tmp_path / name, "y")
        assert (tmp_path / name).read_text() == "y"


def test_writers_at_once_never_mix(tmp_path: Path) -> None:
    path, contents = tmp_path / "a.bin", [bytes([k]) * 200_000 for k in range(8)]
    files.write_bytes(path, contents[0])
    seen: set[bytes] = set()
    threads = [threading.Thread(target=files.write_bytes, args=(path, content)) for content in contents]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        seen.add(path.read_bytes())
    assert seen <= set(contents)
    assert names(tmp_path) == ["a.bin"]


KILLED = """
import os, sys
from pathlib import Path
from rrsis_bench import files
stage, folder = int(sys.argv[1]), Path(sys.argv[2])
ordinary = {"fsync": os.fsync, "replace": os.replace}
passed = [0]
def stop(name):
    def call(*args):
        if passed[0] == stage:
            os._exit(9)
        passed[0] += 1
        return ordinary[name](*args)
    return call
os.fsync, os.replace = stop("fsync"), stop("replace")
files.write_together({folder / name: "new" for name in ("samples", "config", "result")})
"""


@pytest.mark.parametrize("stage", range(7))
def test_killed_between_stages(stage: int, tmp_path: Path) -> None:
    """Three times the content to the disk, three moves, then the folders."""
    for name in ("samples", "config", "result"):
        (tmp_path / name).write_text("old")
    done = subprocess.run([sys.executable, "-c", KILLED, str(stage), str(tmp_path)], cwd=ROOT, check=False)
    assert done.returncode == 9
    found = [(tmp_path / name).read_text() for name in ("samples", "config", "result")]
    assert found == ["new"] * max(0, stage - 3) + ["old"] * min(3, 6 - stage)
    left = [path for path in tmp_path.iterdir() if path.suffix == ".tmp"]
    assert len(left) == min(stage + 1, 3, 6 - stage)
    # Another writer may still be at it; what is an hour old has none.
    files.write_together({tmp_path / name: "newer" for name in ("samples", "config", "result")})
    assert all(path.exists() for path in left)
    for path in left:
        os.utime(path, (path.stat().st_atime, path.stat().st_mtime - 3700))
    (tmp_path / ".others.01234567.tmp").touch()
    os.utime(tmp_path / ".others.01234567.tmp", (0, 0))
    files.write_together({tmp_path / name: "newest" for name in ("samples", "config", "result")})
    assert names(tmp_path) == [".others.01234567.tmp", "config", "result", "samples"]


def test_together_all_or_nothing_while_the_disk_fills(tmp_path: Path) -> None:
    files.write_text(tmp_path / "a", "old")
    wanted = {tmp_path / "a": "new", tmp_path / "sub" / "b": "x", tmp_path / "c": bytes(300_000)}
    with file_size_limit(100_000), pytest.raises(UserError, match=r"c: File too large.*None of a, b, c was changed\.$"):
        files.write_together(wanted)
    assert names(tmp_path) == ["a"]
    assert (tmp_path / "a").read_text() == "old"
    files.write_together(wanted)
    assert names(tmp_path) == ["a", "b", "c", "sub"]
    assert (tmp_path / "a").read_text() == "new"


@pytest.mark.parametrize(
    ("refused", "said"),
    [
        ("a", "None of a, b, c was changed."),
        ("b", "New are: a; unchanged: b, c."),
        ("c", "New are: a, b; unchanged: c."),
    ],
)
def test_a_refused_move_says_what_was_changed(
    refused: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "abc":
        files.write_text(tmp_path / name, "old")
    replace = os.replace
    monkeypatch.setattr(os, "replace", lambda a, b: full() if b.name == refused else replace(a, b))
    with pytest.raises(UserError) as error:
        files.write_together({tmp_path / name: "new" for name in "abc"})
    assert said in str(error.value)
    new = [name for name in "abc" if (tmp_path / name).read_text() == "new"]
    assert new == list("abc"[: "abc".index(refused)])
    assert names(tmp_path) == ["a", "b", "c"]


# Functions that write files without `files.py`, and why they may.
MAY = {
    "rrsis_bench/cli/__init__.py:main": "opens the null device",
    "rrsis_bench/locked.py:locked": "makes an empty file to lock",
    "rrsis_bench/run/lock.py:_guard": "makes an empty file to lock",
    "rrsis_bench/sweep/launchers/local.py:_start": "appends to a log",
    "rrsis_bench/sweep/run_cell.py:_supervise": "appends to a log",
    "rrsis_bench/methods/contract/network.py:reloads": "saves into memory",
    "rrsis_bench/engine/checkpoint.py:write": "saves into the stream of files.atomic",
    "rrsis_bench/data/pixels/writing.py:write_image": "for made-up data sets",
    "rrsis_bench/data/fake.py:cut_short": "for made-up data sets",
    "rrsis_bench/data/sources/": "made-up data sets: into a folder that files.atomic_folder renames, or for tests",
    "rrsis_bench/data/fetch/": "into a staging folder that is moved when all is there",
    "rrsis_bench/engine/geo.py:map_files": "writes into memory",
}
CALLS = {"write_text", "write_bytes", "imwrite", "mkstemp", "NamedTemporaryFile", "savez", "save_file", "tofile"}
MODULES = {"torch": {"save"}, "np": {"save", "savetxt"}, "json": {"dump"}, "yaml": {"dump"}, "pickle": {"dump"}}


def writers(path: Path) -> Iterator[str]:
    def visit(node: ast.AST, function: str) -> Iterator[str]:
        for child in ast.iter_child_nodes(node):
            named = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
            inside = child.name if named else function  # type: ignore[attr-defined]
            if isinstance(child, ast.Call) and writes(child):
                yield f"{path.relative_to(ROOT).as_posix()}:{inside}"
            yield from visit(child, inside)

    return visit(ast.parse(path.read_text(encoding="utf-8")), "")


def writes(call: ast.Call) -> bool:
    function = call.func
    if isinstance(function, ast.Attribute):
        owner, name = ast.unparse(function.value), function.attr
        if owner in MODULES:
            return name in MODULES[owner]
        if name in CALLS and owner != "files":
            return True
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    if name not in {"open", "fdopen"}:
        return False
    words = [*call.args, *(keyword.value for keyword in call.keywords)]
    modes = [word.value for word in words if isinstance(word, ast.Constant) and isinstance(word.value, str)]
    return any(set(mode) <= set("rwxabt+") and set(mode) & set("wxa+") for mode in modes)


def test_nothing_else_writes_files() -> None:
    found = {
        name
        for folder in ("rrsis_bench", "baselines", "tools")
        for path in sorted((ROOT / folder).rglob("*.py"))
        if path != ROOT / "rrsis_bench" / "files.py"
        for name in writers(path)
    }
    assert {name for name in found if not any(name.startswith(known) for known in MAY)} == set()


def test_a_folder_is_there_wholly_or_not_at_all(tmp_path: Path) -> None:
    def build(size: int) -> None:
        with files.atomic_folder(tmp_path / "sub" / "data") as building:
            (building / "a").write_bytes(bytes(size))
            assert not (tmp_path / "sub" / "data").exists()

    with file_size_limit(100_000), pytest.raises(UserError, match=r"cannot write .*data: File too large"):
        build(300_000)
    assert names(tmp_path) == ["sub"]
    before = os.umask(0o027)
    try:
        build(10)
    finally:
        os.umask(before)
    assert names(tmp_path) == ["a", "data", "sub"]
    assert stat.S_IMODE((tmp_path / "sub" / "data").stat().st_mode) == 0o750
    with pytest.raises(UserError, match="cannot write"), files.atomic_folder(tmp_path / "sub" / "data") as building:
        (building / "b").touch()
    assert names(tmp_path) == ["a", "data", "sub"]
