from __future__ import annotations

import json
import re
import subprocess
import sys
import time

import pytest

from rrsis_bench.cli import main
from rrsis_bench.data.sources import create


@pytest.fixture(autouse=True)
def _folders(tmp_path, monkeypatch):
    monkeypatch.setenv("RRSIS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("RRSIS_DATA", str(tmp_path))
    monkeypatch.chdir(tmp_path)


def fake(tmp_path, *faults):
    create("risbench").write_fake(tmp_path / "risbench", 4, 0, faults, size=64)


def test_list_imports_no_torch_and_names_all(tmp_path):
    code = "import sys; from rrsis_bench.cli import main; main(['data', 'list']); print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.splitlines()[-1] == "False"
    for word in ("tiny", "rrsisd", "refsegrs", "risbench", "12,181", "generated on first use"):
        assert word in out


def test_verify_clean_and_faulty(tmp_path, capsys):
    fake(tmp_path)
    assert main(["data", "verify", "risbench"]) == 0
    assert "ok: 0 errors, 3 warnings" in capsys.readouterr().out
    fake(tmp_path, "missing-image", "corrupt-mask", "non-utf8")
    assert main(["data", "verify", "risbench"]) == 3
    out = capsys.readouterr().out
    for word in (
        "missing-image",
        "img_rgb/val_6_0.png",
        "corrupt-mask",
        "mask/val_7_0.png",
        "output_phrase_train.txt:1",
    ):
        assert word in out


def test_missing_data_is_one_line_and_code_three(capsys):
    for word in ("prepare", "verify", "stats", "show"):
        assert main(["data", word, "rrsisd"]) == 3
        captured = capsys.readouterr()
        assert captured.out == ""
        assert len(captured.err.splitlines()) == 1
        assert "1Xqi3Am2Vgm4a5tHqiV9tfaqKNovcuK3A" in captured.err


@pytest.mark.parametrize(
    "name", ["rrsisd", "refsegrs", "risbench", "nwpurefer", "rislad", "earthreason", "own", "houston"]
)
@pytest.mark.parametrize("word", ["prepare", "verify"])
def test_the_command_that_a_missing_data_set_names_exists(word, name, capsys):
    assert main(["data", word, name]) == 3
    (named,) = re.findall(r"`rrsis-bench (data verify [^`]*)`", capsys.readouterr().err)
    assert named == f"data verify {name}"
    assert main(named.split()) == 3, "it finds the data set missing, not the name unknown"


def test_the_command_that_a_damaged_file_names_exists(tmp_path, capsys):
    (tmp_path / "own").mkdir()
    line = {"image": "nothing.png", "mask": "nothing.png", "expression": "a dam", "split": "test"}
    (tmp_path / "own" / "manifest.jsonl").write_text(json.dumps(line) + "\n")
    assert main(["data", "prepare", "own"]) == 3
    assert "`rrsis-bench data verify own`" in capsys.readouterr().err
    assert main(["data", "verify", "own"]) == 3


def test_prepare_stats_show(tmp_path, capsys):
    fake(tmp_path)
    assert main(["data", "prepare", "risbench"]) == 0
    assert "written" in capsys.readouterr().out
    assert main(["data", "prepare", "risbench"]) == 0
    assert "up to date" in capsys.readouterr().out
    assert main(["data", "show", "risbench", "--split", "val", "--index", "3"]) == 0
    out = capsys.readouterr().out
    assert "img_rgb/val_8_0.png" in out
    assert (tmp_path / "risbench-val-3.png").stat().st_size > 1000
    assert main(["data", "show", "risbench", "--index", "4"]) == 2
    assert "0..3" in capsys.readouterr().err


ALONE = """
import socket, sys
def refuse(*arguments, **options):
    raise AssertionError("asks the network")
socket.socket.connect = socket.getaddrinfo = refuse
from rrsis_bench.cli import main
code = main(["data", "stats", "risbench"])
assert not {"torch", "tokenizers", "huggingface_hub"} & set(sys.modules)
sys.exit(code)
"""


def test_stats_needs_neither_network_nor_torch(tmp_path):
    create("risbench").write_fake(tmp_path / "risbench", 20, 0, (), size=64)
    done = subprocess.run([sys.executable, "-c", ALONE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for word in ("photographs", "category", "<0.25%", "words of the expression"):
        assert word in done.stdout
    row = next(line for line in done.stdout.splitlines() if line.startswith("6-10"))
    assert row.split() == ["6-10", "20", "20", "20"]


@pytest.mark.timing
def test_stats_of_sixty_pairs_takes_less_than_two_seconds(tmp_path):
    create("risbench").write_fake(tmp_path / "risbench", 20, 0, (), size=64)
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "rrsis_bench", "data", "stats", "risbench"], check=True)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 2


def test_unknown_name_and_other_root(tmp_path, capsys):
    assert main(["data", "verify", "rrsis"]) == 2
    assert "Did you mean" in capsys.readouterr().err
    create("refsegrs").write_fake(tmp_path / "elsewhere", 4, 0, size=64)
    assert main(["data", "verify", "refsegrs", "--root", str(tmp_path / "elsewhere")]) == 0
