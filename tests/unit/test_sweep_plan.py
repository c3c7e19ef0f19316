"""A sweep's file: what it expands to, and the one line that each mistake gets."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from rrsis_bench import registry
from rrsis_bench.cli import main
from rrsis_bench.errors import UsageError
from rrsis_bench.sweep.agenda import select
from rrsis_bench.sweep.cell import Cell
from rrsis_bench.sweep.grid import _CELL_KEYS, _KEYS, read_sweep
from rrsis_bench.sweep.launchers.base import command_line


def write(folder: Path, **content: Any) -> Path:
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_the_grid_and_its_named_cells(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        methods=["s4eca", "lavt"],
        datasets=["tiny", "rrsisd"],
        seeds=[0, 2],
        variants={"s4eca": ["tiny", "swin-b"]},
        trainer="cpu",
        flags={"trainer.max_epochs": 3, "model.options.visual_layers": [1, 3]},
        cells={"no-proxies": {"method": "s4eca", "dataset": "tiny", "flags": {"model.options.proxies": "mean"}}},
    )
    sweep = read_sweep(str(path), tmp_path / "runs")
    by_name = {cell.name: cell for cell in sweep.cells}
    assert len(by_name) == len(sweep.cells) == 2 * 2 * 2 + 2 * 2 + 2
    assert "rrsisd/lavt@base/seed2" in by_name
    assert "tiny/s4eca@swin-b/seed0" in by_name
    cell = by_name["tiny/s4eca@tiny+no-proxies/seed2"]
    assert cell.folder.path == tmp_path / "runs" / "tiny" / "s4eca@tiny+no-proxies" / "seed2"
    assert cell.config["model"]["options"]["proxies"] == "mean"
    assert cell.config["model"]["options"]["visual_layers"] == [1, 3]
    assert cell.config["trainer"] | {"max_epochs": 3, "accelerator": "cpu"} == cell.config["trainer"]
    assert cell.config["seed_everything"] == 2
    assert len({cell.config_hash for cell in sweep.cells}) == len(sweep.cells)
    assert Cell.from_json(cell.to_json()) == cell


def test_a_cell_s_command_is_an_ordinary_fit_into_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line, read by the verb's own parser, leads to the folder and configuration of the cell."""
    import argparse

    from rrsis_bench.cli import fit
    from rrsis_bench.cli._choices import request_of
    from rrsis_bench.run.resolve import resolve

    monkeypatch.setenv("RRSIS_RUNS", str(tmp_path / "elsewhere"))
    cells = {"big": {"method": "s4eca", "flags": {"data.limit": {"train": 8}, "model.options.width": 64}}}
    path = write(tmp_path, methods=["lavt"], datasets=["tiny"], seeds=[1], cells=cells)
    for runs in (None, tmp_path / "runs"):
        for cell in read_sweep(str(path), runs).cells:
            parser = argparse.ArgumentParser(allow_abbrev=False)
            fit.add_arguments(parser)
            assert cell.words[0] == "fit"
            args, flags = parser.parse_known_args(cell.words[1:])
            run = resolve(request_of(args, flags))
            assert args.resume == "auto"
            assert run.folder == cell.folder
            assert run.config == cell.config
    (_, big) = read_sweep(str(path)).cells
    assert big.config["data"]["limit"] == {"train": 8}
    monkeypatch.delenv("RRSIS_RUNS")
    assert command_line(big).endswith("'--data.limit={\"train\": 8}' --model.options.width=64")


def test_all_methods_by_name_of_the_sweep() -> None:
    sweep = read_sweep("tiny")
    assert {cell.method for cell in sweep.cells} == set(registry.method_targets())
    assert {cell.seed for cell in sweep.cells} == {0, 1, 2}
    assert {cell.dataset for cell in sweep.cells} == {"tiny"}


@pytest.mark.parametrize(
    ("content", "hint"),
    [
        ({"detail": "all"}, "detail is true or false"),
        ({"method": ["lavt"]}, "unknown key 'method'. Did you mean 'methods'"),
        ({"methods": ["lvat"]}, "Did you mean 'lavt'"),
        ({"datasets": ["tny"]}, "Did you mean 'tiny'"),
        ({"variants": ["tny"]}, "Did you mean 'tiny'"),
        ({"variants": {"lvat": ["tiny"]}}, "Did you mean 'lavt'"),
        ({"trainer": "gpus"}, "Did you mean 'gpu'"),
        ({"seeds": ["a"]}, "seeds must be a list of whole numbers"),
        ({"seeds": []}, "seeds must be a list"),
        ({"seeds": [True]}, "seeds must be a list"),
        ({"seeds": [0, 0]}, "describes tiny/lavt@tiny/seed0 twice"),
        ({"methods": 3}, "methods must be a name or a list of names"),
        ({"datasets": None}, "methods need datasets"),
        ({"flags": ["x"]}, "flags must be a mapping"),
        ({"flags": {"trainr.max_epochs": 1}}, "Did you mean 'trainer'"),
        ({"flags": {"trainer": {"max_epochs": 1}}}, "no value such as trainer.max_epochs"),
        ({"flags": {"seed_everything": 1}}, "seeds are given by 'seeds'"),
        ({"cells": {"a b": {"method": "lavt"}}}, "cells.a b: a name is made of"),
        ({"cells": {"a": ["lavt"]}}, "cells.a must be a mapping"),
        ({"cells": {"a": {"dataset": "tiny"}}}, "cells.a names no method"),
        ({"cells": {"a": {"method": "lavt", "flag": {}}}}, "unknown key 'cells.a.flag'. Did you mean 'flags'"),
        ({"slurm": 3}, "slurm must be a mapping"),
        ({"weights": 3}, "weights must be a mapping"),
        ({"weights": {"lvat": {"tiny": "a.pth"}}}, "Did you mean 'lavt'"),
        ({"weights": {"lavt": {"tny": "a.pth"}}}, "weights.lavt must name a file by data set"),
        ({"weights": {"lavt": {"tiny": 3}}}, "weights.lavt must name a file by data set"),
    ],
)
def test_each_mistake_gets_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: dict[str, Any], hint: str
) -> None:
    path = write(tmp_path, **{"methods": ["lavt"], "datasets": ["tiny"], **content})
    for verb in ("sweep", "status"):
        assert main([verb, str(path)]) == 2
        error = capsys.readouterr().err
        assert hint in error
        assert error.count("\n") == 1


def test_files_that_are_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "tny"]) == 2
    assert "unknown sweep 'tny'. Did you mean 'tiny'" in capsys.readouterr().err
    assert main(["status", str(tmp_path / "no.yaml")]) == 2
    assert "there is no sweep" in capsys.readouterr().err
    (tmp_path / "empty.yaml").write_text("")
    assert main(["status", str(tmp_path / "empty.yaml")]) == 2
    assert "describes no cell" in capsys.readouterr().err
    (tmp_path / "list.yaml").write_text("[1, 2]")
    assert main(["status", str(tmp_path / "list.yaml")]) == 2
    assert "must hold a mapping" in capsys.readouterr().err


def test_only_takes_parts_and_patterns(tmp_path: Path) -> None:
    cells = read_sweep(str(write(tmp_path, methods=["s4eca", "lavt"], datasets=["tiny"], seeds=[0, 1]))).cells
    assert [cell.name for cell in select(cells, ["lavt"])] == ["tiny/lavt@tiny/seed0", "tiny/lavt@tiny/seed1"]
    assert [cell.name for cell in select(cells, ["tiny/s4*/seed1", "lavt@tiny/seed0"])] == [
        "tiny/s4eca@tiny/seed1",
        "tiny/lavt@tiny/seed0",
    ]
    assert select(cells, []) == tuple(cells)
    with pytest.raises(UsageError, match=r"--only lvat fits no cell.*Did you mean 'lavt'"):
        select(cells, ["lvat"])


def test_printed_lines_can_be_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RRSIS_RUNS", str(tmp_path / "my runs"))
    monkeypatch.setenv("RRSIS_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("RRSIS_DATA", raising=False)
    monkeypatch.delenv("RRSIS_CONFIGS", raising=False)
    path = write(tmp_path, methods=["lavt"], datasets=["tiny"], seeds=[4])
    assert main(["sweep", str(path), "--launcher", "print"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line == (
        f"RRSIS_CACHE={tmp_path}/cache RRSIS_RUNS='{tmp_path}/my runs' "
        "rrsis-bench fit --method lavt --dataset tiny --variant tiny --seed 4 --resume auto"
    )
    assert not (tmp_path / "my runs").exists()


def test_the_page_of_a_sweep_s_file_is_whole_and_true(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "configs" / "sweeps" / "README.md").read_text()
    (example,) = re.findall(r"```yaml\n(.*?)```", page, flags=re.DOTALL)
    path = tmp_path / "example.yaml"
    path.write_text(example.replace("recipe: suite\n", ""))  # only some methods have recipes
    assert len(read_sweep(str(path), tmp_path / "runs").cells) == (2 + 1) * 2 * 3 + 2 * 3
    table = "".join(line for line in page.splitlines() if line.startswith("|"))
    assert set(_KEYS) == set(yaml.safe_load(example))
    assert all(f"`{key}`" in table for key in (*_KEYS, *_CELL_KEYS))
