"""DiCoR's parameter names and ours (see `rrsis_bench/families/lavt/names.py`); no file has been released yet."""

from __future__ import annotations

from rrsis_bench.families.lavt.names import OURS, SHARED_DROPPED, SHARED_NAMES, STAGE, gate_names, pwam_names
from rrsis_bench.nn.layers.multiscale import shell_names
from rrsis_bench.nn.weights.name_map import NameMap

MSF, BLOCK = "backbone.VMSF", "refine.blocks.*"
GUIDE, REFINER = "backbone.localization_guidance", "refineHead"


def feed_names(official: str, ours: str) -> dict[str, str]:
    """Names of a feed-forward part."""
    return {f"{official}.net.0": f"{ours}.0", f"{official}.net.3": f"{ours}.2"}


def pixel_block_names(official: str, ours: str) -> dict[str, str]:
    """Names of a VMSF block."""
    inner = {"norm1": "norm1", "attn": "attention", "norm2": "norm2"}
    return {
        **{f"{official}.{theirs}": f"{ours}.{name}" for theirs, name in inner.items()},
        **feed_names(f"{official}.ffn", f"{ours}.feed"),
    }


def language_block_names(official: str, ours: str) -> dict[str, str]:
    """Names of an LVMSF block."""
    inner = {
        "l2v": "words_read",
        "v2l": "pixels_read",
        "lnL1": "words_norm1",
        "lnL2": "words_norm2",
        "lnV1": "pixels_norm1",
        "lnV2": "pixels_norm2",
    }
    return {
        **{f"{official}.{theirs}": f"{ours}.{name}" for theirs, name in inner.items()},
        **feed_names(f"{official}.ffnL", f"{ours}.words_feed"),
        **feed_names(f"{official}.ffnV", f"{ours}.pixels_feed"),
        **pixel_block_names(f"{official}.ms_attn", f"{ours}.pixels"),
    }


def guide_names() -> dict[str, str]:
    """Names of the localisation guide."""
    head, ranker = f"{GUIDE}.module.evidence_head.net", f"{GUIDE}.module.ranker"
    inner = {
        "router.cand_route": "route_candidate",
        "router.text_route": "route_word",
        "router.text_query": "word_query",
        "router.score_mlp": "route",
        "visual_content": "visual_content",
        "query_content": "query_content",
        "geo_mlp": "geometry",
    }
    return {
        f"{head}.0.0": "guide.response.conv1",
        f"{head}.0.1": "guide.response.norm1",
        f"{head}.1.0": "guide.response.conv2",
        f"{head}.1.1": "guide.response.norm2",
        f"{head}.2": "guide.response.out",
        **{f"{ranker}.{theirs}": f"guide.ranker.{ours}" for theirs, ours in inner.items()},
        f"{GUIDE}.text_norm": "guide.text_norm",
    }


def refiner_names(levels: int = 4) -> dict[str, str]:
    """Names of the U-Net."""
    down = {f"{REFINER}.enc{level + 1}": f"refiner.down.{level}" for level in range(levels)}
    ways = {f"{REFINER}.up{levels - place}": f"refiner.up.{place}" for place in range(levels)}
    return {
        **down,
        f"{REFINER}.bottleneck": f"refiner.down.{levels}",
        **{f"{theirs}.up": f"{ours}.enlarge" for theirs, ours in ways.items()},
        **{f"{theirs}.{conv}": f"{ours}.{conv}" for theirs, ours in ways.items() for conv in ("conv1", "conv2")},
        f"{REFINER}.out_conv": "refiner.out",
    }


def names_for(language: bool, guide: bool, refiner: bool) -> NameMap:
    """Names of a network.

    Args:
        language: whether its multi-scale module reads words (LVMSF).
        guide: whether it has the localisation guide.
        refiner: whether it has the U-Net.
    """
    blocks = language_block_names if language else pixel_block_names
    return NameMap(
        "DiCoR",
        {
            **SHARED_NAMES,
            **pwam_names(f"{STAGE}.fusion_global", f"{OURS}.pwam"),
            **gate_names(f"{STAGE}.res_gate", f"{OURS}.gate"),
            **shell_names(MSF, "refine.shell", "fusion_gates"),
            **blocks(f"{MSF}.blocks.*", BLOCK),
            **(guide_names() if guide else {}),
            **(refiner_names() if refiner else {}),
        },
        SHARED_DROPPED,
    )
