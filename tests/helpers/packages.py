"""Writes packages into a folder as an installer does."""

from __future__ import annotations

from pathlib import Path


def install(site: Path, distribution: str, version: str, files: dict[str, str], entry_points: str = "") -> Path:
    """Write the files and the metadata of a pure Python distribution. The zipped folder is a wheel.

    Args:
        site: the folder, as given to `pip install --target`.
        distribution: name of the distribution.
        version: its version.
        files: content by path under `site`.
        entry_points: content of its `entry_points.txt`.
    """
    info = f"{distribution}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n"
    wheel = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    written = {**files, f"{info}/METADATA": metadata, f"{info}/WHEEL": wheel, f"{info}/entry_points.txt": entry_points}
    written[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in (*written, f"{info}/RECORD"))
    for name, content in written.items():
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_text(content, encoding="utf-8")
    return site
