"""Pre-trains the encoders of the tiny variants: `python -m tools.pretrain_tiny`.

An encoder that stays frozen must be pre-trained. The tiny vision transformer and the tiny text encoder learn from
scenes whose seeds no split uses (`data.synthetic.scenes.PRETRAIN`). They learn three tasks, whose heads are not saved:

* category and colour of every cell (a quarter of a patch);
* the cells that a sentence describes: the product of cells and sentence vector, against the object's mask;
* the image that a sentence belongs to: CLIP's contrastive loss over the batch.

A run takes some minutes on two cores. The same seed, steps, number of threads and library versions give the same bytes.
The configurations hold the files' sha256.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, IterableDataset

from rrsis_bench.config import variant_options
from rrsis_bench.data.synthetic.drawing import COLOURS, SHAPES
from rrsis_bench.data.synthetic.grammar import expressions
from rrsis_bench.data.synthetic.scenes import PRETRAIN, Scene, draw_scene
from rrsis_bench.data.text import TinyTokenizer
from rrsis_bench.files import write_bytes
from rrsis_bench.nn.encoders.build import IMAGE_ENCODERS, TEXT_ENCODERS
from rrsis_bench.nn.encoders.clip import encode_plain
from rrsis_bench.nn.layers.losses import dice_loss
from rrsis_bench.nn.weights.refs import sha256_file
from rrsis_bench.paths import PACKAGE
from rrsis_bench.s4eca import S4ECA
from rrsis_bench.s4eca.options import S4ECAOptions
from rrsis_bench.types import InputSpec

ASSETS = PACKAGE / "assets"
PER_SCENE = 4
"""Expressions per scene, E; a scene with fewer expressions repeats them."""
CELL = 4
"""Side of a cell in pixels. A cell has one label; four cells make a patch."""
JOINT = 64
"""Width of the space in which cells and sentences are compared."""


@dataclass(frozen=True)
class SceneBatch:
    """A batch of scenes.

    Attributes:
        images: (B, 3, H, W) normalised.
        categories: (B, H / 4, W / 4) int64, 0 for ground.
        colours: (B, H / 4, W / 4) int64, 0 for ground.
        masks: (B * E, H / 4, W / 4) float masks of the referents.
        ids: (B * E, L) tokens of the expressions.
        mask: (B * E, L) bool.
    """

    images: Tensor
    categories: Tensor
    colours: Tensor
    masks: Tensor
    ids: Tensor
    mask: Tensor


class SceneBatches(IterableDataset[SceneBatch]):
    """Batches of new scenes, in the order of their seeds.

    Args:
        seeds: seeds of the scenes.
        size: scenes per batch.
        spec: input specification of the tiny variant.
    """

    def __init__(self, seeds: range, size: int, spec: InputSpec) -> None:
        self.seeds, self.size, self.spec = seeds, size, spec
        self.tokenizer = TinyTokenizer(spec)

    def __iter__(self) -> Iterator[SceneBatch]:
        """Draw batch after batch."""
        for start in range(0, len(self.seeds), self.size):
            drawn = [self._scene(seed) for seed in self.seeds[start : start + self.size]]
            yield SceneBatch(*(torch.cat(parts) for parts in zip(*drawn, strict=True)))

    def _scene(self, seed: int) -> tuple[Tensor, ...]:
        while True:
            scene = draw_scene(seed, self.spec.image_size[0])
            rng = np.random.default_rng((seed, 2))
            chosen = expressions(scene, rng)
            if chosen:
                break
            seed += len(PRETRAIN) // 2  # replaces a scene without unambiguous expression
        picks = rng.permutation(len(chosen))[np.arange(PER_SCENE) % len(chosen)]
        said = [chosen[i] for i in picks]
        tokens = [self.tokenizer(expression.text) for expression in said]
        image = torch.from_numpy(scene.image).permute(2, 0, 1)[None].float() * self.spec.scale
        mean, std = torch.tensor(self.spec.mean), torch.tensor(self.spec.std)
        objects = _cells(scene)
        labels = torch.zeros(2, *objects.shape[1:], dtype=torch.int64)
        for thing, where in zip(scene.objects, objects, strict=True):
            labels[0][where] = 1 + list(SHAPES).index(thing.category)
            labels[1][where] = 1 + list(COLOURS).index(str(thing.colour))
        return (
            (image - mean[:, None, None]) / std[:, None, None],
            labels[:1],
            labels[1:],
            objects[[expression.index for expression in said]].float(),
            torch.tensor([one.ids for one in tokens]),
            torch.tensor([one.mask for one in tokens], dtype=torch.bool),
        )


def _cells(scene: Scene) -> Tensor:
    """Masks of a scene's objects (objects, H / 4, W / 4), bool: the cells that an object covers by half or more."""
    masks = torch.from_numpy(np.stack([thing.mask for thing in scene.objects])).float()
    return F.avg_pool2d(masks, CELL) >= 0.5


class Pretraining(nn.Module):
    """The two encoders with the heads of their pre-training.

    Args:
        options: options of the tiny variant; only the encoders' sizes are used.
    """

    def __init__(self, options: S4ECAOptions) -> None:
        super().__init__()
        self.vision: Any = IMAGE_ENCODERS["dinov2"].build(options, 0.0)
        self.text: Any = TEXT_ENCODERS["clip"].build(options)
        for name, parameter in self.vision.named_parameters():
            if name.endswith("gamma"):
                # DINOv2's LayerScale starts at 1e-5, which suits long runs of deep networks only.
                nn.init.ones_(parameter)
        self.classes = (1 + len(SHAPES), 1 + len(COLOURS))
        self.quarters = (options.vit_patch // CELL) ** 2
        self.label = nn.Linear(options.vit_width, self.quarters * sum(self.classes))
        self.place = nn.Linear(options.vit_width, self.quarters * JOINT)
        self.about = nn.Linear(options.sentence_width, JOINT + 1)
        self.image = nn.Linear(options.vit_width, JOINT)
        self.sentence = nn.Linear(options.sentence_width, JOINT)
        self.scale = nn.Parameter(torch.tensor(np.log(1 / 0.07), dtype=torch.float32))

    def cells(self, features: Tensor, layer: nn.Linear) -> Tensor:
        """Map patch features (B, h * w, C) by a layer, and split each patch into its cells: (B, channels, 2h, 2w)."""
        side = round(features.shape[1] ** 0.5)
        opened = layer(features).transpose(1, 2).reshape(len(features), -1, side, side)
        return F.pixel_shuffle(opened, round(self.quarters**0.5))

    def forward(self, scenes: SceneBatch) -> tuple[dict[str, Tensor], Tensor]:
        """Compute named losses, and the logits (B * E, 2h, 2w) of the cells that the sentences describe."""
        features = self.vision.forward_features(scenes.images)
        patches = features[:, self.vision.num_prefix_tokens :]
        labels = self.cells(patches, self.label)
        categories, colours = torch.split(labels, list(self.classes), dim=1)
        _, sentences = encode_plain(self.text, scenes.ids, scenes.mask)
        about = self.about(sentences)
        places = self.cells(patches, self.place)
        asked = about[:, :-1].unflatten(0, (-1, PER_SCENE)) / JOINT**0.5
        logits = torch.einsum("bchw,bec->behw", places, asked).flatten(0, 1) + about[:, -1, None, None]
        seen = F.normalize(self.image(features[:, 0]), dim=-1)
        heard = F.normalize(self.sentence(sentences[::PER_SCENE]), dim=-1)
        match = self.scale.exp() * seen @ heard.T
        own = torch.arange(len(match))
        losses = {
            "category": F.cross_entropy(categories, scenes.categories),
            "colour": F.cross_entropy(colours, scenes.colours),
            "place": F.binary_cross_entropy_with_logits(logits, scenes.masks) + 0.2 * dice_loss(logits, scenes.masks),
            "match": 0.05 * (F.cross_entropy(match, own) + F.cross_entropy(match.T, own)),
        }
        return losses, logits


def train(options: S4ECAOptions, spec: InputSpec, steps: int, size: int, rate: float, seed: int) -> Pretraining:
    """Train both encoders on new scenes.

    Args:
        options: sizes of the encoders.
        spec: the variant's input specification.
        steps: optimiser steps.
        size: scenes per step.
        rate: highest learning rate, after a warm-up over a twentieth of the steps; a cosine to zero follows.
        seed: seed of the initialisation and the scenes.
    """
    torch.manual_seed(seed)
    model = Pretraining(options)
    start = PRETRAIN.start + seed * steps * size
    loader = DataLoader(SceneBatches(range(start, start + steps * size), size, spec), batch_size=None, num_workers=1)
    optimizer = torch.optim.AdamW(model.parameters(), rate, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, rate, steps, pct_start=0.05, cycle_momentum=False, final_div_factor=1e3
    )
    began = time.monotonic()
    for step, scenes in enumerate(loader, start=1):
        losses, logits = model(scenes)
        optimizer.zero_grad(set_to_none=True)
        total = torch.stack(list(losses.values())).sum()
        torch.autograd.backward(total)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 100 == 0 or step == steps:
            found = logits.detach() > 0
            truth = scenes.masks > 0
            overlap = (found & truth).sum() / (found | truth).sum().clamp(min=1)
            named = "  ".join(f"{name} {value.item():.3f}" for name, value in losses.items())
            print(f"step {step}  {named}  oIoU of places {overlap.item():.3f}  {time.monotonic() - began:.0f} s")
    return model


def write(tensors: Mapping[str, Tensor], path: Path) -> str:
    """Write tensors in half precision, sorted by name.

    Returns:
        sha256 of the file.
    """
    write_bytes(path, save({name: value.detach().half().contiguous() for name, value in sorted(tensors.items())}))
    return sha256_file(path)


def main(arguments: Sequence[str] | None = None) -> None:
    """Pre-train, write `tiny_vit.safetensors` and `tiny_clip.safetensors`, and print their sha256."""
    parser = argparse.ArgumentParser(description="Pre-train the tiny variants' frozen encoders.")
    parser.add_argument("--out", type=Path, default=ASSETS, help="folder for the two files")
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--rate", type=float, default=1.5e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2, help="number of threads; another number gives other bytes")
    args = parser.parse_args(arguments)
    torch.set_num_threads(args.threads)
    torch.use_deterministic_algorithms(True)
    method = S4ECA.from_options(variant_options("s4eca", "tiny"))
    model = train(method.options, method.input_spec, args.steps, args.batch_size, args.rate, args.seed)
    args.out.mkdir(parents=True, exist_ok=True)
    for name, module in (("tiny_vit", model.vision), ("tiny_clip", model.text)):
        path = args.out / f"{name}.safetensors"
        print(f"{path}  {write(module.state_dict(), path)}")


if __name__ == "__main__":
    main()
