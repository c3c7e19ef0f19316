"""`rrsis-bench weights`: what variants start from, and filling the hub's cache, here with folders in its layout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import fields
from hashlib import sha256
from pathlib import Path

import pytest

from rrsis_bench import config, registry
from rrsis_bench.cli import main
from rrsis_bench.errors import MissingResourceError, UsageError
from rrsis_bench.methods.build import build_method
from rrsis_bench.nn.weights.needs import named_weights
from rrsis_bench.nn.weights.refs import WeightRef, on_disk, resolve

CONTENT = b"weights of an encoder"
DIGEST = sha256(CONTENT).hexdigest()
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def fill_cache(home: Path, repository: str = "owner/net", file: str = "sub/model.bin") -> Path:
    """A file as the hub's client leaves it: a blob, a link to it in the commit's snapshot, and the branch's commit."""
    folder = home / "hub" / f"models--{repository.replace('/', '--')}"
    blob = folder / "blobs" / DIGEST
    link = folder / "snapshots" / COMMIT / file
    for path in (blob, link, folder / "refs" / "main"):
        path.parent.mkdir(parents=True, exist_ok=True)
    blob.write_bytes(CONTENT)
    link.symlink_to(os.path.relpath(blob, link.parent))
    (folder / "refs" / "main").write_text(COMMIT)
    return link


def configs(folder: Path, encoder: str) -> Path:
    """A configuration folder whose LAVT starts from the given file."""
    (folder / "methods").mkdir(parents=True)
    text = (
        f"published: base\nvariants:\n  tiny: {{}}\n  base: {{model: {{options: {{encoder_weights: '{encoder}'}}}}}}\n"
    )
    (folder / "methods" / "lavt.yaml").write_text(text)
    return folder


def prefetch(tmp_path: Path, encoder: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("HF_")},
        "RRSIS_CONFIGS": str(configs(tmp_path / "configs", encoder)),
        "HF_HOME": str(tmp_path / "home"),
        "RRSIS_CACHE": str(tmp_path / "cache"),
        "HF_HUB_OFFLINE": "1",
    }
    command = [sys.executable, "-m", "rrsis_bench", "weights", "prefetch", "--method", "lavt"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


def test_the_cache_is_read_as_the_hub_s_client_reads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import try_to_load_from_cache

    link = fill_cache(tmp_path)
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setenv("RRSIS_CACHE", str(tmp_path / "cache"))
    assert on_disk(WeightRef("sub/model.bin", hub="owner/net")) == link
    assert on_disk(WeightRef("sub/model.bin", hub="owner/net", revision=COMMIT)) == link
    assert try_to_load_from_cache("owner/net", "sub/model.bin", cache_dir=tmp_path / "hub") == str(link)
    for absent in (
        WeightRef("sub/other.bin", hub="owner/net"),
        WeightRef("sub/model.bin", hub="owner/other"),
        WeightRef("sub/model.bin", hub="owner/net", revision="v2"),
        WeightRef("no.bin", package="no_such_package"),
        WeightRef(str(tmp_path / "no.pth")),
    ):
        assert on_disk(absent) is None


def test_prefetch_finds_a_filled_cache_without_internet(tmp_path: Path) -> None:
    link = fill_cache(tmp_path / "home")
    done = prefetch(tmp_path, "hub:owner/net/sub/model.bin")
    assert done.returncode == 0, done.stderr
    assert f"lavt (base) encoder: {link}" in done.stdout
    assert f"sha256 {DIGEST} (not pinned" in done.stdout


def test_prefetch_says_what_it_cannot_have(tmp_path: Path) -> None:
    done = prefetch(tmp_path, "hub:owner/net/sub/model.bin")
    assert done.returncode == 3
    assert "lavt (base) encoder" in done.stderr
    assert "hf download owner/net sub/model.bin --revision main" in done.stderr
    assert "Traceback" not in done.stderr


def test_prefetch_refuses_another_file_than_the_pinned_one(tmp_path: Path) -> None:
    fill_cache(tmp_path / "home")
    done = prefetch(tmp_path, f"hub:owner/net/sub/model.bin#sha256={'0' * 64}")
    assert done.returncode == 3
    assert DIGEST in done.stderr
    assert "not the file meant" in done.stderr


def test_prefetch_of_local_and_packaged_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["weights", "prefetch", "--method", "s4eca", "--variant", "tiny"]) == 0
    out = capsys.readouterr().out
    assert "tiny_vit.safetensors" in out
    assert out.count("as pinned") == 2
    local = tmp_path / "swin.pth"
    local.write_bytes(CONTENT)
    done = prefetch(tmp_path, f"{local}#sha256={DIGEST}")
    assert done.returncode == 0, done.stderr
    assert f"{local}\n  sha256 {DIGEST} (as pinned)" in done.stdout


def test_a_missing_download_names_the_prefetch_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("RRSIS_CACHE", str(tmp_path / "cache"))
    options = {**config.variant_options("lavt", "tiny"), "encoder_weights": "hub:owner/no-such-repo/weights.bin"}
    with pytest.raises(MissingResourceError, match="weights prefetch --method lavt --variant tiny"):
        build_method("lavt", "tiny", options)


def test_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["weights", "list", "--method", "s4eca", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    tiny = [row for row in rows if row["variant"] == "tiny"]
    assert [row["part"] for row in tiny] == ["visual", "text"]
    assert all(row["state"] == "here" and len(row["sha256"]) == 64 for row in tiny)
    assert main(["weights", "list"]) == 0
    assert "lavt (base)\n  encoder     https://huggingface.co/timm/" in capsys.readouterr().out
    assert main(["weights", "list", "--method", "s4eca", "--variant", "bse"]) == 2
    assert "Did you mean 'base'" in capsys.readouterr().err
    assert main(["weights", "prefetch", "--method", "all", "--variant", "base"]) == 2
    assert "--variant" in capsys.readouterr().err


@pytest.mark.parametrize("method", sorted(registry.BUILT_IN))
def test_every_file_a_variant_starts_from_is_listed(method: str) -> None:
    """Configurations are all that is read, so whatever an option's own default names would be missed."""
    defaults = {field.name: field.default for field in fields(registry.load_class(method).Options)}
    named = {name: value for name, value in defaults.items() if name.endswith("weights") and isinstance(value, str)}
    assert not any(named.values())
    for variant in config.method_config(method)["variants"]:
        options = {**defaults, **config.variant_options(method, variant)}
        parts = [weight.part for weight in named_weights(method, variant)]
        wanted = [name.removesuffix("_weights") for name in options if name.endswith("_weights") and options[name]]
        files = {name for name in wanted if isinstance(ref := options[f"{name}_weights"], str) and ref != "random"}
        assert set(parts) - {"vocabulary"} == files
        path = str(options.get("tokenizer_path") or "")
        needs = path.startswith(("hub:", "package:")) if path else options.get("tokenizer") == "bert"
        assert ("vocabulary" in parts) == needs, f"{method} ({variant}): name its tokenizer in the configuration"


def test_an_unknown_method_is_usage() -> None:
    with pytest.raises(UsageError, match="Did you mean 'lavt'"):
        named_weights("lvat")


def test_without_a_connection_it_does_not_wait(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")  # nobody listens
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("RRSIS_CACHE", str(tmp_path / "cache"))
    start = time.perf_counter()
    with pytest.raises(MissingResourceError, match=r"nor reachable \(.*refused.*hf download owner/net model.bin"):
        resolve("hub:owner/net/model.bin")
    assert time.perf_counter() - start < 5  # the client alone tries for half a minute
