"""All named choices of S4ECA. The defaults are the reconstruction's base size; what is known is in `card.yaml`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from rrsis_bench.families.detris.options import DetrisFamilyOptions


@dataclass(frozen=True)
class S4ECAOptions(DetrisFamilyOptions):
    """Choices and sizes of the family (`rrsis_bench/families/detris/options.py`), and S4ECA's own.

    Attributes:
        reduction: width of the reductions in the dense extractor.
        scale_hidden: width of the scale selection's joint code.
        queries: number of learnable queries, which is the number of proxies.
        text_adapter_heads: attention heads in the textual adapters.
        zero_init: up-projections start at zero. Without it they start Kaiming-normal, and only `residual_scale` damps
            them.
        extractor_norm: `batch`, or `group` for fewer than 8 samples per device.
        text_adapter: `queries` (the reconstruction), `dense` (DETRIS's convolutions) or `none` (ablation).
        proxies: `carried` (each adapter refines the previous set; all visual adapters read the last set), `per-level`
            (the k-th visual adapter reads the k-th set), `final` (one set from the final words) or `mean` (mean-pooled
            words in place of proxies, an ablation).
        spatial_source: the keys of the spatial selection: `proxies`, or `words` (ablation).
        scale_selection: weigh the scales; if off, they are summed (ablation).
        spatial_selection: weigh the positions (off in an ablation).
        selection_order: `scale-first` mixes the scales, then selects positions; `space-first` selects positions in
            every scale, then mixes the scales.
        head: `detris` (neck, decoder and projector on the last three maps) or `lavt` (top-down decoder over all stages;
            language enters in the adapters only).
    """

    method: ClassVar[str] = "s4eca"

    reduction: int = 24
    scale_hidden: int = 32
    queries: int = 8
    text_adapter_heads: int = 4
    zero_init: bool = True
    extractor_norm: Literal["batch", "group"] = "batch"
    text_adapter: Literal["queries", "dense", "none"] = "queries"
    proxies: Literal["carried", "per-level", "final", "mean"] = "carried"
    spatial_source: Literal["proxies", "words"] = "proxies"
    scale_selection: bool = True
    spatial_selection: bool = True
    selection_order: Literal["scale-first", "space-first"] = "scale-first"
    head: Literal["detris", "lavt"] = "detris"

    def __post_init__(self) -> None:
        """Refuse what cannot work together.

        Raises:
            UsageError: naming the option and what to set instead.
        """
        super().__post_init__()
        if self.text_adapter != "queries" and self.proxies in {"carried", "per-level"} and self.needs_proxies:
            raise self.error(
                f"text_adapter={self.text_adapter} makes no proxies, so proxies={self.proxies} has none to use; "
                "set proxies to final or mean, or spatial_source to words."
            )
        if self.proxies == "per-level" and self.staged:
            raise self.error("proxies=per-level needs as many visual as textual adapters; stages have others.")
        if self.proxies == "per-level" and len(self.visual_layers) != len(self.text_layers):
            raise self.error("proxies=per-level needs as many visual_layers as text_layers.")
        if not self.staged and self.head == "lavt":
            raise self.error(f"head=lavt needs maps of several resolutions; {self.encoders} has one.")

    @property
    def needs_proxies(self) -> bool:
        """Whether the visual adapters read proxies."""
        return self.spatial_selection and self.spatial_source == "proxies"
