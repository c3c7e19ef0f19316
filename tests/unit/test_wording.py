"""What the wording of an expression says: its number of words, a position, a relation."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rrsis_bench.data.wording import count_words, names_position, names_relation


@pytest.mark.parametrize(
    ("text", "position", "relation"),
    [
        ("The ship to the left of the image.", True, False),
        ("the ship to the left of the red bridge", False, True),
        ("The ship that is closest to the top edge of the image.", True, False),
        ("the top-left aircraft", True, False),
        ("the tank furthest to the right side, below the top-right tank", True, True),
        ("the vehicle NEXT  TO the dam", False, True),
        ("the largest storage tank", False, False),
        ("the bright court", False, False),
        ("the ship beside the dam", False, True),
        ("the ship besides the dam", False, True),
        ("the ship between two piers", False, True),
        ("the largest among the tanks", False, True),
        ("the betweenness of ships", False, False),
        ("the ship amongst the tanks", False, False),
        ("ships among us", False, True),
        ("beside the dam", False, True),
        ("besides", False, True),
        ("between", False, True),
    ],
)
def test_wording(text, position, relation):
    assert (names_position(text), names_relation(text)) == (position, relation)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", 0),
        (" \n\t ", 0),
        ("... - !", 0),
        ("a ship", 2),
        ("The  small vehicle positioned at the top center of the image .", 11),
        ("top-left", 2),
        ("the storage_tank/silo", 4),
        ("the ship's mast", 3),
        ("the ship’s mast", 3),
        ("3.5 m, 1,000 m and 7.", 6),
        ("a.b", 2),
        ("caf\u00e9", 1),
        ("cafe\u0301", 1),
        ("soft\u00adhyphen", 1),
        ("zero\u200bwidth", 2),
        ("\uff53\uff48\uff49\uff50 full width", 3),
        ("白色的船", 4),
        ("港のフェリー", 6),
        ("the 船 at left", 4),
        ("हिन्दी भाषा", 2),
        ("한국어 배", 2),
        ("สวัสดี ครับ", 2),
        ("🚢 ship", 1),
    ],
)
def test_words_are_counted_by_one_rule(text, words):
    assert count_words(text) == words


@given(
    st.lists(st.from_regex(r"[a-z][a-z0-9]{0,7}", fullmatch=True)),
    st.lists(st.sampled_from([" ", "-", ", ", " . ", "/", "_", ","]), min_size=1),
)
def test_words_are_what_stands_between_blanks_and_punctuation(words, gaps):
    text = "".join(word + gaps[place % len(gaps)] for place, word in enumerate(words))
    assert count_words(text) == len(words)
