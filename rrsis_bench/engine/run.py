"""`fit`, `validate` and `test`: one run from its resolved configuration to its result."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from rrsis_bench.boards.tables import print_scores
from rrsis_bench.engine import report
from rrsis_bench.engine.checkpoint import ENTRY, check_identity, read, selection_split
from rrsis_bench.engine.gallery import GalleryKeeper
from rrsis_bench.engine.resume import LastCheckpoint
from rrsis_bench.engine.task import ReferringSegmentationTask, Scored
from rrsis_bench.engine.trainer import TrainerCLI, build_cli
from rrsis_bench.errors import UsageError
from rrsis_bench.metrics import protocols
from rrsis_bench.results import gallery, record
from rrsis_bench.results.provenance import Start, provenance
from rrsis_bench.run.folder import RunFolder
from rrsis_bench.run.resolve import ResolvedRun


@contextmanager
def _interruptible() -> Iterator[None]:
    """Lightning turns Ctrl-C into an exit with code 1; turn it back."""
    try:
        yield
    except SystemExit as stop:
        raise KeyboardInterrupt from stop


def fit(run: ResolvedRun, checkpoint: Path | None, overwrite: bool = False) -> int:
    """Train, test the checkpoint that was best on val, run the language control, write and print the result.

    Args:
        run: what to train.
        checkpoint: where to continue from; None to start anew.
        overwrite: where the folder holds a run of ours, move it aside.
    """
    started = Start()
    cli, folder = build_cli(run, training=True), run.folder
    task, data, trainer = cli.model, cli.datamodule, cli.trainer
    continued = None if checkpoint is None else read(checkpoint)
    if continued is not None:
        check_identity(continued, *task.names, task.options, checkpoint or "")
    task.origin = {
        "run": continued[ENTRY].get("run") if continued is not None else uuid.uuid4().hex,
        "config": yaml.safe_load(cli.config_text()),
    }
    if trainer.is_global_zero:
        _prepare_folder(folder, checkpoint is not None, overwrite)
        folder.write_config(cli.config_text())
        print(f"training {task.names[0]} ({task.names[1]}) on {data.dataset}; run folder {folder}", flush=True)
    with _interruptible():
        trainer.fit(task, data, ckpt_path=checkpoint, weights_only=True)
    chosen = folder.checkpoint()
    selected_on = selection_split(read(chosen), chosen)
    clocks = [callback for callback in trainer.checkpoint_callbacks if isinstance(callback, LastCheckpoint)]
    training = report.training_block(task, trainer, sum(clock.trained_seconds() for clock in clocks))
    trainer.strategy.barrier()
    return _score(cli, folder, chosen, selected_on, training, started, kind="retrained")


def validate(run: ResolvedRun, checkpoint: Path) -> int:
    """Score a checkpoint on val and print the table."""
    cli = build_cli(run)
    with _interruptible():
        cli.trainer.validate(cli.model, cli.datamodule, ckpt_path=checkpoint, verbose=False, weights_only=True)
    if cli.trainer.is_global_zero:
        name = cli.model.protocols[0].name
        print_scores(f"{cli.datamodule.dataset} val", {name: cli.model.latest_scores})
    return 0


def test(run: ResolvedRun, checkpoint: Path | None, weights: str | None) -> int:
    """Score a checkpoint, or a paper's own weights, on test; write and print the result."""
    started = Start()
    cli = build_cli(run)
    kind, selected_on, training = "retrained", "none", None
    if checkpoint is not None:
        content = read(checkpoint)
        training = _whole_training(content, checkpoint)
        selected_on = selection_split(content, checkpoint)
    if weights is not None:
        kind = "official-weights"
        # A method's official variant says where its authors chose on test.
        selected_on = "test" if cli.datamodule.select_on == "test" else "none"
        _load_official(cli.model, weights)
    return _score(cli, run.folder, checkpoint, selected_on, training, started, kind)


def _whole_training(content: dict[str, Any], checkpoint: Path) -> dict[str, Any] | None:
    """How a checkpoint's run was trained, to its end.

    The best checkpoint was written in the middle of the training; the last one of the same run knows all of it.
    """
    last = checkpoint.with_name(RunFolder(Path()).last.name)
    if last.is_file() and last != checkpoint:
        later = read(last)
        if later[ENTRY].get("run") == content[ENTRY].get("run"):
            content = later
    return content.get("training")


def _load_official(task: ReferringSegmentationTask, weights: str) -> None:
    name = task.names[0]
    if weights == "official":
        raise UsageError(
            f"the official weights of {name} have no address a program may fetch them from; where its authors released "
            f"a file (rrsis-bench methods show {name}), get it by hand and name it: --weights FILE."
        )
    if not Path(weights).is_file():
        raise UsageError(f"--weights: there is no file {weights}.")
    task.method.load_official(Path(weights))


def _score(
    cli: TrainerCLI,
    folder: RunFolder,
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
    spec = task.method.input_spec
    table, control = (report.sample_table(scored, data.test_dataset, spec) for scored in (true, permuted))
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
    folder.claim()
    if shown:
        gallery.write(folder, shown)
    record.write_run(folder, result, table, text)
    print_scores(f"{data.dataset} test", {name: true.of(protocols.get(name)) for name in names})
    _print_end(folder, result, synthetic)
    return 0


def _test(cli: TrainerCLI, checkpoint: Path | None) -> Scored:
    with _interruptible():
        cli.trainer.test(cli.model, cli.datamodule, ckpt_path=checkpoint, verbose=False, weights_only=True)
    assert cli.model.scored is not None
    return cli.model.scored


def _print_end(folder: RunFolder, result: dict[str, Any], synthetic: bool) -> None:
    control = result["language_control"]
    ratio = control["oiou_ratio"]
    share = "" if ratio is None else f" ({ratio:.2f} of the score: a method that reads falls far below 1)"
    print(f"with permuted expressions: oIoU {100 * control['oiou']:.2f}{share}")
    print(f"files: {folder}/ ({', '.join(folder.written())})")
    if synthetic:
        print(
            f"this was the synthetic split; on real data: rrsis-bench fit --method {result['method']['name']} "
            "--dataset rrsisd (rrsis-bench data list says where to get it)"
        )


def _prepare_folder(folder: RunFolder, continued: bool, overwrite: bool) -> None:
    """Mark the folder as ours; move an old run aside, and what the logger of a continued one would replace."""
    folder.check_usable()
    if continued or not overwrite:
        folder.keep_metrics()
    elif (target := folder.set_aside()) is not None:
        print(f"moved the run that was in {folder} to {target}", flush=True)
    folder.claim()
