"""The tables that words are perturbed by: synonyms of classes, spellings, keyboard, frames, sentences."""

from __future__ import annotations

from collections.abc import Mapping

SYNONYMS: Mapping[str, tuple[str, ...]] = {
    "airplane": ("plane", "aeroplane"),
    "airport": ("airfield",),
    "baseball diamond": ("baseball pitch", "baseball ground"),
    "baseball field": ("baseball pitch", "baseball ground"),
    "basketball court": ("basketball ground",),
    "bikeway": ("cycle path", "bike path"),
    "bridge": ("bridge structure",),
    "building": ("edifice", "built structure"),
    "bus": ("coach", "motor bus"),
    "car": ("automobile", "motor car"),
    "chimney": ("smokestack",),
    "container crane": ("quay crane", "gantry crane"),
    "dam": ("barrage", "river barrage"),
    "expressway service area": ("highway service area", "motorway service area"),
    "expressway toll station": ("highway toll station", "toll plaza"),
    "golf field": ("golf course",),
    "ground track field": ("athletics track", "running track"),
    "harbor": ("port", "seaport"),
    "helicopter": ("chopper",),
    "helipad": ("helicopter pad", "heliport"),
    "impervious surface": ("sealed surface",),
    "low vegetation": ("short vegetation", "ground vegetation"),
    "overpass": ("flyover",),
    "road": ("roadway",),
    "road marking": ("pavement marking",),
    "roundabout": ("traffic circle", "rotary"),
    "ship": ("vessel",),
    "sidewalk": ("footpath", "footway"),
    "soccer ball field": ("soccer pitch", "football pitch"),
    "stadium": ("sports stadium", "sports arena"),
    "storage tank": ("storage container", "holding tank"),
    "swimming pool": ("bathing pool",),
    "tennis court": ("tennis ground", "lawn tennis court"),
    "trailer": ("towed trailer",),
    "train station": ("railway station", "rail station"),
    "tree": ("tree crown",),
    "truck": ("lorry",),
    "van": ("panel van",),
    "vehicle": ("motor vehicle",),
    "windmill": ("wind turbine",),
}
"""Class of a data set -> other names of it. Within a data set, no two classes share one."""

NO_CLASS_BEFORE = ("park", "parks", "lot", "lots", "yard", "yards", "sign", "signs", "site", "line", "number", "deck")
"""A class name before one of these words is part of another name: "car park"."""

SPELLINGS: Mapping[str, str] = {
    "airplane": "aeroplane", "airplanes": "aeroplanes", "aluminum": "aluminium", "center": "centre",
    "centered": "centred", "centers": "centres", "color": "colour", "colored": "coloured", "colors": "colours",
    "curb": "kerb", "curbs": "kerbs", "gray": "grey", "grayish": "greyish", "harbor": "harbour", "harbors": "harbours",
    "meter": "metre", "meters": "metres", "multicolored": "multicoloured", "neighbor": "neighbour",
    "neighboring": "neighbouring", "neighbors": "neighbours", "organized": "organised", "parceled": "parcelled",
    "plow": "plough", "plowed": "ploughed", "theater": "theatre", "tire": "tyre", "tires": "tyres",
}  # fmt: skip
"""American -> British spelling."""

NEIGHBOURS: Mapping[str, str] = {
    "a": "qwsz", "b": "vghn", "c": "xdfv", "d": "serfcx", "e": "wsdr", "f": "drtgvc", "g": "ftyhbv", "h": "gyujnb",
    "i": "ujko", "j": "huikmn", "k": "jiolm", "l": "kop", "m": "njk", "n": "bhjm", "o": "iklp", "p": "ol", "q": "wa",
    "r": "edft", "s": "awedxz", "t": "rfgy", "u": "yhji", "v": "cfgb", "w": "qase", "x": "zsdc", "y": "tghu",
    "z": "asx",
}  # fmt: skip
"""Keys beside a key of the English keyboard."""

COLOURS = frozenset(
    [
        "white", "black", "grey", "gray", "red", "green", "blue", "yellow", "orange", "brown", "purple", "pink",
        "silver", "golden", "beige", "tan", "dark", "light", "bright", "whitish", "reddish", "greenish", "bluish",
        "yellowish", "brownish", "grayish", "greyish", "cyan", "teal", "maroon", "cream",
    ]
)  # fmt: skip
PLACES = frozenset(
    [
        "left", "right", "top", "bottom", "upper", "lower", "uppermost", "lowermost", "topmost", "bottommost",
        "leftmost", "rightmost", "middle", "center", "centre", "central", "corner", "edge", "border", "side", "north",
        "south", "east", "west", "northern", "southern", "eastern", "western", "northeast", "northwest", "southeast",
        "southwest", "front", "back", "here", "there", "far", "near", "nearest", "closest", "farthest", "furthest",
        "close", "next", "adjacent", "opposite", "parallel", "vertical", "horizontal", "first", "second", "third",
        "fourth", "fifth", "last", "half", "part", "image", "picture", "photo",
    ]
)  # fmt: skip
SIZES = frozenset(
    [
        "large", "larger", "largest", "small", "smaller", "smallest", "big", "biggest", "tiny", "huge", "long",
        "short", "tall", "wide", "narrow",
    ]
)  # fmt: skip

COMMON = frozenset(["located", "situated", "positioned", "surrounded", "connected"])
"""Words besides the names of classes that get slips."""

REAL_WORDS = frozenset(
    [
        "aea", "area", "areas", "ares", "baking", "bal", "bals", "ban", "bank", "bar", "bare", "barge", "bat", "bias",
        "bie", "bies", "bikes", "bile", "bites", "bot", "bride", "brides", "bridle", "bud", "bun", "bus", "buss",
        "buys", "can", "cane", "canes", "cap", "care", "cars", "cas", "cat", "cats", "chip", "coach", "coat",
        "copper", "corn", "cort", "cost", "couch", "count", "cours", "court", "crae", "cram", "crane", "cranes",
        "crate", "crowns", "crows", "curse", "curt", "dame", "damn", "dan", "dim", "fan", "feld", "field", "fiend",
        "filed", "flower", "fridge", "goal", "gold", "golds", "golf", "green", "ground", "grounds", "group", "gulf",
        "ham", "hip", "hole", "home", "horse", "horses", "hose", "house", "houses", "jam", "lace", "lan", "land",
        "lane", "late", "laws", "lend", "load", "los", "loss", "lower", "making", "marking", "marling", "masking",
        "moor", "moors", "nation", "pah", "pan", "pane", "pas", "pass", "pats", "pert", "pile", "pill", "place",
        "plain", "plan", "plans", "plate", "poach", "poet", "poets", "pol", "pole", "poll", "polls", "pont", "port",
        "post", "pot", "pots", "potts", "pull", "rad", "rage", "ram", "rank", "ration", "read", "red", "rick", "rid",
        "ril", "rod", "rods", "rood", "round", "rover", "rovers", "row", "rows", "screen", "shirt", "shirts", "shop",
        "shops", "shot", "shots", "side", "sip", "site", "size", "skip", "slip", "snip", "sort", "sorts", "sound",
        "sport", "sports", "spot", "spots", "stage", "statin", "station", "stations", "storage", "storages",
        "surface", "surfaces", "tack", "tain", "tains", "tak", "talk", "tall", "tan", "tank", "tanks", "tans", "tare",
        "task", "tear", "tee", "teen", "tees", "tell", "ten", "than", "thank", "tick", "till", "toad", "toast", "tod",
        "toil", "tol", "tool", "tools", "tower", "towers", "trail", "trailed", "trains", "trak", "tram", "tran",
        "trans", "tre", "trees", "tres", "tress", "trick", "tricks", "tuck", "vans", "var", "vas", "vassal", "vat",
        "vehicle", "vessel", "while", "whip", "white", "wid", "wide", "wield", "wild", "wind", "window", "wines",
        "wing", "wins", "write", "yield",
    ]
)  # fmt: skip
"""Words that one slip may make of others; a typo never gives one."""

FRAMES: Mapping[int, tuple[str, ...]] = {
    1: ("please segment {}", "please find {}"),
    2: ("can you segment {}?", "can you find {}, please?"),
    3: ("could you please outline {} for me?", "would you please show me {}?"),
    4: ("I would be grateful if you could outline {} for me.", "it would help me a lot if you could mark {}, please."),
    5: (
        "hello, I hope you are well. Would you be so kind as to mark {} for me? Thank you very much.",
        "good morning. If it is not too much trouble, could you please segment {} for me? Many thanks in advance.",
    ),
}
"""Severity -> frames around a noun phrase."""
CLAUSE_FRAMES: Mapping[int, tuple[str, ...]] = {
    1: ("please segment this: {}",),
    2: ("can you segment what I mean, please? {}",),
    3: ("could you please outline what this sentence is about? {}",),
    4: ("I would be grateful if you could outline what I describe now. {}",),
    5: ("hello, I hope you are well. Would you be so kind as to mark what I describe now? {} Thank you very much.",),
}
"""Severity -> frames around a whole sentence."""

SENTENCES = (
    "The weather was calm that day.",
    "The file was opened twice.",
    "The data was checked with care.",
    "Nobody was in a hurry.",
    "It took a few minutes to load.",
    "The sensor worked as expected.",
    "We had lunch before work.",
    "The report is due on Monday.",
    "The archive is well kept.",
    "This was recorded some years ago.",
    "The team was pleased with the result.",
    "The weekend was quiet.",
)
"""Sentences that say nothing of any object, place or colour."""
