"""The expression of a turned image: sides change places in a circle, or the image must not be turned.

1. A turn leaves out every expression that `mirror` cannot mirror: its reservations hold for a turn too.
2. Sides turn clockwise: left, top, right, bottom; so do upper and lower, the corners, and the points of the compass,
   since annotators take the image's upper edge for north.
3. Relations turn with them: "to the left of the dam" becomes "above the dam", and "above" becomes "to the right of".
4. "right" stays where it only strengthens another word, as in `mirror`.
5. An expression with another word of height or direction has no turned form: "under", "on top of", "facing left",
   "up", "highest", "in the front", "the lower deck". Nor has one that names a thing's own left: "the left wing".
   A quarter turn also leaves out rows, columns, and compounds of a side such as "left-hand".
"""

from __future__ import annotations

import re

from rrsis_bench.data.mirror import flip_text, mirrored_word

_CIRCLE = ("left", "top", "right", "bottom")
"""The sides, each one followed by the side that it becomes in a quarter turn clockwise."""
_COMPASS = ("west", "north", "east", "south")
_SIDE_OF = {"upper": "top", "lower": "bottom", "uppermost": "topmost", "lowermost": "bottommost"}
_WHOLE = r"(?:the |this )?(?:whole |entire )?(?:image|picture|photo|photograph|scene|frame|view|map)\b"

_REFUSED = re.compile(
    r"\b(?:up|upwards?|down|downwards?|upside|on (?:the )?top of (?!" + _WHOLE + r")|under|underneath|beneath|behind|"
    r"front|rear|back|foreground|background|overhead|(?:lower|upper) than|high(?:er|est)|lowest|"
    r"facing|faces|pointing|points|headed|heading|oriented|"
    r"directed|(?:upper|lower|top|bottom)[\s-](?:decks?|levels?|stor(?:e?y|ies|eys)|floors?)|"
    r"(?:left|right)[\s-](?:wings?|banks?|lanes?|turns?)|above[\s-]ground|below[\s-]ground|clockwise)\b",
    re.IGNORECASE,
)
_REFUSED_IN_QUARTERS = re.compile(
    r"\b(?:rows?|columns?|lines?|right[\s-]+(?:above|below)|(?:left|right)[\s-]?hand(?:ed)?)\b"
    r"|\b(?:above|below)\s*(?:$|[.,;:!?]|(?:to|on|at|in|of)\b)",
    re.IGNORECASE,
)
_HARMLESS = re.compile(
    r"(?:roof|hill|tree|mountain|cliff|desk|lap|table|s)tops?|stop\w*|topogra\w*|topolog\w*|topped|topsoil|lowered|"
    r"flower\w*|blowers?|mowers?|followers?",
    re.IGNORECASE,
)
"""Words that hold "top" or "lower" by chance."""

_PLACES = re.compile(
    r"\b(?P<v>upper|top|lower|bottom|north|south)(?P<sep>[\s-]?)(?P<h>left|right|west|east)(?P<end>ern|ernmost|most|)\b"
    r"|\b(?P<h2>left|right)(?P<sep2>[\s-]?)(?P<v2>upper|top|lower|bottom)\b"
    r"|\b(?:(?:to|on) the )?(?P<rel>left|right) of (?!" + _WHOLE + r")"
    r"|\b(?P<rel2>above|below)\b"
    r"|\b(?P<prep>on|at) the (?P<far>(?:far |very |extreme )?)(?P<pos>left|right|top|bottom)"
    r"(?=\s*(?:$|[.,;:!?])|\s+(?:of|in|and|or|with|near|next|that|which|is|are)\b)"
    r"|(?P<word>[a-z]*(?:left|right|top|bottom|upper|lower|north|south|east|west)[a-z]*)"
    r"|\b(?P<axis>horizontal|vertical)(?P<ly>(?:ly)?)\b",
    re.IGNORECASE,
)
_LAST = re.compile(
    r"(?P<side>left|right|top|bottom|upper|lower)(?P<after>(?:most|side|)?)"
    r"|(?P<point>north|south|east|west)(?P<end>(?:ern|ernmost|)?)",
    re.IGNORECASE,
)
_PART_BEFORE = re.compile(r"(?:-|\b(?:the|mid|middle|cent(?:er|re)|far|very)\s+)$", re.IGNORECASE)
"""Before "left of" where it is a part of something: "the middle-left of the pier"."""
_STANDS_ALONE = re.compile(
    r"(?:^|[-\w]-|\b(?:the|at|on|to|in|from|towards?|near|very|far|and|or|most|image|cent(?:er|re)|middle|mid|extreme)\s+)$",
    re.IGNORECASE,
)
"""Before "top" and "bottom" where they are places: "a white top" is a part of a thing."""


def turn_text(text: str, quarters: int) -> str | None:
    """The expression for the image turned clockwise, by the rules above, in the same case.

    Args:
        text: the expression, in English.
        quarters: number of quarter turns clockwise, 1 to 3.

    Returns:
        the expression, or None if it has no sure form.
    """
    if flip_text(text) is None or _REFUSED.search(text):
        return None
    if quarters % 2 and _REFUSED_IN_QUARTERS.search(text):
        return None
    pieces, end = [], 0
    for found in _PLACES.finditer(text):
        turned = _turned(found, quarters)
        if turned is None:
            return None
        pieces += [text[end : found.start()], _in_the_case_of(found[0], turned)]
        end = found.end()
    return "".join((*pieces, text[end:]))


def _turned(found: re.Match[str], quarters: int) -> str | None:
    """What the words of one match become; None where they have no sure form."""
    before, after = found.string[: found.start()], found.string[found.end() :]
    if found["v"] or found["v2"]:
        return _corner(found, quarters)
    if found["axis"]:
        other = {"horizontal": "vertical", "vertical": "horizontal"}[found["axis"].lower()]
        return (other if quarters % 2 else found["axis"].lower()) + found["ly"]
    if found["rel"]:
        start = found.start("rel")
        if mirrored_word(found["rel"], found.string[:start], found.string[found.end("rel") :]) == found["rel"]:
            return found[0]  # "right of way"
        side = _next(_CIRCLE, found["rel"].lower(), quarters)
        part = found.start() == start and _PART_BEFORE.search(before)
        return found[0].replace(found["rel"], side) if part or quarters % 2 == 0 else f"{_RELATIONS[side]} "
    if found["rel2"]:
        return _RELATIONS[_next(_CIRCLE, {"above": "top", "below": "bottom"}[found["rel2"].lower()], quarters)]
    if found["pos"]:
        side = _next(_CIRCLE, found["pos"].lower(), quarters)
        prep = ("on" if side in ("left", "right") else "at") if quarters % 2 else found["prep"].lower()
        return f"{prep} the {found['far']}{side}"
    return _word(found["word"], before, after, quarters)


_RELATIONS = {"left": "to the left of", "top": "above", "right": "to the right of", "bottom": "below"}


def _corner(found: re.Match[str], quarters: int) -> str:
    """A corner in the words and order of the match: "upper left", "bottom-right", "north-western"."""
    tall, wide = (found["v"] or found["v2"]).lower(), (found["h"] or found["h2"]).lower()
    high = tall in ("upper", "top", "north")
    x, y = (-1 if wide in ("left", "west") else 1), (-1 if high else 1)
    for _ in range(quarters):
        x, y = -y, x
    words = next(pair for pair in (("upper", "lower"), ("top", "bottom"), ("north", "south")) if tall in pair)
    sides = ("west", "east") if wide in ("west", "east") else ("left", "right")
    tall, wide = words[y > 0], sides[x > 0]
    if found["v"]:
        return f"{tall}{found['sep']}{wide}{found['end']}"
    return f"{wide}{found['sep2']}{tall}"


def _word(word: str, before: str, after: str, quarters: int) -> str | None:
    """A single word that holds a side or a point of the compass."""
    lower = word.lower()
    if _HARMLESS.fullmatch(word) or ("left" not in lower and mirrored_word(word, before, after) == word
                                     and re.search("right|west|east", lower)):  # fmt: skip
        return lower if word.islower() else word
    parts = _LAST.fullmatch(lower)
    if parts is None:
        return None
    if parts["point"]:
        return _next(_COMPASS, parts["point"], quarters) + parts["end"]
    side = parts["side"]
    named = _SIDE_OF.get(side, side)
    if side in ("top", "bottom") and not parts["after"] and not _STANDS_ALONE.search(before):
        return None
    turned = _next(_CIRCLE, named, quarters)
    if side in _SIDE_OF and turned in ("top", "bottom"):
        turned = {"top": "upper", "bottom": "lower"}[turned]
    return turned + parts["after"]


def _next(circle: tuple[str, ...], side: str, quarters: int) -> str:
    return circle[(circle.index(side) + quarters) % 4]


def _in_the_case_of(before: str, after: str) -> str:
    if before.isupper():
        return after.upper()
    return after[0].upper() + after[1:] if before[0].isupper() else after
