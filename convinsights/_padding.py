"""What a padding means in zeros: "valid", "same", "causal", an int, or one entry per axis."""

from __future__ import annotations

from convinsights._arguments import MOST_AXES, Pad, entries_of, is_sequence, shown, to_integer

__all__ = ["Pairs", "resolve"]

Pairs = tuple[tuple[int, int], ...]

PADDING_RULE = (
    'padding must be "valid", "same", "causal", an int, or one entry per spatial axis, '
    "each an int or a (before, after) pair"
)


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
        raise ValueError(f"{PADDING_RULE}, got {shown(padding)}")
    if not is_sequence(padding):
        zeros = _zeros(padding)
        return ((zeros, zeros),) * rank
    entries = entries_of("padding", padding, MOST_AXES)
    if len(entries) != rank:
        raise ValueError(f"{PADDING_RULE}; there are {rank} spatial axes, got {shown(padding)}")
    return tuple(map(_pair, entries))


def _same(size: int, effective: int, stride: int) -> tuple[int, int]:
    # TensorFlow's rule: ceil(size / stride) windows, centred, the odd zero behind. Where the stride
    # is larger than the kernel, the last window may end inside the image: it needs no zeros.
    zeros = max((-(-size // stride) - 1) * stride + effective - size, 0)
    return zeros // 2, zeros - zeros // 2


def _pair(entry: object) -> tuple[int, int]:
    if not is_sequence(entry):
        zeros = _zeros(entry)
        return zeros, zeros
    numbers = entries_of("padding", entry, MOST_AXES)
    if len(numbers) != 2:
        raise ValueError(f"{PADDING_RULE}, got the entry {shown(entry)}")
    return _zeros(numbers[0]), _zeros(numbers[1])


def _zeros(entry: object) -> int:
    try:
        return to_integer("padding", entry, minimum=0)
    except TypeError:
        raise TypeError(f"{PADDING_RULE}, got {shown(entry)}") from None
