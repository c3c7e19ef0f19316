"""What a request means: every flag against every layer that could say the same."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest
import yaml

from rrsis_bench.cli import fit, validate
from rrsis_bench.cli._choices import dotted_values, request_of
from rrsis_bench.config import Config
from rrsis_bench.errors import UsageError
from rrsis_bench.run.folder import RunFolder
from rrsis_bench.run.request import RunRequest
from rrsis_bench.run.resolve import ResolvedRun, nested, resolve


def asked(*words: str, verb: Any = fit) -> RunRequest:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    verb.add_arguments(parser)
    return request_of(*parser.parse_known_args(words))


def config_file(folder: Path, content: Config, name: str = "mine.yaml") -> str:
    path = folder / name
    path.write_text(yaml.safe_dump(content))
    return str(path)


def saved_run(folder: Path, *words: str) -> Path:
    """A run folder as far as `resolve` reads it."""
    run = folder / "a run"
    run.mkdir()
    config_file(run, resolve(asked(*words)).config, "config.yaml")
    return run


# --- flags as values --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--a.b=1", "--a.c", "x"], {"a.b": 1, "a.c": "x"}),
        (["--a.b=1", "--a.b=2"], {"a.b": 2}),
        (["--a.b=1e-4"], {"a.b": 0.0001}),
        (["--a=[1, 2]", "--a.b="], {"a": [1, 2], "a.b": None}),
        (["--a.b", "-1"], {"a.b": -1}),
    ],
)
def test_flags_as_values(flags: list[str], expected: dict[str, Any]) -> None:
    assert dotted_values(flags) == expected


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["tiny"], "unexpected word 'tiny'"),
        (["--a.b"], "--a.b needs a value"),
        (["--a", "--b=1"], "--a needs a value"),
    ],
)
def test_words_that_say_nothing_are_named(flags: list[str], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        dotted_values(flags)


def test_values_by_dotted_key_nest() -> None:
    assert nested({"a.b": 1, "a.c.d": 2}) == {"a": {"b": 1, "c": {"d": 2}}}
    with pytest.raises(UsageError, match="no key"):
        nested({"a..b": 1})


def test_a_request_survives_its_words_and_its_json(tmp_path: Path) -> None:
    request = RunRequest(
        "s4eca", "tiny", "tiny", "cpu", None, "native-v1", 3, (tmp_path / "a.yaml",),
        {"data.limit": {"train": 8}, "trainer.max_epochs": 2, "model.options.loss": "bce"}, out=tmp_path / "out",
    )  # fmt: skip
    assert asked(*request.choice_words(), *request.value_words()) == request
    assert RunRequest.from_json(request.to_json()) == request


# --- every flag against every layer -----------------------------------------------------------------------------

LAYERS = ("base", "dataset", "common", "variant", "method's dataset", "recipe", "trainer", "config")
PAPER, SUITE, TYPED, LOW = "paper-lavt480-v1", "paper-detris-v1", "paper-rsrefseg2-v1", "native-v1"


def world(folder: Path, layer: str, low: Config) -> list[str]:
    """Configuration folders in which one layer holds `low`, and the words that bring that layer in."""
    content: dict[str, Config] = {
        "base": {"seed_everything": 0, "trainer": {"max_epochs": 1}, "model": {"score_by": [LOW]}},
        "datasets/toyset": {"variant": "small", "data": {"source": "toy"}},
        "datasets/other": {"variant": "small", "data": {"source": "toy"}},
        "trainer/preset": {"trainer": {"accelerator": "cpu"}},
        "trainer/fast": {"trainer": {"precision": "64-true"}},
    }
    variants: Config = {"small": {}, "big": {"model": {"options": {"size": 2}}}}
    blocks: Config = {
        "published": "big",
        "common": {"model": {"optimizer": {"lr": 1.0}}},
        "variants": {name: {**variant, **low} if layer == "variant" else variant for name, variant in variants.items()},
        "datasets": {"toyset": low} if layer == "method's dataset" else {},
        "recipes": {
            "paper": {"model": {"select_by": PAPER}, **(low if layer == "recipe" else {})},
            "suite": {"model": {"optimizer": {"lr": 3.0}, "select_by": SUITE}},
        },
    }
    if layer == "common":
        blocks["common"] = low
    for name, key in (("base", "base"), ("dataset", "datasets/toyset"), ("trainer", "trainer/preset")):
        if layer == name:
            content[key] = {**content[key], **low}
    for name, values in {**content, "methods/s4eca": blocks}.items():
        path = folder / "configs" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(values))
    brought = {"recipe": ["--recipe", "paper"], "trainer": ["--trainer", "preset"]}
    return ["--config", config_file(folder, low)] if layer == "config" else brought.get(layer, [])


def dig(run: ResolvedRun, key: str) -> Any:
    value: Any = run.config
    for part in key.split("."):
        value = value[part]
    return value


FLAGS: list[tuple[list[str], str, Config, Any]] = [
    (["--protocol", TYPED], "model.protocols", {"model": {"protocols": [LOW]}}, [TYPED, LOW]),
    (["--recipe", "suite"], "model.recipe", {"model": {"recipe": "paper"}}, "suite"),
    (["--recipe", "suite"], "model.optimizer.lr", {"model": {"optimizer": {"lr": 9.0}}}, 3.0),
    (["--recipe", "suite"], "model.protocols", {"model": {"protocols": [LOW]}}, [SUITE, LOW]),
    (["--trainer", "fast"], "trainer.precision", {"trainer": {"precision": "16-true"}}, "64-true"),
    (["--seed", "7"], "seed_everything", {"seed_everything": 3}, 7),
    (["--seed", "7"], "data.seed", {"seed_everything": 3}, 7),
    (["--variant", "big"], "model.variant", {"model": {"variant": "small"}}, "big"),
    (["--dataset", "other"], "data.dataset", {"data": {"dataset": "toyset"}}, "other"),
    (["--method", "s4eca"], "model.method", {"model": {"method": "lavt"}}, "s4eca"),
    (["--trainer.max_epochs=5"], "trainer.max_epochs", {"trainer": {"max_epochs": 2}}, 5),
    (["--model.options.size=5"], "model.options.size", {"model": {"options": {"size": 4}}}, 5),
    (["--seed_everything=5"], "seed_everything", {"seed_everything": 3}, 5),
    ([f"--model.protocols=[{LOW}]"], "model.protocols", {"model": {"protocols": [PAPER]}}, [LOW]),
    ([f"--model.select_by={TYPED}"], "model.protocols", {"model": {"protocols": [LOW]}}, [TYPED, LOW]),
]
CASES = [
    (layer, *case)
    for layer in LAYERS
    for case in FLAGS
    if case[0][0] != f"--{layer}"  # where the very flag brings the layer in, there is nothing to win over
    and not (layer == "trainer" and case[0][0] == "--recipe" and case[1] != "model.recipe")  # both were typed
]


@pytest.mark.parametrize(
    ("layer", "flag", "key", "low", "high"), CASES, ids=[f"{case[0]}-{case[1][0]}-{case[2]}" for case in CASES]
)
def test_what_the_user_types_wins_over_every_layer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layer: str, flag: list[str], key: str, low: Config, high: Any
) -> None:
    brought = world(tmp_path, layer, low)
    monkeypatch.setenv("RRSIS_CONFIGS", str(tmp_path / "configs"))
    named = [word for name, value in (("--method", "s4eca"), ("--dataset", "toyset")) if name not in flag
             for word in (name, value)]  # fmt: skip
    assert dig(resolve(asked(*named, *brought, *flag)), key) == high


@pytest.mark.parametrize(
    ("flag", "key", "high"),
    [
        (["--recipe", "suite"], "model.recipe", "suite"),
        (["--recipe", "suite"], "model.protocols", [SUITE, PAPER, LOW]),
        (["--protocol", TYPED], "model.protocols", [TYPED, PAPER, LOW]),
        (["--trainer", "fast"], "trainer.precision", "64-true"),
        (["--seed", "7"], "seed_everything", 7),
        (["--data.batch_size=3"], "data.batch_size", 3),
    ],
)
def test_what_the_user_types_wins_over_a_run_s_own_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flag: list[str], key: str, high: Any
) -> None:
    world(tmp_path, "", {})
    monkeypatch.setenv("RRSIS_CONFIGS", str(tmp_path / "configs"))
    run = saved_run(tmp_path, "--method", "s4eca", "--dataset", "toyset", "--recipe", "paper", "--trainer", "preset")
    found = resolve(asked("--run", str(run), *flag, verb=validate))
    assert dig(found, key) == high
    assert found.folder.path == run


def test_names_of_a_run_are_refused_unless_they_are_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world(tmp_path, "", {})
    monkeypatch.setenv("RRSIS_CONFIGS", str(tmp_path / "configs"))
    run = saved_run(tmp_path, "--method", "s4eca", "--dataset", "toyset")
    same = asked("--run", str(run), "--method", "s4eca", "--dataset", "toyset", "--variant", "small", verb=validate)
    assert resolve(same).config["model"]["variant"] == "small"
    for name, other in (("method", "lavt"), ("dataset", "other"), ("variant", "big")):
        with pytest.raises(UsageError, match=f"--{name} {other}: .* is a run of {name}"):
            resolve(asked("--run", str(run), f"--{name}", other, verb=validate))


def test_files_win_in_order_over_names_and_may_name_the_run(tmp_path: Path) -> None:
    first = config_file(tmp_path, {"trainer": {"max_epochs": 1}, "data": {"batch_size": 3}}, "1.yaml")
    second = config_file(tmp_path, {"trainer": {"max_epochs": 2}}, "2.yaml")
    found = resolve(asked("--method", "s4eca", "--config", first, "--config", second, "--data.batch_size=5")).config
    assert (found["trainer"]["max_epochs"], found["data"]["batch_size"], found["data"]["dataset"]) == (2, 5, "tiny")
    whole = config_file(tmp_path, resolve(asked("--method", "lavt", "--seed", "4")).config, "whole.yaml")
    again = resolve(asked("--config", whole))
    assert again.config == resolve(asked("--method", "lavt", "--seed", "4")).config
    assert again.folder.path.name == "seed4"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--method", "s4eca", "--model.method=lavt"], "--method s4eca and --model.method=lavt contradict"),
        (["--method", "s4eca", "--seed", "1", "--seed_everything=2"], "--seed 1 and --seed_everything=2 contradict"),
        (["--method", "s4eca", "--variant", "tiny", "--model.variant=swin-b"], "contradict"),
        (["--method", "s4eca", "--protocol", "native-v1", "--model.protocols=[paper-detris-v1]"], "contradict"),
        (["--dataset", "tiny"], "name a method"),
        (["--method", "rsrefseg2", "--recipe", "suit"], "recipe"),
        (["--method", "s4eca", "--protocol", "native-v2"], "unknown protocol 'native-v2'. Did you mean 'native-v1'"),
        (["--method", "s4eca", "--trainer", "gpus"], "unknown trainer preset 'gpus'. Did you mean 'gpu'"),
    ],
)
def test_contradictions_and_unknown_names_are_refused(words: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        resolve(asked(*words))


def test_a_file_with_another_variant_s_settings_is_refused(tmp_path: Path) -> None:
    whole = config_file(tmp_path, resolve(asked("--method", "s4eca", "--variant", "tiny")).config)
    with pytest.raises(UsageError, match="holds settings of variant tiny, not of the variant swin-b"):
        resolve(asked("--method", "s4eca", "--variant", "swin-b", "--config", whole))
    with pytest.raises(UsageError, match="holds settings of dataset tiny, not of the dataset rrsisd"):
        resolve(asked("--method", "s4eca", "--variant", "tiny", "--dataset", "rrsisd", "--config", whole))


def test_a_preset_that_replaces_a_file_s_value_says_it(tmp_path: Path) -> None:
    mine = config_file(tmp_path, {"trainer": {"precision": "16-mixed", "devices": 1}})
    found = resolve(asked("--method", "s4eca", "--trainer", "cpu", "--config", mine))
    assert found.notes == (f"--trainer cpu wins over {mine}: trainer.precision=32-true.",)
    assert resolve(asked("--method", "s4eca", "--config", mine)).notes == ()


def test_the_seed_reaches_the_data_unless_that_has_one_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RRSIS_RUNS", "elsewhere")
    found = resolve(asked("--method", "s4eca", "--variant", "tiny", "--seed", "7"))
    assert (found.config["seed_everything"], found.config["data"]["seed"]) == (7, 7)
    assert found.folder.path == Path("elsewhere/tiny/s4eca@tiny/seed7")
    apart = resolve(asked("--method", "s4eca", "--seed", "7", "--data.seed=3"))
    assert (apart.config["seed_everything"], apart.config["data"]["seed"]) == (7, 3)
    run = saved_run(tmp_path, "--method", "s4eca", "--seed", "7", "--data.seed=3")
    assert resolve(asked("--run", str(run), "--seed", "9", verb=validate)).config["data"]["seed"] == 3


# --- a method's block for a data set ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variant", "published", "block", "expected", "noted"),
    [
        ("big", "big", {"model": {"optimizer": {"lr": 2.0}}}, 2.0, False),
        ("large", "big", {"model": {"optimizer": {"lr": 2.0}}}, 2.0, False),  # published, too, though not the default
        ("tiny", "big", {"model": {"optimizer": {"lr": 2.0}}}, 1.0, True),
        ("lite", "big", {"model": {"optimizer": {"lr": 2.0}}}, 1.0, True),
        ("lite", "lite", {"model": {"optimizer": {"lr": 2.0}}}, 2.0, False),
        ("tiny", "big", {"model": {"optimizer": {"lr": 1.0}}}, 1.0, False),  # nothing is lost: it has that value itself
        ("tiny", "big", {"common": {"model": {"optimizer": {"lr": 2.0}}}}, 2.0, False),
        ("big", "big", {"common": {"model": {"optimizer": {"lr": 2.0}}}}, 2.0, False),
        ("tiny", "big", {"variants": {"tiny": {"model": {"optimizer": {"lr": 2.0}}}}}, 2.0, False),
        ("lite", "big", {"variants": {"tiny": {"model": {"optimizer": {"lr": 2.0}}}}}, 1.0, False),
        (
            "big",
            "big",
            {
                "common": {"model": {"optimizer": {"lr": 2.0}}},
                "model": {"optimizer": {"lr": 3.0}},
                "variants": {"big": {"model": {"optimizer": {"lr": 4.0}}}},
            },
            4.0,
            False,
        ),
        (
            "big",
            "big",
            {"common": {"model": {"optimizer": {"lr": 2.0}}}, "model": {"optimizer": {"lr": 3.0}}},
            3.0,
            False,
        ),
    ],
)
def test_a_data_set_s_block_is_for_the_published_variants_unless_it_says_otherwise(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    variant: str,
    published: str,
    block: Config,
    expected: float,
    noted: bool,
) -> None:
    method_file(tmp_path, monkeypatch, published=published, datasets={"toyset": block})
    found = resolve(asked("--method", "s4eca", "--dataset", "toyset", "--variant", variant))
    assert found.config["model"]["optimizer"]["lr"] == expected
    note = (
        f"variant {variant} of s4eca keeps its own values; what the method says of toyset is for its published "
        "variants (model.optimizer.lr)."
    )
    assert found.notes == ((note,) if noted else ())
    elsewhere = resolve(asked("--method", "s4eca", "--dataset", "other", "--variant", variant))
    assert (elsewhere.config["model"]["optimizer"]["lr"], elsewhere.notes) == (1.0, ())


def method_file(folder: Path, monkeypatch: pytest.MonkeyPatch, **content: Any) -> None:
    world(folder, "", {})
    blocks = {
        "published": "big",
        "common": {"model": {"optimizer": {"lr": 1.0}}},
        "variants": {"tiny": {}, "lite": {}, "big": {}, "large": {}},
        **content,
    }
    config_file(folder / "configs" / "methods", blocks, "s4eca.yaml")
    monkeypatch.setenv("RRSIS_CONFIGS", str(folder / "configs"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"dataset": {"toyset": {}}}, "unknown key 'dataset'. Did you mean 'datasets'"),
        ({"common": {"optimizer": {}}}, "unknown key 'common.optimizer'"),
        ({"variants": {"tiny": {"modle": {}}}}, "unknown key 'variants.tiny.modle'. Did you mean 'model'"),
        ({"datasets": {"toyset": {"lr": 1}}}, "unknown key 'datasets.toyset.lr'"),
        ({"datasets": {"toyset": {"variants": {"tny": {}}}}}, "'datasets.toyset.variants.tny'. Did you mean 'tiny'"),
        ({"datasets": {"toyset": {"variants": ["tiny"]}}}, "datasets.toyset.variants must be a mapping"),
        ({"datasets": {"toyset": {"common": {"lr": 1}}}}, "unknown key 'datasets.toyset.common.lr'"),
        ({"recipes": {"paper": {"protocol": "native-v1"}}}, "unknown key 'recipes.paper.protocol'"),
    ],
)
def test_a_key_of_a_method_s_file_that_nothing_reads_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: Config, message: str
) -> None:
    method_file(tmp_path, monkeypatch, **content)
    with pytest.raises(UsageError, match=message):
        resolve(asked("--method", "s4eca", "--dataset", "toyset"))


@pytest.mark.parametrize(
    ("own", "elsewhere", "first", "monitor"),
    [("tiny", "tiny-generalised", "generalised-v1", "giou"), ("tiny-generalised", "tiny", "native-v1", "miou")],
)
def test_a_run_elsewhere_is_scored_by_the_protocols_of_that_data_set(
    own: str, elsewhere: str, first: str, monitor: str, tmp_path: Path
) -> None:
    run = resolve(RunRequest("lavt", own, seed=4, values={"data.batch_size": 3}))
    folder = RunFolder(tmp_path / "run")
    folder.write_config(yaml.safe_dump(run.config))
    there = resolve(RunRequest(run=folder.path, elsewhere=elsewhere)).config
    assert (there["data"]["dataset"], there["data"]["generator"]) == (elsewhere, {"name": elsewhere})
    assert (there["data"]["batch_size"], there["data"]["seed"]) == (3, 4)
    assert (there["data"].get("empty_truth") == "no-target") == (first == "generalised-v1")
    assert (there["model"]["protocols"][0], there["model"]["monitor"]) == (first, monitor)
    assert ("generalised-v1" in there["model"]["protocols"]) == (first == "generalised-v1")
    kept = {"protocols", "monitor"}
    assert {key: value for key, value in there["model"].items() if key not in kept} == {
        key: value for key, value in run.config["model"].items() if key not in kept
    }
