"""Options: their types are the one place that says what they may be, and every method's are refused by them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin, get_type_hints

import pytest
import torch
import yaml

from helpers.resolved import configured
from rrsis_bench import config, registry
from rrsis_bench.errors import UsageError
from rrsis_bench.methods.options import allows, build_options, describe

if TYPE_CHECKING:
    from fractions import Fraction

RUNS = Path(__file__).resolve().parents[2] / "results" / "runs"
METHODS = sorted(registry.BUILT_IN)
COMPANIONS: Mapping[tuple[str, str, Any], Mapping[str, Any]] = {
    ("s4eca", "text_adapter", "dense"): {"proxies": "mean"},
    ("s4eca", "text_adapter", "none"): {"proxies": "mean"},
    ("s4eca", "head", "lavt"): {
        "encoders": "swin+bert",
        "swin_width": 16,
        "swin_depths": [1, 1, 1, 1],
        "swin_heads": [1, 2, 2, 4],
        "swin_window": 4,
    },
    ("pslgsam", "point", "none"): {"prompt": "box"},
    ("clipseg", "policy", "zero-shot"): {"clip_weights": ""},
    ("sam3", "policy", "zero-shot"): {"clip_weights": "", "network_weights": "random"},
    ("sam3", "merge", "best"): {"queries": True},
    ("sam3", "merge", "union"): {"queries": True},
    ("groundedsam", "detector", "owlv2-b16-ensemble"): {"policy": "zero-shot"},
    **{("dicor", "stage", stage): {"weights_from": ["RUN"]} for stage in ("refiner", "guide", "joint")},
}
"""Values that work only with others."""
WRONG: Mapping[Any, Sequence[Any]] = {
    int: (True, 1.5, "3", "big", None, [3]),
    float: (True, "0.1", "1e-4", None, [0.1]),
    bool: (1, 0, "yes", None),
    str: (3, True, None, ["a"]),
}
"""Values that a field of the type must refuse; None is right where the field is optional."""


def hints(name: str) -> Mapping[str, Any]:
    kind = registry.load_class(name).Options
    types = get_type_hints(kind)
    return {one.name: types[one.name] for one in fields(kind)}


def closed(name: str) -> Mapping[str, tuple[Any, ...]]:
    """The options with a closed set of values."""
    return {option: get_args(hint) for option, hint in hints(name).items() if get_origin(hint) is Literal}


def build(name: str, **changes: Any) -> Any:
    return build_options(name, registry.load_class(name).Options, changes)


def misspelt(value: str) -> Iterator[str]:
    """A value in capitals, without its last letter, and backwards."""
    yield value.upper()
    yield value[:-1]
    yield value[::-1]


@pytest.mark.parametrize("name", METHODS)
def test_every_closed_option_refuses_what_is_not_in_its_set(name: str) -> None:
    for option, values in closed(name).items():
        for value in values:
            wrong = misspelt(value) if isinstance(value, str) else (value + 1, float(value), str(value))
            for other in (*wrong, None, True, [value]):
                with pytest.raises(UsageError) as caught:
                    registry.load_class(name).from_options({option: other})
                message = str(caught.value)
                assert message.startswith(f"{name}: option '{option}' must be one of "), message
                (shown,) = re.findall(r", not (.*?)\.(?: |$)", message)
                assert yaml.safe_load(shown) == other
                assert all(str(one) in message for one in values)
        if isinstance(values[0], str):
            with pytest.raises(UsageError, match=re.escape(f"Did you mean '{values[0]}'")):
                registry.load_class(name).from_options({option: values[0].upper()})


@pytest.mark.slow
@pytest.mark.parametrize("name", [one for one in METHODS if closed(one)])
def test_every_value_of_a_closed_option_builds_a_network(name: str) -> None:
    kind, tiny = registry.load_class(name), config.variant_options(name, "tiny")
    for option, values in closed(name).items():
        for value in values:
            options = {**tiny, **COMPANIONS.get((name, option, value), {}), option: value}
            with torch.device("meta"):
                assert getattr(kind.from_options(options).options, option) == value


@pytest.mark.parametrize("name", METHODS)
def test_every_option_refuses_other_kinds_and_keeps_its_default(name: str) -> None:
    default = registry.load_class(name).Options()
    for option, hint in hints(name).items():
        assert allows(hint, getattr(default, option)), option
        single = {one for one in get_args(hint) or (hint,) if one is not NoneType}
        for value in WRONG.get(single.pop(), ()) if len(single) == 1 and get_origin(hint) is not tuple else ():
            if not (value is None and NoneType in get_args(hint)):
                with pytest.raises(UsageError, match=f"{name}: option '{option}' must be"):
                    build(name, **{option: value})
        if get_origin(hint) is tuple:
            values = list(getattr(default, option))
            wrong = [3, "ab", [True] * max(1, len(values))]
            wrong += [] if str in get_args(hint) else [["a"] * max(1, len(values))]
            wrong += [] if ... in get_args(hint) else [values[:-1], [*values, values[0]]]
            for value in wrong:
                with pytest.raises(UsageError, match=f"{name}: option '{option}' must be a list"):
                    build(name, **{option: value})


@pytest.mark.parametrize("name", METHODS)
def test_every_configuration_file_gives_options_of_the_right_types(name: str) -> None:
    blocks = config.method_config(name)
    for variant in blocks["variants"]:
        for dataset in config.names("datasets"):
            for recipe in (None, *(blocks.get("recipes") or {})):
                options = configured(name, dataset, variant, recipe=recipe)["model"].get("options", {})
                build(name, **options)


def test_the_options_of_committed_results_are_still_allowed() -> None:
    """A run is measured again, scored again and predicted with from its own `config.yaml`."""
    files = sorted(RUNS.rglob("config.yaml"))
    models = [config.load_yaml(path).get("model") or {} for path in files]
    own = [model for model in models if model.get("method") in METHODS]
    assert len(own) >= 30
    for model in own:
        build(model["method"], **(model.get("options") or {}))


def test_the_tables_above_are_not_empty() -> None:
    assert sum(len(closed(name)) for name in METHODS) >= 50
    assert closed("s4eca")["loss"] == ("bce", "bce-dice")
    assert closed("crobim")["mid_stride"] == (4, 8)
    assert closed("lavt")["encoder"] == ("swin", "convnext_base", "efficientnet_lite0")


@dataclass(frozen=True)
class Options:
    """One field of each form."""

    needed: int
    rate: float = 0.1
    loss: Literal["bce", "dice"] | None = None
    pair: tuple[int, float] = (1, 0.5)
    grid: tuple[tuple[int, int], ...] = ()
    names: list[str] = field(default_factory=list)
    extra: Mapping[str, int] = field(default_factory=dict)
    free: Any = None
    derived: int = field(default=0, init=False)


@dataclass(frozen=True)
class Unreadable:
    share: Fraction | None = None


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "toy: option 'needed' has no default; set it to a whole number."),
        ({"needed": 1, "neded": 2}, "toy has no option 'neded'. Did you mean 'needed'?"),
        ({"needed": 1, "derived": 2}, "toy has no option 'derived'."),
        ({"needed": 1, "rate": "1e-4"}, "must be a number, not '1e-4'. This is text: write the number without quotes"),
        ({"needed": "1"}, "must be a whole number, not '1'. This is text: write the number without quotes."),
        ({"needed": 1, "loss": "DICE"}, "must be one of bce, dice or null, not 'DICE'. Did you mean 'dice'?"),
        ({"needed": 1, "pair": [1, 2, 3]}, "must be a list of exactly 2 (a whole number, a number), not [1, 2, 3]."),
        ({"needed": 1, "grid": [[1, 2], [3]]}, "must be a list, each item a list of exactly 2"),
        ({"needed": 1, "names": "abc"}, "must be a list, each item text, not 'abc'."),
        ({"needed": 1, "extra": [1]}, "must be Mapping, not [1]."),
    ],
)
def test_what_is_wrong_with_a_value_is_said_in_one_line(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        build_options("toy", Options, values)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_plain_values_become_immutable_and_keep_their_kind() -> None:
    built = build_options(
        "toy",
        Options,
        {"needed": 1, "rate": 1, "loss": "bce", "pair": [2, 3], "grid": [[1, 2], [3, 4]], "names": ["a"], "free": {}},
    )
    assert (built.rate, type(built.rate)) == (1, int)  # what a checkpoint holds stays equal to the configuration
    assert (built.pair, built.grid, built.names) == ((2, 3), ((1, 2), (3, 4)), ("a",))


def test_types_that_cannot_be_read_name_the_remedy() -> None:
    with pytest.raises(UsageError, match=r"toy: the types of Unreadable cannot be read.*import them outside"):
        build_options("toy", Unreadable, {})


def test_types_are_described_in_words() -> None:
    assert describe(Union[int, None]) == "a whole number or null"  # noqa: UP007
    assert describe(tuple[float, ...]) == "a list, each item a number"
    assert describe(Path) == "Path"


def test_the_traps_of_yaml_are_refused() -> None:
    """A bare `no` is false, and 1e-4 is text."""
    written = yaml.safe_load("{loss: no, adapter_dropout: 1e-4}")
    for option, said in (("loss", "not false"), ("adapter_dropout", "1.0e-4")):
        with pytest.raises(UsageError, match=said):
            build("s4eca", **{option: written[option]})
