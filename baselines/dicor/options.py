"""Every choice of DiCoR; the defaults are the released network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from baselines.dicor.candidates import PickRule
from rrsis_bench.errors import UsageError
from rrsis_bench.families.lavt.family import Dice, FamilyOptions

Stage = Literal["coarse", "refiner", "guide", "joint", "full"]
"""`coarse`, `refiner`, `guide`, `joint`: one of the four released trainings, with the parts that it needs. `full`: all
parts. They learn in one run, or come from `weights_from` as they are."""


@dataclass(frozen=True)
class DiCoROptions(FamilyOptions):
    """The family's options and DiCoR's own.

    Attributes:
        dice: see `FamilyOptions`; `mean` as released.
        stage: which training this is; see `Stage`.
        weights_from: runs (folders or checkpoints) of earlier stages that the network starts from. Of two runs with a
            part in common, the later one gives it. A run's own `weights_from` counts before it. With stage `full`,
            nothing is trained: the network of the released test is put together.
        phases: epochs at which a run of stage `full` goes on: up to the first, the coarse part learns; up to the
            second, guide and refiner on its frozen predictions; then all parts. Null: all parts from the start.
        msf_language: whether the multi-scale module reads the words (LVMSF) or not (VMSF). The stages `coarse`,
            `refiner` and `guide` have VMSF, as released.
        msf_blocks: blocks of that module.
        msf_heads: attention heads in its blocks.
        lvmsf_init: start of LVMSF. `official`: from random values, since the released loading finds no name for
            VMSF's blocks. `from_vmsf`: take VMSF's blocks from `weights_from`; all branches of the words start at zero.
        special_ids: token ids that the guide does not read, of start and end.
        candidates: places that the guide ranks.
        candidate_sigma: deviation in cells of the map around each.
        candidate_radius: cells around a picked place that cannot be picked again.
        guide_hidden: channels of the response head.
        guide_query: width of the words' queries.
        guide_router: width in which words and places meet.
        guide_geometry: width inside the score of place and extent.
        guide_strength: how much the winner's place is brightened.
        winner_reach: cells by which the winner that is learned may miss the object's centre.
        winner_largest: share of the image above which an object teaches no winner.
        winner_weight: of the winner's loss beside the response's.
        bank_iou_refiner: IoU that a prompt must have with the truth to train the refiner.
        bank_iou_locate: the same for the guide.
        bank_area_locate: share of the image above which an object does not train the guide's ranking.
        prompt_noise: deviation of smooth noise on the log-odds of prompts, in place of the snapshots of other epochs.
        refiner_width: channels of the U-Net's first level.
        refiner_levels: how often it halves the size.
        silence_weight: of the refiner's loss against corrections where none are needed.
        refiner_rate: learning rate of the refiner over the recipe's.
        response_rate: that of the response head.
        ranker_rate: that of the ranker.
        text_norm_rate: that of the guide's norm of the words in stage `joint`.
        joint_rate: that of multi-scale module and decoder in stage `joint`.
    """

    dice: Dice = "mean"
    stage: Stage = "full"
    weights_from: tuple[str, ...] = ()
    phases: tuple[float, float] | None = None
    msf_language: bool = True
    msf_blocks: int = 3
    msf_heads: int = 8
    lvmsf_init: Literal["official", "from_vmsf"] = "official"
    special_ids: tuple[int, ...] = (101, 102)
    candidates: int = 5
    candidate_sigma: float = 1.5
    candidate_radius: float = 2.0
    guide_hidden: int = 128
    guide_query: int = 256
    guide_router: int = 256
    guide_geometry: int = 128
    guide_strength: float = 0.5
    winner_reach: float = 2.5
    winner_largest: float = 0.05
    winner_weight: float = 1.2
    bank_iou_refiner: tuple[float, float] = (0.5, 1.0)
    bank_iou_locate: tuple[float, float] = (0.0, 1.0)
    bank_area_locate: float = 0.05
    prompt_noise: float = 0.5
    refiner_width: int = 64
    refiner_levels: int = 4
    silence_weight: float = 0.05
    refiner_rate: float = 10 / 3
    response_rate: float = 80 / 3
    ranker_rate: float = 50 / 3
    text_norm_rate: float = 10 / 3
    joint_rate: float = 1 / 30

    def __post_init__(self) -> None:
        """Refuse values that cannot work together.

        Raises:
            UsageError: naming the option and what to set instead.
        """
        if self.stage in ("refiner", "guide", "joint") and not self.weights_from:
            raise UsageError(
                f"dicor: stage '{self.stage}' starts from an earlier stage; name its run: "
                "--model.options.weights_from=[RUN]."
            )
        if self.phases is not None and not 0 <= self.phases[0] <= self.phases[1]:
            raise UsageError(f"dicor: phases must be two epochs in order, not {list(self.phases)}.")
        if self.candidates < 1:
            raise UsageError(f"dicor: candidates must be at least 1, not {self.candidates}.")
        if self.refiner_levels < 1:
            raise UsageError(f"dicor: refiner_levels must be at least 1, not {self.refiner_levels}.")

    @property
    def joined(self) -> bool:
        """Whether earlier stages are only put together."""
        return self.stage == "full" and bool(self.weights_from)

    @property
    def language(self) -> bool:
        """Whether the multi-scale module of this stage reads the words."""
        return self.msf_language and self.stage in ("joint", "full")

    @property
    def has_guide(self) -> bool:
        """Whether this stage has the localisation guide."""
        return self.stage in ("guide", "joint", "full")

    @property
    def has_refiner(self) -> bool:
        """Whether this stage has the refiner."""
        return self.stage in ("refiner", "full")

    @property
    def rule(self) -> PickRule:
        """How candidates are picked."""
        return PickRule(self.candidates, sigma=self.candidate_sigma, radius=self.candidate_radius)
