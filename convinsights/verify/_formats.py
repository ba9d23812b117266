"""The formats that kernels keep their numbers in, beyond NumPy's own.

A format of p significant bits holds the numbers m 2^q with integers |m| < 2^p, q at least
min_exponent - p + 1, up to the largest. What lies between two of them goes to the nearer, and
halfway to the even m: off by at most u = 2^-p of itself, or by half the smallest number.

Beyond the largest, a format whose largest number is the last of its power of two (m = 2^p - 1) has
infinities, as in IEEE 754. One whose largest is less, such as FLOAT8_E4M3 (448, where 480 would be
the last), has none: there the largest is the nearest. So PyTorch 2.13 and the units of processors
convert; ml_dtypes, which JAX uses, gives nan instead. No verdict rests on such values.

References
----------
Kalamkar et al., "A Study of BFLOAT16 for Deep Learning Training", 2019.
NVIDIA, "NVIDIA A100 Tensor Core GPU Architecture", 2020 (TF32: float32's exponents, 11 bits).
Micikevicius et al., "FP8 Formats for Deep Learning", 2022.
Muller et al., "Handbook of Floating-Point Arithmetic", 2018, sections 2.1 (the format) and 2.2
(rounding).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from convinsights._arguments import (
    FLOATS,
    Array,
    DType,
    FloatType,
    as_array,
    as_dtype,
    check_not_negative,
    shown,
    to_integer,
)

__all__ = [
    "BFLOAT16",
    "FLOAT8_E4M3",
    "FLOAT8_E5M2",
    "INT32",
    "SMALL_INTEGERS",
    "TFLOAT32",
    "Format",
    "Kind",
    "Numbers",
    "as_numbers",
    "to_bits",
]

# The exponent of float32's smallest number, below which no format may reach.
LOWEST = -149


@dataclass(frozen=True)
class Format:
    """A floating format, whose numbers are carried in float32.

    Parameters
    ----------
    name : str
        What reports call it.
    significand_bits : int
        p, from 2 to 24, with the leading one that is not stored: 8 for bfloat16.
    min_exponent : int
        Of the smallest number that still has all bits, 2^min_exponent: -126 for bfloat16.
    largest : float
        The largest finite number.

    Raises
    ------
    ValueError
        If float32 does not hold all numbers of the format, or largest is none of them.
    TypeError
        If an argument is of the wrong type.

    Examples
    --------
    >>> from convinsights.verify import Format
    >>> tiny = Format("tiny", significand_bits=3, min_exponent=-2, largest=14.0)
    >>> tiny.round([4.4, 4.5, 5.5, 0.03, 0.1, 15.0])
    array([4.   , 4.   , 6.   , 0.   , 0.125,   inf], dtype=float32)
    """

    name: str
    significand_bits: int
    min_exponent: int
    largest: float

    def __post_init__(self) -> None:
        """Refuse what is no format, or more than float32 can carry."""
        if not isinstance(self.name, str):
            raise TypeError(f"name must be a str, got {shown(self.name)}")
        p = to_integer("significand_bits", self.significand_bits, minimum=2)
        low = to_integer("min_exponent", self.min_exponent, minimum=None)
        largest = check_not_negative("largest", self.largest)
        if p > 24:
            raise ValueError(f"significand_bits must be from 2 to 24, got {p}")
        if low - p + 1 < LOWEST:
            raise ValueError(
                f"min_exponent must be at least {LOWEST + p - 1} with {p} bits (float32 carries "
                f"numbers down to 2^{LOWEST}), got {low}"
            )
        whole = math.ldexp(largest, p - math.frexp(largest)[1])
        most = float(np.finfo(np.float32).max)
        if low > 127 or not 2.0**low <= largest <= most or whole % 1:
            raise ValueError(
                f"largest must be a number of {p} significant bits from 2^{low} to float32's "
                f"largest, got {shown(self.largest)}"
            )
        for field, value in zip(
            self.__dataclass_fields__, (self.name, p, low, largest), strict=True
        ):
            object.__setattr__(self, field, value)

    def round(self, array: object) -> Array:
        """Return the nearest number of the format to every number, in float32.

        Parameters
        ----------
        array : array
            Real numbers of any dtype; integers beyond 2^53 are rounded to float64 first.

        Returns
        -------
        array of the same shape
            In float32. Halfway to the even one; beyond `largest` infinite, or `largest` in a format
            without infinities.

        Raises
        ------
        TypeError
            If array holds no real numbers.

        Examples
        --------
        >>> from convinsights.verify import BFLOAT16, FLOAT8_E4M3
        >>> BFLOAT16.round([1.001, 257.0, 259.0])
        array([  1., 256., 260.], dtype=float32)
        >>> FLOAT8_E4M3.round([464.0, 1000.0])
        array([448., 448.], dtype=float32)
        """
        values = np.asarray(as_array("array", array), np.float64)
        exponents = np.maximum(np.frexp(values)[1], self.min_exponent + 1) - self.significand_bits
        whole = np.rint(np.ldexp(values, -exponents))
        rounded = np.asarray(np.ldexp(whole, exponents))
        beyond = np.abs(rounded) > self.largest
        rounded[beyond] = np.copysign(self._overflow, rounded[beyond])
        return rounded.astype(np.float32)

    @property
    def _overflow(self) -> float:
        next_power = math.ldexp(1.0, math.frexp(self.largest)[1])
        step = math.ldexp(next_power, -self.significand_bits)
        return math.inf if self.largest + step == next_power else self.largest


BFLOAT16 = Format("bfloat16", 8, -126, (2 - 2.0**-7) * 2.0**127)
TFLOAT32 = Format("tfloat32", 11, -126, (2 - 2.0**-10) * 2.0**127)
FLOAT8_E4M3 = Format("float8_e4m3", 4, -6, 448.0)
FLOAT8_E5M2 = Format("float8_e5m2", 3, -14, 57344.0)

SMALL_INTEGERS = (np.int8, np.int16, np.uint8, np.uint16)
INT32 = (np.int32,)

# What a dtype argument may be.
Kind: TypeAlias = FloatType | Format


@dataclass(frozen=True)
class Numbers:
    """What a bound needs to know of a dtype or a format.

    `unit` is its unit roundoff, `smallest` its smallest positive number (both 0 for integers, which
    do not round), `largest` its largest, `exact` the integer up to which it holds all of them, and
    `carrier` the dtype that arrays of such numbers have.
    """

    name: str
    carrier: DType
    unit: float
    smallest: float
    largest: float
    exact: float
    format: Format | None = None

    @classmethod
    def of(cls, kind: DType | Format) -> Numbers:
        """Look at a NumPy float or integer dtype, or a Format."""
        if isinstance(kind, Format):
            p, low = kind.significand_bits, kind.min_exponent
            smallest = 2.0 ** (low - p + 1)
            exact = min(2.0**p, kind.largest) if smallest <= 1 else 0.0
            carrier = np.dtype(np.float32)
            return cls(kind.name, carrier, 2.0**-p, smallest, kind.largest, exact, kind)
        if kind.kind in "iu":
            largest = float(np.iinfo(kind).max)
            return cls(str(kind), kind, 0.0, 0.0, largest, largest)
        info = np.finfo(kind)
        unit, smallest = float(info.eps) / 2, float(info.tiny) * float(info.eps)
        return cls(str(kind), kind, unit, smallest, float(info.max), 1 / unit)

    @property
    def integers(self) -> bool:
        """Whether they are integers."""
        return self.unit == 0

    def holds(self, array: Array) -> bool:
        """Tell whether all elements are such numbers, or not finite."""
        return bool(((self.rounded(array) == array) | ~np.isfinite(array)).all())

    def rounded(self, array: Array) -> Array:
        """Return the nearest of these numbers to every one, in an array of the carrier.

        Integers are never rounded to: what is none of them, or too large, is refused.
        """
        if self.format is not None:
            return self.format.round(array)
        if self.integers:
            low, high = np.iinfo(self.carrier).min, np.iinfo(self.carrier).max
            wrong = (array < low) | (array > high) | (array != np.rint(array))
            if wrong.any():
                raise ValueError(
                    f"arrays must hold integers from {low} to {high} ({self.name}), "
                    f"got {shown(array[wrong].flat[0].item())}"
                )
        with np.errstate(over="ignore"):
            return array.astype(self.carrier)


def as_numbers(name: str, kind: object, dtypes: tuple[type, ...] = FLOATS) -> Numbers:
    """Return what a `dtype`, `operands` or `accumulate` argument stands for."""
    if isinstance(kind, Format) and dtypes != INT32:
        return Numbers.of(kind)
    dtype = as_dtype(kind)
    if dtype.type not in dtypes:
        names = ", ".join(possible.__name__ for possible in dtypes)
        came = str(dtype) if dtype.kind != "O" else shown(kind)
        if isinstance(kind, Format):
            came = kind.name
        also = "" if dtypes == INT32 else " or a Format"
        raise TypeError(f"{name} must be {names}{also}, got {came}")
    return Numbers.of(dtype.newbyteorder("="))


def to_bits(array: Array, bits: int) -> Array:
    """Round to so many significant bits, of any exponent."""
    mantissa, exponent = np.frexp(array)
    nearest: Array = np.ldexp(np.round(np.ldexp(mantissa, bits)), exponent - bits)
    return nearest
