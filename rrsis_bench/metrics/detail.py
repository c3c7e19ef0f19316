"""The further integers of a sample that `test --detail` stores: their names and order. No torch.

`detail_counts.count_detail` counts them; `stats.failures` and `stats.calibration` say what they mean together.
"""

from __future__ import annotations

BINS = 20
"""Bins of probability. Bin k holds the pixels whose probability is above k / 20 and at most (k + 1) / 20."""

SHAPE = ("peak_hit", "box_inter", "box_union", "edge_inter", "edge_union")
"""Whether the most probable pixel lies in the truth; pixels of the tight boxes; pixels of the two boundaries."""

OTHERS = ("n_other", "other_same", "other_else", "other_most", "other_area", "other_covered")
"""What the prediction shares with the other instances of the image:

- their number;
- predicted pixels outside the truth that lie in others of the same category, and of another one;
- the intersection with the one that the prediction shares most with, and that instance's area;
- how many others are covered by more than half, outside the truth.
"""

OUTSIDE, INSIDE = (tuple(f"{where}{k:02d}" for k in range(BINS)) for where in ("outside", "inside"))
"""The histogram: pixels outside and inside the truth, by bin."""

COLUMNS = (*SHAPE, *OTHERS, *OUTSIDE, *INSIDE)
"""All integers, in the order of the arrays."""

EDGE_SHARE = 0.02
"""Width of a boundary over the diagonal of the image (Cheng et al. 2021, Boundary IoU)."""
