"""SAM 3 (arXiv 2511.16719), from transformers: a text-conditioned detector with masks and a semantic map.

Legend: `B` samples, `U` different photographs, `S` side of the input, `C` channels of the pyramid, `Q` queries.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from baselines.sam3.options import NETWORKS, SAM3Options
from baselines.sam3.queries import merge_queries, query_losses, query_scores
from baselines.sam3.weights import from_open_clip
from rrsis_bench.methods.base import Method
from rrsis_bench.nn.encoders.library import fit_library, folder_config, library_class
from rrsis_bench.nn.layers.freezing import freeze
from rrsis_bench.nn.layers.lora import add_lora, fit_base
from rrsis_bench.nn.layers.losses import binary_cross_entropy, dice_loss, reduce_mask, upsample
from rrsis_bench.nn.layers.recompute import blocks_of, recompute
from rrsis_bench.nn.weights.base import load_frozen
from rrsis_bench.types import Batch, InputSpec, MethodOutput

SINCE = "5.0"
"""First version of transformers with SAM 3."""
TARGETS = r"backbone\.layers\.\d+\.attention\.(q|k|v|o)_proj"


class SAM3(Method):
    """The library's network with a text prompt.

    Args:
        options: all choices; the defaults are the published sizes.
    """

    name: ClassVar[str] = "sam3"
    Options: ClassVar[type[Any]] = SAM3Options
    shares_images: ClassVar[bool] = True

    def __init__(self, options: SAM3Options) -> None:
        super().__init__()
        self.options = options
        kind = library_class("Sam3Config", SINCE)
        config = folder_config(kind, options.network_weights) or kind(**NETWORKS[options.network])
        side = options.image_size or int(config.vision_config.backbone_config.image_size)
        config.vision_config.backbone_config.image_size = side
        self.network = library_class("Sam3Model", SINCE)(config)
        self.network.detr_decoder.register_forward_pre_hook(_sizes_on_host, with_kwargs=True)
        self._freeze()
        own = options.tokenizer
        by_object = options.prompt == "object"
        self.input_spec = InputSpec(
            image_size=(side, side),
            mean=(0.5, 0.5, 0.5),
            std=(0.5, 0.5, 0.5),
            tokenizer="baselines.sam3.text:ObjectTokenizer" if by_object else own,
            tokenizer_options={"base": own} if by_object else {},
            tokenizer_path=options.tokenizer_path,
            max_tokens=min(options.max_tokens, config.text_config.max_position_embeddings),
        )

    def _freeze(self) -> None:
        """Leave trainable what the policy trains and a loss reaches."""
        network, options = self.network, self.options
        if options.policy == "zero-shot":
            freeze(network)
            return
        if options.trained == "lora":
            add_lora(network.vision_encoder, TARGETS, options.lora_rank, options.lora_alpha)
            freeze(network.text_encoder)
            freeze(network.text_projection)
        masks = network.mask_decoder
        # A text prompt alone never reaches these; the mask decoder has an upsampling stage more than the pyramid needs.
        idle = [network.geometry_encoder, network.vision_encoder.neck.fpn_layers[-1]]
        idle += [getattr(network.text_encoder, "text_projection", nn.Identity())]
        stages = len(network.vision_encoder.neck.fpn_layers) - 2
        idle += [*masks.pixel_decoder.conv_layers[stages:], *masks.pixel_decoder.norms[stages:]]
        if not options.queries:
            idle += [network.detr_decoder, network.dot_product_scoring]
            idle += [masks.mask_embedder, masks.instance_projection]
        for part in idle:
            freeze(part)

    def checkpoint_activations(self) -> None:
        """Run the blocks of the network again in the backward pass; see `Method.checkpoint_activations`."""
        recompute(blocks_of(self.network))

    def encode_images(self, images: Tensor) -> tuple[Tensor, ...]:
        """The pyramid (U, C, ., .), finest first, for images (U, 3, H, W), resized to S x S."""
        found = self.network.get_vision_features(upsample(images, self.input_spec.image_size))
        return tuple(found.fpn_hidden_states[:-1])  # the network itself leaves the coarsest level out

    def respond(self, batch: Batch) -> Any:
        """The network's own output for a batch: masks (B, Q, h, w), boxes, logits, presence, semantic map."""
        levels = [batch.per_sample(level) for level in self.encoded(batch)]
        codes = self.network.vision_encoder.neck.position_encoding
        places = [codes(level.shape, level.device, level.dtype) for level in levels]
        seen = library_output()(
            # The last entry stands for the level that the network leaves out.
            fpn_hidden_states=(*levels, levels[-1]),
            fpn_position_encoding=(*places, places[-1]),
        )
        # The text encoder is causal: no word sees the padding behind it.
        words = self.network.get_text_features(batch.tokens.ids)
        # The library looks for padding in the mask, and a meta tensor has no values.
        mask = None if batch.tokens.mask.is_meta else batch.tokens.mask.long()
        return self.network(vision_embeds=seen, text_embeds=words, attention_mask=mask)

    def forward(self, batch: Batch) -> MethodOutput:
        """Logits (B, 1, h, w) at the size of the network's masks, which grows with that of the images."""
        found = self.respond(batch)
        if self.options.merge == "semantic":
            logits = found.semantic_seg
        else:
            scores = query_scores(found.pred_logits, found.presence_logits)
            union = self.options.merge == "union"
            logits = merge_queries(found.pred_masks, scores, self.options.score_threshold if union else None)
        size = [
            round(own * given / spec)
            for own, given, spec in zip(
                logits.shape[-2:], batch.images.shape[-2:], self.input_spec.image_size, strict=True
            )
        ]
        return MethodOutput(upsample(logits, (size[0], size[1])), {"found": found})

    def loss(self, output: MethodOutput, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy and Dice of the semantic map; with `queries`, also those of the queries and of presence."""
        found = output.aux["found"]
        logits = found.semantic_seg
        target = reduce_mask(batch.masks, (logits.shape[-2], logits.shape[-1]))
        losses = {"bce": binary_cross_entropy(logits, target), "dice": dice_loss(logits, target)}
        return {**losses, **(query_losses(found, batch.masks) if self.options.queries else {})}

    def param_groups(self, base_lr: float, weight_decay: float) -> list[dict[str, Any]]:
        """One learning rate; biases, norms and tables have no decay."""
        named = [(name, p) for name, p in self.named_parameters() if p.requires_grad]
        spared = [p.ndim < 2 or "embed" in name.rpartition(".")[0].rpartition(".")[2] for name, p in named]
        decayed = [p for (_, p), bare in zip(named, spared, strict=True) if not bare]
        plain = [p for (_, p), bare in zip(named, spared, strict=True) if bare]
        return [
            {"params": decayed, "lr": base_lr, "weight_decay": weight_decay},
            {"params": plain, "lr": base_lr, "weight_decay": 0.0},
        ]

    def encoders(self) -> dict[str, nn.Module]:
        """The vision encoder with its pyramid, and the text encoder."""
        return {"image": self.network.vision_encoder, "text": self.network.text_encoder}

    def load_pretrained(self) -> dict[str, str]:
        """Load the weights of the network, or CLIP's into its encoders; see `Method.load_pretrained`.

        Raises:
            UsageError: no option names weights; `random` is the word for a random start.
            MissingResourceError: the file is missing, unreadable or of another network.
        """
        if self.options.clip_weights:
            return load_frozen(self.name, self.options, {"clip": self._load_clip})
        return load_frozen(self.name, self.options, {"network": self._load})

    def _load(self, tensors: Mapping[str, Tensor]) -> None:
        fit_library(self.network, tensors, "SAM 3 weights")

    def _load_clip(self, tensors: Mapping[str, Tensor]) -> None:
        vision, text = from_open_clip(tensors, self.input_spec.mean, self.input_spec.std)
        fit_base(self.network.vision_encoder.backbone, vision, "CLIP weights of the vision encoder")
        fit_base(self.network.text_encoder, text, "CLIP weights of the text encoder")


def _sizes_on_host(
    _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Give the query decoder the size of the one square map from the host, where the library reads it."""
    side = math.isqrt(kwargs["vision_features"].shape[1])
    return args, {**kwargs, "spatial_shapes": torch.tensor([[side, side]])}


def library_output() -> Any:
    """The library's class for an encoded image, which it does not export."""
    from transformers.models.sam3.modeling_sam3 import Sam3VisionEncoderOutput

    return Sam3VisionEncoderOutput
