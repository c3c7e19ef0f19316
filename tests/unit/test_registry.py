from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from rrsis_bench import registry
from rrsis_bench.errors import UsageError


def test_unknown_name_gets_the_nearest_and_all() -> None:
    with pytest.raises(UsageError, match=r"'s4eac'.*Did you mean 's4eca'.*lavt"):
        registry.target("s4eac")


@pytest.mark.parametrize("name", sorted(registry.BUILT_IN))
def test_built_in_methods_have_class_card_and_folder(name: str) -> None:
    assert registry.load_class(name).name == name
    card = registry.card(name)
    assert {"title", "venue", "year", "fidelity", "encoders", "policy"} <= set(card)
    assert card["fidelity"] in {"official-parity", "from-code", "from-paper", "reconstruction", "floor"}
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
    ]
    monkeypatch.setattr(registry, "entry_points", lambda group: points)
    registry.method_targets.cache_clear()
    try:
        assert registry.load_class("theirs").name == "theirs"
        assert registry.target("s4eca") == registry.BUILT_IN["s4eca"]
        with pytest.raises(UsageError, match="no card"):
            registry.card("theirs")
        with pytest.raises(UsageError, match="not installed"):
            registry.method_folder("gone")
    finally:
        registry.method_targets.cache_clear()
