"""`data fetch rrsisd` with `gdown`: stand-ins with the parameters of its real releases."""

from __future__ import annotations

import inspect
import json
import shutil
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from rrsis_bench.cli import main
from rrsis_bench.data.prepare import ensure_manifest, locate, manifest_origin
from rrsis_bench.data.sources import create
from rrsis_bench.data.sources.rrsisd import IMAGES, INSTANCES, REFS

pytestmark = pytest.mark.slow

FETCH = ["data", "fetch", "rrsisd"]
ADDRESS = create("rrsisd").info.drive
PARAMETERS = {
    "6.5.1": "url id output quiet proxy speed use_cookies verify user_agent skip_download resume cookies_file timeout "
    "retries",
    "5.2.2": "url id output quiet proxy speed use_cookies remaining_ok verify user_agent skip_download resume",
    "4.7.3": "url id output quiet proxy speed use_cookies remaining_ok verify user_agent",
}
"""Parameters of `gdown.download_folder` by release, in order; each has a default."""


def stand_in(
    version: str, monkeypatch: pytest.MonkeyPatch, answer: Callable[[Path], list[str] | None]
) -> list[dict[str, Any]]:
    """Make `import gdown` give a module whose `download_folder` has the parameters of a release.

    Returns:
        the arguments of each call.
    """
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    known = inspect.Signature([inspect.Parameter(name, kind, default=None) for name in PARAMETERS[version].split()])
    calls: list[dict[str, Any]] = []

    def download_folder(*args: Any, **kwargs: Any) -> list[str] | None:
        calls.append(dict(known.bind(*args, **kwargs).arguments))
        assert (calls[-1].get("url") is None) != (calls[-1].get("id") is None)
        Path(calls[-1]["output"]).mkdir(parents=True, exist_ok=True)
        return answer(Path(calls[-1]["output"]))

    gdown = ModuleType("gdown")
    gdown.download_folder = download_folder  # type: ignore[attr-defined]
    gdown.__version__ = version  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "gdown", gdown)
    return calls


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A made-up RRSIS-D folder; the suite's folders lie beside it."""
    for folder in ("CACHE", "RUNS", "DATA"):
        monkeypatch.setenv(f"RRSIS_{folder}", str(tmp_path / folder.lower()))
    create("rrsisd").write_fake(tmp_path / "made", 3, 0, size=64)  # type: ignore[call-arg]
    return tmp_path / "made"


def as_published(made: Path) -> Callable[[Path], list[str]]:
    """What a Drive folder holds that keeps the files in an arrangement of its own, with the images in an archive."""

    def answer(output: Path) -> list[str]:
        (output / "annotations").mkdir(exist_ok=True)
        shutil.copy(made / REFS, output / "annotations")
        shutil.copy(made / INSTANCES, output / "instances.json")
        with zipfile.ZipFile(output / "JPEGImages.zip", "w") as archive:
            for image in sorted((made / IMAGES).iterdir()):
                archive.write(image, f"JPEGImages/{image.name}")
        return [str(output / name) for name in ("annotations/refs(unc).p", "instances.json", "JPEGImages.zip")]

    return answer


def as_unpacked(made: Path) -> Callable[[Path], list[str]]:
    """What a Drive folder holds that has the data set's own arrangement."""

    def answer(output: Path) -> list[str]:
        shutil.copytree(made, output, dirs_exist_ok=True)
        return [str(path) for path in output.rglob("*") if path.is_file()]

    return answer


@pytest.mark.parametrize("version", ["6.5.1", "5.2.2"])
@pytest.mark.parametrize("arrangement", [as_published, as_unpacked])
def test_a_drive_folder_is_fetched_laid_out_verified_and_recorded(
    version: str, arrangement: Any, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    calls = stand_in(version, monkeypatch, arrangement(made))
    assert main([*FETCH, "--yes"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    for words in (f"from {ADDRESS}, with gdown", "CC BY-NC 4.0", "about 5 GB", "ok: 0 errors"):
        assert words in out
    (call,) = calls
    assert {name: call[name] for name in ("url", "use_cookies", "resume")} == {
        "url": ADDRESS, "use_cookies": False, "resume": True,
    }  # fmt: skip
    root = tmp_path / "data/rrsisd"
    assert list(root.parent.iterdir()) == [root], "nothing is left beside the folder"
    for place in (REFS, INSTANCES, *(f"{IMAGES}/{image.name}" for image in (made / IMAGES).iterdir())):
        assert (root / place).read_bytes() == (made / place).read_bytes()
    known = manifest_origin(ensure_manifest(locate({"dataset": "rrsisd"})))
    assert known is not None
    assert known.repository == ADDRESS
    assert len(known.revision) == 64
    assert main([*FETCH, "--yes"]) == 0
    assert "already" in capsys.readouterr().out
    assert len(calls) == 1


def test_what_stops_is_continued_and_the_steps_are_printed(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class DownloadError(Exception):
        """Gdown's own."""

    def broken(output: Path) -> list[str]:
        (output / "instances.json").write_text("{", encoding="utf-8")
        raise DownloadError("Cannot retrieve the public link of the file.\nYou may need to change the permission")

    stand_in("6.5.1", monkeypatch, broken)
    assert main([*FETCH, "--yes"]) == 3
    printed = capsys.readouterr()
    (line,) = printed.err.strip().splitlines()
    assert "cannot be fetched by gdown (" in line
    assert "What has arrived is kept, and the same command continues." in line
    assert "4. check: rrsis-bench data verify rrsisd" in printed.out, "the steps by hand"
    kept = tmp_path / "data/.rrsisd.fetch/files/instances.json"
    assert kept.is_file()
    assert not (tmp_path / "data/rrsisd").exists()

    def page(output: Path) -> list[str]:
        paths = as_published(made)(output)
        (output / "JPEGImages.zip").write_text("<!DOCTYPE html><html>quota exceeded", encoding="utf-8")
        return paths

    for answer, said in ((lambda output: None, "it fetched no file"), (page, "arrived as a web page")):
        stand_in("5.2.2", monkeypatch, answer)
        assert main([*FETCH, "--yes"]) == 3
        assert said in capsys.readouterr().err
    assert not kept.with_name("JPEGImages.zip").exists(), "a page is not kept as if it were the archive"
    stand_in("4.7.3", monkeypatch, as_published(made))
    assert main([*FETCH, "--yes"]) == 3
    assert "pip install 'gdown>=5.2'" in capsys.readouterr().err
    stand_in("5.2.2", monkeypatch, as_published(made))
    assert main([*FETCH, "--yes"]) == 0


def test_a_full_disk_is_one_line(
    made: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(output: Path) -> list[str]:
        raise OSError(28, "No space left on device")

    stand_in("6.5.1", monkeypatch, full)
    assert main([*FETCH, "--yes"]) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "The disk is full" in line


def test_it_asks_first_and_overwrites_nothing(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = stand_in("6.5.1", monkeypatch, as_published(made))
    monkeypatch.setattr("sys.stdin", type("Terminal", (), {"isatty": lambda self: True})())
    monkeypatch.setattr("builtins.input", lambda prompt: "n")
    assert main(FETCH) == 1
    own = tmp_path / "data/rrsisd/mine.txt"
    own.parent.mkdir(parents=True)
    own.write_text("mine", encoding="utf-8")
    assert main([*FETCH, "--yes"]) == 1
    assert "nothing is overwritten" in capsys.readouterr().err
    assert calls == []
    own.unlink()
    record = {"repository": "owner/set", "revision": "a" * 40, "licence": "", "files": {}, "identity": ""}
    own.with_name("rrsis-origin.json").write_text(json.dumps(record), encoding="utf-8")
    assert main([*FETCH, "--yes"]) == 1
    assert "holds owner/set@" in capsys.readouterr().err


def test_the_arguments_are_those_of_an_installed_gdown() -> None:
    gdown = pytest.importorskip("gdown")
    inspect.signature(gdown.download_folder).bind(url="", output="", quiet=True, use_cookies=False, resume=True)
