"""The lint for secrets and large files finds what is planted, and nothing in this repository."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tools import tracked

ROOT = Path(__file__).resolve().parents[2]
# Written in parts: this file is searched too.
PLANTED = {
    "a private key": "-----BEGIN " + "RSA PRIVATE KEY-----",
    "a token of the Hugging Face hub": "hf_" + "a" * 34,
    "a token of GitHub": "ghp_" + "b" * 36,
    "a token of PyPI": "pypi-" + "c" * 60,
    "a key of AWS": "AKIA" + "D" * 16,
    "a key of Google": "AIza" + "e" * 35,
    "a token of Slack": "xoxb-" + "1" * 12,
    "a key of Weights & Biases": "WANDB_API_KEY=" + "f" * 40,
    "a password in an address": "https://me:" + "secret@example.org/x",
}


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    return tmp_path


def test_each_kind_of_secret_is_found_by_its_line(repository: Path) -> None:
    assert set(PLANTED) == set(tracked.SECRETS)
    for what, text in PLANTED.items():
        (repository / "notes.txt").write_text(f"first\n{text}\n")
        assert list(tracked.problems(repository)) == [
            f"notes.txt line 2 holds {what}; take it out, and revoke it if it was ever pushed."
        ]


def test_a_large_file_is_found_unless_it_is_named_or_ignored(repository: Path) -> None:
    (repository / ".gitignore").write_text("runs/\n")
    for name in ("a.bin", "runs/b.bin", "tests/fixtures/c.gz"):
        (repository / name).parent.mkdir(parents=True, exist_ok=True)
        (repository / name).write_bytes(bytes(tracked.LIMIT + 1))
    (found,) = tracked.problems(repository)
    assert found.startswith("a.bin has 1,000,001 bytes")


@pytest.mark.slow
def test_this_repository_has_none() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    assert list(tracked.problems(ROOT)) == []
