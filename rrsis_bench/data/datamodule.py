"""The data sets of a run as Lightning wants them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning import LightningDataModule
from torch.utils.data import DataLoader

from rrsis_bench.data.collate import collate
from rrsis_bench.data.dataset import ReferringDataset, permuted
from rrsis_bench.data.manifest import Manifest
from rrsis_bench.data.prepare import ensure_manifest, locate
from rrsis_bench.data.sampler import ResumableLoader, ResumableSampler, StridedSampler
from rrsis_bench.errors import MissingResourceError, UsageError
from rrsis_bench.types import Batch, InputSpec


class ReferringDataModule(LightningDataModule):
    """Train, val and test of one data set, fed by a method's InputSpec.

    Attributes:
        input_spec: set by the engine (from the method) before `setup`.
        train_dataset: training split.
        val_dataset: validation split.
        test_dataset: test split.
        root: folder the data set is read from, once prepared.
        manifest_path: its manifest, once prepared.
    """

    input_spec: InputSpec
    train_dataset: ReferringDataset
    val_dataset: ReferringDataset
    test_dataset: ReferringDataset
    root: Path
    manifest_path: Path

    def __init__(
        self,
        dataset: str,
        source: str | None = None,
        root: str | None = None,
        batch_size: int = 8,
        eval_batch_size: int = 8,
        global_batch: int | None = None,
        num_workers: int = 2,
        seed: int = 0,
        augment: dict[str, Any] | None = None,
        generator: dict[str, Any] | None = None,
        source_options: dict[str, Any] | None = None,
        manifest: str | None = None,
        pixels: dict[str, Any] | None = None,
        permute_expressions: bool = False,
        limit: dict[str, int] | None = None,
        select_on: str = "val",
    ) -> None:
        """Read nothing yet.

        Args:
            dataset: name of the data set, for messages and result files.
            source: what reads it (`rrsisd`, `refsegrs`, `risbench`, `manifest`, `coco`, `synthetic`).
            root: its folder; None for `<RRSIS_DATA>/<dataset>` (a generated data set: in the cache).
            batch_size: training samples a step and process.
            eval_batch_size: evaluation samples a step and process.
            global_batch: training samples an optimiser step over all processes and accumulation steps; None for
                `batch_size` times the number of processes. The engine reads it.
            num_workers: processes that load data, for each training process.
            seed: of the order, the augmentation and the permutation.
            augment: `{recipe, flip, boxes, jitter}`; None for none.
            generator: `{name, ...}` of the synthetic generator, which fills a missing folder.
            source_options: what the source takes besides (for `coco`: images, annotations, group, min_area, ...).
            manifest: the file that lists the pairs, for the `manifest` source.
            pixels: how images are read where their files alone do not say: `{bands: [R, G, B], stretch: [LOW, HIGH]}`;
                see `rrsis_bench.data.pixels.rule`. The manifest keeps it, and `predict` follows it.
            permute_expressions: the language control, on all splits.
            limit: split -> use only its first samples.
            select_on: split that training validates on and so chooses the checkpoint by. `test` only repeats a paper
                that did so; the result says it.
        """
        super().__init__()
        if select_on not in ("val", "test"):
            raise UsageError(f"data.select_on is 'val' or 'test', not '{select_on}'.")
        self.select_on = select_on
        self.dataset, self.batch_size, self.eval_batch_size = dataset, batch_size, eval_batch_size
        self.global_batch, self.num_workers, self.seed = global_batch, num_workers, seed
        self.augment, self.permute_expressions, self.limit = augment, permute_expressions, limit or {}
        self._config: Mapping[str, Any] = {
            "dataset": dataset,
            "source": source or dataset,
            "root": root,
            "generator": generator,
            "source_options": source_options,
            "manifest": manifest,
            "pixels": pixels,
        }
        for name, value in (("batch_size", batch_size), ("eval_batch_size", eval_batch_size)):
            if value < 1:
                raise UsageError(f"data.{name} must be at least 1, not {value}.")

    def prepare_data(self) -> None:
        """Generate what is generated and write the manifest; one process of a node does it.

        Raises:
            MissingResourceError: the data set is missing, or a file of it cannot be used.
        """
        located = locate(self._config)
        self.root, self.manifest_path = located.root, ensure_manifest(located)

    def setup(self, stage: str | None = None) -> None:
        """Open the splits.

        Args:
            stage: `fit`, `validate`, `test`, `predict` or None; all splits are cheap to open, so all are.

        Raises:
            MissingResourceError: the data set is missing.
        """
        if not hasattr(self, "manifest_path"):
            self.prepare_data()
        self.train_dataset = self.open_split("train", training=True)
        self.val_dataset = self.open_split(self.select_on)
        self.test_dataset = self.open_split("test")

    def open_split(self, split: str, training: bool = False) -> ReferringDataset:
        """A split as a data set (it may be empty until a loader is asked for)."""
        opened = Manifest.open(self.manifest_path, split)
        if split in self.limit:
            opened = opened.head(self.limit[split])
        made = ReferringDataset(opened, self.root, self.input_spec, training, self.augment, self.seed)
        return permuted(made, self.seed) if self.permute_expressions and len(made) else made

    def train_dataloader(self) -> ResumableLoader:
        """Shuffled, resumable; the last, smaller batch is dropped where there is a full one."""
        size = len(self._filled(self.train_dataset, "train"))
        rank, world_size = self._place()
        sampler = ResumableSampler(size, self.seed, True, rank, world_size)
        return ResumableLoader(
            self.train_dataset,
            sampler=sampler,
            drop_last=len(sampler) >= self.batch_size,
            **self._loader_options(self.batch_size),
        )

    def val_dataloader(self) -> DataLoader[Batch]:
        """Every sample of the split that chooses the checkpoint, once over all processes."""
        return self._eval_loader(self.val_dataset, self.select_on)

    def test_dataloader(self) -> DataLoader[Batch]:
        """Every sample once over all processes."""
        return self._eval_loader(self.test_dataset, "test")

    def _eval_loader(self, dataset: ReferringDataset, split: str) -> DataLoader[Batch]:
        sampler = StridedSampler(len(self._filled(dataset, split)), *self._place())
        options = self._loader_options(self.eval_batch_size)
        loader: DataLoader[Any] = DataLoader(dataset, sampler=sampler, **options)
        return loader

    def _loader_options(self, batch_size: int) -> dict[str, Any]:
        import torch

        return {
            "batch_size": batch_size,
            "num_workers": self.num_workers,
            "collate_fn": collate,
            "pin_memory": torch.cuda.is_available(),
            "persistent_workers": self.num_workers > 0,
            # One of its own, so that making an iterator draws nothing from the run's random numbers (exact resume).
            "generator": torch.Generator().manual_seed(self.seed),
        }

    def _filled(self, dataset: ReferringDataset, split: str) -> ReferringDataset:
        if len(dataset) == 0:
            raise MissingResourceError(
                f"data set '{self.dataset}' in {self.root} has no sample in split '{split}'; "
                f"`rrsis-bench data stats {self.dataset}` counts what it has."
            )
        return dataset

    def _place(self) -> tuple[int, int]:
        trainer = self.trainer
        return (trainer.global_rank, trainer.world_size) if trainer is not None else (0, 1)
