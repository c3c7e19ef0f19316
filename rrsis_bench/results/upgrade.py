"""Upgrades results of schema version 1 to version 2, which counts an expression in words, not in tokens.

A result does not hold its expressions. The upgrade takes them from the data set, by sample id. It needs the data set on
this machine, with the content that was scored.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from rrsis_bench import config
from rrsis_bench.data.catalogue import settings
from rrsis_bench.data.manifest import Manifest
from rrsis_bench.data.prepare import ensure_manifest, locate
from rrsis_bench.data.sources import SOURCES
from rrsis_bench.data.wording import count_words
from rrsis_bench.errors import UserError
from rrsis_bench.metrics.protocols import get
from rrsis_bench.results.breakdown import breakdown
from rrsis_bench.results.record import samples_sha256
from rrsis_bench.results.samples import SampleTable
from rrsis_bench.run import seal
from rrsis_bench.run.folder import RunFolder


class Upgrader:
    """Upgrades results, and reads a split that several results share only once."""

    def __init__(self) -> None:
        self._read: dict[tuple[str, tuple[str, ...]], tuple[str, Mapping[str, str]]] = {}

    def upgraded(self, result: seal.Result, table: SampleTable, folder: RunFolder) -> tuple[seal.Result, SampleTable]:
        """Convert a result of version 1 and its samples to version 2: lengths, their breakdown, and hashes change.

        Args:
            result: the result; its metrics must be those that its samples give.
            table: the result's samples.
            folder: the run folder, whose `config.yaml` may say how to read the data set.

        Returns:
            the result and the samples in version 2.

        Raises:
            UserError: the scored data set is not on this machine; the message says what was found instead.
        """
        texts = self._expressions(result["dataset"], table.sample_id, folder)
        words = np.array([count_words(texts[sample_id]) for sample_id in table.sample_id], np.int64)
        counted = replace(table, lengths=words, unit="words")
        metrics = {}
        for name, block in result["metrics"].items():
            by = {kind: parts for kind, parts in block["by"].items() if kind != "length"}
            metrics[name] = {**block, "by": {**by, "words": breakdown(counted, get(name))["words"]}}
        hashed = samples_sha256(counted)
        changes = {"schema": seal.SCHEMA_VERSION, "metrics": metrics, "samples_sha256": hashed}
        return seal.sealed({**result, **changes}), counted

    def _expressions(
        self, dataset: Mapping[str, Any], sample_ids: tuple[str, ...], folder: RunFolder
    ) -> Mapping[str, str]:
        """Sample id -> expression of the samples that a result was made on.

        Raises:
            UserError: the samples are not on this machine, or have another content than the scored ones.
        """
        reason = f"no configuration on this machine says how data set '{dataset['name']}' is read"
        for block in _candidates(str(dataset["name"]), folder):
            try:
                content_hash, texts = self._scored(block, str(dataset["split"]), sample_ids)
            except UserError as error:
                reason = str(error)
                continue
            if content_hash == dataset["content_hash"]:
                return texts
            reason = f"data set '{dataset['name']}' on this machine has another content than the one scored"
        raise UserError(reason)

    def _scored(
        self, data: Mapping[str, Any], split: str, sample_ids: tuple[str, ...]
    ) -> tuple[str, Mapping[str, str]]:
        """Content hash and expressions of those samples of a split that are in a result."""
        key = (json.dumps([data, split], sort_keys=True, default=str), sample_ids)
        if key not in self._read:
            located = locate(data)
            opened, wanted = Manifest.open(ensure_manifest(located), split, "keep"), set(sample_ids)
            scored = opened.take([place for place, pair in enumerate(opened) if pair.sample_id in wanted])
            self._read[key] = (scored.content_hash(located.root), {pair.sample_id: pair.text for pair in scored})
        return self._read[key]


def _candidates(name: str, folder: RunFolder) -> Iterator[dict[str, Any]]:
    """Settings to try for reading the data set: the run's own, then those of this machine."""
    own = (config.load_yaml(folder.config_path).get("data") if folder.config_path.is_file() else None) or {}
    # A result may come from anybody, and a source runs code: only the suite's own sources are used.
    if own.get("source") in SOURCES:
        yield {**own, "dataset": name}
    if name in config.names("datasets"):
        yield settings(name)
