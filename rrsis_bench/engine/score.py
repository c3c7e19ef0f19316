"""`validate` and `test`: score a resolved run, and write its result."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rrsis_bench.boards.render.cells import percent
from rrsis_bench.boards.tables import print_scores, scored_split
from rrsis_bench.data import control
from rrsis_bench.data.categories import Transfer
from rrsis_bench.data.perturb.table import Choice
from rrsis_bench.engine import report
from rrsis_bench.engine.checkpoint import ENTRY, read, selection_split
from rrsis_bench.engine.detail import DetailCounter
from rrsis_bench.engine.further import further_detail
from rrsis_bench.engine.gallery import GalleryKeeper
from rrsis_bench.engine.resume import interruptible
from rrsis_bench.engine.scored import Scored
from rrsis_bench.engine.task import ReferringSegmentationTask
from rrsis_bench.engine.trainer import TrainerCLI, build_cli, plain_refusals
from rrsis_bench.errors import UsageError
from rrsis_bench.metrics import protocols
from rrsis_bench.nn.layers.freezing import trainable
from rrsis_bench.nn.weights.refs import WeightRef, on_disk, resolve
from rrsis_bench.results import gallery, record
from rrsis_bench.results.provenance import Start, provenance
from rrsis_bench.run.folder import RunFolder
from rrsis_bench.run.resolve import ResolvedRun


def validate(run: ResolvedRun, checkpoint: Path | None) -> int:
    """Score a checkpoint, or a zero-shot variant, on val and print the table."""
    cli = build_cli(run)
    if run.zero_shot:
        _check_published(cli.model)
    if checkpoint is not None:
        cli.model.read_checkpoint(checkpoint)  # before any data set is prepared
    with interruptible("nothing was written."), plain_refusals():
        cli.trainer.validate(cli.model, cli.datamodule, ckpt_path=checkpoint, verbose=False, weights_only=True)
    if cli.trainer.is_global_zero:
        name = cli.model.protocols[0].name
        data = cli.datamodule
        split = scored_split(data.dataset, data.select_on, data.skipped(data.select_on), data.empty_truth)
        print_scores(split, {name: cli.model.latest_scores})
        assert cli.model.scored is not None
        n, whole = len(cli.model.scored.indices), len(data.open_split(data.select_on, limited=False))
        if n < whole:
            print(f"only {n} of {whole} samples of the {data.select_on} split were scored")
    return 0


def test(
    run: ResolvedRun,
    checkpoint: Path | None,
    weights: str | None,
    perturbations: Sequence[Choice],
    transfer: Transfer | None,
) -> int:
    """Score a checkpoint, a paper's own weights or a zero-shot variant on test, write and print the result.

    Args:
        run: the resolved run.
        checkpoint: the checkpoint to score; None for official weights and zero-shot variants.
        weights: `official`, or the file of a paper's own weights; None to score the checkpoint.
        perturbations: score the split under each of them; if there is none, score the split itself.
        transfer: what makes this a run on another data set, or one without near-duplicates; None for neither.
    """
    started = Start()
    cli = build_cli(run)
    kind, selected_on, training = "retrained", "none", None
    if run.zero_shot:
        kind = "zero-shot"
        _check_published(cli.model)
    if checkpoint is not None:
        content = cli.model.read_checkpoint(checkpoint)
        _check_data(content, checkpoint, cli.datamodule.dataset, transfer)
        training = _whole_training(content, checkpoint)
        selected_on = selection_split(content, checkpoint)
    if weights is not None:
        kind = "official-weights"
        # The configuration of a method's official variant states `select_on: test` if its authors chose on test.
        selected_on = "test" if cli.datamodule.select_on == "test" else "none"
        _load_official(cli.model, weights)
    cli.datamodule.transfer = transfer
    for choice in perturbations or (None,):
        folder = run.folder if choice is None else run.folder.perturbed(choice.label)
        cli.datamodule.perturbation = choice
        with interruptible(f"nothing was written to {folder}; run the command again."):
            score(cli, folder, checkpoint, selected_on, training, started, kind)
        checkpoint = None  # the network holds it now
    return 0


def _check_data(content: dict[str, Any], checkpoint: Path, dataset: str, transfer: Transfer | None) -> None:
    """Check that a result will say what its checkpoint was trained on.

    Raises:
        UsageError: it was trained on another data set, and the result would pass as one of this data set.
        UserError: a list of near-duplicates is of other images than those of the training.
    """
    trained = content[ENTRY].get("data") or {}
    if transfer is None and trained.get("dataset") not in (None, dataset):
        raise UsageError(
            f"{checkpoint} was trained on {trained['dataset']}, not on {dataset}; score its run elsewhere with "
            f"test --run DIR --dataset {dataset}."
        )
    if transfer is not None and transfer.overlap is not None and trained.get("images_sha256") is not None:
        transfer.overlap.check(transfer.trained_on, trained["images_sha256"])


def _check_published(task: ReferringSegmentationTask) -> None:
    """Check that a zero-shot variant has its published weights, and nothing that would need training.

    Raises:
        UsageError: its network has random weights, whose scores would say nothing.
    """
    at_random = any(name.endswith("weights") and value == "random" for name, value in task.options.items())
    if at_random or not task.weights:
        raise UsageError(
            f"{task.method_name} ({task.variant}) scores published weights, but its configuration names none; set "
            "model.options as the variant's configuration does (rrsis-bench weights list), and model.pretrained=true."
        )
    if trainable(task.method.parameters()):
        raise UsageError(
            f"{task.method_name}: policy zero-shot leaves trainable parameters; the method must freeze all."
        )


def _whole_training(content: dict[str, Any], checkpoint: Path) -> dict[str, Any] | None:
    """The `training` block of a checkpoint's run, for the whole training.

    `best.ckpt` was written before the training ended; `last.ckpt` of the same run holds the whole training's block.
    """
    last = checkpoint.with_name(RunFolder(Path()).last.name)
    if last.is_file() and last != checkpoint:
        later = read(last)
        if later[ENTRY].get("run") == content[ENTRY].get("run"):
            content = later
    return content.get("training")


def _load_official(task: ReferringSegmentationTask, weights: str) -> None:
    name = task.method_name
    if weights == "official":
        raise UsageError(
            f"the suite cannot fetch the official weights of {name}. If the authors released a file (rrsis-bench "
            f"methods show {name}), get it by hand and name it: --weights FILE."
        )
    ref = WeightRef.parse(weights)
    if not (ref.hub or ref.package) and on_disk(ref) is None:
        raise UsageError(f"--weights: there is no file {weights}.")
    task.method.load_official(resolve(ref))


def score(
    cli: TrainerCLI,
    folder: RunFolder,
    checkpoint: Path | None,
    selected_on: str,
    training: dict[str, Any] | None,
    started: Start,
    kind: str,
) -> int:
    """Score on test, run the language control, write and print the result."""
    task, data, trainer = cli.model, cli.datamodule, cli.trainer
    changed_by = data.perturbation or data.transfer
    task.gallery = GalleryKeeper("" if changed_by else data.dataset)
    task.detail = DetailCounter(data, "test") if cli.detail else None
    true = _test(cli, checkpoint)
    shown, task.gallery, task.detail = task.gallery.gathered(), None, None
    reason = "only an ordinary test has a language control" if changed_by else None
    reason = reason or (control.UNWANTED if data.control_samples == "none" else None)
    reason = reason or control.why_not_permuted(list(data.test_dataset.manifest))
    permuted = None
    if reason is None:
        ordered = data.test_dataset
        data.control_of = control.draw(ordered.manifest, ordered.images, true.indices, data.control_samples, data.seed)
        data.language_control = True
        permuted = _test(cli, None)
        data.language_control = False
    detail, examples = further_detail(task, data, trainer, true) if cli.detail else (None, None)
    if not trainer.is_global_zero:
        return 0
    data.setup("test")
    table = report.sample_table(true, data.test_dataset)
    names = [protocol.name for protocol in task.protocols]
    configured = cli.config["data"]
    synthetic = configured.get("generator") is not None
    block = report.dataset_block(configured, data, synthetic, true.indices)
    controlled = None if permuted is None else report.control_block(true, permuted, data, names[0], block)
    text = cli.config_text()
    changed = (training or {}).get("accepted_changes") or data.permute_expressions
    whole = len(data.open_split("test", limited=False).manifest) - data.n_left_out
    result = record.build_result(
        status="changed" if changed else "complete" if len(table) == whole else "partial",
        kind="smoke" if synthetic and kind != "zero-shot" else kind,
        method=report.method_block(task),
        dataset=block,
        samples=table,
        protocols=names,
        selected_on=selected_on,
        training=training,
        efficiency=report.costs(task, trainer),
        language_control=controlled,
        no_language_control=reason,
        provenance=provenance(config_yaml=text, started=started, gpus=report.gpu_names(trainer)),
        detail=None if detail is None else detail.block(),
        beside=report.beside(data),
    )
    pictures = gallery.text_of(shown or {})
    record.write_run(folder, result, table, text, pictures, detail=detail, examples=examples)
    split = scored_split(data.dataset, "test", data.skipped("test"), data.empty_truth) + report.beside_words(data)
    print_scores(split, {name: true.of(protocols.get(name)) for name in names})
    if result["status"] == "partial":
        print(f"only {len(table)} of {whole} samples of the test split were scored: no board shows this result")
    if data.permute_expressions:
        print("the expressions were permuted (data.permute_expressions): no board shows this result")
    _print_end(folder, result, synthetic)
    return 0


def _test(cli: TrainerCLI, checkpoint: Path | None) -> Scored:
    with plain_refusals():
        cli.trainer.test(cli.model, cli.datamodule, ckpt_path=checkpoint, verbose=False, weights_only=True)
    assert cli.model.scored is not None
    return cli.model.scored


def _print_end(folder: RunFolder, result: dict[str, Any], synthetic: bool) -> None:
    block = result["language_control"]
    if block is None:
        print(f"not scored with permuted expressions: {result['no_language_control']}")
    else:
        ratio = block["oiou_ratio"]
        part = f" of {block['n']:,} of {block['sample']['of']:,} samples" if "sample" in block else ""
        share = "" if ratio is None else f" ({ratio:.2f} of the score: a method that reads falls far below 1)"
        print(f"with permuted expressions{part}: oIoU {percent(block['oiou']) or 'not defined'}{share}")
    print(f"files: {folder}/ ({', '.join(folder.written())})")
    if synthetic:
        print(
            f"this was the synthetic split; on real data: rrsis-bench fit --method {result['method']['name']} "
            "--dataset rrsisd (rrsis-bench data verify rrsisd says where to get it)"
        )
