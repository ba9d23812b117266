"""A normalization's arrays by what is normalized together."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from convinsights import batchnorm
from convinsights._arguments import Array
from convinsights.verify._calls import Call

__all__ = ["Grouped"]


@dataclass(frozen=True, eq=False)
class Grouped:
    """The arrays of a call as (images, pixels, groups, channels of a group).

    One mean and one variance belong to the values along `axes`. For batch normalization all images
    count as one image, and every channel is a group.
    """

    call: Call
    axes = (1, 3)

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """The shape of x by groups."""
        *size, channels = self.call.x.shape
        images = 1 if self.call.module is batchnorm else size[0]
        groups = self.call.settings.get("groups", channels)
        return images, math.prod(size) // max(1, images), groups, channels // groups

    @cached_property
    def count(self) -> int:
        """How many values a group has."""
        return max(1, self.shape[1] * self.shape[3])

    def view(self, array: Array) -> Array:
        """Return an array of x's shape, by groups."""
        return array.reshape(self.shape)

    def whole(self, array: Array) -> Array:
        """Return an array by groups in the shape of x."""
        return np.broadcast_to(array, self.shape).reshape(self.call.x.shape)

    def average(self, values: Array) -> Array:
        """Return the mean over every group."""
        means: Array = values.sum(axis=self.axes, keepdims=True) / self.count
        return means

    @cached_property
    def x(self) -> Array:
        """The images."""
        return self.view(self.call.x)

    @cached_property
    def scale(self) -> Array:
        """What normalized values are multiplied by."""
        return self._of_channels(self.call.arrays[1], 1.0)

    @cached_property
    def shift(self) -> Array:
        """What is added to them."""
        return self._of_channels(self.call.arrays[2], 0.0)

    def _of_channels(self, vector: Array | None, otherwise: float) -> Array:
        shape = 1, 1, *self.shape[2:]
        return np.full(shape, otherwise) if vector is None else vector.reshape(shape)

    @property
    def own(self) -> bool:
        """Whether mean and variance are those of the images, and none were given."""
        return all(statistics is None for statistics in self.call.arrays[3:])

    @cached_property
    def mean(self) -> Array:
        """The mean that is subtracted."""
        if self.own:
            return self.average(self.x)
        return np.reshape(self.call.arrays[3].mean, (1, 1, -1, 1))

    @cached_property
    def variance(self) -> Array:
        """The variance; its root, with epsilon, divides."""
        if self.own:
            return self.average((self.x - self.mean) ** 2)
        return np.reshape(self.call.arrays[3].variance, (1, 1, -1, 1))

    @property
    def root(self) -> Array:
        """What a group is divided by."""
        root: Array = np.sqrt(self.variance + self.call.settings["epsilon"])
        return root
