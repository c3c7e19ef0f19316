"""Counts of a data set by split, category, object size and number of words. No torch, no tokenizer."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rrsis_bench.data.info import SPLITS
from rrsis_bench.data.manifest import Pair
from rrsis_bench.data.masks import area
from rrsis_bench.data.sizes import SIZE_NAMES, size_bins
from rrsis_bench.data.wording import WORD_EDGES, WORD_NAMES, count_words

if TYPE_CHECKING:
    from rich.table import Table


def tables(pairs: Sequence[Pair]) -> Iterator[Table]:
    """All tables, one after the other.

    Args:
        pairs: those of all splits.
    """
    yield _splits(pairs)
    yield _by_split("category", Counter((r.split, r.category or "(none)") for r in pairs), None)
    yield _by_split("object size, share of the image", _sizes(pairs), SIZE_NAMES)
    lengths = Counter((r.split, WORD_NAMES[bisect_left(WORD_EDGES, count_words(r.text))]) for r in pairs)
    yield _by_split("words of the expression", lengths, WORD_NAMES)


def _table(*columns: str) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number == 0 else "right")
    return table


def _splits(pairs: Sequence[Pair]) -> Table:
    table = _table("split", "pairs", "photographs", "wordings", "masks of another size")
    for split in SPLITS:
        own = [pair for pair in pairs if pair.split == split]
        images, texts = {pair.image_id for pair in own}, {pair.text for pair in own}
        odd = sum(list(pair.rle["size"]) != [pair.height, pair.width] for pair in own)
        table.add_row(split, *(f"{count:,}" for count in (len(own), len(images), len(texts), odd)))
    return table


def _by_split(title: str, counts: Counter[tuple[str, str]], order: Sequence[str] | None) -> Table:
    table = _table(title, *SPLITS)
    totals: Counter[str] = Counter()
    for (_, name), count in counts.items():
        totals[name] += count
    for name in order or [name for name, _ in totals.most_common()]:
        table.add_row(name, *(f"{counts[split, name]:,}" for split in SPLITS))
    return table


def _sizes(pairs: Sequence[Pair]) -> Counter[tuple[str, str]]:
    bins = size_bins([area(pair.rle) / (pair.rle["size"][0] * pair.rle["size"][1]) for pair in pairs])
    return Counter((pair.split, SIZE_NAMES[size]) for pair, size in zip(pairs, bins, strict=True))
