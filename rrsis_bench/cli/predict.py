"""`rrsis-bench predict`: segment what an expression refers to in an image."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's options."""
    parser.add_argument("--run", required=True, type=Path, metavar="DIR", help="run folder that fit wrote")
    parser.add_argument("--image", required=True, type=Path, help="PNG, JPEG, TIFF, or GeoTIFF (extra geo)")
    parser.add_argument("--text", required=True, help="the expression, such as 'the white airplane on the left'")
    parser.add_argument("--out", type=Path, help="folder to write to (default: predictions)")
    parser.add_argument("--ckpt", type=Path, metavar="PATH", help="checkpoint (default: the run's best)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps (default: auto)")
    parser.add_argument(
        "--tile",
        type=int,
        metavar="PIXELS",
        help="cut an image with a longer side into tiles (default: twice the input size)",
    )
    parser.add_argument(
        "--overlap", type=float, default=0.25, help="share of a tile's side that neighbours overlap by (default: 0.25)"
    )
    parser.add_argument("--batch-size", type=int, default=4, help="tiles in a batch (default: 4)")
    parser.add_argument("--bands", metavar="R,G,B", help="bands of a GeoTIFF, counted from 1 (default: 1,2,3)")
    parser.add_argument("--plain", action="store_true", help="treat a georeferenced file as an ordinary image")


def run(args: argparse.Namespace) -> int:
    """Predict and write the files.

    Returns:
        exit code 0, even if the mask is empty.
    """
    from rrsis_bench.engine import geo
    from rrsis_bench.engine.device import pick_device
    from rrsis_bench.engine.load import load_run
    from rrsis_bench.engine.predict import predict_file
    from rrsis_bench.errors import UsageError
    from rrsis_bench.run.folder import RunFolder

    if not args.text.strip():
        raise UsageError('--text is empty: say what to look for, such as --text "the white airplane on the left".')
    if not args.run.is_dir():
        raise UsageError(f"--run {args.run} is no folder; give one that `rrsis-bench fit` wrote.")
    device = pick_device(args.device)
    loaded = load_run(RunFolder(args.run), device, args.ckpt)
    settings = {"tile": args.tile, "overlap": args.overlap, "batch_size": args.batch_size}
    image, found, written = predict_file(
        loaded, args.image, args.text, args.out or Path("predictions"), device, args.bands, args.plain, **settings
    )
    for note in _notes(found.truncated, found.tiles, image.notes if isinstance(image, geo.Scene) else ()):
        print(f"note: {note}", file=sys.stderr)
    if found.mean_probability is None:
        print(f'nothing found for "{args.text}": the mask is empty')
    else:
        share = found.mask.mean()
        print(
            f'"{args.text}": {int(found.mask.sum()):,} pixels, {share:.2%} of the image, '
            f"mean probability {found.mean_probability:.2f}"
        )
    print("\n".join(f"  {path}" for path in written))
    return 0


def _notes(truncated: bool, tiles: int, more: tuple[str, ...]) -> list[str]:
    notes = list(more)
    if truncated:
        notes.append("the expression is longer than the method reads; its end was cut off")
    if tiles > 1:
        notes.append(
            f"the image was cut into {tiles} tiles; words of place, such as 'left', refer to each tile (see --tile)"
        )
    return notes
