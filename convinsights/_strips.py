"""Neighbouring windows taken as one: a strip of t windows, with t times the filters.

t windows side by side along the last axis read mostly the same pixels. Laid over all of them at
once, a kernel that is wider by (t - 1) s pixels makes the outputs of all t, each as filters of its
own. The filters of window j are the kernel, shifted by j s, among zeros; within each group g they
stand window by window:

    wide[…, j s + v d, c, (g, j, o)] = kernel[…, v, c, (g, o)]

It is a convolution again, with strides of t s. It copies fewer numbers, down to 1 / t of them where
kernels are much wider than (t - 1) s, and multiplies more, but in products of more columns: for few
filters and wide kernels it pays (see `_costs`).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from convinsights._arguments import Array
from convinsights._geometry import Geometry

__all__ = ["Strips", "strip_geometry"]


class Strips:
    """A convolution as that of strips of `count` = t windows, and the ways there and back."""

    def __init__(self, plain: Geometry, count: int, groups: int) -> None:
        self.plain, self.count, self.groups = plain, count, groups
        self.geometry = strip_geometry(plain, count)

    def kernel(self, kernel: Array) -> Array:
        """Return the wide kernel, (…, wide, C_in // groups, (g, j, o))."""
        *taps, _, inputs, filters = kernel.shape
        each = filters // self.groups
        shape = *taps, self.geometry.kernel_size[-1], inputs, self.groups, self.count, each
        wide = np.zeros(shape, kernel.dtype)
        for j, place in enumerate(self._places()):
            parts = wide[(..., place, slice(None), slice(None), j, slice(None))]
            parts[...] = kernel.reshape(parts.shape)
        return wide.reshape(*shape[:-3], filters * self.count)

    def kernel_back(self, wide: Array) -> Array:
        """Return the kernel's gradient, given that of the wide kernel: the adjoint of `kernel`."""
        *outer, filters = wide.shape
        parts = wide.reshape(*outer, self.groups, self.count, filters // self.count // self.groups)
        first, *others = self._places()
        total: Array = parts[(..., first, slice(None), slice(None), 0, slice(None))].copy()
        for j, place in enumerate(others, 1):
            total += parts[(..., place, slice(None), slice(None), j, slice(None))]
        return total.reshape(*total.shape[:-2], filters // self.count)

    def outputs(self, y: Array) -> Array:
        """Return pixels as strips with more filters; what a last strip lacks are zeros."""
        *outer, output_width, filters = y.shape
        strip = self.geometry.output_size[-1]
        if strip * self.count > output_width:
            whole = np.zeros((*outer, strip * self.count, filters), y.dtype)
            whole[..., :output_width, :] = y
            y = whole
        parts = y.reshape(*outer, strip, self.count, self.groups, filters // self.groups)
        return parts.swapaxes(-2, -3).reshape(*outer, strip, self.count * filters)

    def outputs_back(self, y: Array) -> Array:
        """Return the pixels that strips are made of: the inverse of `outputs`."""
        *outer, strip, filters = y.shape
        each = filters // self.count // self.groups
        parts = y.reshape(*outer, strip, self.groups, self.count, each).swapaxes(-2, -3)
        pixels = parts.reshape(*outer, strip * self.count, each * self.groups)
        return np.ascontiguousarray(pixels[..., : self.plain.output_size[-1], :])

    def _places(self) -> list[slice]:
        # Where in the wide kernel the taps of each window lie
        stride, rate = self.plain.strides[-1], self.plain.dilation_rate[-1]
        span = (self.plain.kernel_size[-1] - 1) * rate + 1
        return [slice(j * stride, j * stride + span, rate) for j in range(self.count)]


def strip_geometry(plain: Geometry, count: int) -> Geometry:
    """Lay strips of so many windows over an image."""
    stride, windows = plain.strides[-1] * count, -(-plain.output_size[-1] // count)
    wide = (plain.kernel_size[-1] - 1) * plain.dilation_rate[-1] + stride - plain.strides[-1] + 1
    before, after = plain.padding[-1]
    # The zeros that the last strip reaches over
    needed = (windows - 1) * stride + wide - before - plain.input_size[-1]
    return replace(
        plain,
        kernel_size=(*plain.kernel_size[:-1], wide),
        strides=(*plain.strides[:-1], stride),
        dilation_rate=(*plain.dilation_rate[:-1], 1),
        padding=(*plain.padding[:-1], (before, max(after, needed))),
        output_size=(*plain.output_size[:-1], windows),
    )
