from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from rrsis_bench import registry
from rrsis_bench.cli import main
from rrsis_bench.errors import UsageError, UserError


def test_unknown_name_gets_the_nearest_and_all() -> None:
    with pytest.raises(UsageError, match=r"'s4eac'.*Did you mean 's4eca'.*lavt"):
        registry.target("s4eac")


@pytest.mark.parametrize("name", sorted(registry.BUILT_IN))
def test_built_in_methods_have_class_card_and_folder(name: str) -> None:
    assert registry.load_class(name).name == name
    card = registry.card(name)
    assert {"title", "venue", "year", "fidelity", "encoders", "policy"} <= set(card)
    assert card["fidelity"] in {"official-parity", "from-code", "from-paper", "reconstruction", "library", "floor"}
    assert (registry.method_folder(name) / "card.yaml").is_file()


def test_third_party_methods_join_by_entry_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "third_party_method"
    package.mkdir()
    (package / "__init__.py").write_text("class Net:\n    name = 'theirs'\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    points = [
        EntryPoint("theirs", "third_party_method:Net", registry.ENTRY_POINT_GROUP),
        EntryPoint("s4eca", "third_party_method:Net", registry.ENTRY_POINT_GROUP),
        EntryPoint("gone", "not_installed_anywhere:Net", registry.ENTRY_POINT_GROUP),
        EntryPoint("classless", "third_party_method:Other", registry.ENTRY_POINT_GROUP),
    ]
    monkeypatch.setattr(registry, "entry_points", lambda group: points)
    registry.installed_targets.cache_clear()
    try:
        assert registry.load_class("theirs").name == "theirs"
        assert registry.target("s4eca") == registry.BUILT_IN["s4eca"]
        with pytest.raises(UsageError, match="no card"):
            registry.card("theirs")
        with pytest.raises(UsageError, match="not installed"):
            registry.load_class("gone")
        with pytest.raises(UserError, match=r"'third_party_method:Other', but that module has no such class"):
            registry.load_class("classless")
    finally:
        registry.installed_targets.cache_clear()


CARD = "title: Theirs\nfidelity: from-paper\n"
CONFIG = "published: tiny\nvariants:\n  tiny:\n    model: {options: {}}\n"


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"card.yaml": ""}, "broken card"),
        ({"card.yaml": "title: [unclosed"}, "broken card"),
        ({"card.yaml": "- a list"}, "broken card"),
        ({"card.yaml": "\udcff"}, "broken card"),
        ({"card.yaml": None}, "has no card"),
        ({"config.yaml": "variants: [unclosed"}, "cannot read configuration"),
        ({"config.yaml": "- a list"}, "must hold a mapping"),
        ({"config.yaml": "variants:\n"}, "variants"),
        ({"config.yaml": "variants: [tiny]\n"}, "variants"),
        ({"config.yaml": None}, "has no configuration"),
        ({"__init__.py": "raise RuntimeError('of theirs')"}, "of theirs"),
    ],
)
def test_a_third_partys_broken_package_is_one_note_and_the_others_are_listed(
    files: dict[str, str | None],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    package = tmp_path / "broken_party"
    package.mkdir()
    for name, text in ({"__init__.py": "", "net.py": "", "card.yaml": CARD, "config.yaml": CONFIG} | files).items():
        if text is not None:
            (package / name).write_bytes(text.encode("utf-8", "surrogateescape"))
    monkeypatch.syspath_prepend(str(tmp_path))
    points = [EntryPoint("theirs", "broken_party.net:Net", registry.ENTRY_POINT_GROUP)]
    monkeypatch.setattr(registry, "entry_points", lambda group: points)
    monkeypatch.delitem(sys.modules, "broken_party", raising=False)
    registry.installed_targets.cache_clear()
    try:
        assert main(["methods", "list"]) == 0
    finally:
        registry.installed_targets.cache_clear()
    lines = capsys.readouterr().out.splitlines()
    (note,) = [line for line in lines if line.startswith("note:")]
    assert note.startswith("note: theirs: ")
    assert said in note
    assert sum(line.startswith("│") for line in lines) >= len(registry.BUILT_IN)


def test_methods_that_are_not_built_are_named_with_the_reason(capsys: pytest.CaptureFixture[str]) -> None:
    readme = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")
    assert main(["methods", "list"]) == 0
    assert "not built" not in capsys.readouterr().out
    assert main(["methods", "list", "--all"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert set(registry.UNBUILT).isdisjoint(registry.BUILT_IN)
    for name, one in registry.UNBUILT.items():
        assert f"{one.name} ({one.venue}): {one.reason}." in shown
        assert f"| {one.name} | {one.venue} | {one.reason} |" in readme
        with pytest.raises(UsageError, match=f"'{name}' is not built: "):
            registry.target(name)


def test_what_a_card_holds_need_not_be_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    package = tmp_path / "odd_party"
    package.mkdir()
    (package / "__init__.py").write_text("class Net:\n    name = 'odd'\n")
    (package / "card.yaml").write_text(
        "\ufeffname: 2026\nfidelity: 1\npolicy: [a, b]\nchoices: 7\nvenue:\n", encoding="utf-8"
    )
    (package / "config.yaml").write_text("\ufeff" + CONFIG, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    points = [EntryPoint("odd", "odd_party:Net", registry.ENTRY_POINT_GROUP)]
    monkeypatch.setattr(registry, "entry_points", lambda group: points)
    registry.installed_targets.cache_clear()
    try:
        assert main(["methods", "list"]) == 0
        assert main(["methods", "show", "odd"]) == 0
        assert registry.load_class("odd").name == "odd"
    finally:
        registry.installed_targets.cache_clear()
    assert "2026" in capsys.readouterr().out
