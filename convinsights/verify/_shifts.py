"""Right results in the wrong place: displaced by a few pixels, whole or under the windows."""

from collections.abc import Iterator, Sequence
from itertools import product

import numpy as np

from convinsights import im2col, transposed
from convinsights._arguments import Array
from convinsights.verify._agreement import agree
from convinsights.verify._calls import NORMALIZATIONS, Call, Outcome
from convinsights.verify._cases import Case
from convinsights.verify._explanations import Result
from convinsights.verify._slips import with_arrays
from convinsights.verify._trials import Trial

__all__ = ["shifts"]

# How far a displacement is looked for, in pixels.
REACH = 2

# What was displaced. Of y only those pixels are compared that were there before; so "rolled" and
# "moved" differ by the gradients alone.
WAYS = (
    "rolled",  # y: what leaves on one side comes in on the other
    "moved",  # y: zeros come in
    "windows",  # the image under the windows
    "gradient",  # dx alone
)


def shifts(trials: Sequence[Trial], unit: float) -> Iterator["_Shifted"]:
    """Yield the displacements by a few pixels, the smallest first."""
    rank = max(trial.case.rank for trial in trials if trial.wrong)
    if trials[0].case.module in NORMALIZATIONS:
        return
    offsets = sorted(
        product(range(-REACH, REACH + 1), repeat=rank), key=lambda o: (np.abs(o).sum(), o[::-1])
    )
    for way, offset in product(WAYS, offsets[1:]):
        yield _Shifted(trials, unit, offset, way)


class _Shifted:
    # The right results displaced by an offset, as far as they can be known; their gradients too.
    def __init__(
        self, trials: Sequence[Trial], unit: float, offset: tuple[int, ...], way: str
    ) -> None:
        self.name = f"shifted by {offset}"
        self.trials, self.unit, self.offset, self.way = trials, unit, offset, way

    def __call__(self, result: Result) -> bool | None:
        """Tell whether a result is the right one displaced."""
        index, name = result
        trial = self.trials[index]
        case, got = trial.case, trial.came(name)
        offset = self.offset[: case.rank]
        if got is None or not any(offset):
            return False
        if name == ("dx" if self.way == "gradient" else "y"):
            if self.way == "windows" and case.module is not transposed:
                expected, known = _of_displaced_image(case, offset)
            else:
                expected = _displaced(case.truth[name], offset)
                known = _displaced(np.ones(got.shape[:-1]), offset) > 0
            if not known.any():
                return None
        else:
            expected, known = self._gradients(case, offset)[name], np.ones(got.shape, bool)
            if trial.allows(name, expected):
                return False if name in trial.wrong else None
        if not agree(got[known], expected[known], trial.allowed[name], self.unit):
            return False
        # Where nothing is wrong that is known, nothing is explained.
        return None if name in trial.wrong and not trial.off(name, got)[known].any() else True

    def _gradients(self, case: Case, offset: tuple[int, ...]) -> Outcome:
        back, axes = tuple(-o for o in offset), tuple(range(1, 1 + case.rank))
        if self.way == "gradient":
            return case.truth
        if self.way == "windows":
            outcome = with_arrays(case, _displaced(case.x, offset), *case.arrays[1:])
            return outcome | {"dx": _displaced(outcome["dx"], back)}
        dy = np.roll(case.dy, back, axes) if self.way == "rolled" else _displaced(case.dy, back)
        return with_arrays(case, *case.arrays, dy=dy)


def _displaced(image: Array, offset: tuple[int, ...]) -> Array:
    # Zeros come in at one side as pixels leave at the other.
    moved, axes = np.zeros_like(image), list(zip(image.shape[1:], offset, strict=False))
    to = (slice(max(o, 0), max(n + min(o, 0), 0)) for n, o in axes)
    kept = (slice(max(-o, 0), max(n - max(o, 0), 0)) for n, o in axes)
    moved[(slice(None), *to)] = image[(slice(None), *kept)]
    return moved


def _of_displaced_image(case: Case, offset: tuple[int, ...]) -> tuple[Array, Array]:
    # With the outputs whose windows lie inside the displaced image.
    x, *others = case.arrays
    y = Call(case.module, (_displaced(x, offset), *others), case.settings, None).outcome()["y"]
    names = ("strides", "padding", "dilation_rate")
    windows = im2col.im2col(
        _displaced(np.ones((*x.shape[:-1], 1)), offset),
        others[0].shape[:-2] or 1,
        **{name: case.settings[name] for name in names if name in case.settings},
    )
    return y, windows.all(axis=1).reshape(y.shape[:-1])
