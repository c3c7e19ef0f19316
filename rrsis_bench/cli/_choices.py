"""The flags that `fit`, `validate` and `test` share, and the `RunRequest` made of them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from rrsis_bench.cli._words import as_int, as_path
from rrsis_bench.config import GROUPS, from_yaml
from rrsis_bench.errors import UsageError, did_you_mean
from rrsis_bench.kinds import SEED
from rrsis_bench.run.request import RunRequest
from rrsis_bench.run.resolve import resolve

MORE = (
    "further flags set any value of the configuration: --trainer.max_epochs=5 --model.optimizer.lr=1e-4 "
    "--data.batch_size=4 (--help-all lists all values)"
)


def add_choice_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of every trainer verb."""
    parser.epilog = MORE
    parser.add_argument("--method", help="name of the method (rrsis-bench methods list)")
    parser.add_argument("--dataset", help="name of the data set (rrsis-bench data list); default: tiny")
    parser.add_argument("--variant", help="variant of the method; default: the data set's (tiny, lite or published)")
    parser.add_argument(
        "--trainer", help="trainer preset: cpu, gpu, ddp, fsdp, low-memory; default: one device of any kind"
    )
    parser.add_argument(
        "--recipe", help="paper (as published; default of published variants) or suite (ours), if the method has both"
    )
    parser.add_argument("--protocol", help="protocol that chooses the checkpoint; default: the recipe's, or native-v1")
    parser.add_argument("--seed", type=as_int(SEED), help="seed of all random numbers; default: 0")
    parser.add_argument(
        "--config",
        action="append",
        default=[],
        type=as_path,
        metavar="FILE",
        help="a YAML file of your own with values of the configuration; repeatable, a later file wins",
    )
    parser.add_argument(
        "--out", type=as_path, metavar="DIR", help="run folder; default: runs/DATASET/METHOD@VARIANT/seedK"
    )
    parser.add_argument("--logger", choices=["wandb"], help="a further logger besides CSV and TensorBoard")
    parser.add_argument(
        "--help-all", action="store_true", help="show every value of the configuration with its type and default"
    )


def add_detail_argument(parser: argparse.ArgumentParser) -> None:
    """Declare the flag of the verbs that score on test."""
    parser.add_argument(
        "--detail",
        action="store_true",
        help="store more integers per sample of test and val, for rrsis-bench results explain",
    )


def shows_all_values(args: argparse.Namespace, flags: Sequence[str]) -> bool:
    """Print all values for `--help-all`, or the configuration for LightningCLI's `--print_config`.

    Returns:
        whether one of the two flags was given.
    """
    if args.help_all:
        from rrsis_bench.engine.trainer import print_help

        print_help()
        return True
    if "--print_config" in flags:
        from rrsis_bench.engine.trainer import print_config

        print_config(resolve(request_of(args, [flag for flag in flags if flag != "--print_config"])))
        return True
    return False


def request_of(args: argparse.Namespace, flags: Sequence[str]) -> RunRequest:
    """The request that the words of a trainer verb make.

    Args:
        args: the flags that `add_choice_arguments` declared.
        flags: words that argparse does not know.

    Raises:
        UsageError: a word that is neither a flag nor a flag's value, or a flag without a value.
    """
    known = [f"--{name.replace('_', '-')}" for name in vars(args)]
    for word in flags:
        flag = word.partition("=")[0]
        if flag.startswith("--") and flag[2:].partition(".")[0].removesuffix("+") not in GROUPS:
            raise UsageError(f"unknown flag {flag}.{did_you_mean(flag, known)} And {MORE}.")
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
        detail=getattr(args, "detail", False),
    )


def dotted_values(flags: Sequence[str]) -> dict[str, Any]:
    """The values of `--a.b=v` and `--a.b v` flags by key, read as YAML. The last of two flags with one key wins.

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
        values.pop(key, None)  # the key moves to the end: the order is that of the last words
        values[key] = from_yaml(text)
    return values
