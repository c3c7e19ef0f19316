"""`rrsis-bench methods list | show NAME | check NAME`. Listing and showing import no torch."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

HEAD = ("title", "authors", "venue", "year", "paper", "code", "licence", "encoders", "policy", "fidelity")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the sub-verbs and their options."""
    verbs = parser.add_subparsers(dest="action", required=True, metavar="{list,show,check}")
    verbs.add_parser("list", help="all known methods")
    show = verbs.add_parser("show", help="a method's card, variants and choices")
    show.add_argument("name", help="registered name, such as s4eca")
    check = verbs.add_parser("check", help="check that a method fulfils the contract of all methods")
    check.add_argument("name", help="registered name")
    check.add_argument("--variant", default="tiny", help="variant to check, small enough for a CPU (default: tiny)")


def run(args: argparse.Namespace) -> int:
    """List, show or check.

    Returns:
        exit code 1 if a check failed, else 0.
    """
    from rich.console import Console

    console = Console(highlight=False, markup=False)
    if args.action == "list":
        return _list(console)
    if args.action == "show":
        return _show(console, args.name)
    return _check(console, args.name, args.variant)


def _list(console: Console) -> int:
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
    console.print(table)
    console.print("* the published size. More: rrsis-bench methods show NAME")
    for problem, hit in problems.items():
        console.print(f"note: {', '.join(hit)}: {problem}", soft_wrap=True)
    return 0


def _trained(card: Mapping[str, Any], published: Any) -> str:
    """What the published variant trains: a card's `trained` in one or two words, else its `policy`."""
    said = card.get("trained") or card.get("policy") or ""
    return str(said.get(published, "") if isinstance(said, Mapping) else said)


def _show(console: Console, name: str) -> int:
    from rich.table import Table

    from rrsis_bench import config, registry

    card = registry.card(name)
    blocks = config.method_config(name)
    console.print(f"{name}  ({registry.target(name)})", style="bold")
    for key in HEAD:
        if card.get(key):
            console.print(f"  {key:<9} {card[key]}", soft_wrap=True)
    if card.get("fidelity_note"):
        console.print(f"  {str(card['fidelity_note']).strip()}", soft_wrap=True)
    console.print("\nvariants", style="bold")
    for variant in blocks.get("variants", {}):
        star = " (published)" if variant == blocks.get("published") else ""
        options = config.variant_options(name, variant)
        stated = ", ".join(f"{key}={_short(value)}" for key, value in options.items()) or "the method's defaults"
        console.print(f"  {variant}{star}: {stated}", soft_wrap=True)
    for key, value in card.items():
        if key in {*HEAD, "name", "trained", "fidelity_note", "choices"} or value in (None, [], ""):
            continue
        console.print(f"\n{key.replace('_', ' ')}", style="bold")
        for line in _lines(value):
            console.print(f"  {line}", soft_wrap=True)
    choices = card.get("choices") or []
    if choices and isinstance(choices, list) and all(isinstance(choice, dict) for choice in choices):
        console.print("\nchoices", style="bold")
        columns = list(dict.fromkeys(key for choice in choices for key in choice))
        table = Table()
        for column in columns:
            table.add_column(column, overflow="fold")
        for choice in choices:
            table.add_row(*(str(choice.get(column, "")) for column in columns))
        console.print(table)
    elif choices:
        console.print("\nchoices", style="bold")
        for line in _lines(choices):
            console.print(f"  {line}", soft_wrap=True)
    return 0


def _short(value: Any) -> str:
    """A value as text of at most 60 characters."""
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _lines(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [f"{key}: {f'{item:,}' if isinstance(item, int) else item}" for key, item in value.items()]
    if isinstance(value, list):
        return [f"- {item}" for item in value]
    return [str(value).strip()]


def _check(console: Console, name: str, variant: str) -> int:
    from rich.table import Table

    from rrsis_bench.methods.contract import check_method

    checks = check_method(name, variant)
    table = Table(title=f"{name} ({variant})")
    table.add_column("check", overflow="fold")
    table.add_column("")
    table.add_column("detail", overflow="fold")
    for check in checks:
        table.add_row(check.name, "ok" if check.passed else "FAILED", check.detail)
    console.print(table)
    failed = sum(not check.passed for check in checks)
    console.print(f"{len(checks) - failed} of {len(checks)} checks passed")
    return 1 if failed else 0
