"""`rrsis-bench env`: versions, devices, and combinations of versions that are known to fail."""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass

from rrsis_bench import namesakes

PACKAGES = (
    "torch", "torchvision", "lightning", "torchmetrics", "transformers", "open_clip_torch", "segment-anything", "timm",
    "albumentations", "opencv-python-headless", "peft", "jsonargparse", "pycocotools", "safetensors", "numpy", "pillow",
    "rich", "rasterio", "pyarrow",
)  # fmt: skip
MALICIOUS_LIGHTNING = {"2.6.2", "2.6.3"}


@dataclass(frozen=True)
class EnvironmentProblem:
    """A combination of versions or packages that is known to fail.

    Attributes:
        problem: sentence that says what is wrong.
        remedy: sentence or command that mends it.
    """

    problem: str
    remedy: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's options."""
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")


def run(args: argparse.Namespace) -> int:
    """Print the environment.

    Returns:
        exit code 1 if a problem is found, else 0.
    """
    from importlib.metadata import requires

    versions = installed()
    devices, torchvision_error = probe()
    found = problems(versions, requires("rrsis-bench") or [], torchvision_error)
    found += [EnvironmentProblem(clash.problem, clash.remedy) for clash in namesakes.everywhere()]
    system = {"python": platform.python_version(), "platform": platform.platform(), "executable": sys.executable}
    if args.json:
        report = {**system, "versions": versions, "devices": devices, "findings": [asdict(one) for one in found]}
        print(json.dumps(report, indent=2, sort_keys=True))
        return 1 if found else 0
    width = max(map(len, PACKAGES))
    print("\n".join(f"{name:<{width}}  {value}" for name, value in system.items()))
    print("\n".join(f"{name:<{width}}  {version or 'not installed'}" for name, version in versions.items()))
    print("\n".join(f"{'device':<{width}}  {device}" for device in devices))
    for one in found:
        print(f"\nproblem: {one.problem}\n  to do: {one.remedy}")
    print("" if found else "\nNothing known to be bad was found.")
    return 1 if found else 0


def installed(names: Iterable[str] = PACKAGES) -> dict[str, str | None]:
    """Versions by distribution name, None if it is not installed. No package is imported."""
    from importlib.metadata import PackageNotFoundError, version

    versions: dict[str, str | None] = {}
    for name in names:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = None
    return versions


def probe() -> tuple[list[str], str | None]:
    """The devices that torch finds, and the error that importing torchvision raises, or None."""
    try:
        import torch
    except Exception as error:
        return [f"unknown: torch cannot be imported ({_line(error)})"], None
    devices = [f"cpu ({platform.processor() or platform.machine()}, {torch.get_num_threads()} threads)"]
    for k in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(k)
        devices.append(f"cuda:{k} ({properties.name}, {properties.total_memory / 2**30:.1f} GiB)")
    if torch.backends.mps.is_available():
        devices.append("mps")
    try:
        import torchvision  # noqa: F401
    except Exception as error:
        return devices, _line(error)
    return devices, None


def problems(
    versions: Mapping[str, str | None], requirements: Iterable[str], torchvision_error: str | None
) -> list[EnvironmentProblem]:
    """Find the known problems of a set of versions.

    Args:
        versions: installed versions by distribution name, None if a distribution is not installed.
        requirements: the project's requirements as its metadata states them.
        torchvision_error: the message that importing torchvision raised, or None.
    """
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    found: list[EnvironmentProblem] = []
    known: dict[str, str | None] = {str(canonicalize_name(name)): version for name, version in versions.items()}
    if known.get("lightning") in MALICIOUS_LIGHTNING:
        found.append(
            EnvironmentProblem(
                f"lightning {known['lightning']} was a malicious upload.",
                "pip install 'lightning>=2.6.4,<2.7', then change every password and key this machine could read.",
            )
        )
    torch_tag, vision_tag = ((known.get(name) or "").partition("+")[2] for name in ("torch", "torchvision"))
    mixed = torch_tag == "cpu" and known.get("torchvision") is not None and vision_tag != "cpu"
    if torchvision_error is not None or mixed:
        seen = f'importing torchvision fails: "{torchvision_error}"' if torchvision_error else "the pair does not match"
        found.append(
            EnvironmentProblem(
                f"torch {known.get('torch')} and torchvision {known.get('torchvision')}: {seen}. A CPU-only torch "
                'beside the index\'s torchvision gives "operator torchvision::nms does not exist".',
                "install both from one place: pip install --force-reinstall torch torchvision (or both with "
                "--index-url https://download.pytorch.org/whl/cpu).",
            )
        )
    for text in requirements:
        requirement = Requirement(text)
        name = canonicalize_name(requirement.name)
        if name not in known or (requirement.marker is not None and not requirement.marker.evaluate({"extra": ""})):
            continue
        version = known[name]
        if version is None:
            found.append(
                EnvironmentProblem(f"{requirement.name} is not installed.", f"pip install '{_plain(requirement)}'")
            )
        elif not requirement.specifier.contains(version, prereleases=True) and version not in MALICIOUS_LIGHTNING:
            found.append(
                EnvironmentProblem(
                    f"{requirement.name} {version} is outside the bounds this project is tested with "
                    f"({requirement.specifier}).",
                    f"pip install '{_plain(requirement)}'",
                )
            )
    return found


def _plain(requirement: object) -> str:
    return str(requirement).partition(";")[0].strip()


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
