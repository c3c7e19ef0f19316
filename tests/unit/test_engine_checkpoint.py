"""Checkpoints: what they hold, how they are refused, and that they are never half-written."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from helpers import toy
from helpers.limits import file_size_limit
from rrsis_bench import registry
from rrsis_bench.engine import checkpoint as files
from rrsis_bench.engine.task import ReferringSegmentationTask
from rrsis_bench.errors import UsageError, UserError
from rrsis_bench.methods.build import build_method


@pytest.fixture(autouse=True)
def _toy(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(registry.BUILT_IN, toy.NAME, toy.TARGET)
    registry.installed_targets.cache_clear()
    yield
    registry.installed_targets.cache_clear()


def content(**changes: Any) -> dict[str, Any]:
    method, weights = build_method(toy.NAME, "tiny", {})
    frozen = files.frozen_names(method)
    state = {f"method.{key}": value for key, value in method.state_dict().items() if key not in frozen}
    entry = {
        "format": 1,
        "method": toy.NAME,
        "variant": "tiny",
        "options": {},
        "weights": weights,
        "frozen_sha256": files.hash_tensors(method.state_dict(), frozen),
    }
    return {"state_dict": state, files.ENTRY: entry | changes}


def test_only_what_never_changes_is_left_out() -> None:
    method, _ = build_method(toy.NAME, "tiny", {})
    frozen = files.frozen_names(method)
    assert frozen
    assert all(name.startswith("encoder.") for name in frozen)
    assert "encoder.1.running_mean" in frozen
    assert "adapter.1.running_mean" not in frozen


def test_frozen_tensors_of_no_base_weights_come_back_whatever_the_seed() -> None:
    method, _ = build_method(toy.NAME, "tiny", {}, pretrained=False)
    state = {f"method.{key}": torch.randn_like(value.float()) for key, value in method.state_dict().items()}
    whole = {"state_dict": state, files.ENTRY: content()[files.ENTRY] | {"weights": {}, "frozen_sha256": ""}}
    files.strict_load(method, whole, "c.ckpt")
    for key, value in method.state_dict().items():
        assert torch.equal(value, state[f"method.{key}"].to(value.dtype))
    del state["method." + files.frozen_names(method)[0]]
    with pytest.raises(UserError, match="lacks encoder"):
        files.strict_load(method, whole, "c.ckpt")


def test_a_network_with_base_weights_for_a_part_comes_back_with_its_seeded_frozen_part(monkeypatch) -> None:
    def load_pretrained(self):
        nn.init.ones_(self.encoder[0].weight)
        return {"encoder": "0"}

    monkeypatch.setattr(toy.Toy, "load_pretrained", load_pretrained)
    torch.manual_seed(1)
    task = ReferringSegmentationTask(toy.NAME, "tiny", {})
    saved = {"state_dict": {f"method.{key}": value.clone() for key, value in task.method.state_dict().items()}}
    task._trainer = SimpleNamespace(datamodule=None)
    task.on_save_checkpoint(saved)
    left_out = {key for key in task.method.state_dict() if f"method.{key}" not in saved["state_dict"]}
    assert left_out == {"encoder.0.weight"}
    torch.manual_seed(2)
    other, _ = build_method(toy.NAME, "tiny", {})
    assert not torch.equal(other.encoder[0].bias, task.method.encoder[0].bias)
    files.strict_load(other, saved, "c.ckpt")
    for key, value in task.method.state_dict().items():
        assert torch.equal(other.state_dict()[key], value), key
    nn.init.zeros_(other.encoder[0].weight)
    with pytest.raises(UserError, match="other base weights"):
        files.strict_load(other, saved, "c.ckpt")


def test_statistics_of_an_adapter_without_parameters_of_its_own_are_kept() -> None:
    adapter = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2, affine=False))
    encoder = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2, affine=False))
    for parameter in encoder.parameters():
        parameter.requires_grad_(False)
    network = nn.ModuleDict({"encoder": encoder, "adapter": adapter})
    frozen = files.frozen_names(network)
    assert "encoder.1.running_mean" in frozen
    assert not any(name.startswith("adapter") for name in frozen)


def test_round_trip(tmp_path: Path) -> None:
    files.write(content(), tmp_path / "c.ckpt")
    method, _ = build_method(toy.NAME, "tiny", {})
    for parameter in method.adapter.parameters():
        parameter.data.zero_()
    read = files.read(tmp_path / "c.ckpt")
    files.strict_load(method, read, "c.ckpt")
    for key, value in read["state_dict"].items():
        assert torch.equal(method.state_dict()[key.removeprefix("method.")], value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c.ckpt", "c.ckpt.sha256"]


def test_a_missing_or_unknown_tensor_is_refused() -> None:
    method, _ = build_method(toy.NAME, "tiny", {})
    lacking, extra = content(), content()
    del lacking["state_dict"]["method.head.weight"]
    extra["state_dict"]["method.encoder.7.weight"] = torch.zeros(1)
    with pytest.raises(UserError, match=r"lacks head\.weight"):
        files.strict_load(method, lacking, "c.ckpt")
    with pytest.raises(UserError, match=r"unknown encoder\.7\.weight"):
        files.strict_load(method, extra, "c.ckpt")


def test_what_only_training_needs_may_be_missing_whole_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toy.Toy, "training_only", ("adapter.",))
    method, _ = build_method(toy.NAME, "tiny", {})
    lacking, half, other = content(), content(), content()
    lacking["state_dict"] = {key: value for key, value in lacking["state_dict"].items() if ".adapter." not in key}
    before = {key: value.clone() for key, value in method.state_dict().items() if key.startswith("adapter.")}
    method.head.weight.data.zero_()
    files.strict_load(method, lacking, "c.ckpt")
    assert torch.equal(method.head.weight, lacking["state_dict"]["method.head.weight"])
    assert before
    assert all(torch.equal(method.state_dict()[key], value) for key, value in before.items())
    with pytest.raises(UserError, match=r"lacks adapter\.0\.bias"):
        files.strict_load(method, lacking, "c.ckpt", whole=True)
    del half["state_dict"]["method.adapter.0.bias"]
    with pytest.raises(UserError, match=r"lacks adapter\.0\.bias"):
        files.strict_load(method, half, "c.ckpt")
    other["state_dict"] = {**lacking["state_dict"]}
    del other["state_dict"]["method.words.weight"]
    with pytest.raises(UserError, match=r"lacks words\.weight"):
        files.strict_load(method, other, "c.ckpt")


def test_another_size_is_refused() -> None:
    method, _ = build_method(toy.NAME, "tiny", {"dim": 4})
    with pytest.raises(UserError, match=r"c\.ckpt does not fit"):
        files.strict_load(method, content(), "c.ckpt")


def test_other_base_weights_are_refused() -> None:
    method, _ = build_method(toy.NAME, "tiny", {"frozen_seed": 6})
    with pytest.raises(UserError, match="other base weights"):
        files.strict_load(method, content(), "c.ckpt")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"method": "lavt"}, "--method lavt"),
        ({"variant": "base"}, "--variant base"),
        ({"options": {"dim": 4}}, "dim=4"),
    ],
)
def test_another_method_variant_or_option_is_named(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        files.check_identity(content(**changes), toy.NAME, "tiny", {}, "c.ckpt")
    assert "c.ckpt" in str(caught.value)


def test_files_that_are_no_checkpoints(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no checkpoint"):
        files.read(tmp_path / "missing.ckpt")
    (tmp_path / "text.ckpt").write_text("hello")
    with pytest.raises(UserError, match=r"text\.ckpt is no checkpoint"):
        files.read(tmp_path / "text.ckpt")
    files.write(content(), tmp_path / "whole.ckpt")
    whole = (tmp_path / "whole.ckpt").read_bytes()
    (tmp_path / "cut.ckpt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"cut\.ckpt"):
        files.read(tmp_path / "cut.ckpt")
    torch.save({"state_dict": {}}, tmp_path / "foreign.ckpt")
    with pytest.raises(UserError, match="not written by rrsis-bench"):
        files.read(tmp_path / "foreign.ckpt")
    torch.save({"state_dict": {}, files.ENTRY: Path("x")}, tmp_path / "hostile.ckpt")
    with pytest.raises(UserError, match="could run code"):
        files.read(tmp_path / "hostile.ckpt")


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "c.ckpt"
    files.write(content(), path)
    before = path.read_bytes()

    def full(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="No space left"):
        files.write(content(), path)
    assert path.read_bytes() == before
    monkeypatch.undo()
    # Of a file cut in the middle torch's own report is a RuntimeError of its zip writer.
    with file_size_limit(100_000), pytest.raises(UserError, match=r"c\.ckpt: File too large.*--resume auto"):
        files.write({"state_dict": {"a": torch.zeros(100_000)}}, path)
    assert path.read_bytes() == before
    assert sorted(tmp_path.iterdir()) == [path, files.digest_path(path)]
    (tmp_path / "ordinary").touch()
    assert path.stat().st_mode == (tmp_path / "ordinary").stat().st_mode


def flipped(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    for offset in range(400):
        data[at + offset] ^= 0xFF
    path.write_bytes(data)


@pytest.mark.parametrize("with_digest", [True, False])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_flipped_checkpoint_is_refused(tmp_path: Path, with_digest: bool, share: float) -> None:
    path = tmp_path / "best.ckpt"
    files.write({**content(), "filling": torch.arange(20_000)}, path)
    files.read(path)
    if not with_digest:
        files.digest_path(path).unlink()
    flipped(path, int(share * path.stat().st_size))
    with pytest.raises(UserError, match="damaged"):
        files.read(path)


def test_the_digest_beside_a_checkpoint_is_what_sha256sum_checks(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    for number in range(2):
        files.write(content(number=number), path)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        assert files.digest_path(path).read_text() == f"{digest}  last.ckpt\n"


def test_killed_between_the_checkpoint_and_its_digest_either_is_sound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "last.ckpt"
    files.write(content(number=1), path)
    kept = files._keep_digests
    calls: list[int] = []

    def killed(path: Path, digests: list[str]) -> None:
        calls.append(len(digests))
        if len(calls) == 2:  # after the new file has taken its place
            raise KeyboardInterrupt
        kept(path, digests)

    monkeypatch.setattr(files, "_keep_digests", killed)
    with pytest.raises(KeyboardInterrupt):
        files.write(content(number=2), path)
    assert calls == [2, 1]
    assert files.read(path)[files.ENTRY]["number"] == 2


def test_another_checkpoint_in_the_place_of_one_is_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        files.write(content(number=name), tmp_path / f"{name}.ckpt")
    (tmp_path / "a.ckpt").write_bytes((tmp_path / "b.ckpt").read_bytes())
    with pytest.raises(UserError, match=r"a\.ckpt\.sha256 is of another file"):
        files.read(tmp_path / "a.ckpt")
