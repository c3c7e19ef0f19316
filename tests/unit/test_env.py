from __future__ import annotations

import argparse
import json

import pytest

from rrsis_bench.cli import env

GOOD = {"torch": "2.9.0", "torchvision": "0.24.0", "lightning": "2.6.5", "albumentations": "2.0.8"}
BOUNDS = ["torch>=2.6", "lightning<2.7,>=2.6.4", "albumentations==2.0.8", "rasterio>=1.4; extra == 'geo'"]


def problems(error: str | None = None, **versions: str | None) -> str:
    return "\n".join(f"{one.problem} {one.remedy}" for one in env.problems({**GOOD, **versions}, BOUNDS, error))


def test_good_set_has_no_findings() -> None:
    assert problems() == ""
    assert problems(torch="2.9.0+cpu", torchvision="0.24.0+cpu") == ""
    assert problems(rasterio=None) == ""


@pytest.mark.parametrize("version", ["2.6.2", "2.6.3"])
def test_malicious_lightning(version: str) -> None:
    assert "malicious" in problems(lightning=version)


def test_cpu_torch_beside_the_index_torchvision() -> None:
    assert "torchvision::nms" in problems(torch="2.9.0+cpu")
    assert "operator torchvision::nms does not exist" in problems("operator torchvision::nms does not exist")


def test_versions_out_of_bounds_and_missing_ones() -> None:
    assert "albumentations 2.0.9" in problems(albumentations="2.0.9")
    assert "pip install 'lightning" in problems(lightning="2.7.0")
    assert "albumentations is not installed" in problems(albumentations=None)


def test_report_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    code = env.run(argparse.Namespace(json=True))
    report = json.loads(capsys.readouterr().out)
    assert code == (1 if report["findings"] else 0)
    assert report["versions"]["torch"]
    assert report["devices"][0].startswith("cpu")


def test_report_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    env.run(argparse.Namespace(json=False))
    assert "lightning" in capsys.readouterr().out
