"""DiCoR (Gao et al., 2026): LAVT's stages and decoder, a multi-scale module, a guide to the referent, and a refiner.

The whole network: `stage_maps` (the family), `Guide` brightens the third map and weighs the words, `MultiScale` mixes
the maps, the family's decoder gives coarse logits, and `Refiner` corrects them at the image's size.

Legend: `B` batch, `H W` pixels of the input, `h w` = H/4, W/4.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from baselines.dicor.guide import Guide, Ranking
from baselines.dicor.losses import (
    focus,
    mean_where,
    refiner_losses,
    response_loss,
    target,
    winner_loss,
    winner_target,
)
from baselines.dicor.msf import MultiScale
from baselines.dicor.options import DiCoROptions
from baselines.dicor.prompts import make_prompts, prompt_logits
from baselines.dicor.refiner import Refiner
from baselines.dicor.stages import phase_at, phase_of, start_from
from baselines.dicor.weights import names_for
from rrsis_bench.errors import UsageError
from rrsis_bench.families.lavt.decoder import upsample_aligned
from rrsis_bench.families.lavt.family import LAVTFamily
from rrsis_bench.families.lavt.names import load_official
from rrsis_bench.families.lavt.stage import CONTEXT, LAVTStage, TextFeatures, Texts
from rrsis_bench.nn.layers.freezing import freeze, trainable
from rrsis_bench.types import Batch, MethodOutput, TextTokens

CONTENT = "content"
"""Name of the text without its start and end, which the guide reads."""
MILD = 0.01
"""Weight decay of guide, refiner and word norm over the recipe's."""


class DiCoR(LAVTFamily):
    """All parts, or those that one of the four released trainings needs."""

    name: ClassVar[str] = "dicor"
    Options: ClassVar[type[Any]] = DiCoROptions

    refine: MultiScale

    def __init__(self, options: DiCoROptions) -> None:
        super().__init__(options)
        widths = self.encoder.channels
        sizes = (options.guide_hidden, options.guide_query, options.guide_router, options.guide_geometry)
        self.guide = (
            Guide(widths[2], options.text_width, options.rule, sizes, options.guide_strength)
            if options.has_guide
            else None
        )
        self.refiner = Refiner(options.refiner_width, options.refiner_levels) if options.has_refiner else None
        self.phase = phase_of(options)
        for module in self._never_learning():
            freeze(module)

    def build_stage(self, width: int, heads: int) -> nn.Module:
        """LAVT's stage: PWAM and the language gate."""
        return LAVTStage(width, self.options.text_width, heads, self.options.fusion_drop)

    def build_refine(self, widths: Sequence[int]) -> nn.Module:
        """The multi-scale module, with or without words."""
        options: DiCoROptions = self.options
        inner = sum(widths) // 4
        for width in (inner, options.text_width) if options.language else (inner,):
            if width % options.msf_heads:
                raise UsageError(
                    f"{self.name}: option 'msf_heads': {options.msf_heads} do not divide {width} channels."
                )
        silent = options.lvmsf_init == "from_vmsf"
        return MultiScale(widths, options.text_width, options.msf_blocks, options.msf_heads, options.language, silent)

    # --- which parts learn ----------------------------------------------------------------------------------------

    def _coarse(self) -> list[nn.Module]:
        """The parts of the coarse network."""
        return [self.encoder, self.text, self.stages, self.refine, self.decoder]

    def _never_learning(self) -> list[nn.Module]:
        """The parts that this stage keeps as they are."""
        stage = self.options.stage
        if self.options.joined:
            return list(self.children())
        idle: list[nn.Module] = []
        if stage in ("refiner", "guide"):
            idle = self._coarse()
        elif stage == "joint":
            idle = [self.encoder, self.text, self.stages]
        if self.guide is not None:
            idle += [self.guide.response, self.guide.ranker] if stage == "joint" else []
            # Without LVMSF, the words that the guide weighs lead nowhere.
            idle += [self.guide.text_norm] if stage == "guide" or not self.options.language else []
        return idle

    def train(self, mode: bool = True) -> Self:
        """Set the mode. Parts that do not learn now stay in evaluation mode."""
        super().train(mode)
        resting = [] if "coarse" in self.phase.learning else self._coarse()
        for module in (*self._never_learning(), *resting):
            module.eval()
        return self

    def progress(self, epochs: float) -> None:
        """Go on to the phase that the epochs belong to, in a run of all parts."""
        options: DiCoROptions = self.options
        if options.stage != "full" or options.joined or options.phases is None:
            return
        phase = phase_at(epochs, options.phases)
        if phase != self.phase or not self._told:
            self.phase, self._told = phase, True
            assert self.guide is not None
            self.guide.acts.fill_(0.0 if phase.learning == {"coarse"} else 1.0)
            self.train(self.training)

    _told = False
    """Whether `progress` was called: a checkpoint may bring another value of `Guide.acts`."""

    def load_pretrained(self) -> dict[str, str]:
        """Load the encoders' base weights, or all that `weights_from` names; see `Method.load_pretrained`.

        Raises:
            UsageError: a run of `weights_from` is of another method, or lacks a part that this stage does not train.
            MissingResourceError: a file is missing, unreadable or of another network.
        """
        digests = super().load_pretrained()
        return {**digests, **start_from(self, self.options, tuple(digests))} if self.options.weights_from else digests

    def load_official(self, path: Path) -> str:
        """Load a checkpoint under the released names (`weights.py`); see `Method.load_official`."""
        options: DiCoROptions = self.options
        names = names_for(options.language, options.has_guide, options.has_refiner)
        return load_official(self, path, names, {"guide.acts": torch.ones(())} if options.has_guide else None)

    # --- the network ----------------------------------------------------------------------------------------------

    def encode_texts(self, tokens: TextTokens) -> Texts:
        """Encode the expression. The guide reads it without start and end."""
        texts = dict(super().encode_texts(tokens))
        words = texts[CONTEXT]
        present = words.mask.bool()
        for special in self.options.special_ids:
            present = present & (tokens.ids != special)
        texts[CONTENT] = TextFeatures(words.states, present)
        return texts

    def rank(self, maps: Sequence[Tensor], texts: Texts, source: Tensor | None = None) -> tuple[Tensor, Ranking]:
        """The guide's response (B, 1, h3, w3) before the sigmoid, and its ranking. Neither trains encoders or stages.

        Args:
            maps: the stages' maps.
            texts: the encoded texts.
            source: (B, 1, ., .) in [0, 1] that candidates are picked from; None for the response itself.
        """
        assert self.guide is not None
        features, words = maps[2].detach(), texts[CONTENT]
        response = self.guide.response(features)
        read = TextFeatures(words.states.detach(), words.mask)
        return response, self.guide.rank(features, read, response.detach().sigmoid() if source is None else source)

    def guided(self, maps: Sequence[Tensor], texts: Texts, ranking: Ranking) -> tuple[list[Tensor], Texts]:
        """The maps and texts that the multi-scale module reads. No gradient passes through the ranking."""
        assert self.guide is not None
        fixed = ranking.detached()
        brighter = [self.guide.brighten(one, fixed) if index == 2 else one for index, one in enumerate(maps)]
        if not self.options.language:
            return brighter, texts
        words = texts[CONTEXT]
        weighed = self.guide.weigh(words.states, texts[CONTENT], fixed)
        return brighter, {**texts, CONTEXT: TextFeatures(weighed, words.mask)}

    def encode(
        self, images: Tensor, ids: Tensor, mask: Tensor, parts: Mapping[str, Tensor] | None = None
    ) -> tuple[tuple[Tensor, ...], Texts]:
        """Run the network up to its decoder; see `LAVTFamily.encode`. The guide acts if this stage has one."""
        maps, texts = self.stage_maps(images, ids, mask, parts)
        read, words = maps, texts
        if self.guide is not None:
            with torch.no_grad():
                ranking = self.rank(maps, texts)[1]
            read, words = self.guided(maps, texts, ranking)
        return tuple(self.refine(read, words)), texts

    def forward(self, batch: Batch) -> MethodOutput:
        """Logits, object minus background, at input size (B, 1, H, W).

        In training, they are those of the part that learns. `aux` holds what the losses read: `classes` (B, 2, H, W),
        the `response` and `ranking` of the guide, `prompts`, and the refiner's `refined` logits and `delta`.
        """
        if self.training and self.phase.learning:
            return self._train(batch)
        tokens = batch.tokens
        size = (batch.images.shape[-2], batch.images.shape[-1])
        classes = upsample_aligned(self.features(batch.images, tokens.ids, tokens.mask, tokens.parts).classes, size)
        if self.refiner is not None:
            classes = classes + self.refiner(batch.images, classes.softmax(1)[:, 1:])
        return MethodOutput(classes[:, 1:] - classes[:, :1], {"classes": classes})

    def _train(self, batch: Batch) -> MethodOutput:
        options: DiCoROptions = self.options
        learning, tokens = self.phase.learning, batch.tokens
        size = (batch.images.shape[-2], batch.images.shape[-1])
        aux: dict[str, Any] = {}
        with torch.set_grad_enabled(torch.is_grad_enabled() and "coarse" in learning):
            maps, texts = self.stage_maps(batch.images, tokens.ids, tokens.mask, tokens.parts)
            read, words = maps, texts
            if self.guide is not None and self.phase.guided:
                with torch.no_grad():
                    ranking = self.rank(maps, texts)[1]
                read, words = self.guided(maps, texts, ranking)
            quarter = self.decoder(self.refine(read, words))
            classes = upsample_aligned(quarter, size)
        aux["classes"] = classes
        if learning != {"coarse"}:
            aux["prompts"] = make_prompts(quarter, batch.masks, options.prompt_noise)
        if "guide" in learning:
            aux["response"], aux["ranking"] = self.rank(maps, texts, aux["prompts"].quarter)
        if "refiner" in learning:
            assert self.refiner is not None
            aux["probability"], coarse = prompt_logits(aux["prompts"].quarter, size)
            aux["delta"] = self.refiner(batch.images, aux["probability"])
            aux["refined"] = classes = coarse + aux["delta"]
        return MethodOutput(classes[:, 1:] - classes[:, :1], aux)

    # --- training -------------------------------------------------------------------------------------------------

    def loss(self, output: MethodOutput, batch: Batch) -> dict[str, Tensor]:
        """`ce` and `dice` of the coarse part, `response` and `winner` of the guide, `refine` of the refiner.

        A stage has the losses of what it trains. A run of all parts has all of them; those of parts that do not learn
        yet are 0.
        """
        options, aux, learning = self.options, output.aux, self.phase.learning
        losses: dict[str, Tensor] = {}
        if "coarse" in learning:
            losses |= super().loss(output, batch)
        if "guide" in learning:
            losses |= self._guide_losses(aux, batch.masks)
        if "refiner" in learning:
            losses["refine"] = self._refiner_loss(aux, batch.masks)
        if not losses:
            return {"nothing": output.logits.new_zeros(())}
        if options.stage == "full":
            nothing = 0.0 * sum(losses.values(), losses[next(iter(losses))].new_zeros(()))
            names = ["ce", *(["dice"] if options.dice != "none" else []), "response", "winner", "refine"]
            losses = {name: losses.get(name, nothing) for name in names}
        return losses

    def _guide_losses(self, aux: Mapping[str, Any], masks: Tensor) -> dict[str, Tensor]:
        options, response, ranking = self.options, aux["response"], aux["ranking"]
        wanted = target(masks, (response.shape[-2], response.shape[-1]), dtype=response.dtype)
        best, used = winner_target(ranking, wanted, options.winner_reach, options.winner_largest)
        used = used & aux["prompts"].within(options.bank_iou_locate, options.bank_area_locate)
        return {
            "response": response_loss(response, wanted),
            "winner": options.winner_weight * winner_loss(ranking.scores, best, used),
        }

    def _refiner_loss(self, aux: Mapping[str, Any], masks: Tensor) -> Tensor:
        options = self.options
        weights = focus(aux["probability"])
        parts = refiner_losses(aux["refined"], aux["delta"], masks, weights, options.class_weights)
        each = parts["ce"] + parts["dice"] + options.silence_weight * parts["silence"]
        return mean_where(each, aux["prompts"].within(options.bank_iou_refiner))

    def param_groups(self, base_lr: float, weight_decay: float) -> list[dict[str, Any]]:
        """The family's groups for the coarse part, and one each for response head, ranker, word norm and refiner.

        In stage `joint`, multi-scale module and decoder have their own low rate, and both decay wholly.
        """
        options: DiCoROptions = self.options
        joint = options.stage == "joint"
        own: list[tuple[nn.Module | None, float, float]] = [(self.refiner, options.refiner_rate, MILD)]
        if self.guide is not None:
            own += [
                (self.guide.response, options.response_rate, MILD),
                (self.guide.ranker, options.ranker_rate, MILD),
                (self.guide.text_norm, options.text_norm_rate, MILD),
            ]
        if joint:
            own += [(self.refine, options.joint_rate, 1.0), (self.decoder, options.joint_rate, 1.0)]
        groups = [] if joint else super().param_groups(base_lr, weight_decay)
        return groups + [
            {"params": trainable(module.parameters()), "lr": base_lr * rate, "weight_decay": weight_decay * decay}
            for module, rate, decay in own
            if module is not None
        ]
