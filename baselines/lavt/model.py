"""LAVT (Yang et al., CVPR 2022): words join the visual encoder after each of its stages.

Legend: `B` batch, `H W` input pixels, `h w` map, `C` its channels, `T` words, `Ct` their width.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor, nn

from rrsis_bench.errors import UsageError
from rrsis_bench.methods.base import Method, freeze, trainable
from rrsis_bench.nn.bert import build_bert, encode_words, load_bert
from rrsis_bench.nn.efficientnet import EFFICIENTNET_INPUT, EfficientNetLite
from rrsis_bench.nn.fusion import PWAM, LanguageGate
from rrsis_bench.nn.lavt_decoder import LAVTDecoder, two_class_cross_entropy, upsample_aligned
from rrsis_bench.nn.staged import StagedEncoder
from rrsis_bench.nn.swin import Swin, init_transformer
from rrsis_bench.nn.weights import WeightRef, load_tensors, resolve, sha256_file
from rrsis_bench.types import Batch, InputSpec, MethodOutput


@dataclass(frozen=True)
class LAVTOptions:
    """Every choice LAVT leaves open; the defaults are the published network.

    Attributes:
        image_size: side in pixels of the square input.
        encoder: `swin` or `efficientnet_lite0`.
        swin_width: channels of the first Swin stage.
        swin_depths: Swin blocks per stage.
        swin_heads: attention heads per Swin stage.
        swin_window: window side in pixels of the map (12 or 7 in released weights).
        drop_path: stochastic depth of the encoder's last block.
        encoder_weights: pretrained visual encoder (see `rrsis_bench/nn/weights.py`); None starts from random values.
        tokenizer: registered tokenizer name.
        max_tokens: length the token ids are cut or padded to.
        text_width: width of the text encoder.
        text_layers: its transformer layers.
        text_heads: its attention heads.
        text_vocabulary: its number of token ids.
        text_positions: its longest sequence.
        text_weights: pretrained text encoder; None starts from random values.
        trained_text_layers: lowest layers of the text encoder that are trained; the released code leaves the rest out
            of its optimiser.
        train_text_embeddings: train the word embeddings too, which the released code does not.
        mha: heads of the word attention per stage.
        fusion_drop: dropout rate inside the fusion.
        decoder_width: hidden channels of the decoder; None is half of the last stage's, as released.
        class_weights: of background and object in the loss.
    """

    image_size: int = 480
    encoder: str = "swin"
    swin_width: int = 128
    swin_depths: tuple[int, ...] = (2, 2, 18, 2)
    swin_heads: tuple[int, ...] = (4, 8, 16, 32)
    swin_window: int = 12
    drop_path: float = 0.3
    encoder_weights: str | None = None
    tokenizer: str = "bert"
    max_tokens: int = 20
    text_width: int = 768
    text_layers: int = 12
    text_heads: int = 12
    text_vocabulary: int = 30_522
    text_positions: int = 512
    text_weights: str | None = None
    trained_text_layers: int = 10
    train_text_embeddings: bool = False
    mha: tuple[int, ...] = (1, 1, 1, 1)
    fusion_drop: float = 0.0
    decoder_width: int | None = None
    class_weights: tuple[float, float] = (0.9, 1.1)


@dataclass(frozen=True)
class LAVTFeatures:
    """What lies between LAVT's parts.

    Attributes:
        words: (B, T, Ct) hidden states of the text encoder.
        maps: the decoder's inputs (B, C_i, h_i, w_i), finest first.
        classes: (B, 2, h_1, w_1) the decoder's logits of background and object.
    """

    words: Tensor
    maps: tuple[Tensor, ...]
    classes: Tensor


class FusedStage(nn.Module):
    """What LAVT adds behind one stage: PWAM, the language gate and the norm of the map for the decoder."""

    def __init__(self, width: int, text_width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.pwam = PWAM(width, text_width, heads, dropout)
        self.gate = LanguageGate(width)
        self.norm = nn.LayerNorm(width)
        # The released initialisation walks over linear layers and norms only; PWAM's projections are 1x1 convolutions
        # there and keep PyTorch's default, which for a linear layer is the same.
        self.gate.apply(init_transformer)

    def forward(self, features: Tensor, words: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Fuse.

        Args:
            features: (B, h, w, C) of the stage.
            words: (B, T, Ct).
            mask: (B, T).

        Returns:
            what flows on, (B, h, w, C), and the decoder's map (B, C, h, w), which holds the fused features alone.
        """
        size = features.shape[1:3]
        fused = self.pwam(features.flatten(1, 2), words, mask).unflatten(1, size)
        return features + self.gate(fused), self.norm(fused).permute(0, 3, 1, 2)


class LAVT(Method):
    """The published network with Swin, and the same on a convolutional encoder for the light variant."""

    name: ClassVar[str] = "lavt"
    Options: ClassVar[type[Any]] = LAVTOptions

    def __init__(self, options: LAVTOptions) -> None:
        super().__init__()
        self.options = options
        self.input_spec = _input_spec(options)
        self.encoder = _build_encoder(options)
        widths = self.encoder.channels
        if len(options.mha) != len(widths):
            raise UsageError(f"lavt: option 'mha' needs {len(widths)} numbers of heads, one per stage.")
        self.stages = nn.ModuleList(
            FusedStage(width, options.text_width, heads, options.fusion_drop)
            for width, heads in zip(widths, options.mha, strict=True)
        )
        self.decoder = LAVTDecoder(widths, options.decoder_width or widths[-1] // 2)
        self.text = build_bert(
            width=options.text_width,
            layers=options.text_layers,
            heads=options.text_heads,
            vocabulary=options.text_vocabulary,
            positions=options.text_positions,
        )
        self._freeze_untrained_text()

    def _freeze_untrained_text(self) -> None:
        if not self.options.train_text_embeddings:
            freeze(self.text.embeddings)
        for layer in self.text.encoder.layer[self.options.trained_text_layers :]:
            freeze(layer)

    def load_pretrained(self) -> dict[str, str]:
        """Load the encoders' base weights that the options name; see `Method.load_pretrained`."""
        digests: dict[str, str] = {}
        if self.options.encoder_weights is not None:
            path = resolve(WeightRef.parse(self.options.encoder_weights))
            self.encoder.load_tensors(load_tensors(path))
            digests["visual"] = sha256_file(path)
        if self.options.text_weights is not None:
            path = resolve(WeightRef.parse(self.options.text_weights))
            load_bert(self.text, load_tensors(path), f"text weights {path}")
            digests["text"] = sha256_file(path)
        return digests

    def load_official(self, path: Path) -> str:
        """Load a checkpoint of the released code, of either of its forms (see `weights.py`).

        Returns:
            sha256 of the file.

        Raises:
            MissingResourceError: unreadable, or not of this network; the message names the first parameters at fault.
        """
        from baselines.lavt.weights import load_official

        return load_official(self, path)

    def features(self, images: Tensor, ids: Tensor, mask: Tensor) -> LAVTFeatures:
        """Run the network up to its decoder's logits.

        Args:
            images: (B, 3, H, W), of any size.
            ids: (B, T) token ids, of any length the text encoder has positions for.
            mask: (B, T), true or 1 for words.
        """
        words = encode_words(self.text, ids, mask)
        flowing = self.encoder.stem(images)
        maps: list[Tensor] = []
        for index, stage in enumerate(self.stages):
            if index:
                flowing = self.encoder.downsample(index - 1, flowing)
            flowing, fused = stage(self.encoder.stage(index, flowing), words, mask)
            maps.append(fused)
        return LAVTFeatures(words, tuple(maps), self.decoder(maps))

    def forward(self, batch: Batch) -> MethodOutput:
        """Object minus background at input size (B, 1, H, W); `aux["classes"]` holds both (B, 2, H, W)."""
        decoded = self.features(batch.images, batch.tokens.ids, batch.tokens.mask).classes
        classes = upsample_aligned(decoded, (batch.images.shape[-2], batch.images.shape[-1]))
        return MethodOutput(classes[:, 1:] - classes[:, :1], {"classes": classes})

    def loss(self, output: MethodOutput, batch: Batch) -> dict[str, Tensor]:
        """Weighted cross entropy over the two classes at input resolution."""
        return {"ce": two_class_cross_entropy(output.aux["classes"], batch.masks, self.options.class_weights)}

    def param_groups(self, base_lr: float, weight_decay: float) -> list[dict[str, Any]]:
        """The released four groups at one learning rate; only norms and bias tables of the backbone do not decay."""
        plain: list[nn.Parameter] = []
        decayed: list[nn.Parameter] = []
        for part in (self.encoder, self.stages):
            for name, parameter in part.named_parameters():
                spared = any(word in name for word in ("norm", "absolute_pos_embed", "relative_position_bias_table"))
                (plain if spared else decayed).append(parameter)
        groups = [
            (plain, 0.0),
            (decayed, weight_decay),
            (list(self.decoder.parameters()), weight_decay),
            (list(self.text.parameters()), weight_decay),
        ]
        return [{"params": trainable(parameters), "lr": base_lr, "weight_decay": decay} for parameters, decay in groups]

    def encoders(self) -> dict[str, nn.Module]:
        """The visual and the text encoder."""
        return {"visual": self.encoder, "text": self.text}


def _build_encoder(options: LAVTOptions) -> StagedEncoder:
    if options.encoder == "efficientnet_lite0":
        return EfficientNetLite(drop_path=options.drop_path)
    if options.encoder != "swin":
        raise UsageError(f"lavt: option 'encoder' is 'swin' or 'efficientnet_lite0', not '{options.encoder}'.")
    return Swin(
        options.swin_width, options.swin_depths, options.swin_heads, options.swin_window, drop_path=options.drop_path
    )


def _input_spec(options: LAVTOptions) -> InputSpec:
    extra: Mapping[str, Any] = EFFICIENTNET_INPUT if options.encoder == "efficientnet_lite0" else {}
    return InputSpec((options.image_size, options.image_size), options.tokenizer, options.max_tokens, **extra)
