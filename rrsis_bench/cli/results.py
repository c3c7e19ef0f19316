"""`rrsis-bench results`: check, rescore, compare, tabulate and export results; score predictions of any framework."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rrsis_bench.cli._words import as_int, as_path
from rrsis_bench.data.empty_truth import REASON
from rrsis_bench.errors import DriftError, UsageError
from rrsis_bench.kinds import SEED, whole
from rrsis_bench.metrics.protocols import of_masks

if TYPE_CHECKING:
    from rrsis_bench.sweep.cell import Cell


SHOWN = 10
"""Number of bad predictions that `results score` names."""
COMPARE = (
    "Print the difference of two methods on the same samples, with its interval and p value over photographs. "
    "The p value is exact for 16 photographs or fewer. With fewer than 6 there is none: chance alone could explain any "
    "difference. A category or size of fewer than 10 photographs is not tested: it is too few to tell."
)
EXPLAIN = (
    "Say of each prediction whether it is right, rough, spread over several objects, on a wrong instance, or missed: "
    "by category, size and wording. Print calibration, boundary IoU and what other thresholds give. Write a page with "
    "examples (explain.html) and the reliability diagram (reliability.svg)."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the sub-verbs and their options."""
    verbs = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    check = verbs.add_parser("check", help="check checksums and schema, compute metrics again, name each bad file")
    check.add_argument("paths", nargs="*", type=as_path, metavar="PATH", help="folders or files (default: results)")
    rescore = verbs.add_parser("rescore", help="compute every metric again from samples.csv.gz and rewrite results")
    rescore.add_argument("paths", nargs="+", type=as_path, metavar="RUN", help="run folders, or folders that hold some")
    rescore.add_argument("--check", action="store_true", help="write nothing; exit 4 if a result would change")
    score = verbs.add_parser("score", help="score predictions of any framework and write a result file")
    _score_arguments(score)
    compare = verbs.add_parser("compare", help="compare two methods: differences, intervals, p values")
    compare.description = COMPARE
    compare.add_argument(
        "a", type=as_path, metavar="A", help="run folder, or a method's folder that holds seed folders"
    )
    compare.add_argument("b", type=as_path, metavar="B", help="run folder or seeds' folder of the other method")
    compare.add_argument("--protocol", default="native-v1", help="protocol to score by (default: native-v1)")
    compare.add_argument("--json", action="store_true", help="print all numbers as JSON, as fractions, not percent")
    explain = verbs.add_parser("explain", help="say why scores are what they are: kinds of failure, calibration")
    explain.description = EXPLAIN
    explain.add_argument("runs", nargs="+", type=as_path, metavar="RUN", help="run folders of test --detail")
    explain.add_argument("--out", type=as_path, metavar="DIR", help="folder to write to (default: explain)")
    explain.add_argument("--json", action="store_true", help="print all numbers as JSON; write files only with --out")
    table = verbs.add_parser("table", help="make one table of a sweep's finished cells, each compared with the first")
    table.add_argument("sweep", metavar="SWEEP", help="a YAML file, or the name of one in configs/sweeps")
    table.add_argument("--runs", type=as_path, metavar="DIR", help="folder of the runs; default: $RRSIS_RUNS or runs")
    table.add_argument("--format", choices=("md", "csv"), default="md", help="default: md")
    export = verbs.add_parser("export", help="copy a run's result into the repository, without paths and host names")
    export.add_argument("run", type=as_path, metavar="RUN", help="run folder")
    export.add_argument("--to", type=as_path, default=Path("results/runs"), help="default: results/runs")


def _score_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Score binary masks at native size: a file of JSON lines {sample_id, rle} (COCO RLE, may be gzipped), or a "
        "folder of PNG masks named by sample id. "
        f"The protocols {' and '.join(of_masks())} score them; the other protocols need logits."
    )
    parser.add_argument("predictions", type=as_path, metavar="PREDICTIONS", help="JSONL file, or folder of PNG masks")
    parser.add_argument("--dataset", required=True, help="name of the data set (rrsis-bench data list)")
    parser.add_argument("--split", default="test", help="default: test")
    parser.add_argument("--method", required=True, help="name of the method, for its row of the boards")
    parser.add_argument("--variant", default="external", help="name of the method's variant (default: external)")
    parser.add_argument(
        "--seed", type=as_int(SEED), default=0, help="seed of the training, one row for all seeds (default: 0)"
    )
    parser.add_argument(
        "--selected-on",
        default="unknown",
        choices=["val", "test", "none", "unknown"],
        help="split that the checkpoint was chosen on (default: unknown)",
    )
    for name, what in (
        ("title", "title of the method, for the boards"),
        ("venue", "where the method was published, for the boards"),
        ("encoders", "names of the method's encoders, for the boards"),
        ("url", "page of the method, for the boards"),
    ):
        parser.add_argument(f"--{name}", help=what)
    parser.add_argument("--year", type=as_int(whole(1900, 2100)), help="year of publication")
    parser.add_argument("--parameters", type=as_int(whole(0)), help="number of the method's parameters")
    parser.add_argument("--trainable-parameters", type=as_int(whole(0)), help="number of parameters that were trained")
    parser.add_argument("--root", metavar="DIR", help="folder of the data set (default: that of its configuration)")
    parser.add_argument("--manifest", metavar="FILE", help="the file that lists the pairs, for --dataset own")
    parser.add_argument("--out", type=as_path, metavar="DIR", help="default: runs/DATASET/METHOD@VARIANT/seedK")
    parser.add_argument("--overwrite", action="store_true", help="replace a result that the folder holds")


def run(args: argparse.Namespace) -> int:
    """Run the sub-verb."""
    actions = {
        "check": _check,
        "rescore": _rescore,
        "score": _score,
        "compare": _compare,
        "explain": _explain,
        "table": _table,
        "export": _export,
    }
    return actions[args.action](args)


def _found(paths: list[Path]) -> list[Path]:
    from rrsis_bench.run.folder import find

    for path in paths:
        if not path.exists():
            raise UsageError(f"there is no file or folder {path}; name a run folder, or a folder of runs.")
    return find(paths)


def _check(args: argparse.Namespace) -> int:
    from rrsis_bench.cost import measured
    from rrsis_bench.results.maintain import check

    default = Path("results")
    if not args.paths and not default.is_dir():
        raise UsageError(f"there is no folder {default} to check; name run folders: rrsis-bench results check PATH.")
    files = _found(args.paths or [default])
    bad = 0
    for path in files:
        problems = check(path)
        bad += bool(problems)
        for problem in problems:
            print(f"rrsis-bench: bad result: {problem}", file=sys.stderr)
    print(f"{len(files)} results checked, {bad} bad.")
    folders = [measured.folder_of(path) for path in args.paths or [default]]
    if on_gpus := sum(len(measured.find(folder)) for folder in folders):
        problems = [problem for folder in folders for problem in measured.read(folder)[1]]
        for problem in problems:
            print(f"rrsis-bench: bad measurement: {problem}", file=sys.stderr)
        print(f"{on_gpus} measurements checked, {len(problems)} bad.")
        bad += len(problems)
    return 1 if bad else 0


def _rescore(args: argparse.Namespace) -> int:
    from rrsis_bench.results.maintain import rescore

    files = _found(args.paths)
    if not files:
        raise UsageError(f"there is no result.json under {', '.join(map(str, args.paths))}; test the run first.")
    found = rescore(files, not args.check)
    changed = [path for path, one in found.items() if one.changed]
    for path, one in found.items():
        before, after = one.before["schema"], one.after["schema"]
        if one.changed:
            version = f" (schema version {before} -> {after}: words, not tokens)" if before != after else ""
            print(f"{'would change' if args.check else 'rewrote'} {path}{version}")
        if one.left:
            print(f"left at schema version {before}: {path}: {one.left}")
    print(f"{len(files)} results scored again, {len(changed)} changed.")
    if args.check and changed:
        raise DriftError(
            f"not what the samples give: {', '.join(map(str, changed))}. Run: rrsis-bench results rescore."
        )
    return 0


def _score(args: argparse.Namespace) -> int:
    from rrsis_bench.boards.tables import print_scores, scored_split, values
    from rrsis_bench.results import external
    from rrsis_bench.results.predictions import PredictionError

    described = external.External(
        method=args.method,
        variant=args.variant,
        seed=args.seed,
        selected_on=args.selected_on,
        about={name: getattr(args, name) for name in ("title", "venue", "year", "encoders", "url")},
        parameters=args.parameters,
        trainable_parameters=args.trainable_parameters,
    )
    data = {name: getattr(args, name) for name in ("root", "manifest") if getattr(args, name) is not None}
    try:
        folder = external.score_predictions(
            args.predictions, args.dataset, described, args.split, data, args.out, args.overwrite
        )
    except PredictionError as error:
        for problem in error.problems[:SHOWN]:
            print(f"rrsis-bench: bad prediction: {problem}", file=sys.stderr)
        raise
    result = folder.result()
    scored = result["dataset"]
    split = scored_split(args.dataset, args.split, scored["n_skipped"], scored.get(REASON, "skip"))
    print_scores(f"{split}: {args.method}", values(result))
    print(f"not scored by {', '.join(external.left_out())}: these protocols need logits, not binary masks")
    print(f"files: {folder}/ ({', '.join(folder.written())})")
    return 0


def _compare(args: argparse.Namespace) -> int:
    from rrsis_bench.files import json_text
    from rrsis_bench.results.comparison import comparison, show

    found = comparison(args.a, args.b, args.protocol)
    if args.json:
        print(json_text(found), end="")
    else:
        show(found)
    return 0


def _explain(args: argparse.Namespace) -> int:
    from rrsis_bench import terminal
    from rrsis_bench.boards.render.charts import reliability_svg
    from rrsis_bench.boards.render.explained import curves, page
    from rrsis_bench.engine.explained import examples
    from rrsis_bench.files import json_text, prove_writable, write_together
    from rrsis_bench.results.explain import explain, load, meanings, show

    out = Path("explain") if args.out is None and not args.json else args.out
    files = [] if out is None else [out / "explain.html", out / "reliability.svg"]
    runs = [load(path) for path in args.runs]
    prove_writable(*files)
    found = [explain(run) for run in runs]
    if args.json:
        print(json_text({"runs": found}), end="")
    else:
        for one in found:
            show(one)
        terminal.say(meanings())
    if files:
        drawn = [examples(run) for run in runs]
        notes = [note for _, note in drawn if note]
        texts = [page(found, [shown for shown, _ in drawn], notes), reliability_svg(curves(found))]
        write_together(dict(zip(files, texts, strict=True)))
        for note in notes:
            print(f"rrsis-bench: note: {note}", file=sys.stderr)
        print(f"files: {out}/ ({', '.join(file.name for file in files)})", file=sys.stderr if args.json else sys.stdout)
    return 0


def _table(args: argparse.Namespace) -> int:
    from rrsis_bench.boards import sweep_table
    from rrsis_bench.sweep.agenda import survey
    from rrsis_bench.sweep.grid import read_sweep

    sweep = read_sweep(args.sweep, args.runs)
    agenda = survey(sweep, compute=False)
    grouped: dict[tuple[str, str], list[Cell]] = {}
    for cell in agenda.cells:
        named = cell.variant.partition("+")[2]
        grouped.setdefault((cell.dataset, named or f"{cell.method}@{cell.variant}"), []).append(cell)
    members = []
    for (dataset, label), cells in grouped.items():
        done = [cell for cell in cells if agenda.verdicts[cell.name].state == "done"]
        results = tuple(one for cell in done if (one := cell.folder.result())["status"] == "complete")
        members.append(sweep_table.Member(dataset, label, results, len(cells)))
    if not any(member.results for member in members):
        raise UsageError(f"no cell of {sweep.path} is done yet; run it with: rrsis-bench sweep {args.sweep}")
    for cell in agenda.cells:
        verdict = agenda.verdicts[cell.name]
        if verdict.state != "done":
            reason = f" ({verdict.detail})" if verdict.detail else ""
            print(f"rrsis-bench: note: {cell.name} is {verdict.state}{reason} and not in the table", file=sys.stderr)
    found = sweep_table.rows(members)
    if args.format == "csv":
        print(sweep_table.csv_text(found), end="")
    else:
        print(sweep_table.markdown(sweep_table.title(sweep.name, members), found), end="")
    return 0


def _export(args: argparse.Namespace) -> int:
    from rrsis_bench.results.maintain import export

    print(f"wrote {export(args.run, args.to)}")
    return 0
