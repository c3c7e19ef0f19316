"""`rrsis-bench weights list | prefetch`: the files that methods start from. Listing imports no torch."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING

from rrsis_bench.errors import MissingResourceError, UsageError
from rrsis_bench.terminal import say

if TYPE_CHECKING:
    from rrsis_bench.nn.weights.needs import NamedWeight


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the sub-verbs and their options."""
    verbs = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    listing = verbs.add_parser("list", help="list the files that variants start from, with source and state")
    listing.add_argument("--method", help="only this method")
    listing.add_argument("--variant", help="only this variant")
    listing.add_argument("--json", action="store_true", help="print JSON, with whole digests")
    prefetch = verbs.add_parser(
        "prefetch",
        help="fetch and verify the files of a method, for machines without internet",
        description="Fetch and verify the files of a method. Files of the Hugging Face hub go to its cache (HF_HOME). "
        "Share this cache with machines without internet, or copy it there, and set HF_HUB_OFFLINE=1 on them.",
    )
    prefetch.add_argument("--method", required=True, help="name of the method, or 'all'")
    prefetch.add_argument("--variant", help="only this variant; default: all of the method's variants")


def run(args: argparse.Namespace) -> int:
    """List or fetch."""
    from rrsis_bench import registry
    from rrsis_bench.nn.weights.needs import named_weights

    everything = args.method in {None, "all"}
    if everything and args.variant is not None:
        raise UsageError("--variant needs --method: name the variant's method.")
    methods = sorted(registry.method_targets()) if everything else [args.method]
    weights: list[NamedWeight] = []
    for method in methods:
        try:
            weights += named_weights(method, args.variant)
        except UsageError as error:
            # One broken package of a third party must not hide the others.
            if not everything:
                raise
            print(f"rrsis-bench: note: {error}", file=sys.stderr)
    if args.action == "prefetch":
        return _prefetch(weights)
    if args.json:
        rows = [
            {
                "method": weight.method,
                "variant": weight.variant,
                "part": weight.part,
                "source": weight.source,
                "sha256": weight.ref.sha256 or None,
                "state": weight.state,
            }
            for weight in weights
        ]
        print(json.dumps(rows, indent=2))
        return 0
    return _show(weights)


def _show(weights: list[NamedWeight]) -> int:
    from itertools import groupby

    for (method, variant), group in groupby(weights, key=lambda weight: (weight.method, weight.variant)):
        say(f"{method} ({variant})")
        for weight in group:
            digest = f"sha256 {weight.ref.sha256[:12]}" if weight.ref.sha256 else "sha256 not pinned"
            say(f"  {weight.part:<10}  {weight.source}", " " * 14)
            say(f"  {'':<10}  {digest}, {weight.state}", " " * 14)
    say("A variant that is not listed starts from random weights. Fetch: rrsis-bench weights prefetch --method M")
    return 0


def _prefetch(weights: list[NamedWeight]) -> int:
    from rrsis_bench.nn.weights.needs import fetch

    if not weights:
        print("nothing to fetch: the method starts from random weights.")
    problems: list[str] = []
    seen: set[str] = set()
    for weight in weights:
        name = f"{weight.method} ({weight.variant}) {weight.part}"
        if str(weight.ref) in seen:
            continue
        seen.add(str(weight.ref))
        try:
            path, digest = fetch(weight)
        except MissingResourceError as error:
            problems.append(f"{name}: {error}")
            continue
        pinned = "as pinned" if weight.ref.sha256 else "not pinned in the configuration"
        print(f"{name}: {path}\n  sha256 {digest} ({pinned})")
    for problem in problems[:-1]:
        print(f"rrsis-bench: error: {problem}", file=sys.stderr)
    if problems:
        raise MissingResourceError(problems[-1])
    return 0
