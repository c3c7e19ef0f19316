"""Whether a result was made from the data that are here now. No torch.

Hashing the images of a test split takes a while. The cache keeps the hash under a name of the data set's state: that
of its manifest, which stands for every file; or the recipe of a generated data set that is still to be drawn.
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
        compute: read files whose hashes are not in the cache; off, a data set never read stays unknown.
    """

    def __init__(self, compute: bool) -> None:
        self.compute = compute
        self._states: dict[str, str] = {}
        self._contents: dict[str, str | None] = {}

    def state(self, data: Mapping[str, Any]) -> str:
        """A name for the present state of a data set; "" where it is not on this machine, or not read yet.

        Args:
            data: the `data` block of a configuration.
        """
        wanted, key = _wanted(data)
        if key not in self._states:
            try:
                self._states[key] = self._state(wanted, key)
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

    def _state(self, data: Mapping[str, Any], key: str) -> str:
        from rrsis_bench.data.prepare import folder, is_recorded, locate, manifest_path

        if data["generator"] and not folder(data).is_dir():
            from rrsis_bench.data.synthetic.presets import VERSION

            return f"generated-{_digest(f'{VERSION} {key}')}"
        located = locate(data)
        if not self.compute and not is_recorded(located):
            return ""  # all files are to be read the first time
        return f"{manifest_path(located).stem}-{_digest(key)}"

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
        path = ensure_manifest(located)
        opened = Manifest.open(path, "test")
        limit = (data["limit"] or {}).get("test")
        content = (opened if limit is None else opened.head(int(limit))).content_hash(located.root)
        if state.startswith((path.stem, "generated-")):  # else a file changed since the state was taken
            with contextlib.suppress(UserError):  # a cache that cannot be written only costs the time again
                write_text(kept, content + "\n")
        return content


def _wanted(data: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    wanted = {key: data.get(key) for key in _KEYS}
    return wanted, json.dumps(wanted, sort_keys=True, default=str)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:16]
