"""`--detail` from `fit` to `results explain`: what is stored, what other commands make of it, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from helpers import toy_data
from rrsis_bench.cli import main
from rrsis_bench.metrics.detail import BINS
from rrsis_bench.results.detail import read_detail
from rrsis_bench.results.explain import load
from rrsis_bench.results.samples import read_samples
from rrsis_bench.run.folder import RunFolder
from rrsis_bench.run.layout import DETAIL, EXAMPLES
from rrsis_bench.stats.failures import KINDS

FIT = ("--method", "prior-text", "--variant", "tiny", "--dataset", "toyset", "--data.num_workers=0")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("detail")
    toy_data.make(folder / "data")
    with pytest.MonkeyPatch.context() as patch:
        set_up(patch, folder)
        assert main(["fit", *FIT, "--trainer", "cpu", "--detail"]) == 0
    return folder


def set_up(patch: pytest.MonkeyPatch, folder: Path) -> None:
    for name in ("data", "runs", "cache"):
        patch.setenv(f"RRSIS_{name.upper()}", str(folder / name))
    patch.setenv("RRSIS_CONFIGS", str(Path(toy_data.__file__).parent / "toy_configs"))
    patch.chdir(folder)


def refused(words: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


@pytest.mark.slow
def test_a_run_with_detail_is_stored_checked_exported_and_explained(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    set_up(monkeypatch, root)
    (path,) = (root / "runs" / "toyset").glob("prior-text@tiny/seed0")
    folder = RunFolder(path)
    result, table = folder.result(), read_samples(folder)
    assert (result["schema"], result["detail"]["n"]) == (3, {"test": 7, "val": 5})
    detail = read_detail(folder, result, table)
    assert detail.val is not None
    assert detail.test.hist.sum(axis=1).tolist() == (table.height * table.width).tolist()
    assert (detail.test.hist[:, BINS:].sum(axis=1) == table.view("native")[:, 0]).all()
    assert detail.has_others, "the case must hold several instances in an image"
    assert main(["results", "check", str(path)]) == 0
    assert main(["results", "export", str(path), "--to", str(root / "to")]) == 0
    copy = next((root / "to").rglob(DETAIL))
    assert copy.read_bytes() == folder.detail_path.read_bytes()
    assert main(["results", "check", str(root / "to")]) == 0

    capsys.readouterr()
    assert main(["results", "explain", str(path), str(copy.parent), "--json", "--out", "page"]) == 0
    first, second = json.loads(capsys.readouterr().out)["runs"]
    assert {**first, "folder": ""} == {**second, "folder": ""}
    run = load(path)
    assert [first["kinds"][kind]["n"] for kind in KINDS] == np.bincount(run.kinds, minlength=5).tolist()
    assert first["measures"]["miou"]["value"] == pytest.approx(result["metrics"]["native-v1"]["miou"]["value"])
    measured = first["measures"]
    assert measured["miou_oracle"]["value"] >= max(measured["miou"]["value"], measured["miou_val_threshold"]["value"])
    assert measured["miou"]["interval"] == pytest.approx(result["metrics"]["native-v1"]["miou"]["interval"])
    for parts in first["by"].values():
        for part in parts.values():
            assert sum(part[kind] for kind in KINDS) == pytest.approx(1)
    page = (root / "page" / "explain.html").read_text(encoding="utf-8")
    shown = [kind for kind in KINDS if first["kinds"][kind]["n"]]
    assert all(f"<h3>{kind}</h3>" in page for kind in shown)
    assert page.count("data:image/jpeg;base64,") >= 2 * len(shown)
    assert (root / "page" / "reliability.svg").read_text().count("<polyline") == 2

    assert main(["results", "explain", str(path)]) == 0
    assert "wrong instance" in capsys.readouterr().out

    shutil.copytree(path, root / "spoilt")
    text = (root / "spoilt" / DETAIL).read_bytes()
    (root / "spoilt" / DETAIL).write_bytes(text[:-9])
    refused(["results", "explain", str(root / "spoilt")], 1, "truncated", capsys)
    assert main(["results", "check", str(root / "spoilt")]) == 1
    capsys.readouterr()
    refused(["results", "explain", "nowhere"], 2, "there is no file or folder nowhere", capsys)
    refused(["results", "explain", str(root / "data")], 2, "holds no result.json", capsys)

    # Without --detail, the result is what it always was, and nothing of the earlier detail is left.
    assert main(["test", "--run", str(path), "--overwrite"]) == 0
    again = folder.result()
    assert (again["schema"], "detail" in again) == (2, False)
    assert again["metrics"] == result["metrics"]
    assert not folder.detail_path.exists()
    assert not (path / EXAMPLES).exists()
    capsys.readouterr()
    refused(["results", "explain", str(path)], 2, "without detail; score it again: rrsis-bench test --run", capsys)
    shutil.rmtree(path / "checkpoints")
    refused(["test", "--run", str(path), "--detail", "--overwrite"], 2, "holds no checkpoint", capsys)
