"""Arrays and hyperparameters that have changed must be read anew: a kernel may keep earlier ones.

A trial is stale if its wrong results are those of a call with one array, or the hyperparameters,
of an earlier call. That is no slip of geometry.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from convinsights._arguments import Array
from convinsights.verify._agreement import agree
from convinsights.verify._candidate import Candidate, same_bits
from convinsights.verify._cases import Case
from convinsights.verify._trials import Trial

__all__ = ["Earlier", "mark_stale", "stale_arguments", "stale_settings"]

# The unit roundoff with which results are compared with those of earlier arrays. Fixed, for the
# case's own bound may be 0 (integers), and does not hold for another case's numbers.
COARSE_UNIT = 2.5e-6


def stale_arguments(
    candidate: Candidate, pairs: Sequence[tuple[Case, Case]]
) -> Iterator[tuple[Trial, str]]:
    """Yield the trials in which a changed argument was not read anew, and the argument.

    Of each pair of cases, alike but for their numbers, the second's are written into the arrays of
    the first, one argument after the other: at first a single number, for a kernel may look at only
    a few numbers of an array to tell whether it has changed.
    """
    for case, other in pairs:
        answer = candidate.ask(case)
        for name, value in other.given.items():
            if value is None or (name == "dy" and candidate.backward is None):
                continue
            for changed in _one_number(case.given[name], value), value:
                before, case = case, _with(case, name, changed)
                parts = map(_parts, (answer.handed[name], changed))
                for memory, numbers in zip(*parts, strict=True):
                    memory[...] = numbers
                trial = candidate.judged(case, candidate.ask(case, answer.handed))
                # Right on fresh arrays, or still the results of before.
                if trial.wrong and (not candidate.examine(case).wrong or _as_before(trial, before)):
                    yield trial, name


def stale_settings(
    candidate: Candidate, pairs: Sequence[tuple[Case, Case]]
) -> Iterator[tuple[Trial, str]]:
    """Yield the trials with the results of other hyperparameters, those of the call before.

    The cases of each pair have arrays of the same shapes.
    """
    for case, other in pairs:
        candidate.ask(case)
        trial = candidate.judged(other, candidate.ask(other))
        if trial.wrong and _as_before(trial, replace(other, settings=case.settings)):
            yield trial, "the hyperparameters"


class Earlier:
    """The cases so far, and the wrong trials that an earlier one explains.

    By one of its arrays, or by its hyperparameters. If one wrong trial has no such cause, none is
    told: then something else is wrong.
    """

    def __init__(self) -> None:
        self.explained: list[tuple[Trial, str]] = []
        self.all_explained = True
        self.by_shapes: dict[tuple[Any, ...], list[Case]] = defaultdict(list)

    def add(self, trial: Trial) -> None:
        """Look for the cause of a wrong trial, and remember its case."""
        if not self.all_explained:
            return
        if trial.wrong:
            name = next(self._causes(trial), None)
            if name is None:
                self.all_explained = False
                self.by_shapes.clear()
                return
            self.explained.append((trial, name))
        case = trial.case.outline()
        # By all shapes, for hyperparameters; by each place and shape, for one array
        for key in (_shapes(case), *enumerate(_shapes(case))):
            self.by_shapes[key].append(case)

    def told(self) -> Iterator[tuple[Trial, str]]:
        """Yield the trials that are wrong by an earlier array, and its name."""
        if self.all_explained:
            # Memory may have taken some back (`forget`).
            yield from (one for one in self.explained if one[0].wrong)

    def _causes(self, trial: Trial) -> Iterator[str]:
        case, shapes = trial.case, _shapes(trial.case)
        for earlier in self.by_shapes[shapes]:
            settings = earlier.settings
            if settings != case.settings and _as_before(trial, replace(case, settings=settings)):
                yield "the hyperparameters"
        for place, name in enumerate(case.names):
            for earlier in self.by_shapes[place, shapes[place]] if shapes[place] else ():
                other = earlier.drawn().arrays[place]
                differs = not same_bits(case.arrays[place], other)
                if differs and _as_before(trial, _with(case, name, other)):
                    yield name


def mark_stale(trial: Trial, name: str) -> Trial:
    """Say of a wrong trial that it is no slip of geometry: earlier values of an array were used.

    Or earlier hyperparameters.
    """
    result = "y" if "y" in trial.wrong else min(trial.wrong)
    trial.wrong, trial.marks, trial.failures = set(), {}, []
    message = f"{result}: earlier values of {name} were used, though they had changed"
    trial.fail(result, message, values=False, diagnosis="stale_argument")
    return trial


def _shapes(case: Case) -> tuple[Any, ...]:
    # None where there is no array
    return tuple(None if a is None else np.shape(_parts(a)[0]) for a in case.arrays)


def _parts(value: Any) -> tuple[Array, ...]:
    # Of statistics their two arrays
    return value if isinstance(value, tuple) else (value,)


def _one_number(array: Any, other: Any) -> Any:
    # The first array with one number of the second: at the middle one of the places that differ
    if isinstance(array, tuple):
        return type(array)(*map(_one_number, array, other))
    changed, places = array.copy(), np.flatnonzero(array != other)
    for place in places[len(places) // 2 :][:1]:
        changed.flat[place] = other.flat[place]
    return changed


def _with(case: Case, name: str, value: Any) -> Case:
    # Another array in the place of one
    if name == "dy":
        return replace(case, dy=value)
    place = case.names.index(name)
    return replace(case, arrays=(*case.arrays[:place], value, *case.arrays[place + 1 :]))


def _as_before(trial: Trial, case: Case) -> bool:
    # Whether every wrong result is what these other arrays would have given.
    given = case.truth
    return all(
        got is not None
        and name in given
        and agree(got, given[name], trial.allowed[name], COARSE_UNIT)
        for name, got in trial.got.items()
        if name in trial.wrong
    )
