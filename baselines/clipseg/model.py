"""CLIPSeg (arXiv 2112.10003), from transformers: a small decoder reads CLIP's activations, modulated by the text.

Legend: `B` samples, `U` different photographs, `S` side of the input, `T` image tokens, `C` CLIP's width.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor, nn

from baselines.clipseg.options import NETWORKS, CLIPSegOptions
from baselines.clipseg.weights import from_open_clip
from rrsis_bench.methods.base import Method
from rrsis_bench.nn.encoders.library import fit_library, folder_config, library_class
from rrsis_bench.nn.layers.freezing import freeze
from rrsis_bench.nn.layers.lora import add_lora, fit_base
from rrsis_bench.nn.layers.losses import binary_cross_entropy, dice_loss, reduce_mask, upsample
from rrsis_bench.nn.layers.recompute import blocks_of, recompute
from rrsis_bench.nn.weights.base import load_frozen
from rrsis_bench.types import Batch, InputSpec, MethodOutput

SINCE = "4.22"
"""First version of transformers with CLIPSeg."""
TARGETS = r"(vision|text)_model\.encoder\.layers\.\d+\.self_attn\.(q|k|v|out)_proj"


class CLIPSeg(Method):
    """The library's network; the decoder trains, or nothing does.

    Args:
        options: all choices; the defaults are the refined network.
    """

    name: ClassVar[str] = "clipseg"
    Options: ClassVar[type[Any]] = CLIPSegOptions
    shares_images: ClassVar[bool] = True

    def __init__(self, options: CLIPSegOptions) -> None:
        super().__init__()
        self.options = options
        kind = library_class("CLIPSegConfig", SINCE)
        config = folder_config(kind, options.network_weights) or kind(**NETWORKS[options.network])
        self.network = library_class("CLIPSegForImageSegmentation", SINCE)(config)
        decoder = self.network.decoder
        # The library draws these with deviation 1, a start that trains badly; torch's own start is used.
        for part in (decoder.film_mul, decoder.film_add, decoder.reduces, decoder.transposed_convolution):
            for layer in part.modules():
                if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
                    layer.reset_parameters()
        add_lora(self.network.clip, TARGETS, options.lora_rank, options.lora_alpha)
        if options.policy == "zero-shot":
            freeze(self.network)
        side = options.image_size
        self.input_spec = InputSpec(
            image_size=(side, side),
            tokenizer=options.tokenizer,
            max_tokens=min(options.max_tokens, config.text_config.max_position_embeddings),
            tokenizer_path=options.tokenizer_path,
        )

    def checkpoint_activations(self) -> None:
        """Run the blocks of the network again in the backward pass; see `Method.checkpoint_activations`."""
        recompute(blocks_of(self.network))

    def encode_images(self, images: Tensor) -> tuple[Tensor, ...]:
        """Activations (U, T, C) of the tapped layers for images (U, 3, H, W), resized to S x S."""
        images = upsample(images, self.input_spec.image_size)
        found = self.network.clip.get_image_features(images, output_hidden_states=True)
        return tuple(found.hidden_states[layer + 1] for layer in self.network.extract_layers)

    def encode_text(self, ids: Tensor) -> Tensor:
        """Sentence vectors (B, D). The tower is causal: no token sees the padding behind it."""
        sentences: Tensor = self.network.clip.get_text_features(ids).pooler_output
        return sentences

    def forward(self, batch: Batch) -> MethodOutput:
        """Logits at the input's size (B, 1, H, W). Images of any size are resized to the network's own."""
        size = (batch.images.shape[-2], batch.images.shape[-1])
        activations = [batch.per_sample(layer) for layer in self.encoded(batch)]
        logits = self.network.decoder(activations, self.encode_text(batch.tokens.ids)).logits
        return MethodOutput(upsample(logits[:, None], size))

    def loss(self, output: MethodOutput, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy and Dice of the mask."""
        target = reduce_mask(batch.masks, (output.logits.shape[-2], output.logits.shape[-1]))
        return {"bce": binary_cross_entropy(output.logits, target), "dice": dice_loss(output.logits, target)}

    def encoders(self) -> dict[str, nn.Module]:
        """CLIP's two towers."""
        return {"image": self.network.clip.vision_model, "text": self.network.clip.text_model}

    def load_pretrained(self) -> dict[str, str]:
        """Load the weights of the network, or of CLIP alone; see `Method.load_pretrained`.

        Raises:
            UsageError: no option names weights; `random` is the word for a random start.
            MissingResourceError: the file is missing, unreadable or of another network.
        """
        if self.options.clip_weights:
            return load_frozen(self.name, self.options, {"clip": self._load_clip})
        return load_frozen(self.name, self.options, {"network": self._load})

    def _load(self, tensors: Mapping[str, Tensor]) -> None:
        fit_library(self.network, tensors, "CLIPSeg weights")

    def _load_clip(self, tensors: Mapping[str, Tensor]) -> None:
        fit_base(self.network.clip, from_open_clip(tensors), "CLIP weights")
