"""`rrsis-bench methods list | show NAME | check NAME`. Listing and showing import no torch."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from rrsis_bench import terminal
from rrsis_bench.terminal import say

HEAD = ("title", "authors", "venue", "year", "paper", "code", "licence", "encoders", "policy", "fidelity")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the sub-verbs and their options."""
    verbs = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    known = verbs.add_parser("list", help="all known methods")
    known.add_argument("--all", action="store_true", help="also name methods that are not built, with the reason")
    show = verbs.add_parser("show", help="a method's card, variants and choices")
    show.add_argument("name", metavar="NAME", help="registered name, such as s4eca")
    check = verbs.add_parser("check", help="check that a method fulfils the contract of all methods")
    check.add_argument("name", metavar="NAME", help="registered name")
    check.add_argument("--variant", default="tiny", help="variant to check, small enough for a CPU (default: tiny)")


def run(args: argparse.Namespace) -> int:
    """List, show or check.

    Returns:
        exit code 1 if a check failed, else 0.
    """
    if args.action == "list":
        return _list(args.all)
    if args.action == "show":
        return _show(args.name)
    return _check(args.name, args.variant)


def _list(unbuilt: bool) -> int:
    from rich.table import Table

    from rrsis_bench import config, registry
    from rrsis_bench.errors import UserError

    table = Table()
    for column in ("name", "method", "venue", "fidelity", "variants", "trained"):
        table.add_column(column, overflow="fold", no_wrap=column in {"name", "fidelity"})
    problems: dict[str, list[str]] = {}
    for name in sorted(registry.method_targets()):
        try:
            card = registry.card(name)
            blocks = config.method_config(name)
        except UserError as error:
            # One broken package of a third party must not hide the others.
            problems.setdefault(str(error), []).append(name)
            continue
        published = blocks.get("published")
        variants = [f"{variant}*" if variant == published else variant for variant in blocks.get("variants", {})]
        venue = f"{card.get('venue') or ''} {card.get('year') or ''}".strip()
        title = str(card.get("name") or card.get("title", ""))
        fidelity, trained = str(card.get("fidelity") or ""), _trained(card, published)
        table.add_row(name, title, venue, fidelity, ", ".join(map(str, variants)), trained)
    terminal.show(table)
    say("* the published size. More: rrsis-bench methods show NAME")
    if unbuilt:
        say("\nnot built", style="bold")
        for one in registry.UNBUILT.values():
            say(f"  {one.name} ({one.venue}): {one.reason}.", "    ")
    for problem, hit in problems.items():
        say(f"note: {', '.join(hit)}: {problem}", "  ")
    return 0


def _trained(card: Mapping[str, Any], published: Any) -> str:
    """What the published variant trains: a card's `trained` in one or two words, else its `policy`."""
    said = card.get("trained") or card.get("policy") or ""
    return str(said.get(published, "") if isinstance(said, Mapping) else said)


def _show(name: str) -> int:
    from rich.table import Table

    from rrsis_bench import config, registry

    card = registry.card(name)
    blocks = config.method_config(name)
    say(f"{name}  ({registry.target(name)})", style="bold")
    for key in HEAD:
        if card.get(key):
            say(f"  {key:<9} {_joined(card[key])}", " " * 12)
    if card.get("fidelity_note"):
        say(f"  {str(card['fidelity_note']).strip()}", "  ")
    say("\nvariants", style="bold")
    for variant in blocks.get("variants", {}):
        star = " (published)" if variant == blocks.get("published") else ""
        options = config.variant_options(name, variant)
        stated = ", ".join(f"{key}={_short(value)}" for key, value in options.items()) or "the method's defaults"
        say(f"  {variant}{star}: {stated}", "    ")
    for key, value in card.items():
        if key in {*HEAD, "name", "trained", "fidelity_note", "choices"} or value in (None, [], ""):
            continue
        say(f"\n{key.replace('_', ' ')}", style="bold")
        for line in _lines(value):
            say(f"  {line}", "    ")
    choices = card.get("choices") or []
    if choices and isinstance(choices, list) and all(isinstance(choice, dict) for choice in choices):
        say("\nchoices", style="bold")
        columns = list(dict.fromkeys(key for choice in choices for key in choice))
        table = Table()
        for column in columns:
            table.add_column(column, overflow="fold")
        for choice in choices:
            table.add_row(*("" if (value := choice.get(column)) is None else str(value) for column in columns))
        terminal.show(table)
    elif choices:
        say("\nchoices", style="bold")
        for line in _lines(choices):
            say(f"  {line}", "    ")
    return 0


def _joined(value: Any) -> str:
    """A value as text; one that differs between variants as `variant: value; ...`."""
    return "; ".join(f"{key}: {part}" for key, part in value.items()) if isinstance(value, dict) else str(value)


def _short(value: Any) -> str:
    """A value as text; a file of weights without its digest, which `weights list` shows."""
    return str(value).partition("#sha256=")[0]


def _lines(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [f"{key}: {f'{item:,}' if isinstance(item, int) else item}" for key, item in value.items()]
    if isinstance(value, list):
        return [f"- {item}" for item in value]
    return [str(value).strip()]


def _check(name: str, variant: str) -> int:
    from rich.table import Table

    from rrsis_bench.methods.contract import check_method

    checks = check_method(name, variant)
    table = Table(title=f"{name} ({variant})")
    table.add_column("check", overflow="fold")
    table.add_column("")
    table.add_column("detail", overflow="fold")
    for check in checks:
        table.add_row(check.name, "ok" if check.passed else "FAILED", check.detail)
    terminal.show(table)
    failed = sum(not check.passed for check in checks)
    say(f"{len(checks) - failed} of {len(checks)} checks passed")
    return 1 if failed else 0
