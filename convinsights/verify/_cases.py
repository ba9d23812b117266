"""A case: a call with a cotangent, what it was made from, and the right answers.

The truth is what the library gives in float64.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from convinsights._arguments import Array
from convinsights._concepts import defaults
from convinsights.verify._calls import Call, Outcome
from convinsights.verify._covering import Levels

__all__ = ["Case"]


@dataclass(frozen=True, eq=False)
class Case(Call):
    """One call. The arrays are in float64, and every value can be held in the dtype to verify.

    `kind` is its geometry in words, `integers` whether all values are, `layout` how the arrays are
    to lie in memory, `values` what the numbers are, `row` the level of each factor that it was
    made from. What is worked out of a case and asked for again is `kept` with it.
    """

    dy: Array
    kind: str
    integers: bool
    layout: str = "C"
    values: str = "normal"
    row: Levels | None = None
    kept: dict[str, Any] = field(default_factory=dict, init=False, repr=False)

    @cached_property
    def truth(self) -> Outcome:
        """The right answers."""
        return self.outcome()

    @property
    def given(self) -> dict[str, Any]:
        """All arrays by name, dy among them."""
        return dict(zip((*self.names, "dy"), (*self.arrays, self.dy), strict=True))

    @property
    def size(self) -> int:
        """How many numbers the case takes to write down.

        The largest int for one without outputs, so that it is shown last.
        """
        size = self.dy.size + sum(np.size(a) for a in self.arrays if a is not None)
        return size if self.dy.size else sys.maxsize

    def image(self, n: int) -> Case:
        """Return the case of the n-th image alone, in C order."""
        arrays = (self.x[n : n + 1], *self.arrays[1:])
        return replace(self, arrays=arrays, dy=self.dy[n : n + 1], layout="C", row=None)

    def __str__(self) -> str:
        """Write the call down, the arrays by their shapes."""
        usual = defaults(self.module)
        words = []
        for name, array in zip(self.names, self.arrays, strict=True):
            if array is None or isinstance(array, tuple):
                words.append(f"{name}={None if array is None else 'Statistics(…)'}")
            else:
                words.append(f"{name}={self.values} {array.shape}")
        words += [f"{k}={v!r}" for k, v in self.settings.items() if v != usual[k]]
        memory = "" if self.layout == "C" else f" [memory: {self.layout}]"
        return f"forward({', '.join(words)}){memory}"
