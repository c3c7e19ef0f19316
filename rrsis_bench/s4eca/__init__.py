"""S4ECA, the featured method, under the same contract as every baseline."""

from __future__ import annotations

from rrsis_bench.s4eca.model import S4ECA

__all__ = ["S4ECA"]
