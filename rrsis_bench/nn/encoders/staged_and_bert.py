"""A staged image encoder and BERT, both trained: the encoders of LAVT's family and of CroBIM."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from transformers import BertModel

from rrsis_bench.nn.encoders.bert import build_bert, load_bert
from rrsis_bench.nn.encoders.build import IMAGE_ENCODERS, StagedName
from rrsis_bench.nn.encoders.staged import StagedEncoder
from rrsis_bench.nn.layers.freezing import freeze
from rrsis_bench.nn.layers.recompute import recompute
from rrsis_bench.nn.weights.base import load_base
from rrsis_bench.types import InputSpec


@dataclass(frozen=True)
class EncoderOptions:
    """Encoders and input; the defaults are LAVT's, Swin-B and BERT-base.

    Attributes:
        image_size: side in pixels of the square input.
        encoder: the staged image encoder.
        swin_width: channels of the first Swin stage.
        swin_depths: Swin blocks per stage.
        swin_heads: attention heads per Swin stage.
        swin_window: window side in pixels of the map (12 or 7 in released weights).
        drop_path: stochastic depth of the encoder's last block.
        encoder_weights: pretrained image encoder (see `nn/weights/refs.py`); None starts from random values.
        tokenizer: registered tokenizer name.
        max_tokens: length that token ids are cut or padded to.
        text_width: width of the text encoder.
        text_layers: its transformer layers.
        text_heads: its attention heads.
        text_vocabulary: its number of token ids.
        text_positions: its longest sequence.
        text_weights: pretrained text encoder; None starts from random values.
        trained_text_layers: number of lowest layers of the text encoder that are trained; LAVT's released optimiser
            leaves out the rest.
        train_text_embeddings: train the word embeddings too; LAVT's released code does not.
    """

    image_size: int = 480
    encoder: StagedName = "swin"
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


def build_staged_encoder(options: EncoderOptions) -> StagedEncoder:
    """The image encoder that the options name, with random weights."""
    built = IMAGE_ENCODERS[options.encoder].build(options, options.drop_path)
    assert isinstance(built, StagedEncoder)
    return built


def build_text_encoder(options: EncoderOptions) -> BertModel:
    """BERT in the options' size, with random weights; layers and embeddings that stay untrained are frozen."""
    bert = build_bert(
        width=options.text_width,
        layers=options.text_layers,
        heads=options.text_heads,
        vocabulary=options.text_vocabulary,
        positions=options.text_positions,
    )
    if not options.train_text_embeddings:
        freeze(bert.embeddings)
    for layer in bert.encoder.layer[options.trained_text_layers :]:
        freeze(layer)
    return bert


def encoder_input(options: EncoderOptions) -> InputSpec:
    """Input of the square size and token length that the options name, normalised as the image encoder wants it."""
    size = (options.image_size, options.image_size)
    return InputSpec(size, options.tokenizer, options.max_tokens, **IMAGE_ENCODERS[options.encoder].input)


def recompute_blocks(visual: StagedEncoder, text: BertModel) -> None:
    """Run the blocks of both encoders again in the backward pass; see `Method.checkpoint_activations`."""
    recompute([*visual.recomputable(), *text.encoder.layer])


def load_base_weights(options: EncoderOptions, visual: StagedEncoder, text: BertModel) -> dict[str, str]:
    """Load the base weights that the options name into both encoders; see `Method.load_pretrained`.

    Returns:
        `visual` and `text` -> sha256 of the file, each only where one is named.

    Raises:
        MissingResourceError: a file is missing, unreadable or of another network.
    """
    digests: dict[str, str] = {}
    if options.encoder_weights is not None:
        digests["visual"] = load_base(options.encoder_weights, visual.load_tensors)
    if options.text_weights is not None:
        digests["text"] = load_base(options.text_weights, partial(load_bert, text))
    return digests
