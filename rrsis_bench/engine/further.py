"""What `--detail` adds to a test: examples of each kind of prediction, and the detail of val."""

from __future__ import annotations

import torch
from lightning.pytorch import Trainer

from rrsis_bench.data import empty_truth
from rrsis_bench.data.datamodule import ReferringDataModule
from rrsis_bench.data.dataset import ReferringDataset
from rrsis_bench.engine import report
from rrsis_bench.engine.detail import DetailCounter, examples
from rrsis_bench.engine.gallery import GalleryKeeper
from rrsis_bench.engine.scored import Scored
from rrsis_bench.engine.task import ReferringSegmentationTask
from rrsis_bench.results import gallery
from rrsis_bench.results.detail import Detail, SplitDetail
from rrsis_bench.results.explain import kinds_of, native_iou, of_referents
from rrsis_bench.stats.failures import KINDS


def further_detail(
    task: ReferringSegmentationTask, data: ReferringDataModule, trainer: Trainer, scored: Scored
) -> tuple[Detail, str | None]:
    """Make the detail of a scored test split. Every process must call this function.

    Two further passes follow: over a few samples of each kind, whose masks are saved, and over val.

    Args:
        task: the module, with the weights that were scored.
        data: the data module.
        trainer: the trainer that scored.
        scored: the test split, scored with detail.

    Returns:
        the detail, and the text of `examples.json`; None for no examples.
    """
    data.setup("test")
    test = _split_detail(scored, data.test_dataset)
    table = report.sample_table(scored, data.test_dataset)
    table, known = of_referents(table, Detail(test), empty_truth.stated(data.empty_truth))
    kinds = [KINDS[k] for k in kinds_of(table, known)]
    shown: dict[str, str] = {}
    loader = data.scoring_dataloader("test", examples(kinds, native_iou(table), table.sample_id))
    if loader is not None:
        keeper = task.gallery = GalleryKeeper(data.dataset, {pair.sample_id for pair in _dataset(loader).manifest})
        trainer.test(task, dataloaders=loader, verbose=False)
        shown, task.gallery = keeper.gathered(), None
    val, loader = None, data.scoring_dataloader("val")
    if loader is not None:
        task.detail = DetailCounter(data, "val")
        trainer.test(task, dataloaders=loader, verbose=False)
        task.detail = None
        assert task.scored is not None
        val = _split_detail(task.scored, _dataset(loader))
    return Detail(test, val), gallery.text_of(shown)


def _dataset(loader: torch.utils.data.DataLoader[object]) -> ReferringDataset:
    assert isinstance(loader.dataset, ReferringDataset)
    return loader.dataset


def _split_detail(scored: Scored, dataset: ReferringDataset) -> SplitDetail:
    assert scored.detail is not None
    pairs = [dataset.manifest[int(index)] for index in scored.indices]
    return SplitDetail.build([pair.sample_id for pair in pairs], [pair.text for pair in pairs], scored.detail)
