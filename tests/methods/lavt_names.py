"""Released LAVT parameter names, told from a method of ours: the inverse of its name map, written apart from it."""

from __future__ import annotations

from baselines.lavt.model import LAVT

_INNER = {
    "pwam.visual": "fusion.vis_project.0",
    "pwam.mix": "fusion.project_mm.0",
    "pwam.attention.query": "fusion.image_lang_att.f_query.0",
    "pwam.attention.key": "fusion.image_lang_att.f_key.0",
    "pwam.attention.value": "fusion.image_lang_att.f_value.0",
    "pwam.attention.output": "fusion.image_lang_att.W.0",
    "gate.inner": "res_gate.0",
    "gate.outer": "res_gate.2",
}


def official_name(ours: str) -> str:
    top, rest = ours.split(".", 1)
    if top == "text":
        return f"text_encoder.{rest}"
    if top == "decoder":
        if rest.startswith("classify."):
            return rest.replace("classify", "classifier.conv1_1")
        _, step, layer, leaf = rest.split(".")
        return f"classifier.{layer}_{4 - int(step)}.{leaf}"
    if top == "encoder":
        parts = rest.split(".")
        if len(parts) > 2 and parts[2] == "downsample":
            parts[1] = str(int(parts[1]) - 1)
        return "backbone." + ".".join(parts)
    stage, inner = rest.split(".", 1)
    module, leaf = inner.rsplit(".", 1)
    return f"backbone.norm{stage}.{leaf}" if module == "norm" else f"backbone.layers.{stage}.{_INNER[module]}.{leaf}"


def official_shapes(method: LAVT) -> dict[str, tuple[int, ...]]:
    shapes = {}
    for ours, value in method.state_dict().items():
        pointwise = ".pwam." in ours and ours.endswith("weight")
        shapes[official_name(ours)] = (*value.shape, 1) if pointwise else tuple(value.shape)
    return shapes
