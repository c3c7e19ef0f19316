"""Keeps encoded images from batch to batch, so that evaluation encodes each image once."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from rrsis_bench.methods.base import Method
from rrsis_bench.types import Batch


class LastImage:
    """The maps of the last image of the batch before. Samples come image by image; the next batch may begin with it.

    Whoever changes the method's parameters must take a new one.
    """

    def __init__(self) -> None:
        self._key = ""
        self._maps: tuple[Tensor, ...] = ()

    def complete(self, method: Method, batch: Batch) -> Batch:
        """Encode the images of a batch that are not yet encoded.

        Args:
            method: in evaluation mode.
            batch: on the method's device.

        Returns:
            the batch with its `encoded` maps; the batch itself if it names no images, or the method has no maps.
        """
        if not (method.shares_images and batch.image_keys):
            return batch
        maps = self._maps if batch.image_keys[0] == self._key else ()
        images = batch.images[1:] if maps else batch.images
        if len(images):
            new = method.encode_images(images)
            maps = tuple(torch.cat(pair) for pair in zip(maps, new, strict=True)) if maps else new
        # A copy of one row: a view would keep the maps of the whole batch alive.
        self._key, self._maps = batch.image_keys[-1], tuple(one[-1:].clone() for one in maps)
        return replace(batch, encoded=maps)
