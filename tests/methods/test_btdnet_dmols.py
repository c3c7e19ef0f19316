"""Which words name an expression's object, and what D-MOLS masks and rebuilds."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from baselines.btdnet.dmols import ObjectLearning, RebuildInputs, choose_cells, choose_words
from baselines.btdnet.text import BTDNetTokenizer, object_tokens
from rrsis_bench.data.classes import class_names
from rrsis_bench.data.text import TinyTokenizer
from rrsis_bench.errors import UsageError
from rrsis_bench.types import InputSpec, Tokenized


def spec(length: int = 16, **options: object) -> InputSpec:
    chosen = {"base": "tiny", "classes": "any", "rule": "longest", **options}
    return InputSpec((8, 8), "baselines.btdnet.text:BTDNetTokenizer", length, tokenizer_options=chosen)


def named(text: str, length: int = 16, **options: str) -> str:
    """The marked stretch of an expression."""
    tokens = BTDNetTokenizer(spec(length, **options))(text)
    spans = TinyTokenizer(replace(spec(length), tokenizer="tiny"))(text).spans
    kept = [spans[place] for place, value in enumerate(tokens.parts["object"]) if value]
    return text[kept[0][0] : kept[-1][1]] if kept else ""


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("the red ship", "ship"),
        ("Two Storage-Tanks beside a ship", "Storage-Tanks"),
        ("the ship next to the storage tank", "storage tank"),  # the longest name, whatever it is there for
        ("a ship and a dock near the bridge", "bridge"),
        ("the ship left of the ship", "ship"),
        ("the gray roof on the left", "roof"),
        ("a court-like thing with a roof", "thing"),
        ("On the left", ""),  # nothing stands before its first preposition
        ("the gray thing", ""),
        ("", ""),
    ],
)
def test_object_words(text: str, found: str) -> None:
    assert named(text) == found


def test_the_first_name_is_an_option() -> None:
    assert named("the ship next to the storage tank", rule="first") == "ship"


def test_only_the_data_set_s_own_names_count() -> None:
    assert named("the ship beside a road", classes="refsegrs") == "road"
    assert named("the ship beside a road", classes="rrsisd") == "ship"
    with pytest.raises(UsageError, match="Did you mean 'rrsisd'"):
        BTDNetTokenizer(spec(classes="rrsis"))


def test_a_name_that_is_cut_off_gives_way() -> None:
    assert named("the ship next to the storage tank", 8) == "ship"  # start, six words, end
    assert named("the gray roof beneath the overpass", 6) == "roof"


def test_all_pieces_of_a_word_are_marked_and_special_tokens_are_not() -> None:
    text = "the windmills"
    tokens = Tokenized([1, 5, 6, 7, 8, 2], [1] * 6, False, spans=[(0, 0), (0, 3), (4, 8), (8, 12), (12, 13), (0, 0)])
    assert object_tokens(text, tokens, class_names("any")) == [0, 0, 1, 1, 1, 0]
    parts = BTDNetTokenizer(spec())("the ship").parts
    assert parts["word"] == [0, 1, 1] + [0] * 13


def test_without_object_words_one_of_the_text_s_own_is_drawn() -> None:
    named = torch.tensor([[0, 1, 1, 0, 0, 0], [0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0]])
    words = torch.tensor([[0, 1, 1, 1, 0, 0], [0, 1, 1, 1, 0, 0], [0, 0, 0, 0, 0, 0]])
    present = torch.tensor([[1, 1, 1, 1, 1, 0], [1, 1, 1, 1, 1, 0], [1, 1, 0, 0, 0, 0]])
    drawn = torch.stack([choose_words(named, words, present) for _ in range(100)])
    assert (drawn[:, 0] == named[0].bool()).all()
    assert (drawn[:, 1:].sum(2) == 1).all()
    assert drawn[:, 1].any(0).tolist() == [False, True, True, True, False, False]
    assert drawn[:, 2].any(0).tolist() == [True, True, False, False, False, False]


def test_cells_are_masked_at_their_rates_and_one_of_the_object_s_always() -> None:
    torch.manual_seed(0)
    masks = torch.zeros(3, 40, 40, dtype=torch.uint8)
    masks[0, :20] = 1
    masks[1, 7, 9] = 1  # one pixel makes its cell the object's
    chosen = torch.stack([choose_cells(masks, (10, 10), 0.5, 0.1) for _ in range(200)]).view(200, 3, 10, 10).float()
    assert chosen[:, 0, :5].mean() == pytest.approx(0.5, abs=0.02)
    assert chosen[:, 0, 5:].mean() == pytest.approx(0.1, abs=0.02)
    assert (chosen[:, 1, 1, 2] == 1).all()
    assert chosen[:, 2].mean() == pytest.approx(0.1, abs=0.02)
    none = choose_cells(masks, (10, 10), 0.0, 0.0)
    assert none.sum(1).tolist() == [1, 1, 0]


def seen(**changes: Tensor) -> RebuildInputs:
    draw = torch.Generator().manual_seed(2)
    present = torch.arange(7)[None] < torch.tensor([[5], [7]])
    masks = torch.zeros(2, 16, 16)
    masks[:, 4:9, 4:12] = 1
    named = torch.zeros(2, 7, dtype=torch.bool)
    named[0, 2], named[1, 3:5] = True, True
    values = {
        "cells": torch.randn(2, 12, 4, 4, generator=draw),
        "words": torch.randn(2, 7, 10, generator=draw),
        "start": torch.randn(2, 7, 10, generator=draw),
        "ids": torch.randint(0, 20, (2, 7), generator=draw),
        "present": present,
        "named": named,
        "masks": masks,
        "images": torch.randn(2, 3, 16, 16, generator=draw),
    }
    return RebuildInputs(**{**values, **changes})


def build(**changes: object) -> ObjectLearning:
    torch.manual_seed(0)
    return ObjectLearning(12, 10, 7, width=8, layers=1, heads=2, **changes).eval()  # type: ignore[arg-type]


def losses(learning: ObjectLearning, objects: RebuildInputs) -> dict[str, Tensor]:
    torch.manual_seed(1)  # the same cells are masked
    return learning(objects)


def test_what_is_masked_is_hidden_and_padding_is_never_read() -> None:
    learning, here = build(), seen()
    base = losses(learning, here)
    hidden = torch.where(here.named[..., None], here.words + 5, here.words)
    padded = torch.where(here.present[..., None], here.words, here.words + 5)
    torch.testing.assert_close(losses(learning, seen(words=hidden))["rebuild_text"], base["rebuild_text"])
    for name, value in losses(learning, seen(words=padded)).items():
        torch.testing.assert_close(value, base[name])
    torch.manual_seed(1)
    cells = choose_cells(here.masks, (4, 4), 0.5, 0.1).view(2, 1, 4, 4)
    given: list[Tensor] = []
    assert learning.image is not None
    handle = learning.image.register_forward_hook(lambda module, inputs, output: given.append(output))
    losses(learning, here)
    losses(learning, seen(cells=torch.where(cells, here.cells + 5, here.cells)))
    losses(learning, seen(cells=here.cells + 5))
    handle.remove()
    torch.testing.assert_close(given[0], given[1])
    assert not torch.allclose(given[0], given[2])


def test_each_branch_reads_the_other_modality() -> None:
    learning, here = build(), seen()
    base = losses(learning, here)
    assert not torch.isclose(losses(learning, seen(cells=here.cells * 2 + 1))["rebuild_text"], base["rebuild_text"])
    assert not torch.isclose(losses(learning, seen(words=here.words * 2 + 1))["rebuild_image"], base["rebuild_image"])


def test_targets_get_no_gradient_and_the_losses_are_means_over_what_was_masked() -> None:
    learning = build(branches="text")
    start, words = torch.randn(2, 7, 10, requires_grad=True), torch.randn(2, 7, 10, requires_grad=True)
    here = seen(start=start, words=words)
    given: list[Tensor] = []
    assert learning.text is not None
    learning.text.register_forward_hook(lambda module, inputs, output: given.append(output))
    found = losses(learning, here)
    assert list(found) == ["rebuild_text"]
    wanted = [1 - torch.cosine_similarity(given[0][i], start[i], dim=-1)[here.named[i]] for i in range(2)]
    torch.testing.assert_close(found["rebuild_text"], torch.cat(wanted).mean())
    found["rebuild_text"].backward()
    assert start.grad is None
    assert words.grad is not None
    assert words.grad.any()

    learning, given = build(branches="image"), []
    assert learning.image is not None
    learning.image.register_forward_hook(lambda module, inputs, output: given.append(output))
    found = losses(learning, seen())
    torch.manual_seed(1)
    cells = choose_cells(seen().masks, (4, 4), 0.5, 0.1)
    flat = seen().cells.flatten(2).transpose(1, 2)
    target = (flat - flat.mean(-1, keepdim=True)) / (flat.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()
    gap = (given[0] - target).abs()
    smooth = torch.where(gap < 1, 0.5 * gap**2, gap - 0.5).mean(-1)
    torch.testing.assert_close(found["rebuild_image"], smooth[cells].mean())


def test_word_ids_and_colours_as_targets() -> None:
    learning = build(vocabulary=20, colours=True)
    assert learning.text is not None
    assert learning.image is not None
    assert learning.text.output.out_features == 20
    assert learning.image.output.out_features == 3
    found = losses(learning, seen())
    assert float(found["rebuild_text"].detach()) == pytest.approx(3.0, abs=1.0)  # about log 20 at the start
    blue = seen().images + torch.tensor([0.0, 0.0, 9.0]).view(3, 1, 1)
    assert losses(learning, seen(images=blue))["rebuild_image"] > found["rebuild_image"]
