from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from rrsis_bench.families.lavt.decoder import LAVTDecoder, two_class_cross_entropy
from rrsis_bench.nn.layers.fusion import PWAM, LanguageGate, WordAttention, additive_mask, instance_norm


def naive_attention(
    module: WordAttention, pixels: torch.Tensor, words: torch.Tensor, mask: torch.Tensor
) -> torch.Tensor:
    """Sample by sample, head by head, from the formulas."""
    width, group = pixels.shape[-1], pixels.shape[-1] // module.heads
    rows = []
    for x, word, m in zip(pixels, words, mask.to(words.dtype), strict=True):
        query = module.query(x)
        query = (query - query.mean(0)) / (query.var(0, unbiased=False) + 1e-5).sqrt()
        key, value = module.key(word) * m[:, None], module.value(word) * m[:, None]
        heads = []
        for head in range(module.heads):
            part = slice(head * group, (head + 1) * group)
            scores = query[:, part] @ key[:, part].T * width**-0.5 + (10_000 * m - 10_000)
            heads.append(scores.softmax(-1) @ value[:, part])
        out = module.output(torch.cat(heads, -1))
        rows.append((out - out.mean(0)) / (out.var(0, unbiased=False) + 1e-5).sqrt())
    return torch.stack(rows)


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_word_attention_is_the_formula(heads: int) -> None:
    torch.manual_seed(0)
    module = WordAttention(8, 6, heads).double()
    pixels, words = torch.randn(3, 10, 8).double(), torch.randn(3, 5, 6).double()
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [0, 0, 0, 0, 0]])
    found = module(pixels, words, mask)
    torch.testing.assert_close(found, naive_attention(module, pixels, words, mask), rtol=0, atol=1e-10)
    assert torch.equal(found, module(pixels, words, mask.bool()))


def test_padded_words_do_not_matter() -> None:
    torch.manual_seed(0)
    module = PWAM(8, 6, 2).double()
    pixels, words = torch.randn(2, 10, 8).double(), torch.randn(2, 5, 6).double()
    mask = torch.tensor([[1, 1, 1, 0, 0]] * 2).bool()
    other = torch.where(mask[..., None], words, torch.randn_like(words))
    torch.testing.assert_close(module(pixels, words, mask), module(pixels, other, mask))
    torch.testing.assert_close(module(pixels, words, mask), module(pixels, words[:, :3], mask[:, :3]))


def test_pwam_and_gate_are_the_formulas() -> None:
    torch.manual_seed(0)
    module, gate = PWAM(8, 6).double(), LanguageGate(8).double()
    pixels, words, mask = torch.randn(2, 9, 8).double(), torch.randn(2, 4, 6).double(), torch.ones(2, 4)
    joined = F.gelu(module.visual(pixels)) * module.attention(pixels, words, mask)
    fused = module(pixels, words, mask)
    torch.testing.assert_close(fused, F.gelu(module.mix(joined)))
    inner = torch.relu(fused @ gate.inner.weight.T)
    torch.testing.assert_close(gate(fused), torch.tanh(inner @ gate.outer.weight.T) * fused)


def test_fusion_dropout_only_in_training() -> None:
    module = PWAM(8, 6, dropout=0.5)
    inputs = torch.randn(1, 9, 8), torch.randn(1, 4, 6), torch.ones(1, 4)
    assert not torch.equal(module(*inputs), module(*inputs))
    module.eval()
    assert torch.equal(module(*inputs), module(*inputs))


def test_instance_norm_needs_two_pixels() -> None:
    with pytest.raises(ValueError, match="one pixel"):
        instance_norm(torch.randn(2, 1, 4))


def test_additive_mask() -> None:
    assert additive_mask(torch.tensor([[True, False]]), torch.float64).tolist() == [[[[0.0, -10_000.0]]]]


def test_decoder_joins_coarse_to_fine() -> None:
    torch.manual_seed(0)
    decoder = LAVTDecoder((4, 8, 12, 16), 10).double().eval()
    sizes = ((13, 9), (7, 5), (4, 3), (4, 3))
    maps = [torch.randn(2, c, *size).double() for c, size in zip((4, 8, 12, 16), sizes, strict=True)]
    features = maps[3]
    for step, finer in zip(decoder.steps, (maps[2], maps[1], maps[0]), strict=True):
        if features.shape[-2:] != finer.shape[-2:]:
            features = F.interpolate(features, finer.shape[-2:], mode="bilinear", align_corners=True)
        features = torch.cat([features, finer], 1)
        features = torch.relu(step.bn1(step.conv1(features)))
        features = torch.relu(step.bn2(step.conv2(features)))
    torch.testing.assert_close(decoder(maps), decoder.classify(features))
    assert decoder(maps).shape == (2, 2, 13, 9)


def test_cross_entropy_divides_by_the_pixels_weights() -> None:
    logits = torch.randn(2, 2, 3, 3, dtype=torch.float64)
    masks = torch.zeros(2, 3, 3, dtype=torch.uint8)
    masks[0, 0, :2] = 1
    logs = logits.log_softmax(1)
    lost = -torch.where(masks.bool(), 1.1 * logs[:, 1], 0.9 * logs[:, 0]).sum() / (2 * 1.1 + 16 * 0.9)
    torch.testing.assert_close(two_class_cross_entropy(logits, masks), lost)
    half = two_class_cross_entropy(logits.bfloat16(), masks)
    assert half.dtype == torch.float32
