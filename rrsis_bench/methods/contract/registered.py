"""Checks of what a registered method has beside its network: its configuration, its variants, its base weights."""

from __future__ import annotations

import re

import torch

from rrsis_bench import config
from rrsis_bench.errors import UserError, did_you_mean
from rrsis_bench.methods.build import build_method
from rrsis_bench.methods.contract.subject import Outcome, Subject
from rrsis_bench.nn.weights.needs import named_weights
from rrsis_bench.run.request import RunRequest
from rrsis_bench.run.resolve import resolve

UNREGISTERED = (True, "not registered: it has no configuration")


def resolves(subject: Subject) -> Outcome:
    """Every variant, recipe and block for a data set gives a configuration whose keys and values are allowed."""
    if subject.name is None:
        return UNREGISTERED
    blocks = config.method_config(subject.name)
    variants, recipes = list(blocks["variants"]), list(blocks.get("recipes") or {})
    named, known = list(blocks.get("datasets") or {}), config.names("datasets")
    for dataset in named:
        if dataset not in known:
            return False, f"config.yaml: datasets.{dataset} is for no known data set.{did_you_mean(dataset, known)}"
    requests = [RunRequest(subject.name, "own")]  # the published variant, as on every data set of the field
    requests += [RunRequest(subject.name, variant=variant) for variant in variants]
    requests += [RunRequest(subject.name, recipe=recipe) for recipe in recipes]
    requests += [RunRequest(subject.name, dataset, variant) for dataset in named for variant in variants]
    for request in requests:
        try:
            resolve(request)
        except UserError as error:
            return False, str(error)
    return True, f"variants {', '.join(variants)}; recipes {', '.join(recipes) or 'none'}"


def variants_build(subject: Subject) -> Outcome:
    """Every variant builds on the meta device, without memory, files or downloads; `profile --meta` needs this."""
    if subject.name is None:
        return UNREGISTERED
    sizes, seen = [], []
    for variant in config.method_config(subject.name)["variants"]:
        options = config.variant_options(subject.name, variant)
        if options in seen:
            continue
        seen.append(options)
        try:
            with torch.device("meta"):
                method, _ = build_method(subject.name, variant, options, pretrained=False)
        except Exception as error:
            return False, f"variant {variant}: {type(error).__name__}: {' '.join(str(error).split())}"[:200]
        sizes.append(f"{variant} {sum(parameter.numel() for parameter in method.parameters()):,}")
    return True, f"parameters: {', '.join(sizes)}"


def weights_load(subject: Subject) -> Outcome:
    """The variant loads its base weights, and returns the sha256 of each file. Nothing is fetched for this check."""
    if subject.name is None:
        return UNREGISTERED
    absent = [weight.part for weight in named_weights(subject.name, subject.variant) if weight.state != "here"]
    if absent:
        return True, f"not checked: {', '.join(absent)} not on this machine (rrsis-bench weights prefetch)"
    options = config.variant_options(subject.name, subject.variant)
    _, weights = build_method(subject.name, subject.variant, options)
    if not isinstance(weights, dict):
        return False, f"load_pretrained returns {type(weights).__name__}, not encoder -> sha256"
    wrong = [part for part, digest in weights.items() if not re.fullmatch("[0-9a-f]{64}", str(digest))]
    return not wrong, f"no sha256 of {', '.join(wrong)}" if wrong else f"of {', '.join(weights) or 'no encoder'}"
