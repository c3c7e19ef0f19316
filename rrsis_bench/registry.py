"""Methods by name, kept as strings: listing the methods imports neither torch nor a method.

Another package adds its methods by the entry-point group `rrsis_bench.methods` (`name = "package.module:Class"`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import yaml

from rrsis_bench import namesakes
from rrsis_bench.errors import UsageError, UserError, did_you_mean
from rrsis_bench.kinds import NULL, TEXT, Kind, listed, mapped, one_of, shown, whole

BUILT_IN: Mapping[str, str] = {
    "s4eca": "rrsis_bench.s4eca:S4ECA",
    "lavt": "baselines.lavt:LAVT",
    "lgce": "baselines.lgce:LGCE",
    "prior-image": "baselines.prior.image:PriorImage",
    "prior-text": "baselines.prior.text:PriorText",
    "rmsin": "baselines.rmsin:RMSIN",
    "fianet": "baselines.fianet:FIANet",
    "detris": "baselines.detris:DETRIS",
    "rsrefseg2": "baselines.rsrefseg2:RSRefSeg2",
    "btdnet": "baselines.btdnet:BTDNet",
    "crobim": "baselines.crobim:CroBIM",
    "pslgsam": "baselines.pslgsam:PSLGSAM",
    "rs2sam2": "baselines.rs2sam2:RS2SAM2",
    "dicor": "baselines.dicor:DiCoR",
    "c3vg": "baselines.c3vg:C3VG",
    "clipseg": "baselines.clipseg:CLIPSeg",
    "sam3": "baselines.sam3:SAM3",
    "groundedsam": "baselines.groundedsam:GroundedSAM",
}
ENTRY_POINT_GROUP = "rrsis_bench.methods"


@dataclass(frozen=True)
class Unbuilt:
    """A method that the suite does not build.

    Attributes:
        name: as its paper writes it.
        venue: where it was published.
        reason: why it is not built, as a sentence without its full stop.
    """

    name: str
    venue: str
    reason: str


UNBUILT: Mapping[str, Unbuilt] = {
    "s2rm": Unbuilt(
        "S2RM",
        "arXiv 2405.09006",
        "neither its paper's body nor any code could be read, and no number on an RRSIS data set is known",
    ),
    "lira": Unbuilt(
        "LIRA",
        "ICCV 2025",
        "its language model needs packages that do not install beside this suite; docs/lira.md scores its predictions",
    ),
}
"""Methods that users ask for, by the name that they would have."""


_WORDS = Kind("text", lambda value: isinstance(value, str)) | NULL
_OF_WORDS = ("title", "name", "authors", "paper", "code", "venue", "licence", "fidelity_note", "waits")
CARD: Mapping[str, Kind] = {
    **dict.fromkeys(_OF_WORDS, _WORDS),
    "year": whole(1900, 2100) | NULL | Kind("empty", lambda value: value == ""),
    "fidelity": one_of("official-parity", "from-code", "from-paper", "reconstruction", "library", "floor") | NULL,
    **dict.fromkeys(("encoders", "policy", "trained"), _WORDS | mapped(item=TEXT)),
    "no_gradient": listed(TEXT) | NULL,
    "published_parameters": mapped(item=whole(1)) | NULL,
}
"""Key of a card that the suite reads -> what its value may be. A card may have further keys, which `show` prints."""


class MethodClass(Protocol):
    """The part of `rrsis_bench.methods.base.Method` that this file needs, without importing it.

    Attributes:
        name: registry name.
        Options: dataclass of the method's options.
    """

    name: str
    Options: type[Any]

    def from_options(self, options: Mapping[str, Any]) -> Any:
        """Build a `Method` from plain options. The return type is `Any`, since this file must not import `Method`."""


def method_targets() -> dict[str, str]:
    """All known methods: name -> "module:Class". Built-in names win over entry points of the same name."""
    return {**installed_targets(), **BUILT_IN}


@cache
def installed_targets() -> dict[str, str]:
    """The methods of installed packages, by entry point: name -> "module:Class"."""
    return {point.name: point.value for point in entry_points(group=ENTRY_POINT_GROUP)}


def target(name: str) -> str:
    """The "module:Class" string of a method.

    Raises:
        UsageError: the name is unknown, and the message lists the known names; or it is of a method that is not built.
    """
    targets = method_targets()
    if name in UNBUILT and name not in targets:
        raise UsageError(f"method '{name}' is not built: {UNBUILT[name].reason}.")
    if name not in targets:
        raise UsageError(f"unknown method '{name}'.{did_you_mean(name, list(targets))}")
    return targets[name]


def method_folder(name: str) -> Path:
    """The folder of a method's package, which holds its card; the package itself is not imported.

    Raises:
        UserError: the package is not installed, its parent fails to import, or another package of its name is found.
    """
    module = target(name).partition(":")[0]
    if module.partition(".")[0] == namesakes.NAME:
        namesakes.refuse()
    try:
        spec = find_spec(module)
    except ModuleNotFoundError:  # a parent package is not installed
        spec = None
    except Exception as error:
        # `find_spec` imports the parent packages. A failing one, perhaps of a third party, must not hide other methods.
        raise UserError(f"method '{name}': importing what '{module}' lies in fails: {_line(error)}") from error
    if spec is None or spec.origin is None:
        raise UsageError(f"method '{name}' names the module '{module}', which is not installed.")
    return Path(spec.origin).parent


def load_class(name: str) -> MethodClass:
    """Import a method's class (this imports torch).

    Raises:
        UserError: see `method_folder`; or the module cannot be imported, or lacks the class.
    """
    method_folder(name)
    module, _, attribute = target(name).partition(":")
    try:
        loaded: MethodClass | None = getattr(import_module(module), attribute, None)
    except Exception as error:  # code of another package may raise anything
        reason = f"{type(error).__name__}: {_line(error)}"
        raise UserError(f"method '{name}': importing '{module}' fails: {reason} (--debug shows where).") from error
    if loaded is None:
        raise UserError(f"method '{name}' names '{module}:{attribute}', but that module has no such class.")
    return loaded


def dead_parameters(name: str) -> list[str]:
    """Patterns of trainable parameters that get no gradient, from the method's card; empty without a card.

    Raises:
        UserError: see `checked_card`.
    """
    has_card = (method_folder(name) / "card.yaml").is_file()
    return list(checked_card(name).get("no_gradient") or []) if has_card else []


def card(name: str) -> dict[str, Any]:
    """A method's card: title, paper, venue, year, fidelity, encoders, policy, choices. Read from its `card.yaml`.

    Raises:
        UserError: the card is missing, unreadable or no mapping; the message names the method and the file.
    """
    path = method_folder(name) / "card.yaml"
    if not path.is_file():
        raise UsageError(f"method '{name}' has no card: {path} is missing.")
    try:
        loaded = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"method '{name}' has a broken card, {path}: {_line(error)}") from error
    if not isinstance(loaded, dict):
        raise UserError(f"method '{name}' has a broken card: {path} holds no 'key: value' lines.")
    return loaded


def checked_card(name: str) -> dict[str, Any]:
    """A method's card whose values are of the kinds that training and results need. Lists show any card.

    Raises:
        UserError: see `card`; or a value is of the wrong kind.
    """
    loaded = card(name)
    for key, kind in CARD.items():
        if key in loaded and not kind.fits(loaded[key]):
            path = method_folder(name) / "card.yaml"
            raise UserError(
                f"method '{name}' has a broken card, {path}: {key} must be {kind.words}, not {shown(loaded[key])}."
            )
    return loaded


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
