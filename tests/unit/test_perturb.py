"""Perturbations keep what is meant: fifty sentences of each, turned scenes against their geometry, repeatable draws."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rrsis_bench.data.datamodule import ReferringDataModule
from rrsis_bench.data.dataset import ReferringDataset
from rrsis_bench.data.masks import encode
from rrsis_bench.data.perturb import page, words
from rrsis_bench.data.perturb import wordlists as lists
from rrsis_bench.data.perturb.table import PERTURBATIONS, SEVERITIES, Choice, chosen
from rrsis_bench.data.pixels import read_rgb, write_image
from rrsis_bench.data.sources import SOURCES, create
from rrsis_bench.data.synthetic.grammar import candidates
from rrsis_bench.data.synthetic.scenes import Scene, draw_scene, seed_range
from rrsis_bench.data.turn import turn_text
from rrsis_bench.errors import UsageError, UserError
from rrsis_bench.types import InputSpec

ROOT = Path(__file__).parents[2]
CHOICES = [Choice(one.name, k) for one in PERTURBATIONS.values() for k in (SEVERITIES if one.graded else (1,))]
OF_WORDS = [choice for choice in CHOICES if choice.of.kind == "words"]
KEPT = lists.COLOURS | lists.PLACES | lists.SIZES | {"above", "below", "leftmost", "rightmost"}
CLASSES = words.class_names("any")


@pytest.fixture(scope="module")
def sentences() -> list[str]:
    return [sentence.lower().rstrip(".") for sentence in page.sentences(50)]


def tokens(text: str) -> list[str]:
    return re.findall(r"[a-z]+", text.lower())


def american(tokens: list[str]) -> list[str]:
    back = {british: word for word, british in lists.SPELLINGS.items()}
    return [back.get(token, token) for token in tokens]


def within_one_slip(word: str, other: str) -> bool:
    """Whether one letter differs, or is missing from the other."""
    if len(word) == len(other):
        return sum(a != b for a, b in zip(word, other, strict=True)) <= 1
    return any(word[:k] + word[k + 1 :] == other for k in range(len(word)))


@pytest.mark.parametrize("choice", OF_WORDS, ids=lambda choice: choice.label)
def test_fifty_sentences_keep_class_place_and_colour(choice: Choice, sentences: list[str]) -> None:
    for number, sentence in enumerate(sentences):
        changed = choice.text(sentence, str(number), 0)
        assert changed is not None
        assert changed == choice.text(sentence, str(number), 0)
        here, there = american(tokens(sentence)), american(tokens(changed))
        kept = [token for token in here if token in KEPT]
        assert sorted(kept) == sorted(token for token in there if token in KEPT), changed
        if choice.name == "typos":
            pairs = list(zip(here, there, strict=True))
            assert sum(a != b for a, b in pairs) <= choice.severity
            assert all(within_one_slip(a, b) and b not in words.vocabulary() for a, b in pairs if a != b), changed
        elif choice.name == "synonyms":
            missing = [name for name in CLASSES if re.search(rf"\b{name}\b", sentence)]
            names = {other for name in missing for other in lists.SYNONYMS[name]}
            assert any(other in changed for other in names), changed
        elif choice.name == "no-articles":
            assert [token for token in here if token not in ("the", "a", "an")] == [
                token for token in there if token not in ("the", "a", "an")
            ]
        elif choice.name == "word-order":
            assert sorted(token for token in there if token not in ("that", "is", "the")) == sorted(
                token for token in here if token not in ("that", "is", "the")
            )
        elif choice.name in ("polite", "distractor"):
            assert sentence in changed
            added = set(there) - set(here)
            assert not added & {word for name in CLASSES for word in name.split()}
        else:
            assert here == there


def test_words_change_most_sentences(sentences: list[str]) -> None:
    """A perturbation that leaves everything as it is would keep every meaning too."""
    least = {"spelling": 0.05}
    for choice in OF_WORDS:
        changed = [choice.text(one, str(number), 0) != one for number, one in enumerate(sentences)]
        assert np.mean(changed) >= least.get(choice.name, 0.6), choice


def test_a_synonym_belongs_to_one_class_of_a_data_set() -> None:
    for name in SOURCES:
        classes = create(name).info.classes
        assert set(classes) - {"tree"} <= set(lists.SYNONYMS) | {"tree"}
        others = [other for one in classes for other in lists.SYNONYMS.get(one, ())]
        assert len(others) == len(set(others))
        assert not set(others) & set(classes)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("a ship", "a vessel"),
        ("An airplane", "A plane"),
        ("two storage-tanks near the car park", "two holding tanks near the car park"),
        ("THE TRUCKS", "THE LORRIES"),
        ("the buses", "the motor buses"),
        ("the road marking on the road", "the pavement marking on the roadway"),
    ],
)
def test_synonyms_follow_number_article_and_case(before: str, after: str) -> None:
    found = {words.synonyms(before, 1, np.random.default_rng(seed)) for seed in range(12)}
    assert after in found


@pytest.mark.parametrize(
    "kept",
    [
        "the plane whose nose points to the left", "the trailer attached to the truck", "the dark blue car",
        "the tank closest to the top", "the court with a roof on the left", "the ship turning to the left of the pier",
    ],
)  # fmt: skip
def test_word_order_leaves_a_place_that_belongs_to_a_part(kept: str) -> None:
    assert Choice("word-order", 1).text(kept, "", 0) == kept


def test_typos_leave_words_whose_slips_may_be_other_words() -> None:
    for sample in range(20):
        assert Choice("typos", 5).text("the lake beside the pond, partly covered", str(sample), 0) == (
            "the lake beside the pond, partly covered"
        )


@pytest.mark.parametrize(
    ("before", "quarters", "after"),
    [
        ("the ship on the left", 1, "the ship at the top"),
        ("the ship on the left", 2, "the ship on the right"),
        ("the ship on the left", 3, "the ship at the bottom"),
        ("the ship left of the pier", 1, "the ship above the pier"),
        ("the tank directly below the dam", 3, "the tank directly to the right of the dam"),
        ("Top-left, NORTH-WEST and leftmost", 1, "Top-right, NORTH-EAST and topmost"),
        ("the upper ship", 1, "the right ship"),
        ("the right part", 3, "the top part"),
        ("the middle-right of the pier", 1, "the middle-bottom of the pier"),
        ("on the left of the image", 1, "at the top of the image"),
        ("the third tank from the left", 1, "the third tank from the top"),
        ("the ship right next to the bright rooftop", 1, "the ship right next to the bright rooftop"),
        ("the horizontal road", 1, "the vertical road"),
        ("the horizontal road", 2, "the horizontal road"),
        ("the top row", 2, "the bottom row"),
        *(
            (text, quarters, None)
            for quarters in (1, 2, 3)
            for text in (
                "the car under the bridge", "the tank with a white top", "a plane facing left", "the third car",
                "the car on top of the roof", "the ship left by the pier", "die Brücke links und größer",
                "the lowest tank", "the left wing of the plane", "the lower deck", "the car in the front",
            )
        ),
        ("the top row", 1, None),
        ("the ship above to the right", 1, None),
        ("the ship above to the right", 2, "the ship below to the left"),
        ("on the left-hand side", 1, None),
        ("the ship above", 1, None),
    ],
)  # fmt: skip
def test_words_of_place_turn(before: str, quarters: int, after: str | None) -> None:
    assert turn_text(before, quarters) == after


def turned_scene(scene: Scene, choice: Choice) -> Scene:
    """The scene as its turned masks and outlines describe it, by a rule of its own: points, not words."""
    side = scene.size[0]
    move = {
        "turn-90": lambda x, y: (side - y, x),
        "turn-180": lambda x, y: (side - x, side - y),
        "turn-270": lambda x, y: (y, side - x),
        "mirror": lambda x, y: (side - x, y),
    }[choice.name]
    objects = []
    for one in scene.objects:
        (xa, ya), (xb, yb) = move(*one.box[:2]), move(*one.box[2:])
        mask = choice.mask(one.mask)
        rows, columns = np.nonzero(mask)
        box = (min(xa, xb), min(ya, yb), max(xa, xb), max(ya, yb))
        assert (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) == box
        outline = np.stack(move(one.outline[:, 0], one.outline[:, 1]), axis=1)
        objects.append(replace(one, box=box, centre=move(*one.centre), outline=outline, mask=mask))
    return replace(scene, image=choice.image(scene.image, ("", ""), 0), objects=tuple(objects))


@pytest.mark.parametrize("choice", [one for one in CHOICES if one.of.kind == "turn"], ids=lambda one: one.label)
def test_turned_expressions_are_true_of_turned_scenes(choice: Choice) -> None:
    turned = placed = 0
    for seed in seed_range("test")[:25]:
        scene = draw_scene(seed, 96)
        there = turned_scene(scene, choice)
        for index in range(len(scene.objects)):
            fitting = {one.text for one in candidates(there, index)}
            for one in candidates(scene, index):
                text = choice.text(one.text, "", 0)
                assert text in fitting, (one.text, text)
                turned += 1
                placed += text != one.text
    assert turned > 300
    assert placed > 0.3 * turned


@pytest.mark.slow
@pytest.mark.parametrize("name", [one.name for one in PERTURBATIONS.values() if one.kind == "image"])
def test_images_are_repeatable_and_worse_with_severity(name: str) -> None:
    scene = draw_scene(3, 96)
    image, before = scene.image, scene.image.copy()
    errors = []
    for severity in SEVERITIES if PERTURBATIONS[name].graded else (1,):
        choice = Choice(name, severity)
        made = choice.image(image, ("photo", ""), 0)
        Choice(name, severity).image(image, ("other", ""), 0)
        assert (made == choice.image(image, ("photo", ""), 0)).all()
        assert made.dtype == np.uint8
        assert made.shape == image.shape
        assert choice.mask(scene.objects[0].mask) is scene.objects[0].mask
        errors.append(float(np.abs(made.astype(float) - image).mean()))
    assert errors[0] > 0.5
    assert errors == sorted(errors)
    assert (image == before).all()


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReferringDataModule]:
    """The test split of a data set of drawn scenes whose images are no squares, two expressions for some."""
    root = tmp_path_factory.mktemp("split")
    rng = np.random.default_rng(0)
    lines = []
    for number in range(11):
        image, mask = rng.integers(0, 255, (40, 64, 3), np.uint8), np.zeros((40, 64), np.uint8)
        mask[4:14, 4 * number : 4 * number + 9] = 1
        name = f"{number // 2}.png"
        if not (root / name).is_file():
            write_image(root / name, image)
        text = ("the ship on the left", "the third ship", "the tennis court near the dam")[number % 3]
        place = "test" if number < 7 else "train" if number % 2 else "val"
        lines.append({"image": name, "rle": encode(mask), "text": text, "category": "ship", "split": place})
    (root / "pairs.jsonl").write_text("\n".join(map(json.dumps, lines)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RRSIS_CACHE", str(root / "cache"))
        data = ReferringDataModule("own", source="manifest", manifest=str(root / "pairs.jsonl"), seed=3)
        data.input_spec = InputSpec((32, 32), "tiny", 16)
        yield data


def perturbed_split(data: ReferringDataModule, text: str | None) -> ReferringDataset:
    data.perturbation = None if text is None else chosen(text)
    data.setup("test")
    return data.test_dataset


def test_a_method_gets_the_perturbed_image_mask_and_words(split: ReferringDataModule) -> None:
    clean = perturbed_split(split, None)
    before = {item.sample_id: item for item in clean.__getitems__(range(len(clean)))}
    for name in ("turn-90", "mirror", "haze:4", "typos:3"):
        choice, there = chosen(name), perturbed_split(split, name)
        alone = [there[place] for place in range(len(there))]
        together = there.__getitems__(range(len(there))[::-1])[::-1]
        for one, other in zip(alone, together, strict=True):
            was = before[one.sample_id]
            assert (one.image == other.image).all()
            pixels = choice.image(
                read_rgb(split.root / there.manifest[one.index].image), there.manifest[one.index].shown, 3
            )
            assert one.image == pytest.approx(there._input(pixels))
            assert (one.image != was.image).any() == (choice.of.kind != "words")
            assert one.truth is not None
            assert was.truth is not None
            turned = {"turn-90": np.rot90(was.truth, -1), "mirror": was.truth[:, ::-1]}.get(name, was.truth)
            assert (one.truth == turned).all()
            assert one.text == choice.text(was.text, one.sample_id, 3)
            assert one.tokens == there._tokenize(one.text)
        assert there.sample(0).text == alone[0].text
        left_out = sum("third" in item.text for item in before.values()) if choice.of.kind == "turn" else 0
        assert (split.n_left_out, len(there)) == (left_out, len(clean) - left_out)
    assert len(perturbed_split(split, "spelling")) == split.n_unchanged == len(clean)


def test_what_would_be_scored_wrongly_is_refused(split: ReferringDataModule) -> None:
    split.permute_expressions = True
    with pytest.raises(UserError, match="permute_expressions"):
        perturbed_split(split, "haze")
    split.permute_expressions, split.empty_truth = False, "no-target"
    with pytest.raises(UsageError, match="several objects"):
        perturbed_split(split, "no-articles")
    split.empty_truth = "skip"


def test_draws_depend_on_seed_and_sample() -> None:
    image = draw_scene(3, 96).image
    choice = Choice("noise", 3)
    one = choice.image(image, ("a", ""), 0)
    assert not (one == choice.image(image, ("b", ""), 0)).all()
    assert not (one == choice.image(image, ("a", ""), 1)).all()
    texts = {Choice("typos", 2).text("the storage tank near the stadium", str(k), 0) for k in range(20)}
    assert len(texts) > 10


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hase", "unknown perturbation 'hase'. Did you mean 'haze'"),
        ("", "unknown perturbation ''"),
        ("haze:9", "a severity is a whole number from 1 to 5"),
        ("haze:0", "a severity"),
        ("haze:", "a severity"),
        ("haze:two", "a severity"),
        ("mirror:3", "perturbation 'mirror' has one severity"),
    ],
)
def test_a_wrong_name_or_severity_is_one_line(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)) as error:
        chosen(text)
    assert "\n" not in str(error.value)


def test_names_have_their_usual_severity() -> None:
    assert (chosen("haze"), chosen("haze:5"), chosen("mirror")) == (
        Choice("haze", 3), Choice("haze", 5), Choice("mirror", 1),
    )  # fmt: skip


def test_the_page_is_the_one_that_the_command_makes() -> None:
    assert (ROOT / "docs" / page.PAGE).read_text(encoding="utf-8") == page.text()
    assert 20_000 < (ROOT / "docs" / page.SHEET).stat().st_size < 300_000
