"""Reads published numbers as they were printed. Boards show them beside measured ones and never mix the two.

| file under the results folder | one line is |
|---|---|
| `published.csv` | a number: method, data set, split, metric, value in percent, and where it comes from |
| `published_methods.csv` | a published method: paper, encoders, and which of the suite's methods it is |
| `published_efficiency.csv` | a method's cost as a paper printed it |
| `published_links.csv` | the address of a page or paper that the other files name |

A number that another paper quotes again is another line. `source` is the paper (or page) the method or number is from,
`table` where the number was read, `quoted_by` who quoted it there if that was not the source itself. Each line has a
link: the address of the page where the number was read, else of the source, else of the method's paper. An arXiv number
or DOI in these texts is an address too.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rrsis_bench.boards.addresses import first_address
from rrsis_bench.errors import UserError
from rrsis_bench.metrics.definitions import METRICS
from rrsis_bench.metrics.protocols import DEFAULT, PROTOCOLS
from rrsis_bench.paths import PACKAGE

NUMBERS, METHODS, COSTS = "published.csv", "published_methods.csv", "published_efficiency.csv"
LINKS = "published_links.csv"
_HEADERS = {
    NUMBERS: ("method", "dataset", "split", "metric", "value", "source", "table", "quoted_by", "note"),
    METHODS: ("method", "paper", "encoders", "registry", "variant", "protocol"),
    COSTS: ("method", "parameters_m", "multiply_adds_g", "fps", "device", "source", "note"),
    LINKS: ("name", "link"),
}
TOLERANCE = 0.01
"""A measured mIoU reproduces a published one within this (1.0 point) or two standard deviations over seeds."""


@dataclass(frozen=True)
class PublishedRow:
    """What one source says of one method on one split.

    Attributes:
        method: name as printed.
        split: `test`, `val`, or `not stated`.
        values: metric -> value as a fraction; what was not printed is absent.
        source: paper or page the method or number is from.
        table: where the numbers were read; "" where that is `quoted_by` itself.
        quoted_by: who quoted them; "" if they were read in the source.
        link: address of the page where they were read, or of the paper.
        note: how sure it is.
        encoders: as known; "" if not.
        registry: the suite's method it is the published counterpart of, and of which variant; "" if of none.
        variant: see `registry`.
        protocol: the rules its numbers were scored by, as far as known; "" if not.
        own_paper: the number stands in the method's own paper or repository, or is quoted from there.
    """

    method: str
    split: str
    values: Mapping[str, float]
    source: str
    table: str
    quoted_by: str
    link: str
    note: str
    encoders: str
    registry: str
    variant: str
    protocol: str
    own_paper: bool


@dataclass(frozen=True)
class PublishedCost:
    """A method's cost as printed: parameters in millions, multiply-adds in 10^9, frames per second; None if absent."""

    method: str
    parameters_m: float | None
    multiply_adds_g: float | None
    fps: float | None
    device: str
    source: str
    link: str
    note: str


@dataclass(frozen=True)
class Counterpart:
    """The published mIoU beside a measured one.

    Attributes:
        value: the published mIoU, as a fraction.
        protocol: rules the measured one is scored by here: the paper's own where they are known.
        measured: mean measured mIoU under those rules.
        difference: measured less published.
        verdict: `reproduced`, `below`, `above`, or `reconstruction` (which is never called a reproduction).
        source: where the published number is from.
        quoted_by: who quoted it, or "".
        others: how many further published values of this method there are that differ.
    """

    value: float
    protocol: str
    measured: float
    difference: float
    verdict: str
    source: str
    quoted_by: str
    others: int


@dataclass(frozen=True)
class Published:
    """Everything published, by data set."""

    rows: Mapping[str, tuple[PublishedRow, ...]]
    costs: tuple[PublishedCost, ...]


def folder_of(results: Path) -> Path | None:
    """Find the published numbers: in the results folder itself, else those that come with the suite."""
    candidates = (results, PACKAGE.parent / "results", PACKAGE / "_published")
    return next((folder for folder in candidates if (folder / NUMBERS).is_file()), None)


def read(folder: Path | None) -> Published:
    """Read the files; without a folder there are no published numbers.

    Raises:
        UserError: a file is missing or damaged; the message names the line.
    """
    if folder is None:
        return Published({}, ())
    methods = {line["method"]: line for _, line in _lines(folder / METHODS)}
    links = {line["name"]: line["link"] for _, line in _lines(folder / LINKS)}
    groups: dict[tuple[str, ...], dict[str, float]] = defaultdict(dict)
    for where, line in _lines(folder / NUMBERS):
        if line["method"] not in methods:
            raise UserError(f"{where}: the method '{line['method']}' is not in {METHODS}; add a line for it there.")
        if line["metric"] not in METRICS:
            raise UserError(f"{where}: unknown metric '{line['metric']}'. Known: {', '.join(METRICS)}.")
        key = tuple(line[name] for name in ("dataset", "split", "method", "source", "table", "quoted_by", "note"))
        if line["metric"] in groups[key]:
            raise UserError(f"{where}: the same number stands there twice; keep one line.")
        _link(links, where, line["table"], line["quoted_by"], line["source"], methods[line["method"]]["paper"])
        value = _number(line["value"], where)
        if value is None or not 0 <= value <= 100:
            raise UserError(f"{where}: a value is a percentage between 0 and 100, not '{line['value']}'.")
        # Printed to two decimals; rounding takes off what the division by 100 adds.
        groups[key][line["metric"]] = round(value / 100, 8)
    by_dataset: dict[str, list[PublishedRow]] = defaultdict(list)
    for (dataset, split, method, source, table, quoted_by, note), values in groups.items():
        known = methods[method]
        by_dataset[dataset].append(
            PublishedRow(
                method=method,
                split=split,
                values=values,
                source=source,
                table=table,
                quoted_by=quoted_by,
                link=_link(links, NUMBERS, table, quoted_by, source, known["paper"]),
                note=note,
                encoders=known["encoders"],
                registry=known["registry"],
                variant=known["variant"],
                protocol=known["protocol"],
                own_paper=source == known["paper"],
            )
        )
    return Published(
        {name: tuple(sorted(rows, key=_order)) for name, rows in by_dataset.items()}, _costs(folder, links)
    )


def _order(row: PublishedRow) -> tuple[str, bool, float, str, str, str]:
    miou = row.values.get("miou")
    return (row.split, miou is None, -(miou or 0.0), row.method.lower(), row.quoted_by, row.note)


def _costs(folder: Path, links: Mapping[str, str]) -> tuple[PublishedCost, ...]:
    return tuple(
        PublishedCost(
            line["method"],
            _number(line["parameters_m"], where),
            _number(line["multiply_adds_g"], where),
            _number(line["fps"], where),
            line["device"],
            line["source"],
            _link(links, where, line["source"]),
            line["note"],
        )
        for where, line in _lines(folder / COSTS)
    )


def _link(links: Mapping[str, str], where: str, *places: str) -> str:
    """The address of the first of several pages or papers whose address is known.

    Raises:
        UserError: none is known.
    """
    for place in places:
        if found := links.get(place) or first_address(place):
            return found
    named = " or ".join(f"'{place}'" for place in dict.fromkeys(places) if place)
    raise UserError(f"{where}: no address of {named} is known; add a line to {LINKS}.")


def _number(text: str, where: str) -> float | None:
    try:
        return float(text) if text else None
    except ValueError as error:
        raise UserError(f"{where}: '{text}' is not a number.") from error


def _lines(path: Path) -> Iterable[tuple[str, dict[str, str]]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, strict=True)
            if tuple(reader.fieldnames or ()) != _HEADERS[path.name]:
                raise UserError(f"{path} must have the columns {','.join(_HEADERS[path.name])}.")
            for line in reader:
                where = f"{path} line {reader.line_num}"
                if None in line or None in line.values() or not line[_HEADERS[path.name][0]]:
                    raise UserError(f"{where} does not have {len(_HEADERS[path.name])} values, the first a name.")
                yield where, line
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"cannot read {path}: {error}. Restore the file.") from error


def reference(rows: Iterable[PublishedRow], method: str, variant: str, split: str) -> PublishedRow | None:
    """Choose the published row of a measured one, among rows of the same variant and split.

    A number read in the method's own paper goes before quoted ones. Of several quoted rows the one with most metrics is
    chosen, then the first by name of who quoted it. Reruns by others are no published number of the method.
    """
    found = _counterparts(rows, method, variant, split)
    return min(found, key=lambda row: (bool(row.quoted_by), -len(row.values), row.quoted_by), default=None)


def _counterparts(rows: Iterable[PublishedRow], method: str, variant: str, split: str) -> list[PublishedRow]:
    return [
        row
        for row in rows
        if (row.registry, row.variant, row.split) == (method, variant, split) and row.own_paper and "miou" in row.values
    ]


def counterpart(
    rows: Sequence[PublishedRow],
    method: str,
    variant: str,
    split: str,
    measured: Mapping[str, tuple[float, float | None]],
    fidelity: str | None,
) -> Counterpart | None:
    """Put a measured mIoU beside its published counterpart.

    Args:
        rows: what is published on the data set.
        method: registry name.
        variant: variant that was measured.
        split: split that was measured.
        measured: protocol -> mean mIoU and its standard deviation over seeds (None for one seed), as fractions.
        fidelity: of the method; a reconstruction reproduces nothing.

    Returns:
        None if nothing is published of this variant, or no measured mIoU is by the published one's rules.
    """
    row = reference(rows, method, variant, split)
    if row is None:
        return None
    protocol = row.protocol if row.protocol in PROTOCOLS else DEFAULT
    if protocol not in measured:
        return None
    mean, sd = measured[protocol]
    value = row.values["miou"]
    others = {other.values["miou"] for other in _counterparts(rows, method, variant, split)} - {value}
    return Counterpart(
        value=value,
        protocol=protocol,
        measured=mean,
        difference=mean - value,
        verdict=verdict(mean - value, sd, fidelity),
        source=row.source,
        quoted_by=row.quoted_by,
        others=len(others),
    )


def verdict(difference: float, sd: float | None, fidelity: str | None) -> str:
    """Say `reproduced` within the larger of 1.0 point and 2 sd, else `below` or `above`; arguments are fractions."""
    if fidelity == "reconstruction":
        return "reconstruction"
    # Half of a hundredth of a point for what the subtraction of decimal fractions adds.
    if abs(difference) <= max(TOLERANCE, 2 * (sd or 0.0)) + 5e-9:
        return "reproduced"
    return "below" if difference < 0 else "above"
