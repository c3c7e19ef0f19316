"""Released C3VG checkpoints: official parameter names and ours."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from rrsis_bench.nn.weights.name_map import NameMap

_STACKS: Mapping[str, str] = {
    "head.query_augment_module.query2text_crossattn": "query_reads_words",
    "head.query_augment_module.query2img_crossattn": "query_reads_places",
    "head.UIM.box2text_crossattn": "interaction.box_reads_words",
    "head.UIM.box2img_crossattn": "interaction.box_reads_places",
    "head.UIM.sa": "interaction.places",
    "head.UIM.seg2text_crossattn": "idle.places_read_words",
    "head.UIM.seg2img_crossattn": "idle.places_read_places",
    "head.UIM.segboxCA": "idle.places_read_box",
}


def _of_stack(official: str, ours: str) -> dict[str, str]:
    return {
        f"{official}.layers.*.attentions.*.attn": f"{ours}.layers.*.attentions.*",
        f"{official}.layers.*.ffns.0.layers.0.0": f"{ours}.layers.*.expand",
        f"{official}.layers.*.ffns.0.layers.1": f"{ours}.layers.*.contract",
        f"{official}.layers.*.norms.*": f"{ours}.layers.*.norms.*",
        f"{official}.post_norm_layer": f"{ours}.norm",
    }


SCALE = "head.logit_scale"
"""A parameter of the head itself; all others belong to one of its modules."""
_IDLE: Mapping[str, str] = {
    "head.seg_branch_first.predict": "idle.first_mask",
    "head.seg_branch_second.predict": "idle.second_mask",
    "head.seg_cons_embedding": "idle.mask_consistency",
    "head.box_cons_embedding": "idle.box_consistency",
}
_MODULES: dict[str, str] = {
    "vis_enc.beit3": "beit3",
    "head.lan_embedding": "words",
    "head.img_embedding": "places",
    "head.query_embedding": "query",
    "head.query_augment_module.query_embed": "query_position",
    "head.box_branch_first.predict.layers.*": "first_box.layers.*",
    "head.box_branch_second.predict.layers.*": "second_box.layers.*",
    "head.proj_pixel_level_cons.vis": "pixels.visual",
    "head.proj_pixel_level_cons.txt": "pixels.text",
    "head.UIM.img_embedding.0": "interaction.project",
    "head.UIM.img_embedding.1": "interaction.norm",
    "head.UIM.box_coorinate_embed": "interaction.coordinates",
    "head.UIM.box_linear.layers.*": "interaction.join_box.layers.*",
    "head.UIM.seg_linear.layers.*": "interaction.join_places.layers.*",
    "head.neck.fpn1.*": "pyramid.to_quarter.*",
    "head.neck.fpn2.0": "pyramid.to_eighth",
    "head.neck.lateral_convs.*.conv": "pyramid.lateral.*.0",
    "head.neck.lateral_convs.*.norm_layer": "pyramid.lateral.*.1",
    "head.neck.fpn_convs.*.conv": "pyramid.smooth.*.0",
    "head.neck.fpn_convs.*.norm_layer": "pyramid.smooth.*.1",
    # The released decoder counts its steps by the map that goes in: 4 to 2.
    **{
        f"head.fpn_decoder.{part}_{4 - step}": f"decoder.steps.{step}.{part}"
        for step in range(3)
        for part in ("conv1", "bn1", "conv2", "bn2")
    },
}
for _official, _ours in _STACKS.items():
    _MODULES |= _of_stack(_official, _ours)

RELEASED = NameMap("C3VG", {**_MODULES, **_IDLE}, {})


def convert(official: Mapping[str, Tensor], network: nn.Module, keep_idle: bool) -> dict[str, Tensor]:
    """Official parameters under our names.

    Args:
        official: values by official name.
        network: gives our shapes.
        keep_idle: whether the network has the parts that nothing reads; they are left out otherwise.

    Raises:
        MissingResourceError: a name has no place; the message names the first few.
    """
    placed = {name: value for name, value in official.items() if name != SCALE}
    converted = RELEASED.convert(placed, network)
    if SCALE in official:
        converted["idle.logit_scale"] = official[SCALE]
    return {name: value for name, value in converted.items() if keep_idle or not name.startswith("idle.")}
