"""Every choice of CLIPSeg, and the sizes of its networks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from rrsis_bench.errors import UsageError

Network = Literal["rd64-refined", "rd64", "rd16", "nano"]
_B16 = {"vision_config": {"patch_size": 16}}
NETWORKS: Mapping[Network, Mapping[str, Any]] = {
    "rd64-refined": {**_B16, "use_complex_transposed_convolution": True},
    "rd64": _B16,
    "rd16": {**_B16, "reduce_dim": 16},
    # For the tiny variant: the towers are those of the suite's `clip-nano`.
    "nano": {
        "vision_config": {
            "image_size": 128,
            "patch_size": 8,
            "hidden_size": 96,
            "intermediate_size": 384,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
        },
        "text_config": {
            "vocab_size": 64,
            "hidden_size": 64,
            "intermediate_size": 256,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "max_position_embeddings": 32,
            "bos_token_id": 1,
            "eos_token_id": 63,
            "pad_token_id": 0,
        },
        "projection_dim": 64,
        "extract_layers": [1, 2, 3],
        "decoder_intermediate_size": 256,
        "use_complex_transposed_convolution": True,
    },
}
"""Name of a network -> where its configuration differs from the library's default."""


@dataclass(frozen=True)
class CLIPSegOptions:
    """The defaults are the refined network, whose decoder trains.

    Attributes:
        policy: `zero-shot` takes the weights as they are; `tuned` trains the decoder.
        network: which network, by a name of `NETWORKS`. A local folder in `network_weights` brings its own
            configuration.
        network_weights: weights of the whole network, or `random`.
        clip_weights: weights of CLIP alone in OpenAI's or open_clip's layout, below a decoder with random weights;
            given in place of `network_weights`.
        image_size: side in pixels of the images; the library interpolates CLIP's table of positions.
        tokenizer: name of the tokenizer.
        tokenizer_path: its vocabulary, where it needs one.
        max_tokens: length the token ids are cut or padded to.
        lora_rank: r of the updates of the attention of both of CLIP's towers; 0 keeps CLIP as it is.
        lora_alpha: the updates are scaled by lora_alpha / lora_rank.
    """

    policy: Literal["zero-shot", "tuned"] = "tuned"
    network: Network = "rd64-refined"
    network_weights: str = ""
    clip_weights: str = ""
    image_size: int = 352
    tokenizer: str = "clip"
    tokenizer_path: str | None = None
    max_tokens: int = 77
    lora_rank: int = 0
    lora_alpha: float = 16.0

    def __post_init__(self) -> None:
        """Refuse options that contradict each other.

        Raises:
            UsageError: naming the options and what to set instead.
        """
        if self.policy == "zero-shot" and (self.lora_rank or self.clip_weights):
            raise UsageError("clipseg: policy zero-shot trains nothing; leave lora_rank and clip_weights out.")
        if self.network_weights and self.clip_weights:
            raise UsageError("clipseg: set network_weights or clip_weights, not both.")
