"""`rrsis-bench data`: list, fetch, prepare, verify, count, show and audit data sets."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rrsis_bench import config, paths, terminal
from rrsis_bench.cli._words import as_int, as_path
from rrsis_bench.data.info import SPLITS
from rrsis_bench.errors import UsageError, UserError
from rrsis_bench.kinds import whole

if TYPE_CHECKING:
    from rrsis_bench.data.manifest import Manifest
    from rrsis_bench.data.prepare import Located
    from rrsis_bench.data.sources.base import Finding

STYLES = {"error": "red", "warning": "yellow", "info": "dim"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the sub-verbs of `data` and their options."""
    words = parser.add_subparsers(dest="word", required=True, metavar="WORD")
    words.add_parser("list", help="all data sets: title, kind, published sizes, folder, licence, what to know")
    perturbations = words.add_parser("perturbations", help="all perturbations that `test --perturb` takes")
    perturbations.add_argument(
        "--page", type=as_path, metavar="DIR", help="write robustness.md with examples, and robustness.jpg, there"
    )
    overlap = words.add_parser("overlap", help="list images of two data sets, or of one, that look alike")
    overlap.add_argument("a", metavar="A", help="a data set, such as the one that a run was trained on")
    overlap.add_argument("b", metavar="B", help="the other one; A again for the splits of one data set")
    overlap.add_argument("--out", type=as_path, metavar="FILE", help="list to write (default: ./overlap-A-B.jsonl)")
    overlap.add_argument(
        "--pictures", type=as_path, metavar="FILE", help="picture of the first pairs to write, such as pairs.jpg"
    )
    for word, summary in (
        ("fetch", "fetch a data set from the Hugging Face hub and verify it, or say how to get it by hand"),
        ("prepare", "write the manifest that training and testing read"),
        ("verify", "check every file and name each defect; exit code 3 if there are errors"),
        ("stats", "count splits, categories, sizes and words"),
        ("show", "draw one pair into a PNG file and print the pair's entry in the manifest"),
        ("audit", "write a page of samples on which methods agree with each other and not with the truth"),
    ):
        sub = words.add_parser(word, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
        sub.add_argument("name", metavar="NAME", help="a data set that `rrsis-bench data list` names")
        sub.add_argument("--root", type=as_path, help="the data set's folder (default: that of its configuration)")
        if word != "fetch":
            sub.add_argument("--manifest", type=as_path, help="the file that lists the pairs of your own data set")
        if word == "fetch":
            sub.add_argument("--repo", metavar="OWNER/NAME", help="another copy on the hub (default: the authors')")
            sub.add_argument("--revision", help="commit, tag or branch on the hub (default: the newest)")
            sub.add_argument("--yes", action="store_true", help="do not ask before fetching")
        if word == "show":
            sub.add_argument("--index", type=as_int(whole(0)), default=0, help="position in the split (default: 0)")
            sub.add_argument("--split", default="test", choices=SPLITS, help="default: test")
            sub.add_argument("--out", type=as_path, help="file to write (default: ./NAME-SPLIT-INDEX.png)")
        if word == "audit":
            sub.add_argument(
                "--run", nargs="+", type=as_path, required=True, help="run folders of two different methods or more"
            )
            sub.add_argument("--split", default="test", choices=SPLITS, help="default: test")
            sub.add_argument("--out", type=as_path, help="page to write (default: ./NAME-SPLIT-audit.html)")
            sub.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps (default: auto)")
        if word == "prepare":
            sub.add_argument("--force", action="store_true", help="read all files again, even if none has changed")
        if word == "verify":
            sub.add_argument("--quiet", action="store_true", help="leave out notes; show errors and warnings")


def run(args: argparse.Namespace) -> int:
    """Run the sub-verb."""
    if args.word == "list":
        return _list()
    if args.word == "fetch":
        from rrsis_bench.cli import _fetch

        found = _fetch.fetch(args)
        args.quiet = True
        return found if isinstance(found, int) else _verify(found, args)
    if args.word == "perturbations":
        return _perturbations(args)
    if args.word == "overlap":
        return _overlap(args)
    if args.word == "audit":
        return _audit(args)
    located = _locate(args)
    words = {"prepare": _prepare, "verify": _verify, "stats": _stats, "show": _show}
    return words[args.word](located, args)


def _settings(args: argparse.Namespace) -> dict[str, Any]:
    from rrsis_bench.data.catalogue import settings

    data = settings(args.name)
    for option in ("root", "manifest"):
        if getattr(args, option) is not None:
            data[option] = str(getattr(args, option))
    return data


def _locate(args: argparse.Namespace) -> Located:
    from rrsis_bench.data.prepare import locate

    return locate(_settings(args))


def _audit(args: argparse.Namespace) -> int:
    from rrsis_bench.files import prove_writable, write_together
    from rrsis_bench.run.folder import RunFolder

    data, runs = _settings(args), [RunFolder(path) for path in dict.fromkeys(args.run)]
    out: Path = args.out or Path(f"{args.name}-{args.split}-audit.html")
    if out.suffix != ".html":
        raise UsageError(f"--out {out}: the page is an HTML file; give its name the suffix .html.")
    record = out.with_suffix(".json")
    prove_writable(out, record)
    from rrsis_bench.engine.audit import audit, page, record_of

    found = audit(runs, data, args.split, args.device)
    write_together({record: record_of(found, args.name, args.split), out: page(found, args.name, args.split)})
    counted = f"{len(found.candidates):,} of {found.n_samples:,} samples"
    print(f"{args.name} {args.split}: {counted} are candidates for a wrong mask or an ambiguous expression")
    print(f"page: {out}; record: {record} (leaderboard shows the records in results/audits)")
    return 0


def _list() -> int:
    from rich.table import Table

    from rrsis_bench.data.catalogue import describe, settings

    table = Table(box=None, pad_edge=False)
    known = {name: describe(name) for name in config.names("datasets")}
    for head in ("name", "data set", "kind", *SPLITS, "found"):
        table.add_column(head, justify="right" if head in SPLITS else "left")
    for name, info in known.items():
        data = settings(name)
        root = Path(str(data["root"])).expanduser() if data.get("root") else paths.data_root() / name
        found = str(root) if root.is_dir() else f"no: {root}"
        if data.get("generator"):
            found = "generated on first use"
        counts = [f"{info.counts[split]:,}" if split in info.counts else "" for split in SPLITS]
        table.add_row(name, info.title, info.kind, *counts, found)
    terminal.show(table)
    for name, info in known.items():
        if info.licence or info.notes:
            terminal.say(f"\n{name}: licence: {info.licence or 'not known'}")
        for note in info.notes:
            terminal.say(f"  {note}", "    ")
    terminal.say("\nWhere to get a data set, and what its folder must hold: rrsis-bench data verify NAME")
    return 0


def _perturbations(args: argparse.Namespace) -> int:
    from rich.table import Table

    from rrsis_bench.data.perturb import page
    from rrsis_bench.data.perturb.table import PERTURBATIONS

    if args.page is not None:
        for path in page.write(args.page):
            print(f"wrote {path}")
        return 0
    table = Table(box=None, pad_edge=False)
    for head in ("name", "changes", "severities", "version", "what it does"):
        table.add_column(head)
    for one in PERTURBATIONS.values():
        changes = {"image": "image", "words": "words", "turn": "image and words"}[one.kind]
        table.add_row(one.name, changes, "1-5" if one.graded else "", str(one.version), one.what)
    terminal.show(table)
    return 0


def _overlap(args: argparse.Namespace) -> int:
    from rrsis_bench.data import overlap
    from rrsis_bench.data.catalogue import settings
    from rrsis_bench.data.pixels import ImageError, encoded
    from rrsis_bench.data.prepare import locate
    from rrsis_bench.files import prove_writable, write_bytes, write_text

    out: Path = args.out or Path(f"overlap-{args.a}-{args.b}.jsonl")
    prove_writable(out, *([args.pictures] if args.pictures else []))
    located = {name: locate(settings(name)) for name in dict.fromkeys((args.a, args.b))}
    hashed = {name: overlap.hashed(one) for name, one in located.items()}
    found = overlap.twins(hashed[args.a], hashed[args.b])
    for (here, there), count in overlap.tally(found).items():
        print(f"{args.a} {here} - {args.b} {there}: {count:,} pairs")
    if not found:
        print(f"no image of {args.a} looks like another one of {args.b}")
    write_text(out, overlap.text_of(hashed[args.a], hashed[args.b], found))
    print(f"wrote {out}")
    if args.pictures and found:
        drawn = overlap.picture(found, {name: one.root for name, one in located.items()})
        try:
            write_bytes(args.pictures, encoded(args.pictures.suffix, drawn))
        except ImageError as error:
            raise UsageError(f"--pictures {args.pictures}: {error}.") from error
        print(f"wrote {args.pictures}")
    return 0


def _prepare(located: Located, args: argparse.Namespace) -> int:
    from rrsis_bench.data.manifest import Manifest
    from rrsis_bench.data.prepare import ensure_manifest, manifest_origin, manifest_path

    ready = not args.force and manifest_path(located).is_file()
    path = ensure_manifest(located, args.force)
    opened = {split: Manifest.open(path, split, located.empty_truth) for split in SPLITS}
    counts = ", ".join(f"{split} {len(manifest):,}" for split, manifest in opened.items())
    print(f"{located.dataset}: {'up to date' if ready else 'written'}: {path} ({counts})")
    if (fetched := manifest_origin(path)) is not None:
        print(f"fetched from {fetched}")
    _warn(located, path)
    return 0


def _warn(located: Located, path: Path) -> None:
    if empty := located.empty(path):
        print(f"rrsis-bench: warning: {empty}", file=sys.stderr)


def _verify(located: Located, args: argparse.Namespace) -> int:
    from rich.table import Table
    from rich.text import Text

    from rrsis_bench.data.prepare import reread

    findings: list[Finding] = located.source.verify(located.root)
    shown = [finding for finding in findings if not (args.quiet and finding.severity == "info")]
    if shown:
        table = Table("", "check", "file", "what is wrong", box=None, pad_edge=False)
        for finding in shown:
            severity = Text(finding.severity, STYLES[finding.severity])
            table.add_row(severity, finding.check, Text(finding.file, overflow="fold"), Text(finding.message))
        terminal.show(table)
    tally = Counter(finding.severity for finding in findings)
    errors = tally["error"]
    path = reread(located)
    print(f"manifest of these files: {path if path.is_file() else 'none yet; `rrsis-bench data prepare` writes it'}")
    verdict = "FAILED" if errors else "ok"
    summary = f"{errors} errors, {tally['warning']} warnings, {tally['info']} notes"
    print(f"{located.dataset} in {located.root}: {verdict}: {summary}")
    if errors:
        print(f"replace the files above from {located.source.info.where}")
    return 3 if errors else 0


def _stats(located: Located, args: argparse.Namespace) -> int:
    from rrsis_bench.data import stats
    from rrsis_bench.data.manifest import Manifest
    from rrsis_bench.data.prepare import ensure_manifest

    path = ensure_manifest(located)
    manifest: Manifest = Manifest.open(path, empty_truth=located.empty_truth)
    for table in stats.tables(list(manifest)):
        terminal.show(table)
        print()
    _warn(located, path)
    return 0


def _show(located: Located, args: argparse.Namespace) -> int:
    from dataclasses import asdict

    from rrsis_bench.data.manifest import Manifest
    from rrsis_bench.data.masks import MaskError, decode
    from rrsis_bench.data.pixels import ImageError, PixelRule, encoded, read_rgb
    from rrsis_bench.data.prepare import ensure_manifest
    from rrsis_bench.engine.overlay import draw_overlay
    from rrsis_bench.files import prove_writable, write_bytes
    from rrsis_bench.nearest import resize_mask

    out: Path = args.out or Path(f"{args.name}-{args.split}-{args.index}.png")
    prove_writable(out)
    manifest = Manifest.open(ensure_manifest(located), args.split, located.empty_truth)
    if not 0 <= args.index < len(manifest):
        raise UsageError(
            f"--index {args.index} is not within 0..{len(manifest) - 1} of {args.name}'s {args.split} split."
        )
    pair = manifest[args.index]
    try:
        image = read_rgb(located.root / pair.image, PixelRule.from_config(pair.pixels))
        mask = decode(pair.rle)
    except (ImageError, MaskError) as error:
        raise UserError(
            f"{located.root / pair.image}: {error}; `rrsis-bench data verify {args.name}` lists all damaged files."
        ) from error
    values: Mapping[str, Any] = {
        **asdict(pair),
        "rle": f"{pair.rle['size']}, {len(pair.rle['counts'])} characters",
    }
    width = max(map(len, values))
    for key, value in values.items():
        print(f"{key:<{width}}  {value}")
    print(f"{'pixels':<{width}}  {int(mask.sum()):,} of {mask.size:,} ({mask.mean():.2%})")
    mask = resize_mask(mask, (image.shape[0], image.shape[1]))
    try:
        content = encoded(out.suffix, draw_overlay(image, mask, pair.text))
    except ImageError as error:
        raise UsageError(f"--out {out}: {error}.") from error
    write_bytes(out, content)
    print(f"{'drawn':<{width}}  {out}")
    return 0
