"""`rrsis-bench predict`: segment what expressions refer to in images."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rrsis_bench.cli._words import as_float, as_int, as_path
from rrsis_bench.kinds import number, whole


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's options."""
    parser.add_argument("--run", required=True, type=as_path, metavar="DIR", help="run folder that fit wrote")
    parser.add_argument(
        "--image",
        required=True,
        type=as_path,
        action="append",
        help="PNG, JPEG, TIFF, or GeoTIFF (extra geo); repeatable",
    )
    parser.add_argument(
        "--text",
        required=True,
        action="append",
        help="what to find: 'the white airplane on the left'; repeatable",
    )
    parser.add_argument("--out", type=as_path, help="folder to write to (default: predictions)")
    parser.add_argument("--overwrite", action="store_true", help="replace predictions that are there already")
    parser.add_argument("--ckpt", type=as_path, metavar="PATH", help="checkpoint (default: the run's best)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps (default: auto)")
    parser.add_argument(
        "--tile",
        type=as_int(whole(16)),
        metavar="PIXELS",
        help="cut an image with a longer side into tiles (default: twice the input size)",
    )
    parser.add_argument(
        "--overlap",
        type=as_float(number(0, 0.9)),
        default=0.25,
        help="share of a tile's side that neighbours overlap by (default: 0.25)",
    )
    parser.add_argument("--batch-size", type=as_int(whole(1)), default=4, help="tiles in a batch (default: 4)")
    parser.add_argument(
        "--bands",
        metavar="R,G,B",
        help="bands that are red, green and blue, counted from 1 (default: the run's, or the file's)",
    )
    parser.add_argument(
        "--stretch",
        metavar="LOW,HIGH",
        help="values of images deeper than 8 bits that become black and white (default: the run's)",
    )
    parser.add_argument("--plain", action="store_true", help="treat a georeferenced file as an ordinary image")


def run(args: argparse.Namespace) -> int:
    """Predict and write the files.

    Returns:
        exit code 0, even if a mask is empty.
    """
    from rrsis_bench.engine.predict import predict_files
    from rrsis_bench.errors import UsageError

    if not args.run.is_dir():
        raise UsageError(f"--run {args.run} is no folder; give one that `rrsis-bench fit` wrote.")
    done = predict_files(
        args.run,
        args.image,
        args.text,
        args.out or Path("predictions"),
        checkpoint=args.ckpt,
        device=args.device,
        tile=args.tile,
        overlap=args.overlap,
        batch_size=args.batch_size,
        bands=args.bands,
        stretch=args.stretch,
        plain=args.plain,
        overwrite=args.overwrite,
    )
    for one in done:
        for note in one.notes:
            print(f"note: {one.image}: {note}", file=sys.stderr)
        mask, mean = one.found.bits, one.found.mean_probability
        if mean is None:
            print(f'{one.image}: nothing found for "{one.text}": the mask is empty')
        else:
            share = mask.area / (mask.height * mask.width)
            said = f"{mask.area:,} pixels, {share:.2%} of the image, mean probability {mean:.2f}"
            print(f'{one.image}: "{one.text}": {said}')
        print("\n".join(f"  {path}" for path in one.files), flush=True)
    return 0
