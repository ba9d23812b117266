"""The sizes that the output of a transposed convolution may have, by `transposed.forward`'s law."""

from __future__ import annotations

import operator

from convinsights._arguments import Ints, Pad, per_axis, shown
from convinsights._padding import resolve

__all__ = ["chosen_size"]


def chosen_size(
    size: tuple[int, ...],
    effective: tuple[int, ...],
    strides: tuple[int, ...],
    padding: Pad,
    output_padding: Ints | None,
    output_size: Ints | None,
) -> tuple[int, ...]:
    """Return the output's size: the one asked for or the usual one, if it is legal.

    size: of the input, which the convolution that is transposed makes of any legal size.
    """
    least, usual = _least_and_usual(size, effective, strides, padding)
    most = tuple(n + s - 1 for n, s in zip(least, strides, strict=True))
    legal = [(max(1, low), high) for low, high in zip(least, most, strict=True)]
    sizes = ", ".join(f"{low} … {high}" for low, high in legal)
    if output_padding is not None and output_size is not None:
        raise ValueError(
            f"output_padding and output_size must not be given both, got {shown(output_padding)} "
            f"and {shown(output_size)}; legal sizes are {sizes}"
        )
    if min(most) < 1:
        raise ValueError(
            f"padding must leave an output, got {shown(padding)}, with which it is {most} at most"
        )
    rank, extra = len(size), usual
    if output_padding is not None:
        extra = per_axis("output_padding", output_padding, rank, minimum=None)
    chosen = tuple(map(operator.add, least, extra))
    if output_size is not None:
        chosen = per_axis("output_size", output_size, rank, minimum=None)
    if all(low <= n <= high for n, (low, high) in zip(chosen, legal, strict=True)):
        return chosen
    if output_size is not None:
        raise ValueError(f"output_size must be {sizes} per spatial axis, got {shown(output_size)}")
    paddings = ", ".join(
        f"{low - n} … {high - n}" for n, (low, high) in zip(least, legal, strict=True)
    )
    raise ValueError(
        f"output_padding must be {paddings} per spatial axis (output sizes {sizes}), "
        f"got {extra if output_padding is None else shown(output_padding)}"
    )


def _least_and_usual(
    size: tuple[int, ...], effective: tuple[int, ...], strides: tuple[int, ...], padding: Pad
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    # The least size of the output, and the output_padding where none is given
    inner = tuple((n - 1) * s for n, s in zip(size, strides, strict=True))
    if isinstance(padding, str):
        if padding == "same":
            return tuple(n + 1 for n in inner), tuple(s - 1 for s in strides)
        if padding != "valid":
            raise ValueError(
                f'padding must be "valid", "same", an int or one entry per spatial axis (a '
                f'transposed convolution has no "causal"), got {shown(padding)}'
            )
    pairs = resolve(padding, size, effective, strides)
    axes = zip(inner, effective, pairs, strict=True)
    return tuple(n + ke - sum(pair) for n, ke, pair in axes), (0,) * len(size)
