"""The three splits of a data set as a Lightning data module."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Collection, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from lightning import LightningDataModule
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from rrsis_bench.data import left_out
from rrsis_bench.data.cache import ImageCache
from rrsis_bench.data.categories import Transfer
from rrsis_bench.data.collate import collate
from rrsis_bench.data.control import Size, permuted
from rrsis_bench.data.dataset import ReferringDataset, perturbed
from rrsis_bench.data.empty_truth import rule, skipped
from rrsis_bench.data.info import SPLITS
from rrsis_bench.data.manifest import Manifest
from rrsis_bench.data.perturb.table import Choice
from rrsis_bench.data.prepare import ensure_manifest, file_contents, images_sha256, locate
from rrsis_bench.data.sampler import ImageSampler, ResumableLoader, ResumableSampler
from rrsis_bench.errors import MissingResourceError, UsageError, UserError, did_you_mean
from rrsis_bench.types import Batch, InputSpec


class ReferringDataModule(LightningDataModule):
    """Train, val and test of one data set, prepared for a method's InputSpec.

    Attributes:
        input_spec: set by the engine (from the method) before `setup`.
        shares_images: whether the method's batches hold an image of several samples once; set likewise.
        train_dataset: training split.
        val_dataset: validation split.
        test_dataset: test split.
        root: folder the data set is read from, once prepared.
        manifest_path: its manifest, once prepared.
        language_control: the engine sets it to score the test split with permuted expressions. Other than
            `permute_expressions`, it leaves the other splits alone, which may have no such permutation.
        perturbation: the engine sets it to score the test split perturbed.
        n_left_out: how many samples of the test split the perturbation leaves out, once set up.
        transfer: the engine sets it to score a run of another data set, or to leave near-duplicates out.
        n_excluded: how many samples of the test split are left out as near-duplicates, once set up.
        n_unchanged: how many expressions a perturbation of words leaves as they are, once set up.
        control_of: positions of the samples that the language control scores; None for the whole split.
    """

    input_spec: InputSpec
    shares_images: bool = False
    train_dataset: ReferringDataset
    val_dataset: ReferringDataset
    test_dataset: ReferringDataset
    root: Path
    manifest_path: Path
    language_control: bool = False
    perturbation: Choice | None = None
    n_left_out: int = 0
    n_unchanged: int = 0
    transfer: Transfer | None = None
    n_excluded: int = 0
    control_of: NDArray[np.int64] | None = None

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
        empty_truth: str | None = None,
        expressions_per_image: int | None = None,
        leave_out: str | None = None,
        cache: str | None = None,
        cache_gb: float = 40.0,
        control_samples: Size = None,
    ) -> None:
        """Keep the settings; `prepare_data` and `setup` read the data set.

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
            permute_expressions: permute the expressions of all splits, as the language control does with those of test.
            limit: split -> use only this many of its first samples.
            select_on: split that training validates on; its best score chooses the checkpoint. `test` only repeats
                a paper that selected on test; the result states the split.
            empty_truth: `skip` (also None) leaves out samples whose true mask is empty, in all splits; `keep` does not.
                `no-target` is for generalised data sets; see `rrsis_bench.data.empty_truth`.
            expressions_per_image: keep up to this many expressions of an image together in the order of training, for
                a method that encodes the image once for all of them. Augmentations are then drawn for each image.
                None for an order of single samples.
            leave_out: name of a list of images that a paper's loader leaves out of all splits (`dicor`); None for none.
            cache: folder that keeps resized images, for the second epoch and for later runs; None to read every image
                from its file. It changes no pixel.
            cache_gb: most that the folder may hold, in units of 10^9 bytes.
            control_samples: most samples that the language control scores, `full` for the whole test split, or `none`
                for no control; None for 800. See `rrsis_bench.data.control`.
        """
        super().__init__()
        if select_on not in ("val", "test"):
            raise UsageError(f"data.select_on is 'val' or 'test', not '{select_on}'.")
        self.select_on = select_on
        self.dataset, self.batch_size, self.eval_batch_size = dataset, batch_size, eval_batch_size
        self.global_batch, self.num_workers, self.seed = global_batch, num_workers, seed
        self.augment, self.permute_expressions, self.limit = augment, permute_expressions, limit or {}
        self.expressions_per_image = expressions_per_image
        self.leave_out = leave_out
        self.cache, self.cache_gb, self.control_samples = cache, cache_gb, control_samples
        self._images: ImageCache | None = None
        self._manifest_sha256: str | None = None
        self._listed: dict[str, tuple[Manifest, dict[str, int]]] = {}
        self._config: Mapping[str, Any] = {
            "dataset": dataset,
            "source": source or dataset,
            "root": root,
            "generator": generator,
            "source_options": source_options,
            "manifest": manifest,
            "pixels": pixels,
            "empty_truth": empty_truth,
        }
        self.empty_truth = rule(empty_truth)
        for split, count in self.limit.items():
            if split not in SPLITS:
                raise UsageError(f"data.limit: there is no split '{split}'.{did_you_mean(split, list(SPLITS))}")
            if count < 1:
                raise UsageError(f"data.limit.{split} must be at least 1, not {count}; leave it out for all samples.")
        for name, value in (("batch_size", batch_size), ("eval_batch_size", eval_batch_size)):
            if value < 1:
                raise UsageError(f"data.{name} must be at least 1, not {value}.")
        if expressions_per_image is not None and expressions_per_image < 2:
            raise UsageError(
                f"data.expressions_per_image must be at least 2, not {expressions_per_image}; leave it out for an "
                "order of single samples."
            )

    def prepare_data(self) -> None:
        """Draw a generated data set and write the manifest. Lightning calls this in one process of a node.

        Raises:
            MissingResourceError: the data set is missing, or a file of it cannot be used.
        """
        located = locate(self._config)
        self.root, self.manifest_path = located.root, ensure_manifest(located)
        self._listed.clear()

    def setup(self, stage: str | None = None) -> None:
        """Open the splits.

        Args:
            stage: `fit`, `validate`, `test`, `predict` or None. All splits are opened in any stage; opening is cheap.

        Raises:
            MissingResourceError: the data set is missing.
        """
        if not hasattr(self, "manifest_path"):
            self.prepare_data()
        fresh = self._images is None or self._images.spec != self.input_spec
        if fresh:
            self._images = None
            if self.cache is not None and self.input_spec.reads_image:
                folder, contents = Path(self.cache).expanduser(), file_contents(locate(self._config))
                self._images = ImageCache(folder, round(self.cache_gb * 1e9), self.input_spec, contents)
        self.train_dataset = self.open_split("train", training=True)
        self.val_dataset = self.open_split(self.select_on)
        self.test_dataset = self.open_split("test")
        if self._images is not None and fresh and (self.trainer is None or self.trainer.local_rank == 0):
            needed = {"validate": [self.val_dataset], "test": [self.test_dataset]}.get(
                stage or "", [self.train_dataset, self.val_dataset, self.test_dataset]
            )
            self._images.make_room((pair.image, pair.pixels) for split in needed for pair in split.manifest)
        if self.language_control:
            self.test_dataset = permuted(self.test_dataset, self.seed, self.control_of)
        if self.perturbation is not None:
            if self.perturbation.of.of_one and self.empty_truth == "no-target":
                raise UsageError(
                    f"--perturb {self.perturbation.name}: expressions of {self.dataset} may mean several objects, and "
                    "an article may tell which; leave this perturbation out."
                )
            made = perturbed(self.test_dataset, self.perturbation)
            self.test_dataset, self.n_left_out, self.n_unchanged = made
        # Counting before the workers exist leaves them the tokens of all expressions.
        if stage == "fit" and self._place()[0] == 0 and (cut := self.train_dataset.cut()):
            share = f"{cut:,} of {len(self.train_dataset):,} ({cut / len(self.train_dataset):.1%})"
            length = self.input_spec.max_tokens
            print(f"{share} training expressions are longer than {length} tokens and lose their end", flush=True)
        if stage == "fit" and self._place()[0] == 0 and (empty := locate(self._config).empty(self.manifest_path)):
            print(f"rrsis-bench: warning: {empty}", file=sys.stderr, flush=True)

    def identity(self) -> dict[str, Any]:
        """What a checkpoint says of its data: names, limits, the sha256 of the manifest and that of all images."""
        if self._manifest_sha256 is None:
            with self.manifest_path.open("rb") as stream:
                self._manifest_sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
        named = {"dataset": self.dataset, "source": self._config["source"], "limit": dict(self.limit)}
        named |= {"leave_out": self.leave_out} if self.leave_out else {}
        return {**named, "manifest_sha256": self._manifest_sha256, "images_sha256": images_sha256(self.manifest_path)}

    def open_split(self, split: str, training: bool = False, limited: bool = True) -> ReferringDataset:
        """A split as a data set. An empty split is an error only where a loader of it is made.

        Args:
            split: `train`, `val` or `test`.
            training: augment, and leave the native truth out.
            limited: obey `limit`; False opens the whole split.
        """
        opened, _ = self._read(split)
        if split == "test" and self.transfer is not None:
            opened = self._without_twins(opened, self.transfer)
        if limited and split in self.limit:
            opened = opened.head(self.limit[split])
        per_image = self.expressions_per_image is not None
        made = ReferringDataset(
            opened, self.root, self.input_spec, training, self.augment, self.seed, per_image, self._images
        )
        return permuted(made, self.seed) if self.permute_expressions and len(made) else made

    def _without_twins(self, opened: Manifest, transfer: Transfer) -> Manifest:
        """The test split without near-duplicates of the training's images; `n_excluded` counts the samples left out.

        Raises:
            UserError: no sample is left, or the list is of another state of the data set.
        """
        if transfer.overlap is None:
            return opened
        transfer.overlap.check(self.dataset, images_sha256(self.manifest_path))
        left = opened.take([at for at, pair in enumerate(opened) if pair.image_id not in transfer.overlap.images])
        if not len(left):
            raise UserError("--exclude-overlap leaves no sample of the test split: nothing to score.")
        self.n_excluded = len(opened) - len(left)
        return left

    def targeted(self, dataset: ReferringDataset) -> NDArray[np.bool_] | None:
        """Tell which samples of a split (N,) have a target, if only generalised protocols score the others, or None."""
        if self.empty_truth != "no-target":
            return None
        return np.array([not pair.empty for pair in dataset.manifest], np.bool_)

    def skipped(self, split: str) -> dict[str, int]:
        """How many samples of a split `native-v1` leaves out, by the reason; empty if none is."""
        return dict(self._read(split)[1])

    def _read(self, split: str) -> tuple[Manifest, dict[str, int]]:
        """The samples of a split that are not left out, and what `skipped` returns; the manifest is read once."""
        if split not in self._listed:
            whole = Manifest.open(self.manifest_path, split, self.empty_truth)
            remaining = left_out.remaining(whole, self.leave_out, self._config["source"])
            named = {left_out.REASON: len(whole) - len(remaining)} if len(remaining) < len(whole) else {}
            empty = 0 if self.empty_truth == "keep" else whole.n_empty
            self._listed[split] = remaining, {**skipped(empty), **named}
        return self._listed[split]

    def train_dataloader(self) -> ResumableLoader:
        """The shuffled, resumable training loader. It drops the last, smaller batch unless that is the only one."""
        dataset, together = self._filled(self.train_dataset, "train"), self.expressions_per_image
        images = None if together is None else dataset.images
        sampler = ResumableSampler(len(dataset), self.seed, True, *self._place(), images, together or 1)
        return ResumableLoader(
            dataset,
            sampler=sampler,
            drop_last=len(sampler) >= self.batch_size,
            **self._loader_options(self.batch_size, self.shares_images and together is not None),
        )

    def val_dataloader(self) -> DataLoader[Batch]:
        """The loader of the split that chooses the checkpoint; image by image, each sample once."""
        return self._eval_loader(self.val_dataset, self.select_on)

    def test_dataloader(self) -> DataLoader[Batch]:
        """The loader of the test split; image by image, each sample once."""
        return self._eval_loader(self.test_dataset, "test")

    def scoring_dataloader(self, split: str, sample_ids: Collection[str] | None = None) -> DataLoader[Batch] | None:
        """A loader of any split, image by image, each sample once.

        Args:
            split: `train`, `val` or `test`.
            sample_ids: read only these samples; None for all.

        Returns:
            the loader; None where there is no sample, or where expressions are permuted within a part of a split.
        """
        dataset = self.open_split(split)
        if sample_ids is not None:
            places = [k for k, pair in enumerate(dataset.manifest) if pair.sample_id in sample_ids]
            dataset.manifest = dataset.manifest.take(places if dataset.text_from is None else [])
        return self._eval_loader(dataset, split) if len(dataset) else None

    def _eval_loader(self, dataset: ReferringDataset, split: str) -> DataLoader[Batch]:
        sampler = ImageSampler(self._filled(dataset, split).images, *self._place())
        options = self._loader_options(self.eval_batch_size, self.shares_images)
        loader: DataLoader[Any] = DataLoader(dataset, sampler=sampler, **options)
        return loader

    def _loader_options(self, batch_size: int, shares_images: bool) -> dict[str, Any]:
        import torch

        return {
            "batch_size": batch_size,
            "num_workers": self.num_workers,
            "collate_fn": partial(collate, shares_images=shares_images),
            "pin_memory": torch.cuda.is_available(),
            "persistent_workers": self.num_workers > 0,
            # Its own generator: making an iterator must draw nothing from the run's random numbers (exact resume).
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
