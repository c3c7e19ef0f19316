"""`fit`, `validate` and `test`: one run from its plan to its result."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rrsis_bench.boards.tables import print_scores
from rrsis_bench.cli._trainer import Plan
from rrsis_bench.engine import report
from rrsis_bench.engine.checkpoint import check_identity, read
from rrsis_bench.engine.gallery import GalleryKeeper
from rrsis_bench.engine.resume import BEST, LAST, LastCheckpoint
from rrsis_bench.engine.task import ReferringSegmentationTask, Scored
from rrsis_bench.engine.trainer import TrainerCLI, build_cli
from rrsis_bench.errors import UsageError
from rrsis_bench.files import write_text
from rrsis_bench.metrics import protocols
from rrsis_bench.results import gallery, record
from rrsis_bench.results.provenance import Start, provenance

# What a run may leave in its folder; --overwrite removes these and nothing else.
OWN_FILES = ("result.json", "samples.csv.gz", "gallery.json", "config.yaml", "metrics.csv", "hparams.yaml")


@contextmanager
def _interruptible() -> Iterator[None]:
    """Lightning turns Ctrl-C into an exit with code 1; turn it back."""
    try:
        yield
    except SystemExit as stop:
        raise KeyboardInterrupt from stop


def fit(plan: Plan, checkpoint: Path | None, keep: bool) -> int:
    """Train, test the checkpoint that was best on val, run the language control, write and print the result.

    Args:
        plan: what to train.
        checkpoint: where to continue from.
        keep: the run folder's files belong to the run that is continued.
    """
    started = Start()
    cli = build_cli(plan, training=True)
    task, data, trainer = cli.model, cli.datamodule, cli.trainer
    if checkpoint is not None:
        check_identity(read(checkpoint), *task.names, task.options, checkpoint)
    if trainer.is_global_zero:
        _prepare_folder(plan.folder, keep)
        write_text(plan.folder / "config.yaml", cli.config_text())
        print(f"training {task.names[0]} ({task.names[1]}) on {data.dataset}; run folder {plan.folder}", flush=True)
    with _interruptible():
        trainer.fit(task, data, ckpt_path=checkpoint, weights_only=True)
    checkpoints = plan.folder / "checkpoints"
    best = checkpoints / BEST
    selected_on = data.select_on if best.is_file() else "none"
    chosen = best if best.is_file() else checkpoints / LAST
    clocks = [callback for callback in trainer.checkpoint_callbacks if isinstance(callback, LastCheckpoint)]
    training = report.training_block(task, trainer, sum(clock.trained_seconds() for clock in clocks))
    trainer.strategy.barrier()
    return _score(cli, plan, chosen, selected_on, training, started, kind="retrained")


def validate(plan: Plan, checkpoint: Path) -> int:
    """Score a checkpoint on val and print the table."""
    cli = build_cli(plan)
    with _interruptible():
        cli.trainer.validate(cli.model, cli.datamodule, ckpt_path=checkpoint, verbose=False, weights_only=True)
    if cli.trainer.is_global_zero:
        name = cli.model.protocols[0].name
        print_scores(f"{cli.datamodule.dataset} val", {name: cli.model.latest_scores})
    return 0


def test(plan: Plan, checkpoint: Path | None, weights: str | None) -> int:
    """Score a checkpoint, or a paper's own weights, on test; write and print the result."""
    started = Start()
    cli = build_cli(plan)
    kind, selected_on, training = "retrained", "none", None
    if checkpoint is not None:
        # The best checkpoint was written in the middle of the training; the last one beside it knows all of it.
        last = checkpoint.with_name(LAST)
        training = read(last if last.is_file() else checkpoint).get("training")
        selected_on = cli.datamodule.select_on if checkpoint.name == BEST else "none"
    if weights is not None:
        kind = "official-weights"
        # A method's official variant says where its authors chose on test.
        selected_on = "test" if cli.datamodule.select_on == "test" else "none"
        _load_official(cli.model, weights)
    return _score(cli, plan, checkpoint, selected_on, training, started, kind)


def _load_official(task: ReferringSegmentationTask, weights: str) -> None:
    name = task.names[0]
    load = getattr(task.method, "load_official", None)
    if load is None:
        raise UsageError(f"{name} cannot load official weights: none were released in a form it reads.")
    if weights == "official":
        raise UsageError(
            f"the official weights of {name} have no address a program may fetch them from; get the file by hand "
            f"(rrsis-bench methods show {name} says where) and name it: --weights FILE."
        )
    if not Path(weights).is_file():
        raise UsageError(f"--weights: there is no file {weights}.")
    load(Path(weights))


def _score(
    cli: TrainerCLI,
    plan: Plan,
    checkpoint: Path | None,
    selected_on: str,
    training: dict[str, Any] | None,
    started: Start,
    kind: str,
) -> int:
    """Test, control, write, print."""
    task, data, trainer = cli.model, cli.datamodule, cli.trainer
    task.gallery = GalleryKeeper(data.dataset)
    true = _test(cli, checkpoint)
    shown, task.gallery = task.gallery.gathered(), None
    data.permute_expressions = True
    permuted = _test(cli, None)
    data.permute_expressions = False
    if not trainer.is_global_zero:
        return 0
    data.setup("test")
    table, control = (report.sample_table(scored, data.test_dataset) for scored in (true, permuted))
    names = [protocol.name for protocol in task.protocols]
    configured = cli.config["data"]
    synthetic = configured.get("generator") is not None
    text = cli.config_text()
    result = record.build_result(
        kind="smoke" if synthetic else kind,
        method=report.method_block(task),
        dataset=report.dataset_block(configured, data, synthetic),
        samples=table,
        protocols=names,
        selected_on=selected_on,
        training=training,
        efficiency=report.costs(task, trainer),
        language_control=record.language_control(table, control, names[0]),
        provenance=provenance(config_yaml=text, started=started, gpus=report.gpu_names(trainer)),
    )
    if shown:
        gallery.write(plan.folder, shown)
    record.write_run(plan.folder, result, table, text)
    print_scores(f"{data.dataset} test", {name: true.of(protocols.get(name)) for name in names})
    _print_end(plan, result, synthetic)
    return 0


def _test(cli: TrainerCLI, checkpoint: Path | None) -> Scored:
    with _interruptible():
        cli.trainer.test(cli.model, cli.datamodule, ckpt_path=checkpoint, verbose=False, weights_only=True)
    assert cli.model.scored is not None
    return cli.model.scored


def _print_end(plan: Plan, result: dict[str, Any], synthetic: bool) -> None:
    control = result["language_control"]
    ratio = control["oiou_ratio"]
    share = "" if ratio is None else f" ({ratio:.2f} of the score: a method that reads falls far below 1)"
    print(f"with permuted expressions: oIoU {100 * control['oiou']:.2f}{share}")
    files = ("result.json", "samples.csv.gz", "config.yaml", "checkpoints/", "metrics.csv")
    print(f"files: {plan.folder}/ ({', '.join(name for name in files if (plan.folder / name).exists())})")
    if synthetic:
        print(
            f"this was the synthetic split; on real data: rrsis-bench fit --method {result['method']['name']} "
            "--dataset rrsisd (rrsis-bench data list says where to get it)"
        )


def _prepare_folder(folder: Path, keep: bool) -> None:
    """Clear an old run's own files, or set the metrics of a continued run aside, which the logger would delete."""
    metrics = folder / "metrics.csv"
    if keep:
        if metrics.is_file():
            k = 1 + len(list(folder.glob("metrics-before-resume-*.csv")))
            metrics.rename(folder / f"metrics-before-resume-{k}.csv")
        return
    old = [folder / name for name in OWN_FILES]
    old += [*folder.glob("metrics-before-resume-*.csv"), *(folder / "checkpoints").glob("*.ckpt")]
    old += [*(folder / "tensorboard").glob("events.out.tfevents.*")]
    for path in old:
        path.unlink(missing_ok=True)
