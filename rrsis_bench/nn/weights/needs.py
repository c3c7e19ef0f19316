"""Lists the weights files that a method's variants start from, and fetches them ahead. Listing imports no torch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from rrsis_bench import config
from rrsis_bench.nn.weights.refs import BERT_VOCABULARIES, WeightRef, on_disk, resolve, sha256_file


@dataclass(frozen=True)
class NamedWeight:
    """A file that a variant of a method needs.

    Attributes:
        method: registry name.
        variant: name of the variant.
        part: the option that names the file, without `_weights`; or `vocabulary`.
        ref: the file.
    """

    method: str
    variant: str
    part: str
    ref: WeightRef

    @property
    def source(self) -> str:
        """The file's address, or its package or path in words."""
        if self.ref.hub:
            return f"https://huggingface.co/{self.ref.hub}/resolve/{self.ref.revision}/{self.ref.file}"
        return f"package {self.ref.package}: {self.ref.file}" if self.ref.package else self.ref.file

    @property
    def state(self) -> str:
        """`here`, `to fetch`, `package not installed` or `no such file`."""
        if on_disk(self.ref) is not None:
            return "here"
        return "to fetch" if self.ref.hub else "package not installed" if self.ref.package else "no such file"


def variants_of(method: str, variant: str | None = None) -> list[str]:
    """The variants of a method, or only the named one.

    Raises:
        UsageError: unknown method or variant.
    """
    blocks = config.method_config(method)
    return [config.choose_variant(method, blocks, {}, variant)] if variant else list(blocks.get("variants", {}))


def named_weights(method: str, variant: str | None = None) -> list[NamedWeight]:
    """The files that the variants of a method (or one variant) start from; empty for a start from random values.

    Raises:
        UsageError: unknown method or variant, or an option that names no file in one of the forms of `WeightRef`.
    """
    found = []
    for name in variants_of(method, variant):
        options = config.variant_options(method, name)
        refs = {
            key.removesuffix("weights").rstrip("_") or "network": WeightRef.parse(value)
            for key, value in options.items()
            if key.endswith("weights") and isinstance(value, str) and value not in {"", "random"}
        }
        named = str(options.get("tokenizer_path") or "")
        if named.startswith(("hub:", "package:")):
            refs["vocabulary"] = WeightRef.parse(named)
        elif _needs_vocabulary(options, refs.values()):
            refs["vocabulary"] = next((ref for ref in BERT_VOCABULARIES if on_disk(ref)), BERT_VOCABULARIES[-1])
        found += [NamedWeight(method, name, part, ref) for part, ref in refs.items()]
    return found


def _needs_vocabulary(options: dict[str, Any], refs: Iterable[WeightRef]) -> bool:
    """Only BERT's vocabulary is a file to fetch: open_clip brings CLIP's, and the suite brings the tiny one."""
    if options.get("tokenizer_path"):
        return False
    # A variant that names no tokenizer has its method's default, which fits its text encoder.
    words = " ".join(map(str, refs)).lower()
    return bool((options.get("tokenizer") or ("bert" if "bert" in words or "minilm" in words else "")) == "bert")


def fetch(weight: NamedWeight) -> tuple[str, str]:
    """Fetch a file, and check the digest that its configuration pins.

    Returns:
        the path and the sha256 of the file.

    Raises:
        MissingResourceError: the file can be fetched from nowhere, or has another digest.
    """
    path = resolve(weight.ref)
    return str(path), weight.ref.sha256 or sha256_file(path)
