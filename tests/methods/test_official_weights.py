"""Released weights: every method answers `load_official`, whether its authors released any or not."""

from __future__ import annotations

from pathlib import Path

import pytest

from rrsis_bench import registry
from rrsis_bench.config import variant_options
from rrsis_bench.errors import MissingResourceError, UsageError

RELEASED = ("lavt", "rmsin", "fianet", "lgce", "detris", "rsrefseg2", "rs2sam2", "c3vg", "dicor")


@pytest.mark.parametrize("name", sorted(registry.BUILT_IN))
def test_a_method_loads_a_released_file_or_says_what_to_do_instead(name: str, tmp_path: Path) -> None:
    method = registry.load_class(name).from_options(variant_options(name, "tiny"))
    gone = tmp_path / "gone.pth"
    if name in RELEASED:
        with pytest.raises(MissingResourceError, match=r"weights file .*gone\.pth does not exist"):
            method.load_official(gone)
    else:
        with pytest.raises(UsageError, match=f"{name} has no released weights .*fit --method {name}"):
            method.load_official(gone)
