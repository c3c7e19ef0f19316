"""A method by name, variant and options, with its base weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rrsis_bench import registry
from rrsis_bench.methods.base import Method
from rrsis_bench.nn.weights.refs import MissingDownloadError


def build_method(
    name: str, variant: str, options: Mapping[str, Any], pretrained: bool = True
) -> tuple[Method, dict[str, str]]:
    """Build a method's network and load the base weights its options name.

    Args:
        name: registry name.
        variant: the variant's name, for messages only; the options say what it is.
        options: the method's options as plain values.
        pretrained: load base weights; False leaves the random start (only for what is overwritten afterwards).

    Returns:
        the method, and the sha256 of the weights file of each encoder.

    Raises:
        UsageError: unknown method or option, or a value that the option's type does not allow.
        MissingResourceError: base weights that are not there.
    """
    method: Method = registry.load_class(name).from_options(options)
    if not pretrained:
        return method, {}
    try:
        return method, dict(method.load_pretrained())
    except MissingDownloadError as error:
        raise MissingDownloadError(
            f"{error} All files of this variant: rrsis-bench weights prefetch --method {name} "
            f"--variant {variant.partition('+')[0]}."
        ) from error
