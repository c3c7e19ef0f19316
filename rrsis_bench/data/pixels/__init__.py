"""The one reader of pixels: the same file gives every verb the same 8-bit RGB.

header   what the first bytes say: format, size, orientation, whether rasterio is needed
rule     what a data set or a command states: bands, and how more than 8 bits become 8
plain    PNG, JPEG and the like, plain 8-bit TIFF: decoded whole
raster   every other TIFF, and JPEG 2000 of other depths: by windows, by what the file says of its bands
damage   damage to a TIFF that its decoders do not report
opening  from a file to its reader
labels   mask files: which pixels are foreground
writing  images written
"""

from rrsis_bench.data.pixels.errors import ImageError, MissingImageError, RefusedImageError
from rrsis_bench.data.pixels.header import Header
from rrsis_bench.data.pixels.labels import foreground, read_labels
from rrsis_bench.data.pixels.opening import open_image, opened, read_rgb
from rrsis_bench.data.pixels.reader import DecodedImage, ImageReader, Note, Window
from rrsis_bench.data.pixels.rule import PixelRule, Stretch
from rrsis_bench.data.pixels.writing import encoded, grey_png, pixel_hash, write_image

__all__ = [
    "DecodedImage",
    "Header",
    "ImageError",
    "ImageReader",
    "MissingImageError",
    "Note",
    "PixelRule",
    "RefusedImageError",
    "Stretch",
    "Window",
    "encoded",
    "foreground",
    "grey_png",
    "open_image",
    "opened",
    "pixel_hash",
    "read_labels",
    "read_rgb",
    "write_image",
]
