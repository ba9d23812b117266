"""A case: a call with a cotangent, what it was made from, and the right answers.

The truth is what the library gives in float64. There are thousands of cases, and most are looked at
only once: what is kept of them is an outline, shapes without numbers, which can be drawn again.
"""

from __future__ import annotations

from collections.abc import Callable
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
    made from. `notes` holds what was worked out of the case, and how it is drawn again; a case that
    `replace` makes has none.
    """

    dy: Array
    kind: str
    integers: bool
    layout: str = "C"
    values: str = "normal"
    row: Levels | None = None
    # "draw": draws the case again; "outline": its outline, made once; "outline of", of an outline:
    # draws the whole case; "products": see `_power`; "others": see `_slips.changed`
    notes: dict[str, Any] = field(default_factory=dict, init=False, repr=False)

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
        """How many numbers the case takes to write down."""
        return int(self.dy.size) + sum(np.size(a) for a in self.arrays if a is not None)

    @property
    def empty(self) -> bool:
        """Whether it has no outputs."""
        return self.dy.size == 0

    @property
    def order(self) -> tuple[bool, int]:
        """What cases are sorted by, the small ones first; one without outputs shows least."""
        return self.empty, self.size

    def drawn_by(self, draw: Callable[[], Case]) -> Case:
        """Note how the same case is drawn again, and return this one."""
        self.notes["draw"] = draw
        return self

    def outline(self) -> Case:
        """Return the case without its numbers, if it can be drawn again: arrays of no memory."""
        if "outline" not in self.notes and "draw" in self.notes:
            *arrays, dy = map(_hollow, self.given.values())
            outline = replace(self, arrays=tuple(arrays), dy=dy)
            outline.notes["outline of"] = self.notes["draw"]
            self.notes["outline"] = outline
        case: Case = self.notes.get("outline", self)
        return case

    def drawn(self) -> Case:
        """Return the case with its numbers."""
        case: Case = self.notes["outline of"]() if "outline of" in self.notes else self
        return case

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


def _hollow(array: Any) -> Any:
    # Of the same shape, and one number in memory
    if array is None:
        return None
    if isinstance(array, tuple):
        return type(array)(*map(_hollow, array))
    return np.broadcast_to(np.nan, array.shape)
