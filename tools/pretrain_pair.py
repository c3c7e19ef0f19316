"""Pre-trains a tiny CLIP and a tiny SAM: `python -m tools.pretrain_pair`.

The tiny variants of methods with a dual encoder and a promptable segmenter freeze both, so that both must be
pre-trained. They learn from scenes whose seeds no split uses (`data.synthetic.scenes.PRETRAIN`):

* CLIP's image tower learns the image and the places that a sentence describes, and categories and colours. The text
  tower is that of `tiny_clip.safetensors` and stays fixed;
* SAM learns the mask of an object from points in the object, with or without a coarse mask.

The same seed, steps, number of threads and library versions give the same bytes. The configurations hold the files'
sha256.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, IterableDataset

from rrsis_bench.data.synthetic.drawing import COLOURS, SHAPES
from rrsis_bench.data.synthetic.scenes import PRETRAIN, draw_scene
from rrsis_bench.nn.encoders.clip import text_part
from rrsis_bench.nn.encoders.clip_dual import ClipDual, split_attention
from rrsis_bench.nn.encoders.sam_v1 import SegmentAnything
from rrsis_bench.nn.layers.losses import dice_loss
from rrsis_bench.nn.weights.files import fit, load_tensors
from rrsis_bench.types import InputSpec
from tools.pretrain_tiny import ASSETS, PER_SCENE, SceneBatch, SceneBatches, write

SIDE = 128
TOKENS = 16
POINTS = 3
"""Number of points in a prompt, all inside the object."""
OBJECTS = 3
"""Prompted objects per scene, O; a scene with fewer objects repeats them."""


class ClipPretraining(nn.Module):
    """The image tower with the heads of its pre-training, and the fixed text tower."""

    def __init__(self) -> None:
        super().__init__()
        self.dual = ClipDual("clip-nano")
        text = {name: value.float() for name, value in load_tensors(ASSETS / "tiny_clip.safetensors").items()}
        fit(self.dual.text, split_attention(text_part(text)), "the tiny text tower")
        self.dual.text.requires_grad_(False)
        self.classes = (1 + len(SHAPES), 1 + len(COLOURS))
        self.label = nn.Linear(self.dual.width, 4 * sum(self.classes))
        with torch.no_grad():
            # The value that CLIP's training starts from; CLIP's released weights end at 100.
            self.dual.log_scale.fill_(np.log(1 / 0.07))
            # A sentence describes few of the places.
            self.dual.bias.fill_(-4.0)

    def forward(self, scenes: SceneBatch) -> tuple[dict[str, Tensor], Tensor]:
        """Compute named losses, and the logits (B * E, g, g) of the places that the sentences describe."""
        places = self.dual.encode_image(scenes.images)
        with torch.no_grad():
            sentences = F.normalize(self.dual.encode_text(scenes.ids, scenes.mask).sentence, dim=-1)
        labels = F.pixel_shuffle(self.label(places.permute(0, 2, 3, 1)).permute(0, 3, 1, 2), 2)
        categories, colours = torch.split(labels, list(self.classes), dim=1)
        asked = sentences.reshape(-1, PER_SCENE, self.dual.width)
        cosine = torch.einsum("bchw,bec->behw", F.normalize(places, dim=1), asked).flatten(0, 1)
        logits = self.dual.log_scale.exp() * cosine + self.dual.bias
        truth = F.avg_pool2d(scenes.masks[:, None], 2)[:, 0]
        # The similarity of image and sentence is a soft maximum over the image's places.
        best = self.dual.log_scale.exp() * torch.einsum("bchw,ec->behw", F.normalize(places, dim=1), asked[:, 0])
        match = best.flatten(2).logsumexp(-1)
        own = torch.arange(len(match))
        losses = {
            "category": F.cross_entropy(categories, scenes.categories),
            "colour": F.cross_entropy(colours, scenes.colours),
            "place": 2 * F.binary_cross_entropy_with_logits(logits, truth) + 0.4 * dice_loss(logits, truth),
            "match": 0.05 * (F.cross_entropy(match, own) + F.cross_entropy(match.T, own)),
        }
        return losses, logits

    def overlap(self, logits: Tensor, scenes: SceneBatch) -> Tensor:
        """Intersection over union of the places, summed over the batch."""
        return overlap(logits, F.avg_pool2d(scenes.masks[:, None], 2)[:, 0])

    def state(self) -> dict[str, Tensor]:
        """The tensors to save, in CLIP's layout with split input projections of the attention."""
        return {
            **{f"visual.{name}": value for name, value in self.dual.vision.state_dict().items()},
            **self.dual.text.state_dict(),
            "logit_scale": self.dual.log_scale,
            "logit_bias": self.dual.bias,
        }


@dataclass(frozen=True)
class Prompted:
    """A batch of scenes with prompts for some of their objects.

    Attributes:
        images: (B, 3, S, S) normalised.
        masks: (B * O, 1, S / 2, S / 2) in {0, 1}.
        points: (B * O, POINTS, 2) pixel columns and rows inside the object.
        coarse: (B * O, 1, S / 2, S / 2) logits of a coarse mask.
        given: (B * O,) bool, True if the prompt holds the coarse mask.
    """

    images: Tensor
    masks: Tensor
    points: Tensor
    coarse: Tensor
    given: Tensor


class PromptedScenes(IterableDataset[Prompted]):
    """Batches of new scenes with prompts, in the order of their seeds."""

    def __init__(self, seeds: range, size: int, spec: InputSpec) -> None:
        self.seeds, self.size, self.spec = seeds, size, spec

    def __iter__(self) -> Iterator[Prompted]:
        """Draw batch after batch."""
        for start in range(0, len(self.seeds), self.size):
            drawn = [self._scene(seed) for seed in self.seeds[start : start + self.size]]
            yield Prompted(*(torch.cat(parts) for parts in zip(*drawn, strict=True)))

    def _scene(self, seed: int) -> tuple[Tensor, ...]:
        scene = draw_scene(seed, SIDE)
        rng = np.random.default_rng((seed, 3))
        picks = rng.permutation(len(scene.objects))[np.arange(OBJECTS) % len(scene.objects)]
        masks = torch.from_numpy(np.stack([scene.objects[k].mask for k in picks])).float()[:, None]
        points = []
        for k in picks:
            inside = np.argwhere(scene.objects[k].mask)
            points.append(inside[rng.integers(0, len(inside), POINTS), ::-1].copy())
        image = torch.from_numpy(scene.image).permute(2, 0, 1)[None].float() * self.spec.scale
        mean, std = torch.tensor(self.spec.mean), torch.tensor(self.spec.std)
        small = F.avg_pool2d(masks, 8)
        # The coarse mask shows a neighbour faintly, as the similarity of an image to a sentence does.
        leak = torch.from_numpy(rng.uniform(0, 0.7, (OBJECTS, 1, 1, 1))).float()
        rough = torch.maximum(small, leak * small.roll(1, dims=0))
        noise = torch.from_numpy(rng.normal(0, 1.5, rough.shape)).float()
        coarse = F.interpolate(16 * rough - 8 + noise, (SIDE // 2, SIDE // 2), mode="bilinear", align_corners=True)
        return (
            (image - mean[:, None, None]) / std[:, None, None],
            (F.avg_pool2d(masks, 2) >= 0.5).float(),
            torch.from_numpy(np.stack(points)).float(),
            coarse,
            torch.from_numpy(rng.random(OBJECTS) < 0.7),
        )


class SamPretraining(nn.Module):
    """SAM, which segments the prompted objects."""

    def __init__(self) -> None:
        super().__init__()
        self.sam = SegmentAnything("sam-nano")
        nn.init.trunc_normal_(self.sam.network.image_encoder.pos_embed, std=0.02)
        for parameter in self.sam.idle():
            parameter.requires_grad_(False)
        prompts = self.sam.network.prompt_encoder
        for part in (prompts.point_embeddings, prompts.not_a_point_embed, prompts.no_mask_embed):
            part.requires_grad_(True)

    def forward(self, scenes: Prompted) -> tuple[dict[str, Tensor], Tensor]:
        """Compute named losses, and the mask logits (B * O, 1, 4g, 4g)."""
        asked = torch.arange(len(scenes.images)).repeat_interleave(OBJECTS)
        features = self.sam.encode_image(scenes.images).select(asked)
        labels = torch.ones(scenes.points.shape[:2], dtype=torch.int64)
        sparse, nothing = self.sam.prompt(scenes.points, labels, None)
        embedded = torch.where(scenes.given[:, None, None, None], self.sam.embed_mask(scenes.coarse), nothing)
        logits = self.sam.decode(features, sparse, embedded)
        losses = {
            "bce": 2 * F.binary_cross_entropy_with_logits(logits, scenes.masks),
            "dice": dice_loss(logits, scenes.masks),
        }
        return losses, logits

    def overlap(self, logits: Tensor, scenes: Prompted) -> Tensor:
        """Intersection over union of the masks, summed over the batch."""
        return overlap(logits, scenes.masks)

    def state(self) -> dict[str, Tensor]:
        """The tensors to save, in segment-anything's layout."""
        return dict(self.sam.network.state_dict())


def overlap(logits: Tensor, truth: Tensor) -> Tensor:
    """Intersection over union of logits above 0 and truth above one half, summed over the batch."""
    found, meant = logits.detach() > 0, truth > 0.5
    return (found & meant).sum() / (found | meant).sum().clamp(min=1)


def train(
    model: ClipPretraining | SamPretraining,
    data: IterableDataset[SceneBatch] | IterableDataset[Prompted],
    steps: int,
    rate: float,
) -> None:
    """Train a network on new scenes.

    Args:
        model: the network; its parameters change in place.
        data: batches, one for each step.
        steps: number of optimiser steps.
        rate: highest learning rate, after a warm-up over a twentieth of the steps; a cosine to zero follows.
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, rate, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, rate, steps, pct_start=0.05, cycle_momentum=False, final_div_factor=1e3
    )
    began = time.monotonic()
    loader: DataLoader[Any] = DataLoader(data, batch_size=None, num_workers=1)
    for step, scenes in enumerate(loader, start=1):
        losses, logits = model(scenes)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(torch.stack(list(losses.values())).sum())
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        schedule.step()
        if step % 100 == 0 or step == steps:
            named = "  ".join(f"{name} {value.item():.3f}" for name, value in losses.items())
            seconds = time.monotonic() - began
            print(f"step {step}  {named}  oIoU {model.overlap(logits, scenes).item():.3f}  {seconds:.0f} s", flush=True)


def spec_of(mean: tuple[float, float, float], std: tuple[float, float, float]) -> InputSpec:
    """The input of the tiny variants with a network's own mean and standard deviation."""
    return InputSpec((SIDE, SIDE), "tiny", TOKENS, mean=mean, std=std)


def main(arguments: Sequence[str] | None = None) -> None:
    """Pre-train, write `tiny_pair_clip.safetensors` and `tiny_pair_sam.safetensors`, and print their sha256."""
    parser = argparse.ArgumentParser(description="Pre-train a tiny CLIP and a tiny SAM.")
    parser.add_argument("--out", type=Path, default=ASSETS, help="folder for the two files")
    parser.add_argument("--only", choices=["clip", "sam"], help="pre-train only this network")
    parser.add_argument("--steps", type=int, default=1000, help="optimiser steps of CLIP")
    parser.add_argument("--sam-steps", type=int, default=700, help="optimiser steps of SAM")
    parser.add_argument(
        "--batch-size", type=int, default=16, help="scenes per step of CLIP; a step of SAM has half as many"
    )
    parser.add_argument("--rate", type=float, default=1.5e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1, help="number of threads; another number gives other bytes")
    args = parser.parse_args(arguments)
    torch.set_num_threads(args.threads)
    torch.use_deterministic_algorithms(True)
    args.out.mkdir(parents=True, exist_ok=True)
    if args.only != "sam":
        torch.manual_seed(args.seed)
        clip = ClipPretraining()
        seeds = seeds_of(args.seed, args.steps * args.batch_size)
        train(clip, SceneBatches(seeds, args.batch_size, spec_of(clip.dual.mean, clip.dual.std)), args.steps, args.rate)
        path = args.out / "tiny_pair_clip.safetensors"
        print(f"{path}  {write(clip.state(), path)}", flush=True)
    if args.only != "clip":
        torch.manual_seed(args.seed)
        sam = SamPretraining()
        size = max(1, args.batch_size // 2)
        plain = InputSpec((SIDE, SIDE), "tiny", TOKENS)
        train(sam, PromptedScenes(seeds_of(args.seed, args.sam_steps * size), size, plain), args.sam_steps, args.rate)
        path = args.out / "tiny_pair_sam.safetensors"
        print(f"{path}  {write(sam.state(), path)}", flush=True)


def seeds_of(seed: int, count: int) -> range:
    """`count` seeds of scenes, which differ for each seed of the run."""
    return range(PRETRAIN.start + seed * count, PRETRAIN.start + (seed + 1) * count)


if __name__ == "__main__":
    main()
