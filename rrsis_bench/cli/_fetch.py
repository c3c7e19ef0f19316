"""`data fetch`: what it shows, asks and prints. No torch."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rrsis_bench import terminal
from rrsis_bench.data.prepare import Located
from rrsis_bench.errors import MissingResourceError, UsageError


def fetch(args: argparse.Namespace) -> Located | int:
    """Fetch a data set, or say how to get it by hand.

    Returns:
        the data set, which stands in its folder now and can be verified; else the exit code.
    """
    from rrsis_bench.data.catalogue import settings
    from rrsis_bench.data.fetch import drive, hub
    from rrsis_bench.data.fetch import into as fetching
    from rrsis_bench.data.fetch.archives import is_archive
    from rrsis_bench.data.prepare import folder, locate
    from rrsis_bench.data.tables import is_table, require_pyarrow

    data = {**settings(args.name), **({} if args.root is None else {"root": str(args.root)})}
    if data.get("generator"):
        print(f"{args.name} is drawn on first use; there is nothing to fetch.")
        return 0
    located, root = locate(data), folder(data)
    info = located.source.info
    repository = args.repo or info.hub
    if info.kind == "own" and not repository:
        raise UsageError(f"{args.name} stands for your own files; fetch a copy of the hub with --repo OWNER/NAME.")
    if not repository:
        return _from_drive(args, located) if info.drive and drive.client() is not None else _by_hand(located)
    _ask_somebody(args)
    fetching.refuse_users_files(root)
    offer = hub.look(repository, args.revision)
    if fetching.is_fetched(offer, root):
        print(f"{root} holds {repository}@{offer.revision} already.")
        fetching.tidy(root)
    else:
        kept, archives = fetching.arrived(offer, root), any(is_archive(file.name) for file in offer.files)
        if not archives and any(is_table(file.name) for file in offer.files):
            require_pyarrow(hub.page(repository))  # before gigabytes arrive that only it can read
        said = f" (the repository says: {offer.licence})" if offer.licence else ""
        here = f", of which {fetching.sized(kept)} have arrived" if kept else ""
        more = ", and as much again or more to unpack" if archives else ""
        size = f"{len(offer.files)} files, {fetching.sized(offer.size)}{here}{more}"
        origin = f"{hub.page(repository)}, revision {offer.revision}"
        if not _accepted(args, info.title, root, origin, f"{info.licence}{said}", size):
            return 1
        print(f"fetched {fetching.into(offer, root, located.source)}")
    return located


def _ask_somebody(args: argparse.Namespace) -> None:
    if not args.yes and not sys.stdin.isatty():
        raise UsageError("data fetch asks before it fetches, and there is no terminal: pass --yes.")


def _from_drive(args: argparse.Namespace, located: Located) -> Located | int:
    """Fetch a Drive folder with `gdown`; where it fails, print the steps by hand, too."""
    from rrsis_bench.data.fetch import drive
    from rrsis_bench.data.fetch import into as fetching

    info, root = located.source.info, located.root
    _ask_somebody(args)
    fetching.refuse_users_files(root)
    if drive.is_fetched(info.drive, root):
        print(f"{root} holds {info.drive} already.")
        fetching.tidy(root)
        return located
    size = f"{info.drive_size or 'not known'}, and as much again or more to unpack"
    if not _accepted(args, info.title, root, f"{info.drive}, with gdown", info.licence, size):
        return 1
    try:
        print(f"fetched {drive.into(drive.client(), info.drive, root, located.source)}")
    except MissingResourceError:
        _by_hand(located)
        raise
    return located


def _accepted(args: argparse.Namespace, title: str, root: Path, origin: str, licence: str, size: str) -> bool:
    """Show what would be fetched, and ask; `--yes` is the answer already."""
    from rrsis_bench.data.fetch import into as fetching

    terminal.say(f"{args.name}: {title}")
    terminal.say(f"from     {origin}")
    terminal.say(f"licence  {licence}", " " * 9)
    terminal.say(f"size     {size}", " " * 9)
    terminal.say(f"into     {root} ({fetching.sized(fetching.free(root))} free)", " " * 9)
    if args.yes or _agreed():
        return True
    print("nothing was fetched.")
    return False


def _agreed() -> bool:
    try:
        return input("fetch it? [y/N] ").strip().lower() in {"y", "yes"}
    except EOFError:
        return False


def _by_hand(located: Located) -> int:
    """Print the steps to a data set that no repository of the hub holds."""
    from rrsis_bench.data.fetch import drive

    info, root = located.source.info, located.root
    steps = info.steps or f"get it from {info.where}\n{{root}} must hold {info.layout}"
    print(f"{info.title} (licence: {info.licence}) is not fetched by this command. By hand:")
    for number, step in enumerate(steps.replace("{root}", str(root)).splitlines(), 1):
        terminal.say(f"{number}. {step}", "   ")
    if info.drive and drive.client() is None:
        print("With gdown, this command fetches the Drive folder: pip install 'rrsis-bench[drive]'")
    return 0 if root.is_dir() else MissingResourceError.exit_code
