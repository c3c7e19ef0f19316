"""What the first bytes of an image file say, before a pixel is decoded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, BinaryIO

from rrsis_bench.data.pixels.errors import DAMAGED, ImageError, RefusedImageError
from rrsis_bench.data.pixels.tags import ORIENTATION, SIGNATURES, orientation_of, oriented, read_tags

# Tags of a TIFF: see the TIFF 6.0 and GeoTIFF 1.1 specifications.
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER = 256, 257, 258, 259, 262, 266
_STRIPS, _SAMPLES, _STRIP_BYTES, _PLANAR, _COLOUR_MAP, _TILES, _TILE_BYTES = 273, 277, 279, 284, 320, 324, 325
_EXTRA, _SAMPLE_FORMAT, _NODATA = 338, 339, 42113
# ModelPixelScale, ModelTiepoint, ModelTransformation, GeoKeyDirectory, RPCCoefficient
_PLACE = (33550, 33922, 34264, 34735, 50844)
_WANTED = (
    _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER, ORIENTATION, _SAMPLES, _PLANAR, _COLOUR_MAP,
    _EXTRA, _SAMPLE_FORMAT, _NODATA, _STRIPS, _STRIP_BYTES, _TILES, _TILE_BYTES, *_PLACE,
)  # fmt: skip
_DEFLATE = {8, 32946}
_PILLOW_READS = {1, 5, 32773, *_DEFLATE}  # none, LZW, PackBits, deflate
_COMPRESSIONS = {2: "CCITT", 3: "CCITT", 4: "CCITT", 6: "old JPEG", 7: "JPEG", 34887: "LERC", 34925: "LZMA"}
_COMPRESSIONS |= {50000: "ZSTD", 50001: "WebP", 50002: "JPEG XL", 34712: "JPEG 2000"}
_PHOTOMETRICS = {0: "white is zero", 5: "CMYK", 6: "YCbCr", 8: "Lab"}

_CODESTREAM = b"\xff\x4f\xff\x51"  # JPEG 2000: SOC, SIZ
_COLOUR_SPACES = {16: 3, 17: 1}  # sRGB and grey, as JP2 numbers them -> components
_MOST_BOX = 1 << 20  # bytes of a JP2 header

_OTHERS = ("BMP", "WEBP", "GIF", "PPM", "AVIF")
"""Formats whose size is asked of Pillow, by its names for them."""


@dataclass(frozen=True)
class Header:
    """What a file says of itself.

    Attributes:
        format: `JPEG`, `PNG`, `TIFF`, `JPEG 2000`, or one of Pillow's names.
        height: in pixels.
        width: in pixels.
        plain: whether it is decoded without rasterio: all formats but TIFF and JPEG 2000, and of those what holds
            nothing but 8-bit RGB or grey.
        description: what a file that is not plain holds, for messages.
        orientation: how its writer wants it turned, 1 to 8; 1 is as stored.
        nodata: whether it names a value, other than 0, that stands for no data.
        placed: whether a TIFF says where it lies on the map.
        scan: where the first scan of a JPEG begins.
        deflated: (N, 2) first byte and number of bytes of each part of a TIFF compressed by deflate.
    """

    format: str
    height: int
    width: int
    plain: bool = True
    description: str = ""
    orientation: int = 1
    nodata: bool = False
    placed: bool = False
    scan: int = 0
    deflated: tuple[tuple[int, int], ...] = ()

    @property
    def pixels(self) -> int:
        """Height times width."""
        return self.height * self.width


def read_header(stream: BinaryIO) -> Header:
    """Read a file's header.

    Args:
        stream: the file, opened at its first byte.

    Raises:
        ImageError: damaged, or of no known format.
    """
    start = stream.read(16)
    if start.startswith(b"\xff\xd8"):
        return _jpeg(stream)
    if start.startswith(b"\x89PNG\r\n\x1a\n"):
        return _png(stream)
    if start.startswith(SIGNATURES):
        stream.seek(0)
        return _tiff(stream, start)
    if start.startswith((_CODESTREAM, b"\0\0\0\x0cjP  ")):
        return _jpeg2000(stream, start)
    return _other(stream, start)


def _jpeg(stream: BinaryIO) -> Header:
    """Segments up to the first scan; the thumbnail in an EXIF block, itself a JPEG, is skipped with its block."""
    stream.seek(2)
    height = width = 0
    orientation = 1
    while True:
        marker = _next_marker(stream)
        if marker in {0x00, 0x01} or 0xD0 <= marker <= 0xD8:
            continue
        length = int.from_bytes(stream.read(2), "big") - 2
        if length < 0:
            raise ImageError(DAMAGED)
        if marker == 0xDA:
            return Header("JPEG", height, width, orientation=orientation, scan=stream.tell())
        if 0xC0 <= marker <= 0xCF and marker not in {0xC4, 0xC8, 0xCC}:
            frame = stream.read(length)
            if len(frame) < 6:
                raise ImageError(DAMAGED)
            if frame[0] != 8:
                raise RefusedImageError(f"JPEG of {frame[0]} bits: save it as TIFF or PNG of 16 bits")
            height, width = int.from_bytes(frame[1:3], "big"), int.from_bytes(frame[3:5], "big")
        elif marker == 0xE1:
            block = stream.read(length)
            if block.startswith(b"Exif\0\0"):
                orientation = orientation_of(block[6:])
        else:
            stream.seek(length, 1)


def _next_marker(stream: BinaryIO) -> int:
    byte = stream.read(1)
    while byte and byte != b"\xff":
        byte = stream.read(1)
    while byte == b"\xff":
        byte = stream.read(1)
    if not byte:
        raise ImageError(DAMAGED)
    return byte[0]


def _png(stream: BinaryIO) -> Header:
    stream.seek(8)
    height = width = 0
    orientation = 1
    while True:
        head = stream.read(8)
        length, kind = int.from_bytes(head[:4], "big"), head[4:]
        if kind == b"IDAT" and height and width:
            return Header("PNG", height, width, orientation=orientation)
        if kind == b"IHDR":
            sides = stream.read(8)
            width, height = int.from_bytes(sides[:4], "big"), int.from_bytes(sides[4:], "big")
            length -= 8
        elif kind == b"eXIf":
            orientation = orientation_of(stream.read(length))
            length = 0
        elif len(kind) < 4 or kind in {b"IDAT", b"IEND"}:
            raise ImageError(DAMAGED)
        stream.seek(length + 4, 1)


def _tiff(stream: BinaryIO, start: bytes) -> Header:
    tags = read_tags(stream, _WANTED)

    def number(tag: int, default: int) -> int:
        values = tags.get(tag)
        return values[0] if isinstance(values, tuple) and values else default

    height, width = number(_HEIGHT, 0), number(_WIDTH, 0)
    if not height or not width:
        raise ImageError(DAMAGED)
    samples, photometric, compression = number(_SAMPLES, 1), number(_PHOTOMETRIC, 1), number(_COMPRESSION, 1)
    bits = set(tags.get(_BITS) or (1,))
    orientation = oriented(tags.get(ORIENTATION))
    # Tiles that GDAL left out, which are black; Pillow takes them for damage.
    sizes = tags.get(_TILE_BYTES) or tags.get(_STRIP_BYTES) or ()
    sparse = 0 in sizes
    plain = (
        bits == {8}
        and (samples, photometric) in {(1, 1), (3, 2)}
        and set(tags.get(_SAMPLE_FORMAT) or (1,)) == {1}
        and (samples == 1 or number(_PLANAR, 1) == 1)
        and number(_FILL_ORDER, 1) == 1
        and _EXTRA not in tags
        and _COLOUR_MAP not in tags
        and not sparse
        and not start.startswith(b"MM\0+")  # Pillow reads no BigTIFF of this byte order.
        and compression in _PILLOW_READS
        and orientation == 1  # Pillow turns what the tag asks for; nothing here is ever turned.
    )
    parts = [f"{samples} band{'s' * (samples > 1)} of {' and '.join(map(str, sorted(bits)))} bits"]
    parts += ["colour table"] if _COLOUR_MAP in tags else []
    parts += ["sparse"] if sparse else []
    parts += [name for name in (_PHOTOMETRICS.get(photometric), _COMPRESSIONS.get(compression)) if name]
    return Header(
        "TIFF",
        height,
        width,
        plain,
        f"TIFF of {width:,} x {height:,} pixels ({', '.join(parts)})",
        orientation,
        nodata=_NODATA in tags and _stated(tags[_NODATA]) != 0,
        placed=any(tag in tags for tag in _PLACE),
        deflated=tuple(zip(tags.get(_TILES) or tags.get(_STRIPS) or (), sizes, strict=False))
        if compression in _DEFLATE
        else (),
    )


def _stated(text: tuple[int, ...] | bytes) -> float | None:
    """GDAL's tag for no data as a number; None for what is none."""
    try:
        return float(bytes(text).strip())
    except ValueError:
        return None


def _jpeg2000(stream: BinaryIO, start: bytes) -> Header:
    """The SIZ segment of the codestream, which an image file holds in a box of its own (ISO 15444-1, annexes A, I)."""
    stream.seek(0)
    said = b""
    while not start.startswith(_CODESTREAM):
        head = stream.read(8)
        length, kind = int.from_bytes(head[:4], "big"), head[4:]
        if length == 1:
            length = int.from_bytes(stream.read(8), "big") - 8
        if kind == b"jp2c":
            break
        if length < 8:
            raise ImageError(DAMAGED)
        if kind == b"jp2h":
            said = stream.read(min(length - 8, _MOST_BOX))
            length -= len(said)
        stream.seek(length - 8, 1)
    segment = stream.read(42)
    count = int.from_bytes(segment[40:42], "big")
    parts = stream.read(3 * count)
    if not segment.startswith(_CODESTREAM) or len(segment) < 42 or not 0 < 3 * count == len(parts):
        raise ImageError(DAMAGED)
    right, bottom, left, top = (int.from_bytes(segment[8 + 4 * k : 12 + 4 * k], "big") for k in range(4))
    bits = {(depth & 0x7F) + 1 for depth in parts[::3]}
    # OpenCV takes three components without a stated colour space for grey.
    plain = _COLOUR_SPACES.get(_colour_space(said)) == count and parts == b"\7\1\1" * count
    description = f"JPEG 2000 ({count} bands of {' and '.join(map(str, sorted(bits)))} bits)"
    return Header("JPEG 2000", bottom - top, right - left, plain, description)


def _colour_space(boxes: bytes) -> int:
    """The enumerated colour space that the boxes of a JP2 header state; 0 for another statement, a palette or alpha."""
    space = 0
    while len(boxes) >= 8:
        length, kind = int.from_bytes(boxes[:4], "big"), boxes[4:8]
        if kind in {b"pclr", b"cdef"} or length < 8:
            return 0
        if kind == b"colr" and boxes[8:9] == b"\1":
            space = space or int.from_bytes(boxes[11:15], "big")
        boxes = boxes[length:]
    return space


def _other(stream: BinaryIO, start: bytes) -> Header:
    """What Pillow says of a file. Its own limit on sizes stands in `Image.open`, which is not used here."""
    from PIL import Image

    Image.init()
    for name in _OTHERS:
        if name not in Image.OPEN:
            continue
        factory, accept = Image.OPEN[name]
        if accept is None or accept(start) is not True:
            continue
        stream.seek(0)
        try:
            image: Any = factory(stream, "")
            orientation = image.getexif().get(ORIENTATION, 1)
        except Exception as error:  # Pillow's parsers raise whatever a damaged file brings them to.
            raise ImageError(DAMAGED) from error
        width, height = image.size
        return Header(name, height, width, orientation=orientation if orientation in range(1, 9) else 1)
    raise ImageError(DAMAGED)
