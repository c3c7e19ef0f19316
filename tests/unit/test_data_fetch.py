"""`data fetch` against a local server that speaks the hub's protocol."""

from __future__ import annotations

import io
import json
import stat
import sys
import tarfile
import time
import zipfile
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace

import pytest

from helpers.hub_server import Hub, serve
from helpers.limits import file_size_limit
from rrsis_bench.cli import main
from rrsis_bench.data.fetch import archives, into
from rrsis_bench.data.fetch.archives import unpack
from rrsis_bench.data.manifest import Manifest
from rrsis_bench.data.masks import decode
from rrsis_bench.data.prepare import ensure_manifest, locate, manifest_origin
from rrsis_bench.data.sources import create
from rrsis_bench.data.tables import stored
from rrsis_bench.errors import UserError
from rrsis_bench.results.external import External, score_predictions

FETCH = ["data", "fetch", "refsegrs", "--repo", "owner/set"]


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    create("refsegrs").write_fake(tmp_path / "made", 3, 0, size=64)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for path in sorted((tmp_path / "made").rglob("*")):
            if path.is_file():
                archive.write(path, f"RefSegRS/{path.relative_to(tmp_path / 'made')}")
        archive.writestr("__MACOSX/._x", "clutter")
        archive.writestr("LICENSE.txt", "beside the folder")
    for folder in ("CACHE", "RUNS", "DATA"):
        monkeypatch.setenv(f"RRSIS_{folder}", str(tmp_path / folder.lower()))
    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # the client waits a second before it tries again
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1000)
    offered = {"RefSegRS.zip": packed.getvalue(), "README.md": b"# RefSegRS\n", ".gitattributes": b"x"}
    with serve(Hub(offered)) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        yield running


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    assert len(captured.err.splitlines()) == 1, captured.err
    return captured.err


def files(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_a_data_set_is_fetched_verified_and_recorded(
    hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*FETCH, "--yes"]) == 0
    out = capsys.readouterr().out
    size = f"{sum(len(content) for name, content in hub.files.items() if name[0] != '.') / 1e6:.2f} MB"
    for words in ("CC BY 4.0 (the repository says: cc-by-4.0)", f"2 files, {size}", hub.commit, "ok: 0 errors"):
        assert words in out.replace("\n", " ")
    root = tmp_path / "data/refsegrs"
    held = files(root)
    record = json.loads(held.pop("rrsis-origin.json"))
    beside = {"README.md": hub.files["README.md"], "LICENSE.txt": b"beside the folder"}
    assert held == {**files(tmp_path / "made"), **beside}
    assert list(root.parent.iterdir()) == [root], "nothing is left beside the folder"
    wanted = {name: sha256(hub.files[name]).hexdigest() for name in ("RefSegRS.zip", "README.md")}
    assert (record["files"], record["revision"]) == (wanted, hub.commit)
    # The manifest of these files says where they are from.
    here = locate({"dataset": "refsegrs"})
    known = manifest_origin(ensure_manifest(here))
    assert known is not None
    assert str(known) == f"owner/set@{hub.commit}"
    assert known.files == wanted
    # A result says it, too.
    masks = {pair.sample_id: decode(pair.rle) for pair in Manifest.open(ensure_manifest(here), "test")}
    result = score_predictions(masks, "refsegrs", External("someone")).result()
    assert result["dataset"]["revision"] == f"owner/set@{hub.commit}"
    # Once more: nothing is fetched, and what a killed process left is removed.
    asked, left = len(hub.ranges), root.parent / ".refsegrs.fetch/files/RefSegRS.zip"
    left.parent.mkdir(parents=True)
    left.write_bytes(hub.files["RefSegRS.zip"])
    assert main([*FETCH, "--yes"]) == 0
    assert "already" in capsys.readouterr().out
    assert len(hub.ranges) == asked
    assert list(root.parent.iterdir()) == [root]
    # Files that a user corrects are no longer those of the revision.
    (root / "images/1.tif").write_bytes((root / "images/2.tif").read_bytes())
    assert manifest_origin(ensure_manifest(here)) is None


def test_another_revision_says_so_and_overwrites_nothing(
    hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*FETCH, "--yes"]) == 0
    before = files(tmp_path / "data")
    old, hub.commit = hub.commit, "b" * 40
    capsys.readouterr()
    assert main([*FETCH, "--yes"]) == 1
    message = one_line(capsys)
    assert f"owner/set@{old}" in message
    assert f"owner/set@{hub.commit}, with the same large files" in message
    assert files(tmp_path / "data") == before


def test_an_interrupted_file_is_continued_by_the_next_call(
    hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.cut = 6000
    assert main([*FETCH, "--yes"]) == 3
    assert "What has arrived is kept, and the same command continues." in one_line(capsys)
    assert not (tmp_path / "data/refsegrs").exists()
    hub.down = False
    assert main([*FETCH, "--yes"]) == 0
    assert "0.01 MB have arrived" in capsys.readouterr().out.replace("\n", " ")
    assert hub.ranges == [("RefSegRS.zip", 0), ("RefSegRS.zip", 6000), ("README.md", 0)]
    assert files(tmp_path / "made").items() <= files(tmp_path / "data/refsegrs").items()


def test_nothing_of_another_revision_is_laid_out(hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    packed = hub.files.pop("RefSegRS.zip")
    hub.files |= {"old/notes.txt": b"of the old revision", "RefSegRS.zip": packed}
    hub.cut = 6000
    assert main([*FETCH, "--yes"]) == 3
    staging = tmp_path / "data/.refsegrs.fetch"
    assert {"files/old/notes.txt", "files/README.md"} <= files(staging).keys()
    del hub.files["old/notes.txt"]
    hub.files["README.md"], hub.commit, hub.down = b"# RefSegR2\n", "b" * 40, False
    assert main([*FETCH, "--yes"]) == 0
    assert hub.ranges[-1][1] == 6000, "a file of the same content is continued"
    root = tmp_path / "data/refsegrs"
    held = files(root)
    assert held["README.md"] == b"# RefSegR2\n"
    assert not (root / "old").exists()
    assert set(json.loads(held["rrsis-origin.json"])["files"]) == {"README.md", "RefSegRS.zip"}


def test_a_linked_folder_stays_a_link(hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    disk, link = tmp_path / "disk/set", tmp_path / "data/refsegrs"
    disk.mkdir(parents=True)
    link.parent.mkdir()
    link.symlink_to(disk)
    assert main([*FETCH, "--yes"]) == 0
    assert link.is_symlink()
    assert (disk / "images/1.tif").is_file()
    assert [*link.parent.iterdir(), *disk.parent.iterdir()] == [link, disk], "fetched beside the folder, on its disk"


def test_a_wrong_digest_is_refused_and_fetched_anew(
    hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = hub.files["RefSegRS.zip"]
    hub.stated["RefSegRS.zip"] = sha256(good).hexdigest()
    hub.files["RefSegRS.zip"] = good[:-1] + b"!"
    assert main([*FETCH, "--yes"]) == 3
    assert "arrived damaged: its sha256 is" in one_line(capsys)
    assert not (tmp_path / "data/refsegrs").exists()
    hub.files["RefSegRS.zip"] = good
    assert main([*FETCH, "--yes"]) == 0
    assert hub.ranges[-2:] == [("RefSegRS.zip", 0), ("README.md", 0)], "the damaged file was not continued"


def test_a_full_disk_is_one_line_and_what_arrived_stays(
    hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with file_size_limit(4096):
        assert main([*FETCH, "--yes"]) == 1
    message = one_line(capsys)
    assert "RRSIS_DATA" in message
    assert "the same command continues" in message
    assert main([*FETCH, "--yes"]) == 0
    assert hub.ranges[1][1] > 0
    with monkeypatch.context() as full:
        full.setattr(into.shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
        capsys.readouterr()
        assert main([*FETCH, "--yes", "--root", str(tmp_path / "other")]) == 1
    assert "has 0.00 MB free. Free some space" in one_line(capsys)


def test_refusals_of_the_hub_are_one_line(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    hub.gated = True
    assert main([*FETCH, "--yes"]) == 3
    assert "gated: accept its licence on that page and log in (`hf auth login`)" in one_line(capsys)
    assert main([*FETCH, "--yes", "--revision", "none"]) == 3
    assert "Check the revision (--revision)." in one_line(capsys)
    assert main([*FETCH[:-1], "owner/other", "--yes"]) == 3
    assert "Check the name" in one_line(capsys)
    asked, hub.gated = len(hub.ranges), False
    hub.stated["RefSegRS.zip"] = "../../../escaped"
    assert main([*FETCH, "--yes"]) == 1
    assert "'RefSegRS.zip'" in one_line(capsys)
    hub.stated.clear()
    hub.files["../escaped"] = b"x"
    assert main([*FETCH, "--yes"]) == 1
    assert "'../escaped'" in one_line(capsys)
    assert len(hub.ranges) == asked


def test_no_connection_is_one_line(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    assert main([*FETCH, "--yes"]) == 3
    assert "cannot be fetched" in one_line(capsys)


def test_it_asks_first(hub: Hub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    assert main(FETCH) == 2, "no terminal, no question"
    assert "pass --yes" in one_line(capsys)
    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: True))
    answers = iter(["n", "", "Y"])
    monkeypatch.setattr("builtins.input", lambda prompt: next(answers))
    assert [main(FETCH), main(FETCH)] == [1, 1]
    assert hub.ranges == []
    assert main(FETCH) == 0


def test_a_users_files_are_never_overwritten(hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = tmp_path / "data/refsegrs/images/mine.tif"
    own.parent.mkdir(parents=True)
    own.write_bytes(b"mine")
    assert main([*FETCH, "--yes"]) == 1
    assert "nothing is overwritten" in one_line(capsys)
    assert files(tmp_path / "data") == {"refsegrs/images/mine.tif": b"mine"}
    (tmp_path / "empty").mkdir()
    assert main([*FETCH, "--yes", "--root", str(tmp_path / "empty")]) == 0


def test_a_parquet_copy_needs_no_unpacking(hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("pyarrow")
    create("parquet").write_fake(tmp_path / "copy", 3, 0, size=32)
    hub.files = {f"data/{name}": content for name, content in files(tmp_path / "copy").items()}
    assert main(["data", "fetch", "risbench", "--repo", "owner/set", "--yes"]) == 0
    assert "ok: 0 errors" in capsys.readouterr().out
    assert files(tmp_path / "data/risbench").keys() == {*hub.files, "rrsis-origin.json"}


def test_a_copy_with_other_columns_is_kept_and_its_origin_known(
    hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    create("parquet").write_fake(tmp_path / "copy", 3, 0, size=32)
    hub.files = {}
    for path in sorted((tmp_path / "copy").iterdir()):
        pq.write_table(pq.read_table(path).rename_columns(["picture", "mask", "phrase"]), path)
        hub.files[f"data/{path.name}"] = path.read_bytes()
    words = ["data", "fetch", "risbench", "--repo", "owner/set", "--yes"]
    with monkeypatch.context() as bare:
        bare.setattr(stored, "find_spec", lambda name: None)
        assert main(words) == 3
    assert "pip install 'rrsis-bench[parquet]'" in one_line(capsys)
    assert hub.ranges == [], "pyarrow is asked for before gigabytes are"
    assert main(words) == 3
    assert "has no column 'image' (image); it has: picture, mask, phrase." in one_line(capsys)
    named = {"dataset": "risbench", "source_options": {"columns": {"image": "picture"}}}
    assert str(manifest_origin(ensure_manifest(locate(named)))) == f"owner/set@{hub.commit}"


def test_data_sets_that_are_not_on_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RRSIS_DATA", str(tmp_path))
    monkeypatch.setitem(sys.modules, "gdown", None)  # as if it were not installed
    assert main(["data", "fetch", "rrsisd"]) == 3
    out = capsys.readouterr().out
    assert "pip install 'rrsis-bench[drive]'" in out
    assert "1. open https://drive.google.com/drive/folders/1Xqi3Am2Vgm4a5tHqiV9tfaqKNovcuK3A" in out
    assert f"{tmp_path}/rrsisd/images/rrsisd/JPEGImages/00001.jpg" in out
    assert "4. check: rrsis-bench data verify rrsisd" in out
    assert main(["data", "fetch", "risbench"]) == 3
    assert f"{tmp_path}/risbench must hold img_rgb/, mask/ and output_phrase_{{train,val,test}}.txt" in (
        capsys.readouterr().out
    )
    assert main(["data", "fetch", "tiny"]) == 0
    assert "nothing to fetch" in capsys.readouterr().out
    assert main(["data", "fetch", "own"]) == 2
    assert main(["data", "fetch", "moon"]) == 2


def zipped(path: Path, *names: str, mode: int = 0) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            archive.writestr(info, "x")
    return path


def tarred(path: Path, name: str, kind: bytes) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, "/etc/passwd"
        archive.addfile(info)
    return path


def test_archives_write_nothing_outside_of_their_folder(tmp_path: Path) -> None:
    into_folder = tmp_path / "deep/folder"
    hostile = [
        zipped(tmp_path / f"{k}.zip", "good.txt", name) for k, name in enumerate(("../a", "/a", "b/../../a", "c:/a"))
    ]
    hostile += [zipped(tmp_path / "link.zip", "good.txt", "link", mode=stat.S_IFLNK | 0o777)]
    hostile += [zipped(tmp_path / "twice.zip", "good.txt", "a/./same", "a/same")]
    hostile += [
        tarred(tmp_path / "a.tar.gz", "../a", tarfile.REGTYPE),
        tarred(tmp_path / "b.tgz", "a", tarfile.SYMTYPE),
    ]
    hostile += [tarred(tmp_path / "c.tgz", "a", tarfile.LNKTYPE), tarred(tmp_path / "d.tgz", "a", tarfile.CHRTYPE)]
    before = files(tmp_path)
    for archive in hostile:
        with pytest.raises(UserError, match="is refused: its entry"):
            unpack(archive, into_folder)
        assert files(tmp_path) == before, archive
    broken = tmp_path / "broken.zip"
    broken.write_bytes(zipped(tmp_path / "whole.zip", "x").read_bytes()[:-30])
    with pytest.raises(UserError, match=r"broken\.zip cannot be unpacked"):
        unpack(broken, into_folder)
    assert not archives.is_inside("")
    assert archives.is_inside("a/b c/d.tif")
