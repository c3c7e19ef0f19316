"""A data set's folder rewritten as parquet or arrow files, with the very bytes of its files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rrsis_bench.data.info import SPLITS


def rows(folder: Path, images: str, masks: str) -> dict[str, list[dict[str, Any]]]:
    """The lines of a folder of line files that name their files with the suffix; a missing file is null."""

    def cell(kind: str, name: str) -> dict[str, Any]:
        path = folder / kind / name
        return {"bytes": path.read_bytes() if path.is_file() else None, "path": name}

    found: dict[str, list[dict[str, Any]]] = {}
    for split in SPLITS:
        found[split] = []
        for line in (folder / f"output_phrase_{split}.txt").read_text(encoding="utf-8").splitlines():
            name, _, text = line.partition(" ")
            found[split].append({"image": cell(images, name), "mask": cell(masks, name), "phrase": text})
    return found


def write(root: Path, held: dict[str, list[dict[str, Any]]], form: str) -> None:
    """Write rows as copies on the hub are: `snappy`, `none`, `zstd` (parquet), `stream` or `file` (arrow), `binary`
    (parquet, cells without a struct).
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    words = {"train": "train", "val": "validation", "test": "test"}
    for split, own in held.items():
        table = pa.Table.from_pylist(own)
        folder = root / words[split]
        folder.mkdir(parents=True)
        if form in {"stream", "file"}:
            opened = pa.ipc.new_stream if form == "stream" else pa.ipc.new_file
            with opened(folder / "data-00000-of-00001.arrow", table.schema) as writer:
                writer.write_table(table, max_chunksize=3)
            continue
        if form == "binary":
            for name in ("image", "mask"):
                column = pa.array([row[name]["bytes"] for row in own], pa.binary())
                table = table.set_column(table.column_names.index(name), name, column)
            names = pa.array([row["image"]["path"] for row in own])
            table = table.append_column("file", names)
        pq.write_table(
            table, folder / "0000.parquet", compression="none" if form == "binary" else form, row_group_size=3
        )
