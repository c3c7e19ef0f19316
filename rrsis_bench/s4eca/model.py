"""S4ECA (arXiv 2606.30244): language proxies, multi-scale extraction, scale and spatial selection in frozen encoders.

A reconstruction: only the paper's abstract is available to us. The authors name the parts, their purposes and the 2.4 %
of trained encoder parameters. The insides are ours; each choice is an option (`options.py`, `card.yaml`).
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from rrsis_bench.families.detris.family import DetrisFamily, build_trunk, family_input
from rrsis_bench.families.detris.head import DetrisHead
from rrsis_bench.families.lavt.decoder import LAVTDecoder
from rrsis_bench.nn.encoders.adapted import AdaptedTextEncoder
from rrsis_bench.nn.encoders.staged import StagedEncoder
from rrsis_bench.s4eca.language import TextBranch
from rrsis_bench.s4eca.options import S4ECAOptions
from rrsis_bench.s4eca.vision import PlainVision, StagedVision
from rrsis_bench.s4eca.visual_adapter import ScaleSelection, SpatialSelection
from rrsis_bench.types import Batch, MethodOutput


class S4ECA(DetrisFamily):
    """Frozen image and text encoders with adapters, and a light head.

    Args:
        options: all choices; the defaults are the base size.
    """

    name: ClassVar[str] = "s4eca"
    Options: ClassVar[type[Any]] = S4ECAOptions

    def __init__(self, options: S4ECAOptions) -> None:
        super().__init__()
        self.options = options
        self.input_spec = family_input(options)
        self.text: TextBranch = TextBranch(options)
        sentence, keys = self.text.encoder.sentence_width, self.text.key_width
        self.vision: PlainVision | StagedVision
        self.head: DetrisHead | LAVTDecoder
        trunk = build_trunk(options)
        if isinstance(trunk, StagedEncoder):
            self.vision = StagedVision(trunk, options, sentence, keys)
            channels = trunk.channels
        else:
            self.vision = PlainVision(trunk, options, sentence, keys)
            channels = (options.vit_width,) * 3
        if options.head == "detris":
            self.head = DetrisHead(options, channels[-3:], sentence)
        else:
            self.head = LAVTDecoder(channels, options.width, classes=1)

    def forward(self, batch: Batch) -> MethodOutput:
        """Logits (B, 1, h, w): 4 / patch of the input's resolution, or that of the first stage."""
        language = self.text(batch.tokens)
        maps = self.vision.encode_image(batch.images, language)
        if isinstance(self.head, DetrisHead):
            return MethodOutput(self.head(maps, language.words, ~language.mask, language.sentence))
        # LAVT's decoder reads maps only; the adapters have brought in the language.
        return MethodOutput(self.head(maps))

    @property
    def text_encoder(self) -> AdaptedTextEncoder:
        """The adapted text encoder."""
        return self.text.encoder

    @torch.no_grad()
    def selections(self, batch: Batch) -> dict[str, Tensor]:
        """Run a batch and report what the K visual adapters select.

        Returns:
            `scales` (K, B, 3): the weight of each kernel, mean over channels; `gates` (K, B): the gate, mean over
            positions (and over scales, if positions are selected first). A selection that is off is left out.
        """
        scales: list[Tensor] = []
        gates: list[Tensor] = []
        hooks = []

        def gate(_module: nn.Module, _inputs: object, out: tuple[Tensor, Tensor]) -> None:
            gates.append(out[1].mean((1, 2, 3)).reshape(-1, len(batch.images)).mean(0))

        for module in self.vision.modules():
            if isinstance(module, ScaleSelection):
                hooks.append(module.register_forward_hook(lambda _m, _i, out: scales.append(out[1].mean(-1))))
            elif isinstance(module, SpatialSelection):
                hooks.append(module.register_forward_hook(gate))
        try:
            self(batch)
        finally:
            for hook in hooks:
                hook.remove()
        return {name: torch.stack(found) for name, found in (("scales", scales), ("gates", gates)) if found}
