"""Checks result files, scores them again from their integers, and copies them into the repository."""

from __future__ import annotations

import hashlib
import json
import math
import platform
import re
import shlex
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from rrsis_bench.errors import UsageError, UserError
from rrsis_bench.files import json_text, prove_writable, write_together
from rrsis_bench.results import gallery, record
from rrsis_bench.results.detail import read_detail
from rrsis_bench.results.provenance import sha256_text
from rrsis_bench.results.samples import SampleTable, encode, read_samples
from rrsis_bench.results.schema import violations
from rrsis_bench.results.upgrade import Upgrader
from rrsis_bench.run import seal
from rrsis_bench.run.folder import RunFolder, find
from rrsis_bench.run.layout import ELSEWHERE, PERTURBED


def check(path: Path) -> list[str]:
    """Check one `result.json` and the files beside it.

    The check covers checksum, kind, schema and the presence of the three files. It compares the samples' checksum with
    the one in the result, computes every metric, interval and breakdown again, and compares them with the result's.

    Returns:
        one sentence for each problem; none if all is well.
    """
    try:
        result = seal.read(path)
    except UserError as error:
        return [str(error)]
    folder = RunFolder(path.parent)
    found = [f"{path}: {violation}" for violation in violations(result)]
    config = folder.config_path
    if not config.is_file():
        found.append(f"{config} is missing.")
    elif (result.get("provenance") or {}).get("config_sha256") not in (
        None,
        hashlib.sha256(config.read_bytes()).hexdigest(),
    ):
        found.append(f"{config} is not the configuration that {path.name} was made with.")
    if found:
        return found
    try:
        table = read_samples(folder, result["samples_sha256"])
        again = record.score_block(table, result["protocols"], result["dataset"])
        if "detail" in result:
            read_detail(folder, result, table)
    except UserError as error:
        return [str(error)]
    if ("detail" in result) != (result["schema"] == seal.DETAIL_VERSION):
        found.append(f"{path} has schema version {result['schema']}, which does not fit its detail.")
    if (table.unit == "tokens") != (result["schema"] == 1):
        found.append(f"{path} has schema version {result['schema']}, but its samples count {table.unit}.")
    sizes = (len(table), len(set(table.image_id)))
    if sizes != (result["dataset"]["n_samples"], result["dataset"]["n_images"]):
        found.append(f"{path}: the samples hold {sizes[0]} samples of {sizes[1]} images, the result says otherwise.")
    where = difference(result["metrics"], _plain(again))
    if where is not None:
        found.append(f"{path}: metrics{where} is not what the samples give. Run: rrsis-bench results rescore.")
    return found


def difference(here: Any, there: Any, where: str = "") -> str | None:
    """The first place where two JSON values differ by more than rounding (1e-9), such as `.native-v1.miou`, or None."""
    if isinstance(here, dict) and isinstance(there, dict):
        for key in sorted(here.keys() | there.keys()):
            if key not in here or key not in there:
                return f"{where}.{key}"
            inner = difference(here[key], there[key], f"{where}.{key}")
            if inner is not None:
                return inner
        return None
    if isinstance(here, list) and isinstance(there, list) and len(here) == len(there):
        steps = (difference(a, b, f"{where}[{i}]") for i, (a, b) in enumerate(zip(here, there, strict=True)))
        return next((step for step in steps if step is not None), None)
    if isinstance(here, int | float) and isinstance(there, int | float):
        return None if math.isclose(here, there, rel_tol=1e-9, abs_tol=1e-9) else where
    return None if here == there else where


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value))


@dataclass(frozen=True)
class Rescored:
    """A result before and after scoring it again.

    Attributes:
        before: the result in the file.
        after: the result that the samples give today; the same object if it does not differ.
        table: the result's samples, in the schema version of `after`.
        left: why a result of version 1 keeps its version; "" for all others.
    """

    before: seal.Result
    after: seal.Result
    table: SampleTable
    left: str = ""

    @property
    def changed(self) -> bool:
        """Whether `after` differs from `before`."""
        return self.after is not self.before


def rescored(path: Path, upgrader: Upgrader | None = None) -> Rescored:
    """Compute a result again from its samples, and upgrade version 1 to version 2 if the data set is available.

    Raises:
        UserError: the result or its samples are missing, unreadable or fail their checksums.
    """
    result = seal.read(path)
    table = read_samples(RunFolder(path.parent), result["samples_sha256"])
    again = record.score_block(table, result["protocols"], result["dataset"])
    same = difference(result["metrics"], _plain(again)) is None
    scored = result if same else seal.sealed({**result, "metrics": again})
    if result["schema"] != 1:
        return Rescored(result, scored, table)
    try:
        return Rescored(result, *(upgrader or Upgrader()).upgraded(scored, table, RunFolder(path.parent)))
    except UserError as error:
        return Rescored(result, scored, table, str(error))


def rescore(paths: Sequence[Path], write: bool = True) -> dict[Path, Rescored]:
    """Compute results again from their samples; with `write`, rewrite the files of those that change, all together.

    Raises:
        UserError: see `rescored`; or a file cannot be written.
    """
    if write:
        prove_writable(*paths)
    upgrader = Upgrader()
    found = {path: rescored(path, upgrader) for path in paths}
    files: dict[Path, bytes | str] = {}
    for path, one in found.items():
        if one.changed and one.after["schema"] != one.before["schema"]:
            files[RunFolder(path.parent).samples_path] = encode(one.table)
        if one.changed:
            files[path] = json_text(one.after)
    if write:
        write_together(files)
    return found


_TAIL = r"(?:[^\s'\":,\]})]*[\\/])*([^\s'\":,\]}/\\)]*)"
_ABSOLUTE = re.compile(rf"(?<![\w./~:-])(?:~\w*(?=[\\/])|\$\w+(?=[\\/])|\.\.(?=[\\/])|/|\\\\|[A-Za-z]:[\\/]){_TAIL}")
_REMOTE = re.compile(rf"(?<![\w.-])(?:file://|(?:[\w.-]+@)?[\w-]+(?:\.[\w-]+)*:(?=~|/(?!/))){_TAIL}")
"""A `file:` address, or `user@host:/path` as for ssh and scp."""

_OUTSIDE = re.compile(r"(?:~\w*[\\/]|\$\w+[\\/]|\.\.[\\/]|/|\\\\|[A-Za-z]:[\\/])")

_WHOLE = re.compile(r"(?m)((?:^|(?<=\s))[\w.+-]+: (['\"]?))((?:~|/|\.\./|\\\\|[A-Za-z]:[\\/])[^'\"\n]*)\2$")
"""A YAML entry whose whole value is a path; the path may hold blanks."""


def strip_paths(text: str) -> str:
    """Remove folders outside the project and this machine's names from a text.

    An absolute path, a home path, a network path and a path that begins with `../` keep their last part only.
    """
    text = _WHOLE.sub(lambda match: match.group(1) + _last(match.group(3)) + match.group(2), text)
    text = _REMOTE.sub(lambda match: match.group(1) or ".", text)
    text = _ABSOLUTE.sub(lambda match: match.group(1) or ".", text)
    for name in _machine_names():
        text = re.sub(rf"(?<![\w-]){re.escape(name)}(?![\w-])", "host", text)
    return text


def strip_command(command: str) -> str:
    """Remove paths from a command line, word by word: a quoted word may hold blanks."""
    try:
        words = shlex.split(command)
    except ValueError:
        return strip_paths(command)
    cut = [re.match(r"(--?[\w.-]+=)?(.*)", word, re.DOTALL) for word in words]
    return shlex.join(
        (found[1] or "") + (_last(found[2]) if _OUTSIDE.match(found[2]) else strip_paths(found[2]))
        for found in cut
        if found
    )


def _last(path: str) -> str:
    return re.split(r"[\\/]", path.rstrip("\\/"))[-1] or "."


def _machine_names() -> list[str]:
    """The names of this machine, longest first, without `localhost` and names of up to three letters."""
    names = {platform.node(), socket.gethostname(), platform.node().partition(".")[0]}
    return sorted((name for name in names if len(name) > 3 and name != "localhost"), key=len, reverse=True)


def _stripped(value: Any) -> Any:
    if isinstance(value, dict):
        kept = {key: entry for key, entry in value.items() if key not in {"host", "hostname", "node"}}
        return {
            key: strip_command(entry) if key == "command" and isinstance(entry, str) else _stripped(entry)
            for key, entry in kept.items()
        }
    if isinstance(value, list):
        return [_stripped(entry) for entry in value]
    return strip_paths(value) if isinstance(value, str) else value


def export(run: Path, to: Path) -> Path:
    """Copy a run's files to `<to>/<dataset>/<method>@<variant>/seed<k>`, without host names and absolute paths.

    The copy replaces an earlier result of the same seed, and a note says so where the scores are of other predictions.
    Results filed under the run are copied with it.

    Returns:
        the folder written.

    Raises:
        UsageError: there is no run, or it has no result.
        UserError: its result fails the check, the run already lies in that folder, or a result that no board shows
            would replace one that boards show.
    """
    if not run.exists():
        raise UsageError(f"there is no file or folder {run}; name a run folder.")
    source = RunFolder(run if run.is_dir() else run.parent)
    path = source.result_path if run.is_dir() else run
    if not path.is_file():
        raise UsageError(f"{run} holds no {path.name}: test the run first ({source.command('test')}).")
    with_it = [one for place in (PERTURBED, ELSEWHERE) for one in find([source.path / place]) if one.is_file()]
    problems = [problem for one in (path, *with_it) for problem in check(one)]
    if problems:
        raise UserError(f"{problems[0]} A result that fails its check is not exported.")
    result = seal.read(path)
    method, dataset = result["method"], result["dataset"]
    transfer, block = result.get("transfer"), result.get("perturbation")
    filed = dataset["name"] if transfer is None else transfer["trained_on"]
    target = RunFolder.of(filed, method["name"], method["variant"], _seed(result, path), to)
    if transfer is not None:
        target = target.elsewhere(source.path.name)
    if block is not None:
        target = target.perturbed(f"{block['name']}-{block['severity']}")
    if target.is_finished and target.result_path.resolve() == path.resolve():
        raise UserError(f"{run} is already in its place under {to}.")
    earlier = _sound(target)
    if result["status"] != "complete" and earlier is not None and earlier["status"] == "complete":
        raise UserError(f"{run} is {result['status']}, and would replace the complete result in {target}.")
    config = strip_paths(source.config_path.read_text(encoding="utf-8"))
    table = read_samples(source, result["samples_sha256"])
    # Metrics keep their text: a category's name may hold a slash.
    cleaned = _stripped({key: value for key, value in result.items() if key != "metrics"})
    if (cleaned.get("provenance") or {}).get("config_sha256") is not None:
        cleaned["provenance"]["config_sha256"] = sha256_text(config)
    pictures = gallery.text_of(gallery.read(source, dataset, table))
    detail = read_detail(source, result, table) if "detail" in result else None
    shown = None if detail is None else gallery.text_of(gallery.read_examples(source))
    whole = {**cleaned, "metrics": result["metrics"]}
    record.write_run(target, whole, table, config, pictures, mark=False, detail=detail, examples=shown)
    if earlier is not None and earlier["samples_sha256"] != result["samples_sha256"]:
        print(f"rrsis-bench: note: {target} held another result of this seed, which this one replaced", file=sys.stderr)
    for one in with_it:
        export(one.parent, to)
    return target.path


def _sound(folder: RunFolder) -> seal.Result | None:
    """The result that a folder holds; None without one, and for a damaged one, which nobody misses."""
    try:
        return folder.result() if folder.is_finished else None
    except UserError:
        return None


def _seed(result: seal.Result, path: Path) -> int:
    seed = (result.get("training") or {}).get("seed")
    if isinstance(seed, int):
        return seed
    above = [folder.name for folder in PurePosixPath(path.resolve().as_posix()).parents][:3]  # or one filed under a run
    named = next(filter(None, (re.fullmatch(r"seed(\d+)", name) for name in above)), None)
    return int(named.group(1)) if named else 0
