"""The scoring protocols, by name and version: ours, and those of the papers' released code.

A protocol has two parts. Its *view* says how logits and truth become two binary masks of one size. Its conventions
say how the view's integers become metrics. Protocols with the same view share its integers; one pass counts all views.
A protocol's meaning never changes under its name: another rule is another version.

A protocol of generalised referring segmentation also scores expressions that fit nothing or several objects. It has
metrics of its own (`definitions.metrics_of`), and scores only data sets that mean their empty truths.

`PROTOCOLS` is the only list. A further protocol is one entry there. If it upsamples in a new way, it is also a branch
of `counts.binarise`. Every method is then scored by it, and `--protocol` knows its name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from rrsis_bench.errors import UsageError, did_you_mean
from rrsis_bench.kinds import shown

Upsample = Literal["bilinear", "bilinear-corners", "bicubic-probability"]
Comparator = Literal[">=", ">"]
EmptyUnion = Literal["one_if_both_empty", "zero", "nan"]


@dataclass(frozen=True)
class View:
    """How logits and truth become two binary masks of one size.

    Attributes:
        name: short name; the columns of `samples.csv.gz` carry it, but for `native`.
        size: `native` for each sample's own mask size, or (height, width) in pixels.
        upsample: how logits reach that size. `bilinear`: the logits, align_corners false. `bilinear-corners`: the
            logits, align_corners true. `bicubic-probability`: probabilities to the input size by bicubic interpolation
            with align_corners true, then warped to native size by bicubic interpolation with a zero border.
        threshold: foreground where the probability is greater than this.
    """

    name: str
    size: Literal["native"] | tuple[int, int]
    upsample: Upsample
    threshold: float


@dataclass(frozen=True)
class Protocol:
    """A view and the conventions that turn its integers into metrics.

    Attributes:
        name: name and version.
        view: where the integers come from.
        comparison: how Pr@X compares a sample's IoU with X.
        empty_union: IoU of a sample whose truth and prediction are both empty: 1, 0, or 0/0.
        nothing: for a generalised protocol, the largest area in pixels of a prediction that answers "nothing there";
            such a prediction counts as an empty mask. None for all other protocols.
    """

    name: str
    view: View
    comparison: Comparator
    empty_union: EmptyUnion
    nothing: int | None = None

    @property
    def generalised(self) -> bool:
        """Whether it scores expressions without a target, by the metrics of generalised referring segmentation."""
        return self.nothing is not None


NOTHING = 0
"""Largest area in pixels of a prediction that answers "nothing there" under `generalised-v1`."""

NATIVE = View("native", "native", "bilinear", 0.5)
LAVT_480 = View("480", (480, 480), "bilinear-corners", 0.5)
DETRIS_WARP = View("warp35", "native", "bicubic-probability", 0.35)
RS2SAM2_1024 = View("1024", (1024, 1024), "bilinear", 0.5)
C3VG_320 = View("320", (320, 320), "bilinear-corners", 0.5)

PROTOCOLS: Mapping[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol("native-v1", NATIVE, ">=", "one_if_both_empty"),
        # The released test script of LAVT, RMSIN and FIANet.
        Protocol("paper-lavt480-v1", LAVT_480, ">=", "zero"),
        # The released metric of RSRefSeg 2, which calls mIoU gIoU and oIoU cIoU. One 0/0 makes the whole mean NaN; for
        # Pr@X it is a miss.
        Protocol("paper-rsrefseg2-v1", NATIVE, ">", "nan"),
        # The released evaluation of the DETRIS line. The 1e-6 that it adds to each union is left out.
        Protocol("paper-detris-v1", DETRIS_WARP, ">", "zero"),
        # The released test script of RS2-SAM2: argmax of (1 - m, m), which is the sign of its logit 2 m - 1.
        Protocol("paper-rs2sam2-v1", RS2SAM2_1024, ">=", "zero"),
        # The released test script of C3VG. It counts a probability of exactly 0.5 as foreground.
        Protocol("paper-c3vg-v1", C3VG_320, ">=", "zero"),
        # gIoU, cIoU, N-acc and T-acc as gRefCOCO defines them (Liu et al., CVPR 2023), but cIoU over targets only.
        Protocol("generalised-v1", NATIVE, ">=", "one_if_both_empty", NOTHING),
    )
}

DEFAULT = "native-v1"
"""Our protocol: boards rank by it, and every result holds it."""

GENERALISED = "generalised-v1"
"""The protocol of the board of data sets whose expressions may fit nothing or several objects."""

ALL = "all"


def get(name: str) -> Protocol:
    """Return a protocol by name.

    Raises:
        UsageError: the name is unknown; the message lists the known ones.
    """
    if not isinstance(name, str) or name not in PROTOCOLS:
        raise UsageError(f"unknown protocol '{name}'.{did_you_mean(str(name), list(PROTOCOLS))}")
    return PROTOCOLS[name]


def views(names: Iterable[str]) -> tuple[View, ...]:
    """Return the distinct views that protocols need, in order of first use."""
    return tuple(dict.fromkeys(get(name).view for name in names))


def expand(select_by: str | None = None, score_by: str | Sequence[str] = ALL, generalised: bool = False) -> list[str]:
    """List the protocols of a run. A test scores by all of them; the first one chooses the checkpoint on val.

    Args:
        select_by: the protocol that chooses; None for the first of a `score_by` that lists names, else `native-v1`.
        score_by: `all` for every known protocol, or names. `native-v1` is added where the names lack it.
        generalised: whether `all` covers the generalised protocols too.

    Raises:
        UsageError: a name is unknown, or `score_by` is neither `all` nor a list of names.
    """
    if score_by == ALL:
        names = [DEFAULT, *(name for name, one in PROTOCOLS.items() if generalised or not one.generalised)]
    elif isinstance(score_by, list | tuple) and score_by and all(isinstance(name, str) for name in score_by):
        names = [*score_by, DEFAULT]
    else:
        raise UsageError(f"score_by must be '{ALL}' or a list of protocols, not {shown(score_by)}.")
    chosen = get(names[0] if select_by is None else select_by).name
    return [get(name).name for name in dict.fromkeys((chosen, *names))]


def of_masks(generalised: bool = False) -> tuple[str, ...]:
    """Name the protocols by which binary masks of native size can be scored; the others need logits.

    Args:
        generalised: name the generalised ones too.
    """
    return tuple(name for name, one in PROTOCOLS.items() if one.view == NATIVE and (generalised or not one.generalised))
