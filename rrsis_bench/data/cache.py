"""Resized images in a folder (`--data.cache`), so that a photograph is decoded and resized once, not in every epoch.

An entry is a file with one image, 8-bit RGB at the method's input size. Its name is a hash of all that the pixels
depend on: the content of the photograph's file, the rule by which it is read, size and filter, and the versions of the
libraries that decode and resize. A photograph that was replaced has another content, and so another entry.

An entry appears whole or not at all (`rrsis_bench.files`), and each process compares its checksum before it trusts it.
Several processes and runs may share a folder. What cannot be read from it is read from the photograph's file.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import struct
import sys
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL
from numpy.typing import NDArray

from rrsis_bench.data.state import Contents
from rrsis_bench.data.transforms import resize_image
from rrsis_bench.errors import UserError
from rrsis_bench.files import make_folder, refused, write_bytes
from rrsis_bench.locked import locked
from rrsis_bench.types import InputSpec

_FORMAT = 1
"""Raise it when the suite reads or resizes images otherwise."""
_HEADER = struct.Struct("<8s32sIIIII")
"""Magic, hash, native height and width, height and width, CRC of all before and of the pixels."""
_MAGIC = b"RRSISimg"
_OURS = re.compile(r"[0-9a-f]{62}\.rgb|\.[0-9a-f]{62}\.rgb\.[0-9a-f]{8}\.tmp")
_BESIDE = ("", ".aux.xml", ".msk")
"""The file itself, and those beside it that GDAL reads with it."""
_PATIENCE = 0.5
"""Seconds that storing waits for another process; a stopped one must not stop others. Then the image is not stored."""
_USED_SECONDS = 3600
"""The time of an entry's last use is noted to within this many seconds."""


@dataclass(frozen=True)
class Resized:
    """An image at a method's input size.

    Attributes:
        pixels: (H, W, 3) uint8, not to be changed.
        native: height and width of the photograph.
    """

    pixels: NDArray[np.uint8]
    native: tuple[int, int]


class ImageCache:
    """A folder with resized images. See the module.

    Args:
        folder: the folder; made if it does not exist.
        limit: most bytes that its files may take.
        spec: size and filter.
        contents: what the photographs' files hold.
    """

    def __init__(self, folder: Path, limit: int, spec: InputSpec, contents: Contents) -> None:
        self.folder = folder
        self.limit = limit
        self.spec = spec
        self._contents = contents
        self._size = _HEADER.size + 3 * spec.image_size[0] * spec.image_size[1]
        self._storing = True
        self._sound: dict[str, tuple[int, int, int]] = {}

    @cached_property
    def _made_by(self) -> list[Any]:
        # Packages of several names hold OpenCV; the module knows its version. Importing rasterio would take long.
        versions = [cv2.__version__, PIL.__version__, np.__version__]
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions.append(metadata.version("rasterio"))
        return [_FORMAT, *self.spec.image_size, self.spec.interpolation, *versions]

    def resized(self, image: str, rule: Mapping[str, Any], decode: Callable[[], NDArray[np.uint8]]) -> Resized:
        """An image at the input size, from the folder or, the first time, from its file.

        Args:
            image: path of the file relative to the data root.
            rule: how its numbers become 8-bit RGB; see `PixelRule.from_config`.
            decode: reads the file as (Hn, Wn, 3); what it raises is raised here.
        """
        name = self._name(image, rule)
        found = None if name is None else self._read(name)
        if found is not None:
            return found
        native = decode()
        made = Resized(resize_image(native, self.spec), (native.shape[0], native.shape[1]))
        # A file that was replaced while it was decoded must not be kept under the hash of what it held before.
        if name is not None and self._storing and self._name(image, rule) == name:
            self._store(name, made)
        return made

    def make_room(self, images: Iterable[tuple[str, Mapping[str, Any]]]) -> None:
        """Count what the folder holds, and remove what a run does not read where the run's own images lack the room.

        Entries go in the order of their last use. One process of a node calls this before the loaders start.

        Args:
            images: path and rule of all images of the run.

        Raises:
            UserError: the folder cannot be written.
        """
        make_folder(self.folder)
        found = (self._name(image, rule) for image, rule in {image: rule for image, rule in images}.items())
        names = {name for name in found if name is not None}
        with locked(self._lock, 20 * _PATIENCE) as ours:
            if not ours:
                self._storing = False
                self._say("cannot be locked: no image is stored in it")
                return
            held = dict(self._files())
            for path in [path for path in held if path.suffix == ".tmp"]:  # nobody writes while we hold the lock
                path.unlink(missing_ok=True)
                del held[path]
            own = {path for path in held if path.parent.name + path.stem in names}
            used, lacking = sum(status.st_size for status in held.values()), (len(names) - len(own)) * self._size
            for path in sorted(held, key=lambda path: (path in own, held[path].st_mtime)):
                if used + (0 if path in own else lacking) <= self.limit:
                    break
                path.unlink(missing_ok=True)
                used -= held[path].st_size
                own.discard(path)
            self._note(used)
        fitting = len(own) + (self.limit - used) // self._size
        if fitting < len(names):
            self._say(
                f"has room for {fitting:,} of {len(names):,} images with data.cache_gb={self.limit / 1e9:g}; the "
                "others are read from their files"
            )

    def _name(self, image: str, rule: Mapping[str, Any]) -> str | None:
        """The hash of an image's entry; None if its file cannot be read, or changes meanwhile."""
        contents = [self._contents.sha256(image + end) for end in _BESIDE]
        if not contents[0] or None in contents:
            return None
        value = json.dumps([contents, dict(rule), self._made_by], sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(value.encode("utf-8")).hexdigest()

    def _path(self, name: str) -> Path:
        return self.folder / name[:2] / f"{name[2:]}.rgb"

    def _read(self, name: str) -> Resized | None:
        """An entry; None if there is none, or a damaged one."""
        path = self._path(name)
        try:
            with open(path, "rb", buffering=0) as stream:
                content = stream.read(self._size + 1)
                status = os.fstat(stream.fileno())
        except OSError:
            return None
        if content is None or len(content) != self._size:
            return None
        magic, digest, *sizes, checksum = _HEADER.unpack_from(content)
        seen = (status.st_ino, status.st_mtime_ns, status.st_ctime_ns)
        if self._sound.get(name) != seen:
            right = (_MAGIC, bytes.fromhex(name), *self.spec.image_size, _checksum(content))
            if (magic, digest, *sizes[2:], checksum) != right:
                return None
            self._sound[name] = seen
        if time.time() - status.st_mtime > _USED_SECONDS:
            with contextlib.suppress(OSError):
                os.utime(path)
        pixels = np.frombuffer(content, np.uint8, offset=_HEADER.size).reshape(*self.spec.image_size, 3)
        return Resized(pixels, (sizes[0], sizes[1]))

    def _store(self, name: str, made: Resized) -> None:
        """Write an entry if there is room. A folder that cannot be written costs time, and stops no run."""
        head = _HEADER.pack(_MAGIC, bytes.fromhex(name), *made.native, *self.spec.image_size, 0)
        content = head + made.pixels.tobytes()
        content = head[:-4] + struct.pack("<I", _checksum(content)) + content[_HEADER.size :]
        path = self._path(name)
        try:
            make_folder(self.folder)
            # Entries are written under the lock: what is counted is what the folder holds.
            with locked(self._lock, _PATIENCE) as ours:
                if not ours or self._read(name) is not None:
                    return
                used = self._used() + len(content)
                if used > self.limit:
                    self._storing = False
                    return
                self._note(used)  # before: a process that is killed here leaves too high a count, never too low a one
                write_bytes(path, content)
        except UserError as error:
            self._storing = False
            self._say(f"is not written any further: {error}")

    @property
    def _lock(self) -> Path:
        return self.folder / ".lock"

    def _used(self) -> int:
        """Bytes that the files take, as noted; counted if there is no sound note."""
        try:
            note = (self.folder / ".used").read_bytes()
        except OSError:
            note = b""
        return int(note) if re.fullmatch(rb"\d{20}\n", note) else sum(status.st_size for _, status in self._files())

    def _note(self, used: int) -> None:
        path = self.folder / ".used"
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o666)
            try:
                os.write(descriptor, b"%020d\n" % used)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise refused(path, error, "") from error

    def _files(self) -> Iterator[tuple[Path, os.stat_result]]:
        """Entries, and what killed processes left of some. Other files of a user's folder are none of ours."""
        for number in range(256):
            with contextlib.suppress(OSError), os.scandir(self.folder / f"{number:02x}") as entries:
                for entry in entries:
                    if _OURS.fullmatch(entry.name):
                        with contextlib.suppress(OSError):
                            yield Path(entry.path), entry.stat()

    def _say(self, what: str) -> None:
        print(f"rrsis-bench: warning: the image cache {self.folder} {what}.", file=sys.stderr, flush=True)


def _checksum(content: bytes) -> int:
    """CRC of an entry without the four bytes that hold it."""
    view = memoryview(content)
    return zlib.crc32(view[_HEADER.size :], zlib.crc32(view[: _HEADER.size - 4]))
