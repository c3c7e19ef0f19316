"""What `fit`, `validate` and `test` share before torch is imported: flags, configuration, data check, run folder."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from rrsis_bench import config as configuration
from rrsis_bench.config import Config, load_yaml, merge
from rrsis_bench.errors import UsageError
from rrsis_bench.paths import run_folder

MORE = (
    "further flags set any value of the configuration: --trainer.max_epochs=5 --model.optimizer.lr=1e-4 "
    "--data.batch_size=4 (all of them: --help-all)"
)


@dataclass(frozen=True)
class Plan:
    """A trainer verb's choices, resolved.

    Attributes:
        config: everything the names stand for, merged; what LightningCLI reads first.
        files: the user's own configuration files, which override it in order.
        flags: the user's `--a.b=v` flags, which override everything.
        folder: the run folder.
        logger: a further logger (`wandb`), or None.
        preview: `config`, `files` and `flags` merged as far as that needs no torch.
    """

    config: Config
    files: tuple[Path, ...]
    flags: tuple[str, ...]
    folder: Path
    logger: str | None
    preview: Config


def add_choice_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags by which every trainer verb chooses what to run."""
    parser.epilog = MORE
    parser.add_argument("--method", help="method by name (rrsis-bench methods list)")
    parser.add_argument("--dataset", help="data set by name (rrsis-bench data list); default: tiny")
    parser.add_argument("--variant", help="variant of the method; default: the one meant for the data set")
    parser.add_argument("--trainer", help="trainer preset: cpu, gpu, ddp, fsdp, low-memory; default: any one device")
    parser.add_argument(
        "--recipe", help="paper (as published; default of published variants) or suite (ours), where a method has both"
    )
    parser.add_argument("--protocol", help="protocol that chooses the checkpoint; default: the recipe's, or native-v1")
    parser.add_argument("--seed", type=int, help="seed of everything random; default: 0")
    parser.add_argument("--config", action="append", default=[], type=Path, metavar="FILE", help="own YAML; repeatable")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="run folder; default: runs/DATASET/METHOD@VARIANT/seedK"
    )
    parser.add_argument("--logger", choices=["wandb"], help="log to this besides CSV and TensorBoard")
    parser.add_argument("--help-all", action="store_true", help="every configuration value with its type and default")


def flag_values(flags: Sequence[str]) -> Config:
    """The `--a.b=v` and `--a.b v` flags as a nested mapping, values read as YAML.

    Raises:
        UsageError: a word that is neither a flag nor a flag's value.
    """
    nested: Config = {}
    words = list(flags)
    while words:
        word = words.pop(0)
        if not word.startswith("--"):
            raise UsageError(f"unexpected word '{word}'; {MORE}.")
        key, equals, text = word[2:].partition("=")
        if not equals and words and not words[0].startswith("--"):
            text = words.pop(0)
        try:
            value = yaml.safe_load(text) if text else None
        except yaml.YAMLError:
            value = text
        *outer, name = key.split(".")
        entry: Config = {name: value}
        for part in reversed(outer):
            entry = {part: entry}
        nested = merge(nested, entry)
    return nested


def make_plan(args: argparse.Namespace, flags: Sequence[str], base: Config | None = None) -> Plan:
    """Resolve the names, files and flags of a trainer verb.

    Args:
        args: what `add_choice_arguments` parsed.
        flags: words that argparse did not know.
        base: a run's saved configuration, to start from instead of names.

    Raises:
        UsageError: an unknown name, no method, or an unreadable file.
    """
    if base is None:
        if args.method is None:
            raise UsageError("name a method: --method s4eca (rrsis-bench methods list shows them all).")
        base = configuration.resolve(
            args.method, args.dataset or "tiny", args.variant, args.trainer, args.protocol, args.recipe
        )
    if args.seed is not None:
        base = merge(base, {"seed_everything": args.seed})
    preview = base
    for file in args.config:
        preview = merge(preview, load_yaml(file))
    preview = merge(preview, flag_values(flags))
    model, data = preview["model"], preview["data"]
    # The data module's own randomness follows the run's seed unless it is set apart.
    base = merge(base, {"data": {"seed": preview.get("seed_everything", 0)}})
    folder = args.out or run_folder(
        str(data["dataset"]), str(model["method"]), str(model["variant"]), int(preview.get("seed_everything", 0))
    )
    return Plan(base, tuple(args.config), tuple(flags), folder, args.logger, preview)


def check_data(plan: Plan) -> None:
    """Fail in milliseconds when the data set is not on disk.

    Raises:
        MissingResourceError: what is missing, where to get it, how to verify it.
    """
    from rrsis_bench.data.prepare import locate, manifest_path

    if not plan.preview["data"].get("generator"):
        manifest_path(locate(plan.preview["data"]))


def saved_config(folder: Path) -> Config:
    """The configuration a run was made with.

    Raises:
        UsageError: the folder is no run folder.
    """
    path = folder / "config.yaml"
    if not path.is_file():
        raise UsageError(f"{folder} is no run folder: it has no config.yaml.")
    return load_yaml(path)


def is_first_process() -> bool:
    """Whether this is the process that reads and writes the run folder; helpers of it start with a rank."""
    if "RANK" in os.environ:  # torchrun
        return int(os.environ["RANK"]) == 0
    return int(os.environ.get("LOCAL_RANK", "0")) == 0 and int(os.environ.get("NODE_RANK", "0")) == 0
