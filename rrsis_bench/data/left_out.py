"""Lists of images that a paper's loader leaves out of all splits. No torch.

`data.leave_out` names a list; by default nothing is left out. A score on fewer samples compares with that
paper's alone. A result states how many samples of its split were left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath

from rrsis_bench.data.manifest import Manifest
from rrsis_bench.errors import UsageError, did_you_mean

REASON = "leave_out"
"""Key of the list in `data`, and of the number of left out samples in a result's `n_skipped`."""
_RRSISD = (
    413, 1072, 1664, 3661, 5125, 6728, 6861, 7239, 9319, 10579, 10653, 11147, 11898, 12492, 12630, 14464, 14915, 15357,
    15584, 15737, 17068, 18552, 18845, 20203, 20235, 21126, 22187,
)  # fmt: skip
_RISBENCH = (
    "12443_2", "11904_8", "11818_2", "11785_0", "11021_1", "10698_0", "10222_0", "9598_7", "9405_1", "8518_1", "7581_3",
    "7222_1", "7008_0", "6194_0", "6194_1", "819_1",
)  # fmt: skip
LISTS: dict[str, Mapping[str, frozenset[str]]] = {
    "dicor": {
        "rrsisd": frozenset(f"{number:05d}.jpg" for number in _RRSISD),
        "risbench": frozenset(f"train_{number}.png" for number in _RISBENCH),
    },
}
"""Name of a list -> source of a data set -> file names of images."""


def remaining(opened: Manifest, name: str | None, source: str) -> Manifest:
    """The pairs of a manifest whose images a list does not name.

    Args:
        opened: a split.
        name: of the list; None leaves nothing out.
        source: what reads the data set.

    Raises:
        UsageError: there is no such list, or it names no image of this source.
    """
    if name is None:
        return opened
    if name not in LISTS:
        raise UsageError(f"data.leave_out: there is no list '{name}'.{did_you_mean(name, list(LISTS))}")
    if source not in LISTS[name]:
        raise UsageError(
            f"data.leave_out: the list '{name}' names no image of '{source}', only of {', '.join(LISTS[name])}; leave "
            "data.leave_out out."
        )
    images = LISTS[name][source]
    return opened.take([at for at, pair in enumerate(opened) if PurePosixPath(pair.image).name not in images])
