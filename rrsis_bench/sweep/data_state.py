"""The present state of data sets, which shows whether a result was made from them. No torch.

Hashing the images of a test split takes minutes. The cache keeps the hash under the data set's state, which is cheap to
compute: the name of its manifest, which stands for every file, or the settings of a generator that is still to draw it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from rrsis_bench import paths
from rrsis_bench.errors import MissingResourceError, UserError

_KEYS = ("dataset", "source", "root", "generator", "source_options", "manifest", "limit", "pixels", "empty_truth")


class DataStates:
    """The states of a sweep's data sets, each computed once.

    Args:
        compute: read files whose hashes are not in the cache; if False, a data set that was never read stays unknown.
    """

    def __init__(self, compute: bool) -> None:
        self.compute = compute
        self._states: dict[str, str] = {}
        self._contents: dict[str, str | None] = {}

    def state(self, data: Mapping[str, Any]) -> str:
        """The present state of a data set, as a short text; "" if it is not on this machine, or was not read yet.

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
        """The content hash of a data set's test split, as results state it; None if it is unknown.

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
        from rrsis_bench.data.left_out import remaining
        from rrsis_bench.data.manifest import Manifest
        from rrsis_bench.data.prepare import ensure_manifest, locate
        from rrsis_bench.files import write_text

        located = locate(data)
        path = ensure_manifest(located)
        whole = Manifest.open(path, "test", located.empty_truth)
        opened = remaining(whole, data.get("leave_out"), str(data.get("source") or data["dataset"]))
        limit = (data["limit"] or {}).get("test")
        content = (opened if limit is None else opened.head(int(limit))).content_hash(located.root)
        if state.startswith((path.stem, "generated-")):  # else a file has changed since the state was computed
            with contextlib.suppress(UserError):  # without the cache, the next sweep hashes again
                write_text(kept, content + "\n")
        return content


def _wanted(data: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    wanted = {key: data.get(key) for key in _KEYS}
    if data.get("leave_out"):  # other data sets keep the states that the cache knows
        wanted["leave_out"] = data["leave_out"]
    return wanted, json.dumps(wanted, sort_keys=True, default=str)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:16]
