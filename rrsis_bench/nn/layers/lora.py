"""Low-rank adaptation of frozen encoders (LoRA, arXiv 2106.09685) through peft, and base weights for adapted modules.

peft moves an adapted layer's own parameters under `base_layer.`. A plain name is a name without that part, as weights
files have it.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from rrsis_bench.errors import MissingResourceError, UsageError
from rrsis_bench.nn.layers.freezing import freeze
from rrsis_bench.nn.weights.files import few, fit

BASE = ".base_layer."
ADDED = ("lora_A", "lora_B")


def add_lora(module: nn.Module, targets: str, rank: int, alpha: float) -> None:
    """Freeze a module and add trainable low-rank updates to some of its layers, in place; the updates start at zero.

    Args:
        module: changed in place.
        targets: regular expression that matches the whole names of the linear layers and convolutions to adapt.
        rank: r; 0 adds nothing.
        alpha: the update is scaled by alpha / r.

    Raises:
        UsageError: no layer's name matches.
    """
    freeze(module)
    if not rank:
        return
    # Imported here: peft is slow to import, and only adapted encoders need it.
    from peft import LoraConfig, inject_adapter_in_model

    config = LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=0.0, target_modules=targets)
    try:
        inject_adapter_in_model(config, module)
    except ValueError as error:
        raise UsageError(f"LoRA finds no layer '{targets}' in {type(module).__name__}: {error}") from error


def plain_names(module: nn.Module) -> dict[str, str]:
    """Plain name -> own name, for everything in a module's state but LoRA's updates."""
    return {
        name.replace(BASE, "."): name
        for name in module.state_dict()
        if not any(part in ADDED for part in name.split("."))
    }


def fit_base(module: nn.Module, tensors: Mapping[str, Tensor], what: str) -> None:
    """Load base weights into an adapted module, strictly; LoRA's updates stay as they are.

    Args:
        module: receives the values.
        tensors: values by plain name.
        what: names the tensors in the message.

    Raises:
        MissingResourceError: names or shapes differ.
    """
    own = plain_names(module)
    strange = [name for name in tensors if name not in own]
    if strange:
        raise MissingResourceError(f"{what} do not fit the network: it does not know {few(strange)}.")
    base = {own[name]: value for name, value in tensors.items()}
    updates = {name: value for name, value in module.state_dict().items() if any(p in ADDED for p in name.split("."))}
    fit(module, base | updates, what)
