from __future__ import annotations

import json

import pytest
import torch

from rrsis_bench import cli, config
from rrsis_bench.bench.profile import efficiency
from rrsis_bench.engine.build import build_method
from rrsis_bench.errors import UsageError
from rrsis_bench.methods.base import Method


def tiny() -> Method:
    return build_method("s4eca", "tiny", config.variant_options("s4eca", "tiny"), pretrained=False)[0]


def test_published_size_of_s4eca_without_weights(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["profile", "--method", "s4eca", "--variant", "base", "--meta"]) == 0
    out = capsys.readouterr().out
    assert "DINOv2" in out
    assert "86,582,016" in out
    assert "3,578,712 = 2.39% of the encoders" in out
    assert "multiply-add = 2" in out


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
    from rrsis_bench.bench import profile

    layer = torch.nn.Linear(10, 20, bias=False)
    monkeypatch.setattr(profile, "sample_batch", lambda method, size, device: torch.zeros(size, 10))
    assert profile.gflops(layer, "cpu") == pytest.approx(2 * 10 * 20 / 1e9)  # type: ignore[arg-type]


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
