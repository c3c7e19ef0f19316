"""Checks the files that git tracks for secrets and for size: `python -m tools.tracked`, part of `make lint`.

A file of more than a megabyte stays in every clone for ever, and a secret that was committed once is public.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

LIMIT = 1_000_000
"""Bytes of the largest file that needs no entry in `LARGE`."""
LARGE = ("rrsis_bench/assets/*.safetensors", "results/leaderboard/index.html", "tests/fixtures/*")
"""Patterns of files that may be larger: weights of the tiny variants, the page of all boards, fixtures."""
SECRETS = {
    "a private key": rb"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----",
    "a token of the Hugging Face hub": rb"\bhf_[A-Za-z0-9]{30,}\b",
    "a token of GitHub": rb"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{50,})\b",
    "a token of PyPI": rb"\bpypi-[A-Za-z0-9_-]{50,}",
    "a key of AWS": rb"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    "a key of Google": rb"\bAIza[0-9A-Za-z_-]{35}\b",
    "a token of Slack": rb"\bxox[abprs]-[0-9A-Za-z-]{10,}",
    "a key of Weights & Biases": rb"WANDB_API_KEY\s*[=:]\s*['\"]?[0-9a-f]{40}\b",
    "a password in an address": rb"\bhttps?://[^\s/:@'\"<>{}$]+:[^\s/:@'\"<>{}$]+@",
}


def tracked(root: Path) -> list[str]:
    """Files that git tracks, or would track once they are added."""
    words = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(words, cwd=root, capture_output=True, text=True, check=True)
    return sorted({name for name in done.stdout.split("\0") if name})


def problems(root: Path) -> Iterator[str]:
    """Yield a sentence for each file that is too large or holds what looks like a secret."""
    for name in tracked(root):
        path = root / name
        if path.is_symlink() or not path.is_file():
            continue
        content = path.read_bytes()
        if len(content) > LIMIT and not any(fnmatch(name, pattern) for pattern in LARGE):
            size = f"{len(content):,} bytes, more than {LIMIT:,}"
            yield f"{name} has {size}; leave it out, or name it in tools/tracked.py."
        for what, pattern in SECRETS.items():
            if found := re.search(pattern, content):
                line = content.count(b"\n", 0, found.start()) + 1
                yield f"{name} line {line} holds {what}; take it out, and revoke it if it was ever pushed."


def main() -> int:
    """Print the problems; 1 if there are any."""
    found = list(problems(Path.cwd()))
    print("\n".join(found) or "tracked files: no secret, none too large")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
