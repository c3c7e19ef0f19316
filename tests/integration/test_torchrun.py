"""Training over several nodes by torchrun: here two agents of one process each on this machine, with gloo."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.sweep_tools import environment, prepare
from rrsis_bench.engine.checkpoint import read

pytestmark = pytest.mark.slow
FIT = (
    "fit", "--method", "toy", "--dataset", "toyset", "--resume", "auto", "--data.batch_size=2", "--data.global_batch=8",
    "--trainer.max_epochs=1", "--trainer.accelerator=cpu", "--trainer.strategy=ddp", "--trainer.devices=1",
    "--trainer.num_nodes=2",
)  # fmt: skip


def both_nodes(root: Path, runs: Path) -> list[tuple[int, str]]:
    """Run the command on two "nodes"; exit code and output of each."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [
        sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1", "--rdzv-backend=c10d",
        "--rdzv-id=test", f"--rdzv-endpoint=127.0.0.1:{port}", "-m", "rrsis_bench", *FIT,
    ]  # fmt: skip
    nodes = [
        subprocess.Popen(
            words, env=environment(root, runs), cwd=root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for _ in range(2)
    ]
    outputs = [node.communicate(timeout=500)[0] for node in nodes]
    return [(node.returncode, output) for node, output in zip(nodes, outputs, strict=True)]


def test_two_nodes_train_one_run(tmp_path: Path) -> None:
    root, runs = prepare(tmp_path / "root"), tmp_path / "runs"
    ended = both_nodes(root, runs)
    assert [code for code, _ in ended] == [0, 0], ended
    folder = runs / "toyset" / "toy@tiny" / "seed0"
    training = json.loads((folder / "result.json").read_text())["training"]
    assert (training["devices"], training["global_batch"], training["accumulation"]) == (2, 8, 2)
    assert len(read(folder / "checkpoints" / "last.ckpt")["resume"]["random"]) == 2
    assert sum(output.count("with permuted expressions") for _, output in ended) == 1
    # A finished run ends at once on every node; one that went on alone would wait for the other for ever.
    again = both_nodes(root, runs)
    assert [code for code, _ in again] == [0, 0], again
    assert sum(output.count("nothing to do") for _, output in again) == 1
