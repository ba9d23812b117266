"""Where the windows of a convolution lie: one immutable value, computed and checked once.

Per spatial axis, with input size L, kernel size k, stride s and dilation rate d, all in pixels:

    effective kernel   ke = (k - 1) d + 1            a kernel of k taps, d pixels apart
    output size        n  = floor((before + L + after - ke) / s) + 1
    tap u of window i  reads pixel i s + u d - before, or a zero where there is no such pixel

The forward pass and both gradients of every convolution share the one `Geometry`.
"""

from dataclasses import dataclass
from typing import cast

from convinsights._arguments import Ints, Pad, is_sequence, per_axis, to_integer

__all__ = ["Geometry", "effective_size", "resolve"]

Pairs = tuple[tuple[int, int], ...]

PADDING_RULE = (
    'padding must be "valid", "same", "causal", an int, or one entry per spatial axis, '
    "each an int or a (before, after) pair"
)


@dataclass(frozen=True, slots=True)
class Geometry:
    """The sizes of a convolution, one entry per spatial axis, in pixels."""

    input_size: tuple[int, ...]
    kernel_size: tuple[int, ...]
    strides: tuple[int, ...]
    dilation_rate: tuple[int, ...]
    padding: Pairs
    output_size: tuple[int, ...]

    @classmethod
    def of(
        cls,
        input_size: tuple[int, ...],
        kernel_size: tuple[int, ...],
        strides: Ints,
        padding: Pad,
        dilation_rate: Ints,
    ) -> "Geometry":
        """Lay the windows over an input, or say why they do not fit."""
        rank = len(kernel_size)
        steps = per_axis("strides", strides, rank)
        rates = per_axis("dilation_rate", dilation_rate, rank)
        effective = effective_size(kernel_size, rates)
        pairs = resolve(padding, input_size, effective, steps)
        padded = tuple(size + sum(pair) for size, pair in zip(input_size, pairs, strict=True))
        if any(size < ke for size, ke in zip(padded, effective, strict=True)):
            raise ValueError(
                f"kernel does not fit its padded input: effective kernel size {effective}, "
                f"padded input size {padded} (input {input_size}, padding {pairs})"
            )
        output = tuple(
            (size - ke) // step + 1 for size, ke, step in zip(padded, effective, steps, strict=True)
        )
        return cls(input_size, kernel_size, steps, rates, pairs, output)

    @property
    def padded_size(self) -> tuple[int, ...]:
        """The input size with the zeros on both sides."""
        return tuple(
            size + sum(pair) for size, pair in zip(self.input_size, self.padding, strict=True)
        )

    @property
    def interior(self) -> tuple[slice, ...]:
        """Where the input lies in the padded input."""
        return tuple(
            slice(before, before + size)
            for size, (before, _) in zip(self.input_size, self.padding, strict=True)
        )


def effective_size(kernel_size: tuple[int, ...], rates: tuple[int, ...]) -> tuple[int, ...]:
    """Return the pixels that a dilated kernel spans: (k - 1) d + 1."""
    return tuple((k - 1) * d + 1 for k, d in zip(kernel_size, rates, strict=True))


def resolve(
    padding: Pad, input_size: tuple[int, ...], effective: tuple[int, ...], strides: tuple[int, ...]
) -> Pairs:
    """Return the zeros before and after each spatial axis that `padding` stands for."""
    rank = len(effective)
    if isinstance(padding, str):
        if padding == "valid":
            return ((0, 0),) * rank
        if padding == "same":
            return tuple(map(_same, input_size, effective, strides))
        if padding == "causal":
            if rank != 1:
                raise ValueError(f'padding "causal" needs one spatial axis, got {rank}')
            return ((effective[0] - 1, 0),)
        raise ValueError(f"{PADDING_RULE}, got {padding!r}")
    if not is_sequence(padding):
        zeros = to_integer("padding", padding, minimum=0)
        return ((zeros, zeros),) * rank
    entries = list(cast("list[object]", padding))
    if len(entries) != rank:
        raise ValueError(f"{PADDING_RULE}; there are {rank} spatial axes, got {padding!r}")
    return tuple(_pair(entry) for entry in entries)


def _same(size: int, effective: int, stride: int) -> tuple[int, int]:
    # TensorFlow's rule: ceil(size / stride) windows, centred, the odd zero behind. Where the stride
    # is larger than the kernel they need no zeros at all, and some pixels are never read.
    zeros = max((-(-size // stride) - 1) * stride + effective - size, 0)
    return zeros // 2, zeros - zeros // 2


def _pair(entry: object) -> tuple[int, int]:
    if not is_sequence(entry):
        zeros = to_integer("padding", entry, minimum=0)
        return zeros, zeros
    pair = [to_integer("padding", zeros, minimum=0) for zeros in cast("list[object]", entry)]
    if len(pair) != 2:
        raise ValueError(f"{PADDING_RULE}, got the entry {entry!r}")
    return pair[0], pair[1]
