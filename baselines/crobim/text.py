"""The second pass of the text encoder: words with prompts behind them (first pass: `encode_words`).

Legend: `B` batch, `L` words with padding, `P` prompts, `C` width of the text encoder.
"""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import BertModel

from rrsis_bench.nn.layers.fusion import additive_mask


def position_ids(mask: Tensor, prompts: int, room: int, before_sep: bool) -> Tensor:
    """Position ids of words and prompts. To attention only these ids matter, not the order in memory.

    Args:
        mask: (B, L) bool, True for real tokens.
        prompts: P.
        room: positions reserved for words; with them the prompts' positions do not depend on the padding.
        before_sep: the prompts come before the last real token, which moves back; else they follow the reserved ones.

    Returns:
        (B, L + P) or (1, L + P) int64, prompts last.
    """
    length = mask.shape[1]
    words = torch.arange(length, device=mask.device)[None]
    behind = torch.arange(prompts, device=mask.device)[None]
    if not before_sep:
        return torch.cat((words, behind + max(room, length)), 1)
    last = mask.sum(1, keepdim=True) - 1
    moved = torch.where(words >= last, words + prompts, words)
    return torch.cat((moved, last.clamp(min=0) + behind), 1)


def encode_with_prompts(bert: BertModel, ids: Tensor, mask: Tensor, prompts: Tensor, positions: Tensor) -> Tensor:
    """Encode words and prompts together.

    Position and type embeddings and their LayerNorm act on prompts as on words.

    Args:
        bert: from `build_bert`.
        ids: (B, L) token ids.
        mask: (B, L) bool, True for real tokens.
        prompts: (B, P, C) in the place of word embeddings.
        positions: from `position_ids`.

    Returns:
        last hidden states (B, L + P, C), prompts last.
    """
    words: Tensor = bert.get_input_embeddings()(ids)
    joined = torch.cat((words, prompts.to(words.dtype)), 1)
    additive = additive_mask(prompted_mask(mask, prompts.shape[1]), joined.dtype).expand(-1, 1, joined.shape[1], -1)
    hidden: Tensor = bert(inputs_embeds=joined, attention_mask=additive, position_ids=positions).last_hidden_state
    return hidden


def prompted_mask(mask: Tensor, prompts: int) -> Tensor:
    """Extend the words' mask (B, L) by True for each of P prompts: (B, L + P)."""
    return torch.cat((mask, mask.new_ones(len(mask), prompts)), 1)
