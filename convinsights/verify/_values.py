"""The numbers of a case, and how they lie in memory.

Integers come first: so small, and in low precision so few of them not 0, that nearly every sum is
exact. Then one forgotten product is seen, among however many. Normal deviates show what is lost to
rounding. "Extremes" of the integer types make sums as large as int32 holds.
"""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from convinsights._arguments import Array, DType
from convinsights.verify._precision import Precision

__all__ = ["LAYOUTS", "Draw", "Seed", "arranged"]

Seed: TypeAlias = Sequence[int]

# How the arrays lie in memory.
LAYOUTS = (
    "C",
    "Fortran",
    "negative",  # strides
    "slice of channels",  # of a larger array (see `arranged`): of its last axis,
    "slice of rows",  # … its second,
    "slice of images",  # … and its first
    "odd address",  # of the first byte
    "broadcast",  # equal images are one in memory
)
# Elements of the larger array behind a slice; there is one in front.
MARGIN = 3


class Draw:
    """The numbers of one case, array by array.

    A sum has at most `terms` products, each of `factors` numbers.
    """

    def __init__(
        self, seed: Seed, values: str, precision: Precision, terms: int = 1, factors: int = 2
    ) -> None:
        self.rng, self.values, self.precision = np.random.default_rng(seed), values, precision
        self.terms, self.factors = terms, factors
        self.integers = values in ("integers", "extremes")

    def __call__(self, shape: tuple[int, ...], first: bool = False) -> Array:
        """Draw an array; x is the `first`, on which the extremes of integers depend."""
        if self.values == "extremes":
            carrier, factors = self.precision.stored.carrier, self.factors
            return extremes(self.rng, shape, carrier, self.terms, factors, first)
        if self.values == "integers":
            most = self.precision.exact_integers
            signed = self.precision.stored.carrier.kind != "u"
            return integers(self.rng, shape, self.terms, self.factors, most, signed)
        return self.precision.held(self.rng.normal(size=shape))


def integers(
    rng: np.random.Generator,
    shape: tuple[int, ...],
    terms: int,
    factors: int,
    most: float,
    signed: bool,
) -> Array:
    """Draw integers whose sums of `terms` products are to be at most `most` in magnitude.

    From 1 to 3 where that fits; otherwise 0 and 1, with so few ones that on average only `most` / 4
    products of a sum are not 0. If `signed`, of either sign.
    """
    signs: Array = rng.choice([-1.0, 1.0] if signed else [1.0], shape)
    if 3**factors * terms <= most:
        return signs * rng.integers(1, 4, shape)
    density: float = (most / (4 * terms)) ** (1 / factors)
    return signs * (rng.random(shape) < density)


def extremes(
    rng: np.random.Generator,
    shape: tuple[int, ...],
    dtype: DType,
    terms: int,
    factors: int,
    first: bool,
) -> Array:
    """Draw from the ends of an integer type.

    Where a sum of `terms` products of `factors` such numbers would leave int32, only the `first`
    array has such ends, as many as fit, and the others are 0 and 1.
    """
    info, largest = np.iinfo(dtype), abs(farthest(dtype))
    every = terms * largest**factors < 2.0**31
    density = min(1.0, 2.0**30 / (terms * largest)) if first else float(every)
    ends = rng.choice([info.min, info.min + 1, info.max - 1, info.max], shape)
    drawn: Array = np.where(rng.random(shape) < density, ends, rng.integers(0, 2, shape))
    # The first image, and the first entry of the others' last axis, are of one sign, so that sums
    # grow.
    alike = (slice(1),) if first else (..., 0)
    drawn[alike] = np.where(np.abs(drawn[alike]) > 1, farthest(dtype), drawn[alike])
    return drawn.astype(np.float64)


def farthest(dtype: DType) -> float:
    """Return the end of an integer type that is the farthest from 0."""
    info = np.iinfo(dtype)
    return float(info.min if info.min else info.max)


def arranged(array: Array, layout: str) -> Array:
    """Copy an array into another order of memory, or into a part of a larger array.

    The rest of that is nan, or the largest integer. The elements are the same in each of LAYOUTS,
    the memory is not.
    """
    if layout == "negative":
        backwards = (slice(None, None, -1),) * array.ndim
        return np.array(array[backwards], order="C")[backwards]
    if layout.startswith("slice of"):
        axis = {"channels": array.ndim - 1, "rows": min(1, array.ndim - 1), "images": 0}[
            layout.removeprefix("slice of ")
        ]
        return _sliced(array, axis)
    if layout == "odd address":
        memory = np.empty(array.nbytes + 1, np.uint8)
        moved = np.ndarray(array.shape, array.dtype, memory.data, 1)
        moved[...] = array
        return moved
    if layout == "broadcast" and len(array) > 1 and (array == array[:1]).all():
        return np.broadcast_to(array[:1].copy(), array.shape)
    return np.array(array, order="F" if layout == "Fortran" else "C")


def _sliced(array: Array, axis: int) -> Array:
    size = array.shape[axis]
    shape = (*array.shape[:axis], size + MARGIN + 1, *array.shape[axis + 1 :])
    kind = array.dtype.kind
    other: Any = np.iinfo(array.dtype).max if kind in "iu" else np.nan
    larger = np.full(shape, other, array.dtype)
    part = larger[(slice(None),) * axis + (slice(1, 1 + size),)]
    part[...] = array
    return part
