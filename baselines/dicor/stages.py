"""DiCoR's four trainings, one by one or in one run: which parts learn when, and what a stage starts from."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from torch import Tensor, nn

from baselines.dicor.options import DiCoROptions
from rrsis_bench.errors import UsageError
from rrsis_bench.methods.earlier import earlier_tensors
from rrsis_bench.nn.weights.files import few

VMSF_BLOCK = re.compile(r"(refine\.blocks\.\d+)\.((?:norm[12]|attention|feed)\..+)")
"""A tensor of a block without words; a block with words has the same under `pixels`."""

PREFIXES = {"visual": "encoder.", "text": "text."}


@dataclass(frozen=True)
class Phase:
    """A part of a training.

    Attributes:
        learning: which of `coarse`, `guide` and `refiner` learn.
        guided: whether the guide acts on the coarse part in training.
    """

    learning: frozenset[str]
    guided: bool = False


NOTHING = Phase(frozenset(), guided=True)
COARSE = Phase(frozenset({"coarse"}))
PARTS = Phase(frozenset({"guide", "refiner"}))
ALL = Phase(frozenset({"coarse", "guide", "refiner"}), guided=True)
OF_STAGE = {
    "coarse": COARSE,
    "refiner": Phase(frozenset({"refiner"})),
    "guide": Phase(frozenset({"guide"})),
    "joint": Phase(frozenset({"coarse"}), guided=True),
    "full": ALL,
}


def phase_of(options: DiCoROptions) -> Phase:
    """The phase of a stage; for a run in one piece its last one."""
    return NOTHING if options.joined else OF_STAGE[options.stage]


def phase_at(epochs: float, ends: tuple[float, float]) -> Phase:
    """The phase of a run in one piece after a number of epochs."""
    return COARSE if epochs < ends[0] else PARTS if epochs < ends[1] else ALL


def start_from(network: nn.Module, options: DiCoROptions, loaded: Collection[str] = ()) -> dict[str, str]:
    """Load the tensors of earlier runs into a network.

    Parts that this stage trains may be missing in them: they keep their start. What the runs have besides is left out.

    Args:
        network: a `DiCoR`.
        options: its options.
        loaded: which of the encoders `visual` and `text` have their base weights already.

    Returns:
        stage -> sha256 of its checkpoint.

    Raises:
        UsageError: the runs are of another method or size, or lack a frozen part.
        MissingResourceError: a file is missing or unreadable.
    """
    found, digests = earlier_tensors(options.weights_from, "dicor")
    if options.language and options.lvmsf_init == "from_vmsf":
        found |= {name: x for name, x in with_words(found).items() if name not in found}
    own = network.state_dict()
    wrong = [name for name, x in found.items() if name in own and own[name].shape != x.shape]
    if wrong:
        raise UsageError(f"dicor: weights_from holds networks of another size: {few(wrong)} have another shape.")
    frozen = [name for name, x in network.named_parameters() if not x.requires_grad]
    # The word norm has no earlier stage, and a checkpoint lacks what its own training kept frozen.
    given = ("guide.text_norm.", *(prefix for encoder, prefix in PREFIXES.items() if encoder in loaded))
    missing = [name for name in frozen if name not in found and not name.startswith(given)]
    if missing:
        raise UsageError(f"dicor: the runs in weights_from lack {few(missing)}, which this stage does not train.")
    network.load_state_dict({name: x for name, x in found.items() if name in own}, strict=False)
    return digests


def with_words(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of VMSF's blocks under the names that they have inside LVMSF's."""
    matches = ((VMSF_BLOCK.fullmatch(name), x) for name, x in tensors.items())
    return {f"{match[1]}.pixels.{match[2]}": x for match, x in matches if match}
