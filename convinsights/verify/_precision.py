"""What an implementation claims of its arithmetic, and what one rounding after another can do.

Three formats, in the order in which a product meets them: the arrays and the result are stored in
one, operands are rounded to the next before they are multiplied, and sums are formed in the third.
With the unit roundoff u of the sums, n roundings change a product by at most

    gamma_n = n u / (1 - n u)

of itself. Rounding errors are as often up as down: with sqrt(n) in place of n and a factor of 8 the
bound fails with a probability of at most 2 n exp(-32 (1 - u)²), in float32 2.5e-14 n.

References
----------
Higham, "Accuracy and Stability of Numerical Algorithms", 2002, section 3.1.
Higham and Mary, "A New Approach to Probabilistic Rounding Error Analysis", 2019, theorem 2.4.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from convinsights._arguments import FLOATS, Array, shown
from convinsights._concepts import name_of
from convinsights.verify._calls import NORMALIZATIONS
from convinsights.verify._formats import INT32, SMALL_INTEGERS, Kind, Numbers, as_numbers

__all__ = ["ALGORITHMS", "FACTOR", "Precision"]

ALGORITHMS = ("direct", "winograd", "fft")

# Standard deviations, so to speak, that the probabilistic bound allows.
FACTOR = 8.0


@dataclass(frozen=True)
class Precision:
    """What numbers are stored in, rounded to before they are multiplied, and summed in.

    `algorithm` is how the products are summed, `probabilistic` whether errors count as random.
    """

    stored: Numbers
    operands: Numbers
    summed: Numbers
    algorithm: str = "direct"
    probabilistic: bool = True

    @classmethod
    def of(
        cls,
        module: ModuleType,
        dtype: Kind,
        operands: Kind | None = None,
        accumulate: Kind | None = None,
        algorithm: str = "direct",
        probabilistic: bool = True,
    ) -> Precision:
        """Check what was claimed, and fill in what was not."""
        linear = module not in NORMALIZATIONS
        stored = as_numbers("dtype", dtype, (*FLOATS, *SMALL_INTEGERS) if linear else FLOATS)
        if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
            raise ValueError(f"algorithm must be one of {ALGORITHMS}, got {shown(algorithm)}")
        if not linear and algorithm != "direct":
            raise ValueError(
                f"algorithm must be direct for {name_of(module)}, which is no convolution, "
                f"got {algorithm}"
            )
        rounded = stored if operands is None else as_numbers("operands", operands)
        if operands is not None and stored.integers:
            raise ValueError(
                f"operands must not be given for {stored.name}, which rounds none, "
                f"got {rounded.name}"
            )
        if stored.integers:
            summed = as_numbers("accumulate", accumulate or np.int32, INT32)
        elif accumulate is not None:
            summed = as_numbers("accumulate", accumulate)
        else:
            summed = stored if stored.format is None else Numbers.of(np.dtype(np.float32))
        if operands is None and algorithm != "direct":  # transforms are kept in what they sum in
            rounded = summed
        return cls(stored, rounded, summed, algorithm, probabilistic)

    def __str__(self) -> str:
        """Name the formats that differ from the first."""
        words = [self.stored.name]
        if self.operands != self.stored:
            words.append(f"with {self.operands.name} operands")
        if self.summed != self.stored:
            words.append(f"summed in {self.summed.name}")
        if self.algorithm != "direct":
            words.append(f"by {self.algorithm}")
        return " ".join(words)

    @property
    def values(self) -> tuple[str, ...]:
        """The levels of the factor "values": what numbers a case may have."""
        return ("integers", "extremes" if self.stored.integers else "normal")

    @property
    def not_finite(self) -> tuple[float, ...]:
        """What can be stored and multiplied, and is not finite: some formats have no infinity."""
        held = () if self.stored.integers else self.held(np.array([np.nan, np.inf]))
        return tuple(float(value) for value in held if not np.isfinite(value))

    def held(self, array: Array) -> Array:
        """Return what is left of an array once it is stored, and rounded to operands."""
        return self.operands.rounded(self.stored.rounded(array)).astype(np.float64)

    @property
    def result(self) -> Numbers:
        """What results are: stored like the arrays, but for sums of integers."""
        return self.summed if self.stored.integers else self.stored

    @property
    def unit(self) -> float:
        """The unit roundoff u of the sums."""
        return self.summed.unit

    @property
    def rounding(self) -> float:
        """The unit roundoff of the final rounding, 0 where the sums are already stored so."""
        return self.result.unit if self.result.unit > self.unit else 0.0

    @property
    def exact_integers(self) -> float:
        """The largest integer up to which all results are held exactly: 2^24 in float32."""
        return min(self.summed.exact, self.result.exact)

    def growth(self, n: Any, sure: bool = False) -> Any:
        """Return what n roundings do to a product: gamma_n, or the smaller probabilistic bound.

        `sure` asks for gamma_n all the same, where errors are not random.
        """
        n, u = np.asarray(n, np.float64), self.unit
        with np.errstate(divide="ignore"):
            gamma = np.where(n * u < 1, n * u / np.abs(1 - n * u), np.inf)
        if sure or not self.probabilistic:
            return gamma
        return np.minimum(gamma, np.expm1(FACTOR * np.sqrt(n) * u + n * u**2 / (1 - u)))

    def multiplied(self, n: Any) -> Any:
        """Return what the rounding of both operands and n roundings do to a product."""
        o = (1 + self.operand_unit) ** 2 - 1
        growth = self.growth(n)
        return o + growth + o * growth

    @property
    def operand_unit(self) -> float:
        """The unit roundoff of the operands, 0 where they are as fine as what they come from."""
        given = self.stored.unit if self.algorithm == "direct" else self.unit
        return self.operands.unit if self.operands.unit > given else 0.0

    def final(self, bound: Array, value: Array | None = None) -> Array:
        """Add to the bound of the sums the rounding of the result `value`.

        Without `value` nothing is added: results are then stored as they were summed. Integers
        that were summed exactly, and can be held, are not rounded. Infinite where the result may be
        too large to be stored, or the bound is nan (0 times an infinite one).
        """
        if value is not None:
            size = np.abs(value)
            if self.rounding:
                more = self.rounding * (size + bound) + self.result.smallest / 2
                kept = (bound == 0) & (size <= self.result.exact)
                bound = np.where(kept, bound, bound + more)
            size += bound
            held = size <= self.result.largest
        else:
            held = ~np.isnan(bound)
        return bound if held.all() else np.where(held, bound, np.inf)
