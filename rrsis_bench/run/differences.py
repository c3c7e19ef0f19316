"""Compares the configuration a run was begun with to the one it is to continue with. No torch."""

from __future__ import annotations

from rrsis_bench.config import Config, flat

FREE = frozenset(
    {
        "checkpoint_every_n_steps",
        "data.cache",
        "data.cache_gb",
        "data.num_workers",
        "data.root",  # the data's own identity is compared instead
        "data.manifest",
        "trainer.default_root_dir",
        "trainer.enable_model_summary",
        "trainer.enable_progress_bar",
        "trainer.log_every_n_steps",
        "trainer.logger",
        "trainer.profiler",
    }
)
"""Settings that cannot change a result: a run may continue with other values of them."""


def changes(saved: Config, now: Config) -> list[str]:
    """List the settings that differ and may change the result.

    A key that the saved configuration lacks was added by a later version of the suite. The key counts as a change
    unless its value is false, zero, empty or None.

    Args:
        saved: the whole configuration a run was begun with.
        now: the whole configuration it is to continue with.

    Returns:
        one `key: old -> new` for each such setting, sorted.
    """
    before, after = flat(saved), flat(now)
    found = []
    for key in sorted(before.keys() | after.keys()):
        if key in FREE or before.get(key) == after.get(key) or (key not in before and not after[key]):
            continue
        found.append(f"{key}: {before.get(key)!r} -> {after.get(key)!r}")
    return found
