"""Makes the blocks of `result.json` and the sample table from a scored split."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

import numpy as np
import torch
from lightning.pytorch import Trainer
from numpy.typing import NDArray

from rrsis_bench import registry
from rrsis_bench.cost.profile import Precision, efficiency
from rrsis_bench.data import control, empty_truth
from rrsis_bench.data.categories import split_of
from rrsis_bench.data.datamodule import ReferringDataModule
from rrsis_bench.data.dataset import ReferringDataset
from rrsis_bench.data.prepare import manifest_origin
from rrsis_bench.engine.scored import Scored
from rrsis_bench.engine.task import ReferringSegmentationTask
from rrsis_bench.errors import UserError
from rrsis_bench.results import record
from rrsis_bench.results.counts import scored_by
from rrsis_bench.results.samples import SampleTable


def sample_table(scored: Scored, dataset: ReferringDataset) -> SampleTable:
    """The sample table of a scored split.

    Args:
        scored: the integers, by position in the split.
        dataset: the split.
    """
    pairs = [dataset.manifest[int(index)] for index in scored.indices]
    return SampleTable.build(
        sample_id=[pair.sample_id for pair in pairs],
        image_id=[pair.image_id for pair in pairs],
        category=[pair.category for pair in pairs],
        text=[pair.text for pair in pairs],
        height=[pair.height for pair in pairs],
        width=[pair.width for pair in pairs],
        views=[view.name for view in scored.views],
        counts=scored.counts,
    )


def control_block(
    true: Scored, permuted: Scored, data: ReferringDataModule, protocol: str, dataset: Mapping[str, Any]
) -> dict[str, Any]:
    """The `language_control` block of a result.

    Args:
        true: the integers, by position in the split.
        permuted: the integers with permuted expressions, by position in what the control scored.
        data: the data module, with the whole test split open.
        protocol: name of the protocol to score by.
        dataset: the `dataset` block of the result.
    """
    indices = permuted.indices if data.control_of is None else data.control_of[permuted.indices]
    part = Scored(indices, true.counts[np.searchsorted(true.indices, indices)], true.views)
    whole, here, there = (
        scored_by(sample_table(scored, data.test_dataset), protocol, dataset)
        for scored in (true, part, replace(permuted, indices=indices))
    )
    block = record.language_control(here, there, protocol)
    if data.control_of is None:
        return block
    sample = {"of": len(whole), "n_images": len(set(here.image_id)), "seed": data.seed, "rule": control.RULE}
    return {**block, "sample": sample}


def method_block(task: ReferringSegmentationTask) -> dict[str, Any]:
    """The `method` block of a result."""
    name, variant = task.method_name, task.variant
    card_path = registry.method_folder(name) / "card.yaml"
    block: dict[str, Any] = {"name": name, "variant": variant, "target": registry.target(name)}
    if card_path.is_file():
        card = registry.card(name)
        block["card_sha256"] = hashlib.sha256(card_path.read_bytes()).hexdigest()
        block["title"] = card.get("name") or card.get("title")
        for key in ("fidelity", "policy", "venue", "year", "encoders"):
            value = card.get(key)
            if value is not None:
                # A card may hold values by variant; the named cell `tiny+x` has those of `tiny`.
                block[key] = value.get(variant.partition("+")[0]) if isinstance(value, dict) else value
    return block


def dataset_block(
    configured: Any, data: ReferringDataModule, synthetic: bool, indices: NDArray[np.int64]
) -> dict[str, Any]:
    """The `dataset` block of a result: the test split, with the hash of the content that was scored.

    Args:
        configured: the `data` block of the configuration.
        data: the data module after its setup for the test.
        synthetic: whether the generator drew the data set.
        indices: positions of the scored samples in the split.
    """
    fetched = manifest_origin(data.manifest_path)
    return {
        "name": data.dataset,
        "split": "test",
        "source": configured.get("source") or data.dataset,
        "synthetic": synthetic,
        "content_hash": data.test_dataset.manifest.take(indices.tolist()).content_hash(data.root),
        "n_skipped": data.skipped("test"),
        **empty_truth.stated(data.empty_truth),
        **({} if fetched is None else {"revision": str(fetched)}),
    }


def beside(data: ReferringDataModule) -> dict[str, dict[str, Any]]:
    """The block of a result that no ordinary board takes: `perturbation` or `transfer`; empty for an ordinary one."""
    choice, transfer = data.perturbation, data.transfer
    if transfer is not None:
        parts = split_of((pair.category for pair in data.test_dataset.manifest), transfer.classes)
        shared, unseen = (None, None) if parts is None else parts
        found: dict[str, Any] = {"trained_on": transfer.trained_on, "shared": shared, "unseen": unseen}
        if transfer.overlap is not None:
            found["excluded"] = {"n_samples": data.n_excluded, "list_sha256": transfer.overlap.sha256}
        return {"transfer": found}
    if choice is None:
        return {}
    block: dict[str, Any] = {"name": choice.name, "severity": choice.severity, "version": choice.of.version}
    return {"perturbation": {**block, "n_left_out": data.n_left_out, "n_unchanged": data.n_unchanged}}


def beside_words(data: ReferringDataModule) -> str:
    """What the title of the scores adds for a result that no ordinary board takes; "" for any other."""
    choice = data.perturbation
    if data.transfer is not None:
        block = beside(data)["transfer"]
        common = _common(block["shared"], block["unseen"])
        out = f", {data.n_excluded:,} near-duplicates left out" if "excluded" in block else ""
        return f", trained on {block['trained_on']}{common}{out}"
    if choice is None:
        return ""
    severity = f", severity {choice.severity}" if choice.of.graded else ""
    counted = [
        f"{count:,} of its samples {what}"
        for count, what in (
            (data.n_left_out, "left out: their words cannot be turned"),
            (data.n_unchanged, "unchanged"),
        )
        if count
    ]
    return f", {choice.name}{severity}" + (f" ({'; '.join(counted)})" if counted else "")


def _common(shared: list[str] | None, unseen: list[str] | None) -> str:
    """What the title says where no score of shared classes can be given."""
    if shared is None or unseen is None:
        return ", whose classes are not known"
    if not shared and not unseen:
        return "; the samples have no classes to compare"
    return "" if shared else "; no class in common, all are unseen"


def training_block(task: ReferringSegmentationTask, trainer: Trainer, seconds: float) -> dict[str, Any]:
    """The `training` block of a result, for the training so far.

    Args:
        task: the trained module.
        trainer: the trainer, with its data module.
        seconds: training time over all resumes.
    """
    data = trainer.datamodule  # type: ignore[attr-defined]
    batch_size = data.batch_size
    return {
        "epochs": trainer.fit_loop.epoch_progress.current.processed,  # type: ignore[attr-defined]
        "steps": trainer.global_step,
        "batch_size": batch_size,
        "global_batch": batch_size * trainer.world_size * trainer.accumulate_grad_batches,
        "accumulation": trainer.accumulate_grad_batches,
        "recipe": task.recipe,
        "optimizer": task.optimizer_config.name,
        "lr": task.optimizer_config.lr,
        "weight_decay": task.optimizer_config.weight_decay,
        "schedule": task.schedule_config.name,
        "precision": str(trainer.precision),
        "strategy": type(trainer.strategy).__name__,
        "devices": trainer.world_size,
        "accelerator": type(trainer.accelerator).__name__,
        "seconds": round(seconds, 1),
        "seed": data.seed,
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "pretrained": dict(task.weights),
        **({} if data.expressions_per_image is None else {"expressions_per_image": data.expressions_per_image}),
        **({"accepted_changes": accepted} if (accepted := task.origin.get("accepted_changes")) else {}),
    }


def gpu_names(trainer: Trainer) -> list[str]:
    """Name of this process's GPU, once for each process of the run; empty on a CPU."""
    device = trainer.strategy.root_device
    return [torch.cuda.get_device_name(device)] * trainer.world_size if device.type == "cuda" else []


def costs(task: ReferringSegmentationTask, trainer: Trainer) -> dict[str, Any]:
    """The `efficiency` block: parameters and GFLOPs, on a GPU also latency and memory at the run's precision.

    On a CPU, the passes of a published network take minutes, and other programs disturb them. There, the user measures
    by `rrsis-bench profile --run`. If a GPU has too little memory, latency and memory are left out.
    """
    if task.device.type != "cuda":
        return efficiency(task.method, task.device)
    precision = next((short for short in ("bf16", "16") if str(trainer.precision).startswith(short)), "32")
    try:
        return efficiency(task.method, task.device, latency=True, precision=cast(Precision, precision))
    except UserError:
        torch.cuda.empty_cache()
        return efficiency(task.method, task.device)
