"""The CroBIM-style network's two passes of the text encoder."""

from __future__ import annotations

import torch

from baselines.crobim.text import position_ids
from helpers.crobim_small import batch_of, small


@torch.no_grad()
def test_another_image_changes_the_pass_with_prompts_and_not_the_one_without() -> None:
    method = small()
    batch = batch_of()
    first, second = (
        method.encode_text(batch.tokens, method.encode_image(images)) for images in (batch.images, -batch.images)
    )
    assert torch.equal(first.words, second.words)
    words = first.prompted[:, : first.words.shape[1]]
    assert not torch.allclose(words, second.prompted[:, : words.shape[1]], atol=1e-3)
    constant = small(prompt_source="constant")
    first, second = (
        constant.encode_text(batch.tokens, constant.encode_image(images)) for images in (batch.images, -batch.images)
    )
    assert torch.equal(first.prompted, second.prompted)


@torch.no_grad()
def test_both_passes_share_one_encoder_and_without_prompts_there_is_one_pass() -> None:
    batch = batch_of()
    for prompts, expected in ((4, 2), (0, 1)):
        method = small(prompts=prompts)
        calls: list[int] = []
        method.text.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        method(batch)
        assert len(calls) == expected


def test_places_of_the_prompts() -> None:
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]).bool()
    assert position_ids(mask, 2, 8, before_sep=False).tolist() == [[0, 1, 2, 3, 4, 8, 9]]
    # [CLS] word SEP -> [CLS] word p p SEP
    assert position_ids(mask, 2, 8, before_sep=True).tolist() == [[0, 1, 4, 5, 6, 2, 3], [0, 1, 2, 3, 6, 4, 5]]


@torch.no_grad()
def test_before_sep_is_the_text_encoder_on_the_sequence_written_so() -> None:
    method = small(prompt_place="before-sep")
    batch = batch_of((4, 4, 4), tokens=4)
    maps = method.encode_image(batch.images)
    assert method.capm is not None
    prompts = method.capm(maps)
    words = method.text.get_input_embeddings()(batch.tokens.ids)
    written = torch.cat((words[:, :3], prompts, words[:, 3:]), 1)
    hidden = method.text(inputs_embeds=written).last_hidden_state
    expected = torch.cat((hidden[:, :3], hidden[:, 7:], hidden[:, 3:7]), 1)
    assert torch.allclose(method.encode_text(batch.tokens, maps).prompted, expected, atol=1e-5)
