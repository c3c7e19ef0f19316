"""What a data set holds: splits, categories, object sizes, lengths, and what each method's tokenizer cuts off."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rrsis_bench import config, registry
from rrsis_bench.data.info import SPLITS
from rrsis_bench.data.manifest import Pair
from rrsis_bench.data.masks import area
from rrsis_bench.data.text import load_tokenizer
from rrsis_bench.data.wording import WORD_EDGES, WORD_NAMES, count_words
from rrsis_bench.errors import UserError

if TYPE_CHECKING:
    from rich.table import Table

    from rrsis_bench.types import InputSpec

SIZE_BINS = ((0.0025, "< 0.25 %"), (0.01, "0.25-1 %"), (0.04, "1-4 %"), (0.16, "4-16 %"), (1.01, "> 16 %"))


def tables(pairs: Sequence[Pair]) -> Iterator[Table]:
    """All tables, one after the other; the last loads the registered methods' tokenizers.

    Args:
        pairs: those of all splits.
    """
    yield _splits(pairs)
    yield _by_split("category", Counter((r.split, r.category or "(none)") for r in pairs), None)
    yield _by_split("object size, share of the image", _sizes(pairs), [name for _, name in SIZE_BINS])
    lengths = Counter((r.split, WORD_NAMES[bisect_left(WORD_EDGES, count_words(r.text))]) for r in pairs)
    yield _by_split("words of the expression", lengths, WORD_NAMES)
    yield _truncation(pairs)


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
    counts: Counter[tuple[str, str]] = Counter()
    for pair in pairs:
        height, width = pair.rle["size"]
        share = area(pair.rle) / (height * width)
        counts[pair.split, next(name for limit, name in SIZE_BINS if share < limit)] += 1
    return counts


def _truncation(pairs: Sequence[Pair]) -> Table:
    """Tokens of the expressions and the share cut, for the tokenizer and length of every method and variant."""
    table = _table("tokenizer, length", "median tokens", "longest", "cut", "methods")
    texts = list({pair.text for pair in pairs})
    weight = Counter(pair.text for pair in pairs)
    for (name, length), (spec, methods) in sorted(_specs().items(), key=lambda pair: pair[0]):
        try:
            tokenize = load_tokenizer(spec)
        except UserError as error:
            table.add_row(
                f"{name}, {length}", "", "", f"not counted: {str(error).partition(';')[0]}", ", ".join(methods)
            )
            continue
        done = {text: tokenize(text) for text in texts}
        lengths = sorted(sum(map(bool, done[pair.text].mask)) for pair in pairs)
        cut = sum(weight[text] for text, tokens in done.items() if tokens.truncated) / max(1, len(pairs))
        median, longest = (lengths[len(lengths) // 2], lengths[-1]) if lengths else (0, 0)
        table.add_row(f"{name}, {length}", str(median), str(longest), f"{cut:.1%}", ", ".join(methods))
    return table


def _specs() -> dict[tuple[str, int], tuple[InputSpec, list[str]]]:
    """(tokenizer, length) -> input specification and the method variants that use it, built without weights."""
    import torch

    found: dict[tuple[str, int], tuple[InputSpec, list[str]]] = {}
    for name in registry.method_targets():
        try:
            blocks = config.method_config(name)
            for variant, block in (blocks.get("variants") or {}).items():
                merged = config.merge(blocks.get("common") or {}, block or {})
                options = (merged.get("model") or {}).get("options") or {}
                with torch.device("meta"):
                    spec = registry.load_class(name).from_options(options).input_spec
                found.setdefault((spec.tokenizer, spec.max_tokens), (spec, []))[1].append(f"{name}@{variant}")
        except (UserError, ImportError):
            # A method that cannot be built here (an extra is not installed) has nothing to count.
            continue
    return found
