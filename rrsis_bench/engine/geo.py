"""Georeferenced images: read a GeoTIFF, write the mask back onto the map (extra `geo`: rasterio).

Shape legend: `H W` pixels, `D` bands.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rrsis_bench.errors import UsageError

GEO_TAGS = (33550, 34264, 34735)  # ModelPixelScale, ModelTransformation, GeoKeyDirectory
STRETCH = (2.0, 98.0)  # percentiles that become 0 and 255 where a band is not 8-bit


@dataclass(frozen=True)
class Scene:
    """A georeferenced image.

    Attributes:
        image: (H, W, 3) uint8.
        transform: rasterio's affine transform, pixels to the coordinates of `crs`.
        crs: rasterio's coordinate reference system, or None.
        notes: what was done to the bands, for the user.
    """

    image: NDArray[np.uint8]
    transform: Any
    crs: Any
    notes: tuple[str, ...]


def is_georeferenced(path: Path) -> bool:
    """Whether a file is a TIFF with a place on the map. Needs no rasterio; a file that is no TIFF gives False."""
    if path.suffix.lower() not in {".tif", ".tiff"}:
        return False
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as opened:
            tags = getattr(opened, "tag_v2", {})
            return any(tag in tags for tag in GEO_TAGS)
    except UnidentifiedImageError:
        # PIL knows few layouts of bands; rasterio, where it is there, knows nearly all.
        return find_spec("rasterio") is not None and _opens(path)
    except (OSError, ValueError, Image.DecompressionBombError):
        return False


def _opens(path: Path) -> bool:
    import rasterio

    try:
        with rasterio.open(path) as opened:
            return opened.crs is not None or not opened.transform.is_identity
    except rasterio.errors.RasterioError:
        return False


def require_rasterio(path: Path) -> None:
    """Stop where a georeferenced file cannot be treated as one.

    Raises:
        UsageError: the extra is not installed.
    """
    if find_spec("rasterio") is None:
        raise UsageError(
            f"{path} is georeferenced, which needs rasterio: pip install 'rrsis-bench[geo]', "
            "or give --plain to treat it as an ordinary image."
        )


def read(path: Path, bands: tuple[int, int, int] | None = None) -> Scene:
    """Read a GeoTIFF as 8-bit RGB.

    Args:
        path: the file.
        bands: 1-based bands for red, green and blue; None for the first three, or a single one three times.

    Raises:
        UsageError: the extra is missing, the file cannot be read, or lacks a band.
    """
    require_rasterio(path)
    import rasterio

    try:
        with rasterio.open(path) as opened:
            chosen = bands or ((1, 2, 3) if opened.count >= 3 else (1, 1, 1))
            if max(chosen) > opened.count or min(chosen) < 1:
                raise UsageError(f"{path} has {opened.count} bands, so it has no bands {chosen}; give --bands R,G,B.")
            raw = opened.read(list(chosen))
            valid = opened.dataset_mask() != 0
            transform, crs = opened.transform, opened.crs
    except rasterio.errors.RasterioError as error:
        reason = " ".join(str(error).split())
        raise UsageError(f"cannot read {path}: {reason}. Is it a complete GeoTIFF?") from error
    notes = []
    if raw.dtype != np.uint8:
        notes.append(
            f"bands of {raw.dtype} were stretched to 8 bits between percentiles {STRETCH[0]:g} and {STRETCH[1]:g}"
        )
        raw = np.stack([_stretch(band, valid) for band in raw])
    if crs is None:
        notes.append("the file names no coordinate reference system, so no GeoJSON can be made")
    return Scene(np.ascontiguousarray(raw.transpose(1, 2, 0)), transform, crs, tuple(notes))


def _stretch(band: NDArray[Any], valid: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """(H, W) of any number type to uint8; pixels without data become 0."""
    values = band.astype(np.float32)
    usable = valid & np.isfinite(values)
    if not usable.any():
        return np.zeros(band.shape, dtype=np.uint8)
    low, high = np.percentile(values[usable], STRETCH)
    scaled = (values - low) * (255.0 / max(high - low, 1e-12))
    return np.where(usable, np.clip(np.nan_to_num(scaled), 0, 255), 0).astype(np.uint8)


def mask_geotiff(mask: NDArray[np.uint8], scene: Scene) -> bytes:
    """A mask (H, W) in {0, 1} as a GeoTIFF of 0 and 255 with the scene's place on the map."""
    from rasterio.io import MemoryFile

    with MemoryFile() as memory:
        with memory.open(
            driver="GTiff", height=mask.shape[0], width=mask.shape[1], count=1, dtype="uint8", compress="deflate",
            crs=scene.crs, transform=scene.transform,
        ) as opened:  # fmt: skip
            opened.write(mask * np.uint8(255), 1)
        return bytes(memory.read())


def polygons(mask: NDArray[np.uint8], scene: Scene, properties: dict[str, Any]) -> dict[str, Any]:
    """A mask's regions as a GeoJSON feature collection in WGS 84.

    By RFC 7946: longitude before latitude, outer rings counter-clockwise.

    Args:
        mask: (H, W) in {0, 1}.
        scene: what it was predicted on; must have a coordinate reference system.
        properties: copied into each feature, with the number of its pixels.
    """
    from rasterio.features import shapes
    from rasterio.transform import IDENTITY
    from rasterio.warp import transform_geom

    features = []
    for outline, _ in shapes(mask, mask=mask != 0, connectivity=8, transform=IDENTITY):
        pixels = sum(
            _area(ring) * (1 if k == 0 else -1) for k, ring in enumerate(map(_counter, outline["coordinates"]))
        )
        placed = {
            "type": "Polygon",
            "coordinates": [_placed(ring, scene.transform) for ring in outline["coordinates"]],
        }
        world = transform_geom(scene.crs, "EPSG:4326", placed)
        rings = [_counter(ring) for ring in world["coordinates"]]
        rings = [rings[0], *(ring[::-1] for ring in rings[1:])]
        features.append(
            {
                "type": "Feature",
                "geometry": {"type": "Polygon", "coordinates": [[list(point) for point in ring] for ring in rings]},
                "properties": {**properties, "pixels": round(pixels)},
            }
        )
    return {"type": "FeatureCollection", "features": features}


def _placed(ring: list[Any], transform: Any) -> list[tuple[float, float]]:
    """A ring of (column, row) in the coordinates of the transform."""
    a, b, c, d, e, f = transform[:6]
    return [(a * column + b * row + c, d * column + e * row + f) for column, row in ring]


def _area(ring: list[Any]) -> float:
    """Signed area of a closed ring, positive when counter-clockwise with y upwards."""
    points = np.asarray(ring, dtype=np.float64)
    points = points - points[0]  # keeps the precision of small polygons far from the origin
    x, y = points[:, 0], points[:, 1]
    return float(np.sum(x[:-1] * y[1:] - x[1:] * y[:-1]) / 2)


def _counter(ring: list[Any]) -> list[Any]:
    """The ring, counter-clockwise."""
    return ring if _area(ring) >= 0 else ring[::-1]
