"""The verbs from Python: `rrsis_bench.fit(method="s4eca", seed=1)` is `rrsis-bench fit --method s4eca --seed 1`.

Errors are raised as `rrsis_bench.errors.UserError` instead of printed.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from rrsis_bench.errors import UsageError, UserError


def _words(choices: Mapping[str, Any], values: Mapping[str, Any] | None) -> list[str]:
    words: list[str] = []
    for name, value in choices.items():
        flag = "--" + name.replace("_", "-")
        if value is None or value is False:
            continue
        if value is True:
            words.append(flag)
        elif isinstance(value, list | tuple):
            words += [word for item in value for word in (flag, str(item))]
        else:
            words += [flag, str(value)]
    return words + [f"--{key}={json.dumps(value, default=str)}" for key, value in (values or {}).items()]


def _call(verb: str, words: Sequence[str]) -> None:
    from rrsis_bench.cli import VERBS

    module = import_module(VERBS[verb][0])
    parser = argparse.ArgumentParser(prog=f"rrsis_bench.{verb}", allow_abbrev=False, exit_on_error=False)
    module.add_arguments(parser)
    try:
        if getattr(module, "PASSES_ON", False):
            args, flags = parser.parse_known_args(list(words))
            code = module.run(args, flags)
        else:
            code = module.run(parser.parse_args(list(words)))
    except argparse.ArgumentError as error:
        raise UsageError(f"{verb}: {error}") from error
    except SystemExit as stop:
        raise UsageError(f"{verb}: unusable arguments: {' '.join(words)}") from stop
    if code:
        raise UserError(f"{verb} ended with exit code {code}.")


def _result(folder: Path) -> dict[str, Any]:
    from rrsis_bench.results.record import read_result

    return read_result(folder / "result.json")


def fit(method: str, *, values: Mapping[str, Any] | None = None, **choices: Any) -> dict[str, Any]:
    """Train a method, test its best checkpoint, write the result.

    Args:
        method: registry name.
        values: configuration values by dotted key, such as `{"trainer.max_epochs": 5}`.
        choices: the verb's flags: `dataset`, `variant`, `trainer`, `seed`, `out`, `resume`, `overwrite`, ...

    Returns:
        the content of `result.json`.
    """
    from rrsis_bench.cli._trainer import make_plan
    from rrsis_bench.cli.fit import add_arguments

    words = _words({"method": method, **choices}, values)
    _call("fit", words)
    parser = argparse.ArgumentParser(allow_abbrev=False)
    add_arguments(parser)
    return _result(make_plan(*parser.parse_known_args(words)).folder)


def test(*, values: Mapping[str, Any] | None = None, **choices: Any) -> dict[str, Any]:  # noqa: PT028
    """Score a checkpoint on the test split; `run=DIR`, or `method`, `dataset`, `ckpt`. Returns `result.json`'s content.

    Args:
        values: configuration values by dotted key.
        choices: the verb's flags.
    """
    from rrsis_bench.cli.test import add_arguments
    from rrsis_bench.cli.validate import plan_for_checkpoint

    words = _words(choices, values)
    _call("test", words)
    parser = argparse.ArgumentParser(allow_abbrev=False)
    add_arguments(parser)
    args, flags = parser.parse_known_args(words)
    return _result(args.out if args.out is not None else plan_for_checkpoint(args, flags)[0].folder)


def predict(**choices: Any) -> None:
    """Segment what an expression refers to: `run`, `image`, `text`, `out`.

    Args:
        choices: the verb's flags.
    """
    _call("predict", _words(choices, None))


def leaderboard(*arguments: str, **choices: Any) -> None:
    """Make the tables from the result files.

    Args:
        arguments: positional words of the verb.
        choices: the verb's flags.
    """
    _call("leaderboard", [*arguments, *_words(choices, None)])


def score(
    predictions: Path | str | Mapping[str, Any],
    *,
    dataset: str,
    method: str,
    split: str = "test",
    data: Mapping[str, Any] | None = None,
    out: Path | None = None,
    overwrite: bool = False,
    **told: Any,
) -> dict[str, Any]:
    """Score predictions of any framework: `rrsis-bench results score`.

    Args:
        predictions: a JSONL file of COCO RLE, a folder of PNG masks, or sample id -> mask (H, W) or RLE.
        dataset: name of the data set.
        method: name of the row.
        split: name of the split.
        data: values of the `data` block to override, such as `root`.
        out: run folder; None for the usual place.
        overwrite: replace a result that is already there.
        told: what else is known: `variant`, `seed`, `selected_on`, `about` (title, venue, year, encoders, url),
            `parameters`, `trainable_parameters`.

    Returns:
        the content of `result.json`.

    Raises:
        UserError: see `results.external.score_predictions`; a `PredictionError` lists every `problem`.
    """
    from rrsis_bench.results.external import External, score_predictions

    external = External(method, **told)
    return _result(score_predictions(predictions, dataset, external, split, data, out, overwrite))


def results(*arguments: str, **choices: Any) -> None:
    """The `results` verb: `results("check")`, `results("rescore", "runs")`.

    Args:
        arguments: the verb's subcommand and its positional words.
        choices: its flags.
    """
    _call("results", [*arguments, *_words(choices, None)])
