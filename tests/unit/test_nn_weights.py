from __future__ import annotations

import argparse
import os
from hashlib import sha256
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from rrsis_bench.errors import MissingResourceError, UsageError
from rrsis_bench.nn.weights.files import fit, load_checkpoint, load_tensors, strip_prefixes
from rrsis_bench.nn.weights.refs import WeightRef, resolve, sha256_file
from rrsis_bench.nn.weights.seen import Seen, record

DIGEST = "a" * 64


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hub:timm/vit/model.safetensors@v1", WeightRef("model.safetensors", hub="timm/vit", revision="v1")),
        ("hub:o/r/sub/x.pth", WeightRef("sub/x.pth", hub="o/r")),
        (f"package:pkg/model/m.bin#sha256={DIGEST}", WeightRef("model/m.bin", package="pkg", sha256=DIGEST)),
        ("/weights/swin.pth", WeightRef("/weights/swin.pth")),
    ],
)
def test_one_line_names(text: str, expected: WeightRef) -> None:
    assert WeightRef.parse(text) == expected
    assert WeightRef.parse(str(expected)) == WeightRef.parse(text.partition("#")[0])


@pytest.mark.parametrize("text", ["", "hub:owner/repo", "x.pth#sha256=12"])
def test_malformed_names_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="names no"):
        WeightRef.parse(text)


def test_resolve_checks_the_digest(tmp_path: Path) -> None:
    path = tmp_path / "w.bin"
    path.write_bytes(b"weights")
    digest = sha256(b"weights").hexdigest()
    assert sha256_file(path) == digest
    assert resolve(f"{path}#sha256={digest}") == path
    with pytest.raises(MissingResourceError, match=r"w\.bin is not the file meant"):
        resolve(f"{path}#sha256={DIGEST}")


def test_missing_weights_say_where_to_get_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MissingResourceError, match=r"gone\.pth does not exist"):
        resolve(str(tmp_path / "gone.pth"))
    with pytest.raises(MissingResourceError, match="install the package 'no_such_package'"):
        resolve("package:no_such_package/x.pth")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_CACHE", os.fspath(tmp_path))
    monkeypatch.setenv("RRSIS_CACHE", os.fspath(tmp_path / "cache"))
    with pytest.raises(MissingResourceError, match=r"hf download owner/no-such-repo weights\.bin --revision main"):
        resolve("hub:owner/no-such-repo/weights.bin")


def test_reads_checkpoints_without_running_code(tmp_path: Path) -> None:
    torch.save({"model": {"w": torch.ones(2)}, "args": argparse.Namespace(lr=1.0), "epoch": 3}, tmp_path / "c.pth")
    assert load_checkpoint(tmp_path / "c.pth")["args"].lr == 1.0
    assert list(load_tensors(tmp_path / "c.pth")) == ["w"]

    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, (f"touch {tmp_path / 'ran'}",)

    torch.save({"model": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(MissingResourceError, match=r"cannot read weights from .*evil\.pth"):
        load_tensors(tmp_path / "evil.pth")
    assert not (tmp_path / "ran").exists()


def test_unusable_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "broken.safetensors").write_bytes(b"no header")
    torch.save([1], tmp_path / "list.pth")
    save_file({}, tmp_path / "empty.safetensors")
    for file, reason in (
        ("broken.safetensors", "cannot read"),
        ("list.pth", "holds a list"),
        ("empty.safetensors", "no tensors"),
    ):
        with pytest.raises(MissingResourceError, match=f"{file}.*{reason}|{reason}.*{file}"):
            load_tensors(tmp_path / file)


def test_strip_prefixes_only_where_all_names_have_them() -> None:
    one = torch.ones(1)
    assert strip_prefixes({"module.a": one, "module.b": one}, ("module.",)) == {"a": one, "b": one}
    assert strip_prefixes({"module.a": one, "b": one}, ("module.",)) == {"module.a": one, "b": one}


def test_fit_names_what_differs() -> None:
    module = nn.Linear(2, 2)
    with pytest.raises(
        MissingResourceError, match=r"does not know c; it misses bias; .*weight \(3, 2\) instead of \(2, 2\)"
    ):
        fit(module, {"c": torch.ones(1), "weight": torch.ones(3, 2)}, "weights")
    fit(module, {"weight": torch.ones(2, 2), "bias": torch.zeros(2)}, "weights")
    assert module.weight.sum() == 4


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which the hub's client would keep `hub:us/net`, with one commit that `main` names."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", os.fspath(tmp_path / "hub"))
    monkeypatch.setenv("HF_HUB_CACHE", os.fspath(tmp_path / "hub"))
    monkeypatch.setenv("RRSIS_CACHE", os.fspath(tmp_path / "cache"))
    folder = tmp_path / "hub" / "models--us--net"
    (folder / "refs").mkdir(parents=True)
    commit(folder, "a" * 40, b"first")
    return folder


def commit(folder: Path, name: str, content: bytes) -> Path:
    path = folder / "snapshots" / name / "net.pth"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    (folder / "refs" / "main").write_text(name)
    return path


def test_a_branch_that_moved_means_the_commit_it_meant_first(hub: Path) -> None:
    assert resolve("hub:us/net/net.pth").read_bytes() == b"first"
    commit(hub, "b" * 40, b"second")
    assert resolve("hub:us/net/net.pth").read_bytes() == b"first"
    seen = Seen.read("hub:us/net/net.pth@main")
    assert seen is not None
    assert (seen.commit, seen.sha256) == ("a" * 40, sha256(b"first").hexdigest())
    record(seen.name).unlink()
    assert resolve("hub:us/net/net.pth").read_bytes() == b"second"


def test_another_file_under_a_recorded_name_is_refused(hub: Path) -> None:
    path = resolve("hub:us/net/net.pth")
    path.write_bytes(b"other")
    os.utime(path, ns=(1, 1))
    with pytest.raises(MissingResourceError, match="is not the file that this machine used first"):
        resolve("hub:us/net/net.pth")
    path.write_bytes(b"first")
    assert resolve("hub:us/net/net.pth") == path


def test_a_known_digest_needs_no_record(hub: Path) -> None:
    resolve(f"hub:us/net/net.pth#sha256={sha256(b'first').hexdigest()}")
    assert Seen.read("hub:us/net/net.pth@main") is None


def test_a_damaged_record_is_named(hub: Path) -> None:
    resolve("hub:us/net/net.pth")
    record("hub:us/net/net.pth@main").write_text("{")
    with pytest.raises(MissingResourceError, match=r"weights-seen/[0-9a-f]+\.json is damaged; delete it"):
        resolve("hub:us/net/net.pth")
