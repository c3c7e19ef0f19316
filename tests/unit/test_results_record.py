"""Result files: made from integers, sealed, checked, scored again, exported; never half-written."""

from __future__ import annotations

import errno
import gzip
import os
import platform
import re

import numpy as np
import pytest

from helpers.results import edit, make_result, make_table, write
from rrsis_bench.cli import main
from rrsis_bench.errors import UserError
from rrsis_bench.metrics.definitions import shown
from rrsis_bench.metrics.functional import scores
from rrsis_bench.metrics.protocols import PROTOCOLS, views
from rrsis_bench.results.breakdown import groups
from rrsis_bench.results.maintain import export, strip_command, strip_paths
from rrsis_bench.results.provenance import Start, provenance
from rrsis_bench.results.samples import encode, read_native, read_samples
from rrsis_bench.results.schema import violations
from rrsis_bench.run.folder import RunFolder
from rrsis_bench.run.layout import SAMPLES as FILE
from rrsis_bench.run.seal import sealed


def test_result_holds_what_the_integers_give_and_fits_the_schema(tmp_path):
    table = make_table()
    result = make_result(table)
    assert violations(result) == []
    for name, protocol in PROTOCOLS.items():
        expected = scores(table.view(protocol.view.name), protocol)
        block = result["metrics"][name]
        keys = [metric.name for metric in shown("tables", name) if not np.isnan(expected[metric.name])]
        assert {key: block[key]["value"] for key in keys} == {key: expected[key] for key in keys}
        low, high = block[keys[1]]["interval"]
        assert low < expected[keys[1]] < high
    assert result["dataset"]["n_images"] == 9
    assert 0 < result["language_control"]["oiou_ratio"] < 1


def test_samples_are_byte_deterministic_and_come_back(tmp_path):
    table = make_table()
    folder = write(tmp_path, table=table)
    content = (folder / FILE).read_bytes()
    assert content == encode(table)
    assert content[4:8] == b"\0\0\0\0"  # no time stamp
    assert encode(read_samples(RunFolder(folder))) == content
    header = gzip.decompress(content).decode().splitlines()[0]
    assert header.startswith("sample_id,image_id,category,n_words,height,width,truth,pred,inter,truth@480,")
    assert header.endswith(",position,relation")


@pytest.mark.parametrize(
    "name", ["a,b", 'a"b', '"', "a\nb", "a\rb", "\r", "a\r\nb", " a ", "\u2028a", "\x0ca", "\x85", "=1", "#a"]
)
@pytest.mark.parametrize("column", ["sample_id", "image_id", "category"])
def test_every_text_comes_back_from_the_samples_by_either_reader(tmp_path, column, name):
    table = make_table(3, **{column: [name, "b", "c"]})
    folder = RunFolder(write(tmp_path, table=table))
    read, native = read_samples(folder), read_native(folder, folder.result()["samples_sha256"], "run")
    assert getattr(read, column) == getattr(table, column)
    assert name in getattr(read, column)
    assert (native.sample_id, native.image_id) == (table.sample_id, table.image_id)
    assert np.array_equal(native.counts, table.view("native"))
    assert np.array_equal(read.counts, table.counts)


def test_samples_are_sorted_whatever_the_order_they_came_in():
    table = make_table(3, sample_id=["b", "c", "a"], text=["two words", "and now three", "one"])
    assert table.sample_id == ("a", "b", "c")
    assert table.lengths.tolist() == [1, 2, 3]
    with pytest.raises(UserError, match="'a' occurs twice"):
        make_table(3, sample_id=["a", "b", "a"])


def test_nan_becomes_null():
    counts = make_table(6).counts.copy()
    counts[0] = 0
    block = make_result(make_table(6, counts=counts))["metrics"]
    assert block["paper-rsrefseg2-v1"]["miou"] == {"value": None, "interval": None}
    assert block["native-v1"]["n_empty"] == 1
    assert block["native-v1"]["miou"]["value"] is not None


def test_breakdowns_partition_the_samples():
    share = [0.001, 0.0025, 0.01, 0.04, 0.16, 0.17]
    counts = np.zeros((6, len(views(PROTOCOLS)), 3), np.int64)
    counts[..., 0] = (np.array(share) * 10_000)[:, None]
    table = make_table(
        6, counts=counts, height=[100] * 6, width=[100] * 6, text=[n * "a " for n in (0, 5, 6, 10, 20, 41)]
    )
    parts = groups(table)
    sizes = {name: rows.tolist() for name, rows in parts["size"].items()}
    assert sizes == {"<0.25%": [0], "0.25-1%": [1], "1-4%": [2], "4-16%": [3, 4], ">16%": [5]}
    words = {name: rows.tolist() for name, rows in parts["words"].items()}
    assert words == {"0": [0], "1-5": [1], "6-10": [2, 3], "16-20": [4], ">40": [5]}
    for kind in ("size", "words", "wording"):
        assert sorted(i for rows in parts[kind].values() for i in rows) == list(range(6))


@pytest.mark.parametrize("kind", ["retrained", "official-weights", "external"])
def test_a_synthetic_data_set_gives_only_smoke_results(kind):
    with pytest.raises(UserError, match="synthetic data set 'tiny' cannot be of kind"):
        make_result(kind=kind)
    with pytest.raises(UserError, match="real data set 'rrsisd' cannot be of kind 'smoke'"):
        make_result(kind="smoke", dataset="rrsisd")


def test_check_accepts_sound_results(tmp_path, capsys):
    write(tmp_path)
    assert main(["results", "check", str(tmp_path)]) == 0
    assert "1 results checked, 0 bad" in capsys.readouterr().out


def better(result):
    result["metrics"]["native-v1"]["miou"]["value"] = 0.99


def reseal_better(result):
    better(result)
    result["sha256"] = sealed(result)["sha256"]


def reseal_unknown_field(result):
    result["comment"] = "best ever"
    result["sha256"] = sealed(result)["sha256"]


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (lambda f: edit(f / "result.json", better), "edited by hand"),
        (lambda f: edit(f / "result.json", reseal_better), r"native-v1\.miou\.value is not what the samples give"),
        (lambda f: edit(f / "result.json", reseal_unknown_field), "comment"),
        (lambda f: (f / "result.json").write_text((f / "result.json").read_text()[:300]), "truncated"),
        (lambda f: (f / "result.json").write_text("[]"), "not a result"),
        (lambda f: (f / FILE).unlink(), "samples.csv.gz"),
        (lambda f: (f / FILE).write_bytes((f / FILE).read_bytes()[:-20]), "samples.csv.gz"),
        (lambda f: (f / FILE).write_bytes(encode(make_table(seed=5))), "not the file that .*result.json was made from"),
        (lambda f: (f / "config.yaml").unlink(), "config.yaml is missing"),
    ],
)
def test_check_names_every_bad_file(fault, message, tmp_path, capsys):
    good, bad = write(tmp_path, seed=0), write(tmp_path, seed=1)
    fault(bad)
    assert main(["results", "check", str(tmp_path)]) == 1
    shown = capsys.readouterr()
    assert "2 results checked, 1 bad" in shown.out
    assert str(bad) in shown.err
    assert str(good) not in shown.err
    assert re.search(message, shown.err)


def test_rescore_restores_what_the_samples_give(tmp_path, capsys):
    folder = write(tmp_path)
    path = folder / "result.json"
    before = path.read_bytes()
    assert main(["results", "rescore", str(folder)]) == 0
    assert path.read_bytes() == before
    edit(path, reseal_better)
    assert main(["results", "rescore", str(folder), "--check"]) == 4
    assert path.read_bytes() != before
    assert main(["results", "rescore", str(folder)]) == 0
    assert path.read_bytes() == before


def test_export_strips_local_paths_and_stays_valid(tmp_path, monkeypatch, capsys):
    run = write(
        tmp_path / "runs",
        provenance={
            "command": "rrsis-bench fit --data.root=/home/mallory/secret/rrsisd --x ~/y/z",
            "host": "mallorys-pc",
        },
    )
    (run / "config.yaml").write_text("data:\n  root: /home/mallory/secret/rrsisd\n  url: https://example.org/a/b\n")
    to = tmp_path / "results" / "runs"
    assert main(["results", "export", str(run), "--to", str(to)]) == 0
    target = to / "tiny" / "lavt@tiny" / "seed0"
    for name in ("result.json", "config.yaml"):
        text = (target / name).read_text()
        assert "mallory" not in text
        assert "secret" not in text
    assert "root: rrsisd" in (target / "config.yaml").read_text()
    assert "https://example.org/a/b" in (target / "config.yaml").read_text()
    assert (target / FILE).read_bytes() == (run / FILE).read_bytes()
    assert main(["results", "check", str(to)]) == 0
    (run / "result.json").unlink()
    assert main(["results", "export", str(run), "--to", str(to)]) == 2
    assert "test the run first" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("--ckpt /home/mallory/runs/best.ckpt --lr 1e-3", "--ckpt best.ckpt --lr 1e-3"),
        ("root: ~/data/rrsisd\n", "root: rrsisd\n"),
        ("data/rrsisd", "data/rrsisd"),
        ("1/2 and https://a.b/c", "1/2 and https://a.b/c"),
        ("file:///home/mallory/x.pt", "x.pt"),
        ("mallory@box.org:/data/x and box:~/y", "x and y"),
        ("root: /home/mallory smith/my data\nlr: 1", "root: my data\nlr: 1"),
        ("root: '/home/mallory smith/my data'\nb: 2", "root: 'my data'\nb: 2"),
        ("C:\\Users\\mallory\\x.pt", "x.pt"),
        ("\\\\server\\share\\x.pt", "x.pt"),
        ("../mallory/x $HOME/y ~mallory/z", "x y z"),
        (
            "hub:timm/vit/model package:a/b.pt#sha256=1 s3://b/k path: ~",
            "hub:timm/vit/model package:a/b.pt#sha256=1 s3://b/k path: ~",
        ),
    ],
)
def test_strip_paths(text, expected):
    assert strip_paths(text) == expected


def test_a_quoted_word_of_a_command_keeps_no_folder_with_blanks():
    command = "rrsis-bench fit '--data.root=/home/mallory smith/my data' --seed 1 --ckpt=runs/a/b.ckpt"
    assert strip_command(command) == "rrsis-bench fit '--data.root=my data' --seed 1 --ckpt=runs/a/b.ckpt"
    assert "mallory" not in strip_command("unbalanced ' --x=/home/mallory/y")


def test_export_leaves_out_this_machine_s_name(tmp_path, monkeypatch):
    monkeypatch.setattr(platform, "node", lambda: "mallorys-box.lan")
    run = write(
        tmp_path / "runs", provenance={"command": "fit --out x", "note": "on mallorys-box and mallorys-box.lan"}
    )
    text = (export(run, tmp_path / "to") / "result.json").read_text()
    assert "mallory" not in text
    assert "on host and host" in text


def test_a_partial_result_does_not_replace_a_complete_one(tmp_path):
    whole, part = (write(tmp_path / status, status=status) for status in ("complete", "partial"))
    exported = export(part, tmp_path / "to")
    target = export(whole, tmp_path / "to")
    before = (target / "result.json").read_bytes()
    assert exported == target
    with pytest.raises(UserError, match="is partial, and would replace the complete result"):
        export(part, tmp_path / "to")
    assert (target / "result.json").read_bytes() == before


def test_export_says_that_it_replaced_another_result_of_the_seed(tmp_path, capsys):
    first, other = write(tmp_path / "first"), write(tmp_path / "other", table=make_table(seed=1))
    target = export(first, tmp_path / "to")
    export(first, tmp_path / "to")
    assert capsys.readouterr().err == "", "the same result once more"
    export(other, tmp_path / "to")
    assert f"{target} held another result of this seed, which this one replaced" in capsys.readouterr().err


def test_check_knows_the_configuration_and_export_keeps_it_known(tmp_path, capsys):
    text = "data:\n  root: /home/mallory/rrsisd\n"
    run = write(tmp_path / "runs", provenance=provenance(config_yaml=text))
    assert main(["results", "check", str(run)]) == 1
    assert "config.yaml is not the configuration that result.json was made with" in capsys.readouterr().err
    (run / "config.yaml").write_text(text)
    target = export(run, tmp_path / "to")
    assert (target / "config.yaml").read_text() == "data:\n  root: rrsisd\n"
    assert main(["results", "check", str(target)]) == 0


def test_usage_errors_are_one_line(tmp_path, capsys):
    assert main(["results", "rescore", str(tmp_path)]) == 2
    assert main(["results", "check", str(tmp_path / "nowhere")]) == 2
    assert "Traceback" not in capsys.readouterr().err


def full(*args, **kwargs):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_full_disk_while_writing_a_run_leaves_no_result(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="disk is full"):
        write(tmp_path)
    assert not list(tmp_path.rglob("result.json"))
    assert not list(tmp_path.rglob("*.tmp"))


def test_provenance_says_what_there_is():
    block = provenance(config_yaml="a: 1\n", command=["rrsis-bench", "fit"], gpus=["H200"])
    assert block["command"] == "rrsis-bench fit"
    assert block["versions"]["numpy"] == np.__version__
    assert len(block["config_sha256"]) == 64
    assert set(block["git"]) == {"sha", "dirty", "diff_sha256"}
    # What is committed while a run goes on is not what ran.
    begun = Start("2024-01-01T00:00:00Z", {"sha": "a" * 40, "dirty": False, "diff_sha256": None})
    assert provenance(started=begun)["git"] == begun.git
