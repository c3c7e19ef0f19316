"""The flags by which `fit`, `validate` and `test` choose what to run, and the request they make of them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rrsis_bench.config import from_yaml
from rrsis_bench.errors import UsageError
from rrsis_bench.run.request import RunRequest
from rrsis_bench.run.resolve import resolve

MORE = (
    "further flags set any value of the configuration: --trainer.max_epochs=5 --model.optimizer.lr=1e-4 "
    "--data.batch_size=4 (all of them: --help-all)"
)


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
        "--out", type=folder, metavar="DIR", help="run folder; default: runs/DATASET/METHOD@VARIANT/seedK"
    )
    parser.add_argument("--logger", choices=["wandb"], help="log to this besides CSV and TensorBoard")
    parser.add_argument("--help-all", action="store_true", help="every configuration value with its type and default")


def shows_all_values(args: argparse.Namespace, flags: Sequence[str]) -> bool:
    """Print what `--help-all` or LightningCLI's `--print_config` asks for; False where neither was given."""
    if args.help_all:
        from rrsis_bench.engine.trainer import print_help

        print_help()
        return True
    if "--print_config" in flags:
        from rrsis_bench.engine.trainer import print_config

        print_config(resolve(request_of(args, [flag for flag in flags if flag != "--print_config"])))
        return True
    return False


def folder(text: str) -> Path:
    """A folder's name; an empty one would silently mean the current folder."""
    if not text.strip():
        raise argparse.ArgumentTypeError("the name of the folder is empty")
    return Path(text)


def request_of(args: argparse.Namespace, flags: Sequence[str]) -> RunRequest:
    """What the words of a trainer verb ask for.

    Args:
        args: what `add_choice_arguments` parsed.
        flags: words that argparse did not know.

    Raises:
        UsageError: a word that is neither a flag nor a flag's value, or a flag without a value.
    """
    return RunRequest(
        method=args.method,
        dataset=args.dataset,
        variant=args.variant,
        trainer=args.trainer,
        recipe=args.recipe,
        protocol=args.protocol,
        seed=args.seed,
        files=tuple(args.config),
        values=dotted_values(flags),
        run=getattr(args, "run", None),
        out=args.out,
        logger=args.logger,
    )


def dotted_values(flags: Sequence[str]) -> dict[str, Any]:
    """The `--a.b=v` and `--a.b v` flags by key, values read as YAML; the last of two wins.

    Raises:
        UsageError: a word that is neither a flag nor a flag's value, or a flag without a value.
    """
    values: dict[str, Any] = {}
    words = list(flags)
    while words:
        word = words.pop(0)
        if not word.startswith("--"):
            raise UsageError(f"unexpected word '{word}'; {MORE}.")
        key, equals, text = word[2:].partition("=")
        if not equals:
            if not words or words[0].startswith("--"):
                raise UsageError(f"--{key} needs a value: --{key}=VALUE; {MORE}.")
            text = words.pop(0)
        values.pop(key, None)  # so that the order is that of the last words
        values[key] = from_yaml(text)
    return values
