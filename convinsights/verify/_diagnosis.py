"""From wrong results to the slip behind them.

A theory is a hypothesis tried on a candidate: of each result it says whether it is what the slip
would give, or that it has nothing to say of it. A remark claims less, and of wrong results only:
that they are the right ones displaced, or right for one image alone, or for another order of
memory.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain, islice, product
from typing import NamedTuple, Protocol

import numpy as np

from convinsights import batchnorm, im2col, transposed
from convinsights._arguments import Array
from convinsights.verify._candidate import Trial
from convinsights.verify._cases import Case, Outcome, apply
from convinsights.verify._hypotheses import Hypothesis, hypotheses

__all__ = ["Diagnosis", "Result", "diagnose"]

# One result of one trial: the number of the trial, and y, dx, …
Result = tuple[int, str]

# How far a displacement is looked for, in pixels.
REACH = 2


class Diagnosis(NamedTuple):
    """The slip that explains every wrong result; failing that, one for each where there is one."""

    name: str | None
    single: dict[Result, str]


class Explanation(Protocol):
    """Says of a result whether it is explained, or None where it has nothing to say."""

    name: str

    def __call__(self, result: Result) -> bool | None:
        """Tell whether the result is what the slip would give."""


def diagnose(trials: Sequence[Trial], examine: Callable[[Case], Trial], unit: float) -> Diagnosis:
    """Name the slip that explains all wrong results and contradicts no right one.

    Hypotheses come first that give every result of the candidate; failing that, those that give all
    of the kinds (y, dx, …) that were wrong somewhere, for a backward may be right though the
    forward is wrong; of several, the one that explains the most. Then come the remarks, the first
    that holds of all wrong results.
    """
    results = [(index, name) for index, trial in enumerate(trials) for name in trial.got]
    wrong = [(index, name) for index, name in results if name in trials[index].wrong]
    wrong.sort(key=lambda result: trials[result[0]].case.size)
    right = [(index, name) for index, name in results if name not in trials[index].wrong]
    kinds = {name for _, name in wrong}
    of_kinds = [result for result in right if result[1] in kinds]
    theories = [_Theory(h, trials, unit) for h in hypotheses(trials[0].case.module)]
    fitting = [theory for theory in theories if _holds(theory, wrong)]
    for others in (right, of_kinds):
        agreeing = [theory for theory in fitting if not _contradicted(theory, others)]
        if agreeing:
            best = max(agreeing, key=lambda theory: sum(map(bool, map(theory, wrong))))
            return Diagnosis(best.name, {})
    remarks = list(_remarks(trials, examine))
    for remark in (*remarks, *_shifts(trials, unit)):
        if _holds(remark, wrong):
            return Diagnosis(remark.name, {})
    single: dict[Result, str] = {}
    for result in wrong:
        same_kind = [other for other in right if other[1] == result[1]]
        found = chain(
            (t.name for t in theories if t(result) and not _contradicted(t, same_kind)),
            (remark.name for remark in remarks if remark(result)),
        )
        single.update((result, name) for name in islice(found, 1))
    return Diagnosis(None, single)


def _holds(explanation: Explanation, wrong: Iterable[Result]) -> bool:
    # No wrong result is left unexplained, and one at least is explained.
    said = False
    for result in wrong:
        verdict = explanation(result)
        if verdict is False:
            return False
        said = said or verdict is True
    return said


def _contradicted(explanation: Explanation, right: Iterable[Result]) -> bool:
    return any(explanation(result) is False for result in right)


def _agree(got: Array, expected: Array, allowed: Array, unit: float) -> bool:
    # The bound was derived for the truth; elsewhere take its largest, and some for large values.
    if got.shape != expected.shape:
        return False
    most = allowed[np.isfinite(allowed)].max(initial=0)
    tolerance = 2 * most + 4 * unit * np.abs(expected).max(initial=0)
    return bool((np.abs(got - expected) <= tolerance).all())


def _is_right(trial: Trial, name: str, expected: Array) -> bool:
    # What a slip leaves right does not explain what is wrong.
    truth = trial.case.truth[name]
    return expected.shape == truth.shape and bool(
        (np.abs(expected - truth) <= trial.allowed[name]).all()
    )


class _Theory:
    def __init__(self, hypothesis: Hypothesis, trials: Sequence[Trial], unit: float) -> None:
        self.name, self.outcome = hypothesis
        self.trials, self.unit = trials, unit
        self.outcomes: dict[int, Outcome] = {}

    def __call__(self, result: Result) -> bool | None:
        index, name = result
        trial = self.trials[index]
        if index not in self.outcomes:
            try:
                self.outcomes[index] = self.outcome(trial.case)
            except ValueError:  # no such call
                self.outcomes[index] = {}
        expected, got, allowed = self.outcomes[index].get(name), trial.got[name], trial.allowed
        if expected is None:
            return None
        if got is None or not _agree(got, expected, allowed[name], self.unit):
            return False
        return not (name in trial.wrong and _is_right(trial, name, expected))


def _remarks(trials: Sequence[Trial], examine: Callable[[Case], Trial]) -> Iterator[Explanation]:
    yield _LayoutIgnored(trials, examine)
    if trials[0].case.module is not batchnorm:  # where it is the law
        yield _BatchMixed(trials, examine)


def _shifts(trials: Sequence[Trial], unit: float) -> Iterator[Explanation]:
    rank = max(trial.case.rank for trial in trials if trial.wrong)
    if trials[0].case.module is batchnorm:
        return
    offsets = sorted(
        product(range(-REACH, REACH + 1), repeat=rank), key=lambda o: (np.abs(o).sum(), o[::-1])
    )
    for way, offset in product(WAYS, offsets[1:]):
        yield _Shifted(trials, unit, offset, way)


class _Remark:
    # What looks at a case again, changed.
    def __init__(self, trials: Sequence[Trial], examine: Callable[[Case], Trial]) -> None:
        self.trials, self.examine = trials, examine


class _BatchMixed(_Remark):
    # An image's result depends on its neighbours: alone, each comes out right.
    name = "batch_mixed"

    def __call__(self, result: Result) -> bool | None:
        index, name = result
        if name not in ("y", "dx"):
            return None
        trial = self.trials[index]
        images = [trial.case.image(n) for n in range(len(trial.case.x))]
        if trial.got[name] is None or len(images) < 2:
            return False
        return all(self.examine(image).right(name) for image in images)


class _LayoutIgnored(_Remark):
    # The same values in C order come out right.
    name = "layout_ignored"

    def __call__(self, result: Result) -> bool | None:
        index, name = result
        trial = self.trials[index]
        if trial.got[name] is None or trial.case.layout == "C":
            return False
        return self.examine(replace(trial.case, layout="C")).right(name)


# What was displaced: y, where what leaves on one side comes in on the other ("rolled") or zeros do
# ("moved"), the image under the windows, or dx alone.
WAYS = ("rolled", "moved", "windows", "gradient")


class _Shifted:
    # The right results displaced by an offset, as far as they can be known; their gradients too.
    def __init__(
        self, trials: Sequence[Trial], unit: float, offset: tuple[int, ...], way: str
    ) -> None:
        self.name = f"shifted by {offset}"
        self.trials, self.unit, self.offset, self.way = trials, unit, offset, way

    def __call__(self, result: Result) -> bool | None:
        index, name = result
        trial = self.trials[index]
        case, got = trial.case, trial.got[name]
        offset = self.offset[: case.rank]
        if got is None or got.shape != case.truth[name].shape or not any(offset):
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
            if _is_right(trial, name, expected):
                return False
        return _agree(got[known], expected[known], trial.allowed[name], self.unit)

    def _gradients(self, case: Case, offset: tuple[int, ...]) -> Outcome:
        back, axes = tuple(-o for o in offset), tuple(range(1, 1 + case.rank))
        if self.way == "gradient":
            return case.truth
        if self.way == "windows":
            moved = _displaced(case.x, offset), *case.arrays[1:]
            outcome = apply(case.module, moved, case.settings, case.dy)
            return outcome | {"dx": _displaced(outcome["dx"], back)}
        dy = np.roll(case.dy, back, axes) if self.way == "rolled" else _displaced(case.dy, back)
        return apply(case.module, case.arrays, case.settings, dy)


def _displaced(image: Array, offset: tuple[int, ...]) -> Array:
    # Zeros come in at one side as pixels leave at the other.
    for axis, o in enumerate(offset, start=1):
        zeros = [(0, 0)] * image.ndim
        zeros[axis] = (max(o, 0), max(-o, 0))
        kept = range(max(-o, 0), max(-o, 0) + image.shape[axis])
        image = np.take(np.pad(image, zeros), kept, axis)
    return image


def _of_displaced_image(case: Case, offset: tuple[int, ...]) -> tuple[Array, Array]:
    # With the outputs whose windows lie inside the displaced image.
    x, *others = case.arrays
    y = apply(case.module, (_displaced(x, offset), *others), case.settings)["y"]
    names = ("strides", "padding", "dilation_rate")
    windows = im2col.im2col(
        _displaced(np.ones((*x.shape[:-1], 1)), offset),
        others[0].shape[:-2] or 1,
        **{name: case.settings[name] for name in names if name in case.settings},
    )
    return y, windows.all(axis=1).reshape(y.shape[:-1])
