"""What a data set says of itself, as plain values: reading them opens no file and imports neither torch nor OpenCV."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

SPLITS = ("train", "val", "test")

Kind = Literal["benchmark", "development", "synthetic", "own", "unknown"]
"""What a data set is to the field.

Papers report on a `benchmark`. A `development` set is a small one to work with, the generator draws a `synthetic` one,
and `own` is a user's. A data set is `unknown` where no configuration of its name exists on this machine.
"""

KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True)
class SourceInfo:
    """What a user should know of a data set.

    Attributes:
        title: full name.
        paper: authors, venue, year.
        where: where to get it.
        licence: under what terms.
        layout: the files that must be there, in one line.
        counts: published number of pairs per split; empty where nothing is published.
        kind: what the data set is to the field.
        classes: class names, lower case; empty where the data set has no list of them.
        notes: what a user should know before the first run, a sentence each.
        hub: the data set's repository on the Hugging Face hub, `OWNER/NAME`, which `data fetch` fetches; "" if none.
        drive: address of the Google Drive folder that `data fetch` fetches if `gdown` is installed; "" if none.
        drive_size: of that folder, in words, since Google Drive states none.
        drive_holds: places of its files and folders below the data set's folder. Their names alone tell them apart.
        steps: how a user gets it by hand, one step a line, where no repository is known; `{root}` is its folder.
    """

    title: str
    paper: str = ""
    where: str = ""
    licence: str = ""
    layout: str = ""
    counts: Mapping[str, int] = field(default_factory=dict)
    kind: Kind = "own"
    classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    hub: str = ""
    drive: str = ""
    drive_size: str = ""
    drive_holds: tuple[str, ...] = ()
    steps: str = ""
