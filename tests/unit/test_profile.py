from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from helpers import toy
from rrsis_bench import cli, config
from rrsis_bench.cost.profile import efficiency
from rrsis_bench.errors import UsageError
from rrsis_bench.files import json_text
from rrsis_bench.methods.base import Method
from rrsis_bench.methods.build import build_method
from rrsis_bench.run.seal import read as read_result
from rrsis_bench.run.seal import sealed
from rrsis_bench.types import Batch

COMMITTED = Path(__file__).resolve().parents[2] / "results" / "runs" / "tiny" / "s4eca@tiny" / "seed0"


def tiny() -> Method:
    return build_method("s4eca", "tiny", config.variant_options("s4eca", "tiny"), pretrained=False)[0]


@pytest.mark.slow
def test_published_size_of_s4eca_without_weights(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["profile", "--method", "s4eca", "--variant", "base", "--meta"]) == 0
    out = capsys.readouterr().out
    assert "DINOv2" in out
    assert "86,582,016" in out
    assert "3,578,712 = 2.39% of the encoders" in out
    assert "multiply-add = 2" in out


@pytest.mark.slow
def test_json_holds_the_same_figures(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["profile", "--method", "s4eca", "--meta", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["variant"] == "base"
    assert report["encoder_parameters"] == 150_010_112
    assert report["encoder_trainable_parameters"] == 3_578_712
    assert report["encoder_trainable_share"] == pytest.approx(0.02386, abs=1e-5)
    assert report["parameters"] == sum(part["parameters"] for part in report["parts"])
    assert report["flops_per_multiply_add"] == 2
    assert "latency_ms" not in report


def test_flops_are_the_same_on_cpu_and_meta_and_leave_the_method_alone() -> None:
    method = tiny().train()
    before = {name: parameter.requires_grad for name, parameter in method.named_parameters()}
    on_cpu = efficiency(method)
    assert method.training
    assert before == {name: parameter.requires_grad for name, parameter in method.named_parameters()}
    with torch.device("meta"):
        on_meta = efficiency(tiny(), "meta")
    assert on_cpu["gflops"] == pytest.approx(on_meta["gflops"], rel=1e-9)
    assert on_cpu["gflops"] > 0
    assert on_cpu["trainable_parameters"] == sum(p.numel() for p in method.parameters() if p.requires_grad)


def test_one_linear_layer_counts_two_per_multiply_add(monkeypatch: pytest.MonkeyPatch) -> None:
    from rrsis_bench.cost import profile

    class OnImages(torch.nn.Linear):
        def forward(self, batch: Batch) -> torch.Tensor:
            return super().forward(batch.images)

    batch = replace(toy.random_batch(1), images=torch.zeros(1, 10))
    monkeypatch.setattr(profile, "sample_batch", lambda method, size, device: batch)
    assert profile.gflops(OnImages(10, 20, bias=False), "cpu") == pytest.approx(2 * 10 * 20 / 1e9)  # type: ignore[arg-type]


def test_speed_is_measured_as_asked() -> None:
    report = efficiency(tiny(), latency=True, flops=False, batch_size=2, warmup=0, repeats=2)
    assert 0 < report["latency_ms"] <= report["latency_p95_ms"]
    assert report["throughput"] > 0
    assert report["throughput_batch_size"] == 2
    assert report["memory_mb"] is None
    assert "gflops" not in report


def test_counts_that_make_no_sense() -> None:
    with pytest.raises(UsageError):
        efficiency(tiny(), latency=True, flops=False, repeats=0)


def test_unknown_names_are_usage_errors(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["profile", "--method", "s4ec"]) == 2
    assert cli.main(["profile", "--method", "s4eca", "--variant", "huge"]) == 2
    assert cli.main(["profile", "--method", "s4eca", "--variant", "tiny", "--device", "abacus"]) == 2
    assert "abacus" in capsys.readouterr().err


def test_a_finished_run_is_measured_and_keeps_its_scores(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "seed0"
    shutil.copytree(COMMITTED, folder)
    before = read_result(folder / "result.json")
    assert cli.main(["profile", "--run", str(folder), "--warmup", "0", "--repeats", "2", "--batch-size", "2"]) == 0
    assert "latency p50" in capsys.readouterr().out
    after = read_result(folder / "result.json")
    assert after["efficiency"]["latency_ms"] > 0
    assert after["efficiency"]["device"] == "cpu"
    assert after["efficiency"]["gflops"] == pytest.approx(before["efficiency"]["gflops"])
    for block in ("metrics", "samples_sha256", "method", "dataset", "training", "provenance", "language_control"):
        assert after[block] == before[block]
    assert cli.main(["results", "check", str(folder)]) == 0


def test_a_run_of_another_network_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "seed0"
    shutil.copytree(COMMITTED, folder)
    result = read_result(folder / "result.json")
    result["efficiency"]["parameters"] += 1
    (folder / "result.json").write_text(json_text(sealed(result)))
    assert cli.main(["profile", "--run", str(folder), "--warmup", "0", "--repeats", "1"]) == 2
    assert "today's has" in capsys.readouterr().err
    assert read_result(folder / "result.json")["efficiency"] == result["efficiency"]
    assert cli.main(["profile", "--run", str(tmp_path)]) == 2
    assert "holds no result.json" in capsys.readouterr().err
    assert cli.main(["profile", "--run", str(folder), "--meta"]) == 2
