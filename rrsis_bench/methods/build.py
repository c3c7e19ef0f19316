"""Builds a method by name, variant and options, and loads its base weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rrsis_bench import registry
from rrsis_bench.methods.base import Method
from rrsis_bench.nn.weights.refs import MissingDownloadError


def build_method(
    name: str, variant: str, options: Mapping[str, Any], pretrained: bool = True
) -> tuple[Method, dict[str, str]]:
    """Build a method's network and load the base weights that its options name.

    Args:
        name: registry name.
        variant: name of the variant, for messages; the options alone define the network.
        options: the method's options as plain values.
        pretrained: load base weights. False keeps random weights, for a network whose weights do not matter, or are
            loaded afterwards.

    Returns:
        the method, and encoder name -> sha256 of its weights file.

    Raises:
        UsageError: unknown method or option, or a value that the option's type does not allow.
        MissingResourceError: base weights are missing.
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
