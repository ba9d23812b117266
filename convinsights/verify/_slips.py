"""What a slip is: a name, and the outcome that it gives for a case.

The outcome is the library's, with an argument changed. Where a slip is seen to change nothing it
hands back the arrays of `case.truth` themselves, which saves comparing them. A result of which it
says nothing is left out. Where the library refuses the changed call, that is a ValueError: such a
call would fail (`_explanations.foretold`). So is a slip that would divide by 0.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np

from convinsights import transposed
from convinsights._arguments import Array
from convinsights._geometry import effective_size
from convinsights.verify._calls import Call, Outcome
from convinsights.verify._cases import Case

__all__ = ["FITS", "Fit", "Hypothesis", "changed", "interleaved", "with_arrays"]

# How an output of another shape comes to be of the one asked for: not at all; by cutting off or
# adding zeros at its end; or by windows that read zeros behind the image.
Fit: TypeAlias = Literal["own", "cut", "read"]
FITS: tuple[Fit, ...] = ("own", "cut", "read")


class Hypothesis(NamedTuple):
    """A slip by its name, and the outcome that it would give for a case."""

    name: str
    outcome: Callable[[Case], Outcome]


def changed(case: Case, *, fit: Fit = "own", **settings: Any) -> Outcome:
    """Return the outcome under other hyperparameters; the truth where they are the same."""
    others = case.settings | settings
    if others == case.settings:
        return case.truth
    if fit == "read":
        if case.module is transposed or "padding" not in others:
            return {}
        others["padding"] = _behind(case, others)
    # Several slips come down to the same settings; None stays where the library refuses them.
    kept: dict[str, Outcome | None] = case.notes.setdefault("others", {})
    key = f"{fit != 'own'} {others}"
    if key not in kept:
        kept[key] = None
        kept[key] = Call(case.module, case.arrays, others, case.dy).outcome(fit=fit != "own")
    outcome = kept[key]
    if outcome is None:
        raise ValueError("no such call")
    return outcome


def _behind(case: Case, settings: dict[str, Any]) -> tuple[tuple[int, int], ...]:
    # As many zeros behind the image as its windows reach for.
    other = Call(case.module, case.arrays, settings, case.dy)
    steps, rates = other.axes("strides"), other.axes("dilation_rate")
    reach = [
        (n - 1) * s + ke
        for n, s, ke in zip(
            case.dy.shape[1:-1],
            steps,
            effective_size(case.arrays[1].shape[:-2], rates),
            strict=True,
        )
    ]
    return tuple(
        (before, max(after, far - size - before))
        for (before, after), far, size in zip(other.padding, reach, case.x.shape[1:-1], strict=True)
    )


def interleaved(count: int, groups: int) -> Array:
    """Return the numbers below `count`, those of one rest modulo `groups` side by side."""
    return np.arange(count).reshape(-1, groups).T.ravel()


def with_arrays(case: Case, *arrays: Any, dy: Array | None = None) -> Outcome:
    """Return the outcome of other arrays under the case's hyperparameters."""
    return Call(case.module, arrays, case.settings, case.dy if dy is None else dy).outcome()
