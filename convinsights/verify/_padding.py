"""The zeros of every kind of padding, axis by axis, and how many windows an axis then has."""

from types import ModuleType

from convinsights import transposed
from convinsights._padding import resolve

__all__ = ["BY_NAME", "windows", "zeros"]

# Ends the kinds of padding that are handed over as a name.
BY_NAME = " by name"


def zeros(kind: str, axis: int, size: int, kernel: int, stride: int, rate: int) -> tuple[int, int]:
    """Return the zeros of one axis, (before, after), of a kind of padding."""
    kind = kind.removesuffix(BY_NAME)
    effective = (kernel - 1) * rate + 1
    if kind == "same":
        ((before, after),) = resolve("same", (size,), (effective,), (stride,))
        return before, after
    return {
        "valid": (0, 0),
        "1": (1, 1),
        "3": (3, 3),
        # A pair for each axis, the first unlike the second: an axis taken for another is seen.
        "per axis": ((2, 2), (1, 1), (0, 0))[axis],
        "before": ((1, 0), (2, 0), (1, 0))[axis],
        "after": ((0, 2), (0, 1), (0, 1))[axis],
        "uneven": ((0, 1), (2, 1), (1, 0))[axis],
        "full": (effective - 1, effective - 1),
        "causal": (effective - 1, 0),
    }[kind]


def windows(
    module: ModuleType, kind: str, axis: int, size: int, kernel: int, stride: int, rate: int
) -> int:
    """Return how many outputs one axis has, less than 1 where the window does not fit."""
    effective = (kernel - 1) * rate + 1
    if module is transposed and kind.startswith("same"):
        return size * stride
    added = sum(zeros(kind, axis, size, kernel, stride, rate))
    if module is transposed:
        return (size - 1) * stride + effective - added
    return (size + added - effective) // stride + 1
