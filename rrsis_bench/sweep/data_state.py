"""Whether a result was made from the data that are here now. No torch.

Hashing the images of a test split takes a while, so the hash is kept in the cache beside a cheap state of the data
set: its folder, and the sizes and times of its key files; or, for a generated one, its recipe.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from rrsis_bench import paths
from rrsis_bench.errors import MissingResourceError, UserError

_KEYS = ("dataset", "source", "root", "generator", "source_options", "manifest", "limit")


class DataStates:
    """The data sets of a sweep, each looked at once.

    Args:
        compute: hash a test split whose hash is not in the cache; off, it stays unknown.
    """

    def __init__(self, compute: bool) -> None:
        self.compute = compute
        self._states: dict[str, str] = {}
        self._contents: dict[str, str | None] = {}

    def state(self, data: Mapping[str, Any]) -> str:
        """A cheap name for the present state of a data set; "" where it is not on this machine.

        Args:
            data: the `data` block of a configuration.
        """
        wanted, key = _wanted(data)
        if key not in self._states:
            try:
                self._states[key] = _state(wanted, key)
            except MissingResourceError:
                self._states[key] = ""
        return self._states[key]

    def content(self, data: Mapping[str, Any]) -> str | None:
        """The content hash of its test split, as results have it; None where it is not known.

        Args:
            data: the `data` block of a configuration.
        """
        wanted, key = _wanted(data)
        if key not in self._contents:
            try:
                self._contents[key] = self._content(wanted, self.state(data))
            except MissingResourceError:
                self._contents[key] = None
        return self._contents[key]

    def _content(self, data: Mapping[str, Any], state: str) -> str | None:
        kept = paths.cache_root() / "content" / f"{state}.sha256"
        if state and kept.is_file():
            return kept.read_text(encoding="utf-8").strip()
        if not state or not self.compute:
            return None
        from rrsis_bench.data.manifest import Manifest
        from rrsis_bench.data.prepare import ensure_manifest, locate
        from rrsis_bench.files import write_text

        located = locate(data)
        opened = Manifest.open(ensure_manifest(located), "test")
        limit = (data["limit"] or {}).get("test")
        content = (opened if limit is None else opened.head(int(limit))).content_hash(located.root)
        with contextlib.suppress(UserError):  # a cache that cannot be written only costs the time again
            write_text(kept, content + "\n")
        return content


def _wanted(data: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    wanted = {key: data.get(key) for key in _KEYS}
    return wanted, json.dumps(wanted, sort_keys=True, default=str)


def _state(data: Mapping[str, Any], key: str) -> str:
    if data["generator"]:
        from rrsis_bench.data.synthetic.presets import VERSION

        return f"generated-{_digest(f'{VERSION} {key}')}"
    from rrsis_bench.data.prepare import locate, manifest_path

    return f"{manifest_path(locate(data)).stem}-{_digest(key)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:16]
