"""Stacks of layers along one axis, as they are given and as they are once checked."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from typing import NamedTuple, TypeAlias

from convinsights._arguments import (
    Ints,
    as_iterable,
    check_flag,
    is_sequence,
    shown,
    to_integer,
    to_integers,
)
from convinsights._padding import resolve

__all__ = [
    "Fork",
    "Layer",
    "Layers",
    "Residual",
    "Stack",
    "Window",
    "along_axes",
    "as_stack",
]

# How deep sums may be nested: each level takes several of the 1000 calls that Python allows.
DEPTH = 100


class Layer(NamedTuple):
    """One axis of a convolution, a pooling or a transposed convolution, in pixels.

    padding: zeros on each side, or a (before, after) pair, "valid", "causal" or "same". With
    strides the zeros of "same" depend on the input's size, which only `dependencies` and `overlaps`
    know.

    In a transposed layer padding cuts off output pixels instead, which leaves (size - 1) * strides
    + ke - before - after + output_padding; "same" leaves (size - 1) * strides + 1 + output_padding.
    The default of output_padding is 0. (`transposed` has strides - 1 with "same", for an output of
    size * strides.)
    """

    kernel_size: int
    strides: int = 1
    dilation_rate: int = 1
    padding: int | tuple[int, int] | str = 0
    transposed: bool = False
    output_padding: int = 0


class Residual(NamedTuple):
    """The sum of two stacks over the same input; an empty shortcut is the identity."""

    branch: Iterable[Layer | Residual]
    shortcut: Iterable[Layer | Residual] = ()


Layers: TypeAlias = Iterable[Layer | Residual]


class Window(NamedTuple):
    """A `Layer`, checked; output_padding is then what `output_size` adds behind."""

    name: str
    kernel_size: int
    strides: int
    dilation_rate: int
    zeros: tuple[int, int] | None  # before and after; None: "same", and not known yet
    transposed: bool
    output_padding: int

    @property
    def padding(self) -> tuple[int, int]:
        """The zeros before and after."""
        if self.zeros is None:
            raise ValueError(
                f'{self.name}.padding must not be "same" with strides of {self.strides} where the '
                f"input's size is not known: its zeros depend on it (see im2col.resolve_padding)"
            )
        return self.zeros

    @property
    def before(self) -> int:
        """The zeros in front."""
        return self.padding[0]

    @property
    def after(self) -> int:
        """The zeros behind."""
        return self.padding[1]

    def over(self, size: int) -> Window:
        """Return the window laid over so many pixels: with the zeros that "same" means there."""
        if self.zeros is not None:
            return self
        (zeros,) = resolve("same", (size,), (self.span,), (self.strides,))
        return self._replace(zeros=zeros)

    @property
    def span(self) -> int:
        """The pixels from the first tap to the last: the effective kernel size."""
        return (self.kernel_size - 1) * self.dilation_rate + 1

    def output_size(self, size: int) -> int:
        """Tell how many pixels this makes of so many, or why it cannot."""
        zeros = self.before + self.after
        if self.transposed:
            output = (size - 1) * self.strides + self.span - zeros + self.output_padding
            if output < 1:
                raise ValueError(
                    f"{self.name}.padding must leave an output, got {self.padding}, "
                    f"with which its size is {output}"
                )
            return output
        if size + zeros < self.span:
            raise ValueError(
                f"{self.name} does not fit its padded input: effective kernel size {self.span}, "
                f"padded input size {size + zeros}"
            )
        return (size + zeros - self.span) // self.strides + 1


class Fork(NamedTuple):
    """A `Residual` whose entries have been checked."""

    name: str
    branch: Stack
    shortcut: Stack


Stack: TypeAlias = tuple[Window | Fork, ...]


def as_stack(name: str, layers: object, depth: int = 0) -> Stack:
    """Return a stack of layers with every entry checked."""
    if isinstance(layers, (Layer, Residual)):  # tuples, too
        raise TypeError(f"{name} must be an iterable of Layer, got one: put it in a list")
    entries = as_iterable(name, layers, "an iterable of Layer")
    if depth > DEPTH:
        raise ValueError(f"{name[:40]}… must be sums nested at most {DEPTH} deep")
    return tuple(_checked(f"{name}[{index}]", entry, depth) for index, entry in enumerate(entries))


def along_axes(
    layers: object, name: str, value: Ints, *, minimum: int = 1
) -> tuple[list[Stack], tuple[int, ...]]:
    """Return one stack and one int per axis; a `value` that is an int means a single axis."""
    if not is_sequence(value):
        number = to_integer(name, value, minimum=minimum)
        return [as_stack("layers", layers)], (number,)
    numbers = to_integers(name, value, minimum=minimum)
    if not 1 <= len(numbers) <= 3:
        raise ValueError(f"{name} must be an int, or one for each of up to 3 axes, got {value}")
    stacks = list(as_iterable("layers", layers, "an iterable of stacks, one per axis"))
    if len(stacks) != len(numbers):
        raise ValueError(
            f"layers must be one stack per axis, {len(numbers)} as in {name}, got {len(stacks)}"
        )
    return [as_stack(f"layers[{axis}]", stack) for axis, stack in enumerate(stacks)], numbers


def _checked(name: str, entry: object, depth: int) -> Window | Fork:
    if isinstance(entry, Residual):
        branch, shortcut = (
            as_stack(f"{name}.{field}", part, depth + 1)
            for field, part in zip(Residual._fields, entry, strict=True)
        )
        if _stride(branch) != _stride(shortcut):
            raise ValueError(
                f"{name} must have a branch and a shortcut of the same stride, got "
                f"{_stride(branch)} and {_stride(shortcut)}"
            )
        return Fork(name, branch, shortcut)
    if not isinstance(entry, tuple) or not 1 <= len(entry) <= len(Layer._fields):
        raise TypeError(f"{name} must be a Layer, got {shown(entry)}")
    layer = Layer(*entry)
    kernel_size, strides, dilation_rate = (
        to_integer(f"{name}.{field}", value)
        for field, value in zip(Layer._fields[:3], layer[:3], strict=True)
    )
    transposed = check_flag(f"{name}.transposed", layer.transposed)
    extra = to_integer(f"{name}.output_padding", layer.output_padding, minimum=0)
    most = strides - 1 if transposed else 0
    if extra > most:
        raise ValueError(
            f"{name}.output_padding must be at most {most} "
            f"({'strides - 1' if transposed else 'not transposed'}), got {extra}"
        )
    window = Window(name, kernel_size, strides, dilation_rate, (0, 0), transposed, extra)
    return _padded(window, layer.padding)


def _padded(window: Window, value: object) -> Window:
    name, span, stride = f"{window.name}.padding", window.span, window.strides
    if isinstance(value, str):
        if value not in ("valid", "same", "causal") or (window.transposed and value == "causal"):
            raise ValueError(
                f'{name} must be an int, a (before, after) pair, "valid", "same" or, not '
                f'transposed, "causal", got {shown(value)}'
            )
        if value == "same" and window.transposed:
            # The convolution's image has (size - 1) * stride + kept pixels; its zeros are the same
            # for every size, so they are taken for 1: those around kept pixels. Where kept is more
            # than a stamp spans there are none, and the pixels beyond the stamp are appended.
            kept = 1 + window.output_padding
            (pair,) = resolve("same", (kept,), (span,), (stride,))
            return window._replace(zeros=pair, output_padding=max(kept - span, 0))
        if value == "same" and stride > 1 and span > 1:
            return window._replace(zeros=None)
        # With strides of 1, and for a single tap, the zeros do not depend on the size.
        (pair,) = resolve(value, (span,), (span,), (stride,))
        return window._replace(zeros=pair)
    if not is_sequence(value):
        zeros = to_integer(name, value, minimum=0)
        return window._replace(zeros=(zeros, zeros))
    numbers = to_integers(name, value, minimum=0)
    if len(numbers) != 2:
        raise ValueError(f"{name} must be an int or a (before, after) pair, got {shown(value)}")
    return window._replace(zeros=numbers)


def _stride(stack: Stack) -> Fraction:
    # Input pixels from one output pixel to the next
    stride = Fraction(1)
    for part in stack:
        if isinstance(part, Fork):
            stride *= _stride(part.branch)
        else:
            stride *= Fraction(1, part.strides) if part.transposed else part.strides
    return stride
