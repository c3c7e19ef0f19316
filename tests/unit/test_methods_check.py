"""`methods check` says of an own method whatever `fit` would trip over, in words that name the fault."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from rrsis_bench import registry
from rrsis_bench.cli import main

pytestmark = pytest.mark.slow

MODEL = """
from dataclasses import dataclass
import torch
from torch import nn
from torch.nn import functional
from rrsis_bench.methods.base import Method
from rrsis_bench.types import InputSpec, MethodOutput


@dataclass(frozen=True)
class MyOptions:
    width: int = 8


class Mine(Method):
    name = "{name}"
    Options = MyOptions

    def __init__(self, options):
        super().__init__()
        self.input_spec = InputSpec((32, 32), "tiny", 16)
        self.stem = nn.Conv2d(3, options.width, 3, stride=4, padding=1)
        self.norm = nn.BatchNorm2d(options.width)
        self.words = nn.Embedding(512, options.width)
        self.head = nn.Conv2d(options.width, 1, 1)

    def forward(self, batch):
        real = batch.tokens.mask[..., None].float()
        words = (self.words(batch.tokens.ids) * real).sum(1) / real.sum(1).clamp(min=1)
        features = functional.gelu(self.norm(self.stem(batch.images)))
        return MethodOutput(self.head(features * (1 + words[..., None, None])))

    def loss(self, output, batch):
        truth = functional.interpolate(batch.masks[:, None].float(), output.logits.shape[-2:])
        return {{"bce": functional.binary_cross_entropy_with_logits(output.logits.float(), truth)}}

    def param_groups(self, base_lr, weight_decay):
        return [{{"params": list(self.parameters()), "lr": 30 * base_lr}}]
"""
CARD = "title: Mine\nyear: 2026\nfidelity: from-paper\nencoders: {tiny: words, base: words}\n"
CONFIG = """
published: base
common: {model: {optimizer: {lr: 3.0e-4}}}
variants:
  tiny: {model: {options: {width: 8}}}
  base: {model: {options: {width: 16}}}
datasets: {rrsisd: {trainer: {max_epochs: 65}}}
recipes: {suite: {trainer: {max_epochs: 3}}}
"""
LOSS = "    def loss("
FAULTS = [
    # The card.
    ("card.yaml", CARD, "title: [Mine\n", "has a broken card"),
    ("card.yaml", CARD, "", "holds no 'key: value' lines"),
    ("card.yaml", CARD, None, "card.yaml is missing"),
    ("card.yaml", "year: 2026", "year: soon", "year must be a whole number from 1900 to 2100"),
    ("card.yaml", "from-paper", "great", "fidelity must be one of official-parity, "),
    ("card.yaml", "{tiny: words, base: words}", "[words]", "encoders must be text"),
    ("card.yaml", "year: 2026", "no_gradient: words.*", "no_gradient must be a list"),
    ("card.yaml", "year: 2026", "published_parameters: {base: many}", "published_parameters must be a mapping"),
    ("card.yaml", "year: 2026", "published_parameters: {huge: 5}", "has no variant 'huge'"),
    # The configuration.
    ("config.yaml", CONFIG, None, "has no configuration"),
    ("config.yaml", CONFIG, "variants: [tiny\n", "cannot read configuration"),
    ("config.yaml", CONFIG, "published: base\n", "must hold `variants` by name"),
    ("config.yaml", "published: base", "published: bsae", "has no variant 'bsae'. Did you mean 'base'?"),
    ("config.yaml", "published: base", "publishd: base", "unknown key 'publishd'. Did you mean 'published'?"),
    ("config.yaml", "  tiny: ", "  small: ", "has no variant 'tiny'"),
    ("config.yaml", "{lr: 3.0e-4}", "{lr: -1}", "model.optimizer.lr must be a number above 0, not -1"),
    ("config.yaml", "{lr: 3.0e-4}", "{rate: 1}", "unknown key 'model.optimizer.rate'"),
    ("config.yaml", "rrsisd: ", "rrsisdd: ", "datasets.rrsisdd is for no known data set. Did you mean 'rrsisd'?"),
    ("config.yaml", "max_epochs: 65", "max_epochs: -65", "trainer.max_epochs must be"),
    ("config.yaml", "max_epochs: 3", "max_epoch: 3", "unknown key 'trainer.max_epoch'"),
    ("config.yaml", "{width: 16}", "{widht: 16}", "has no option 'widht'. Did you mean 'width'?"),
    ("config.yaml", "{width: 16}", "{width: wide}", "option 'width' must be a whole number, not 'wide'"),
    ("config.yaml", "{width: 16}", "{width: -1}", "variant base: "),
    # The class.
    ("__init__.py", "Mine", "Yours", "fails: ImportError: "),
    ("model.py", "import torch\n", "import torsch\n", "fails: ModuleNotFoundError: No module named 'torsch'"),
    ("model.py", "class Mine(Method):", "class Mine(Method)", "fails: SyntaxError: "),
    ("model.py", "class Mine(Method):", "class Mine(nn.Module):", "is no subclass of rrsis_bench.methods.base.Method"),
    ("model.py", '    name = "', '    name = "not', "write name = "),
    ("model.py", "    Options = MyOptions\n", "", "has no dataclass `Options`"),
    ("model.py", "@dataclass(frozen=True)\n", "", "has no dataclass `Options`"),
    ("model.py", "width: int = 8", "width: Width = 8", "fails: NameError: "),
    ("model.py", "def __init__(self, options):", "def __init__(self):", "TypeError: "),
    ("model.py", "        super().__init__()\n", "", "AttributeError: "),
    ("model.py", "        self.input_spec = InputSpec", "        self.spec = InputSpec", "input_spec"),
    ("model.py", '"tiny", 16', '"moon", 16', "unknown tokenizer 'moon'"),
    ("model.py", "self.words = ", "self.mean = self.norm.weight.sum().item(); self.words = ", "variant tiny: "),
    # What it computes.
    ("model.py", "        return MethodOutput(self.head", "        return (self.head", "not a MethodOutput"),
    ("model.py", "nn.Conv2d(options.width, 1, 1)", "nn.Conv2d(options.width, 2, 1)", "their shape must be"),
    ("model.py", "batch.masks[:, None]", "batch.masks", "losses are scalars"),
    ("model.py", "logits.float(), truth)", 'logits.float(), truth, reduction="none")', "it must be a"),
    ("model.py", '{{"bce": ', '{{"bce": 0 * ', "without gradient"),
    ("model.py", 'return {{"bce": ', "return {{'bce': float(1), 'was': ", "is float, not a tensor"),
    ("model.py", LOSS, "    def calibrate(self, batches):\n        self.cut = batches.cut\n\n" + LOSS, "cut"),
    ("model.py", LOSS, "    def checkpoint_activations(self):\n        self.head = None\n\n" + LOSS, "NoneType"),
    ("model.py", LOSS, "    def load_pretrained(self):\n        return {{'a': 'v1'}}\n\n" + LOSS, "no sha256"),
    ("model.py", "list(self.parameters())", "list(self.head.parameters())", "left out"),
    ("model.py", "        self.stem = ", "        self.lock = lambda: 0\n        self.stem = ", None),
]  # fmt: skip
NUMBERS = itertools.count()


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, file: str = "", old: str = "", new: str | None = "") -> str:
    """Write the package of a method with one part replaced, and register it. Returns the method's name."""
    name = f"mine{next(NUMBERS)}"
    package = folder / f"package_{name}"
    package.mkdir()
    texts = {"model.py": MODEL, "card.yaml": CARD, "config.yaml": CONFIG, "__init__.py": "from .model import Mine\n"}
    for key, text in texts.items():
        if key == file:
            assert old in text
            if new is None:
                continue
            text = text.replace(old, new)
        (package / key).write_text(text.format(name=name) if key == "model.py" else text)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setitem(registry.installed_targets(), name, f"{package.name}:Mine")
    monkeypatch.setenv("COLUMNS", "300")
    return name


def test_a_sound_method_passes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name = install(tmp_path, monkeypatch)
    code = main(["methods", "check", name])
    assert code == 0, capsys.readouterr().out


SOME = [
    fault if number % 6 == 0 else pytest.param(*fault, marks=pytest.mark.slow) for number, fault in enumerate(FAULTS)
]
"""All faults; the inner loop tries one in six."""


@pytest.mark.parametrize(("file", "old", "new", "said"), SOME)
def test_a_fault_is_found_and_named(
    file: str,
    old: str,
    new: str | None,
    said: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    name = install(tmp_path, monkeypatch, file, old, new)
    code = main(["methods", "check", name])
    shown = capsys.readouterr()
    text = " ".join((shown.out + shown.err).split())
    assert (code == 0) is (said is None), text
    assert said is None or said in text, text
    # One broken method hides no other one.
    assert main(["methods", "list"]) == 0
    assert "s4eca" in capsys.readouterr().out
