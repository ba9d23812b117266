"""Arrays and hyperparameters that have changed must be read anew: a kernel may keep earlier ones.

A trial is stale if its wrong results are those of a call with one array, or the hyperparameters,
of an earlier call. That is no slip of geometry.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from convinsights.verify._agreement import agree
from convinsights.verify._candidate import Candidate
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
    the first, one argument after the other.
    """
    for case, other in pairs:
        answer = candidate.ask(case)
        for place, name in enumerate(case.names):
            if case.arrays[place] is None or isinstance(case.arrays[place], tuple):
                continue
            arrays = list(case.arrays)
            arrays[place] = other.arrays[place]
            changed = replace(case, arrays=tuple(arrays))
            answer.handed[name][...] = other.arrays[place]
            trial = candidate.judged(changed, candidate.ask(changed, answer.handed))
            # Right on fresh arrays, or still the results of before.
            if trial.wrong and (not candidate.examine(changed).wrong or _as_before(trial, case)):
                yield trial, name
            case = changed


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
                if (case.arrays[place] == other).all():
                    continue
                arrays = (*case.arrays[:place], other, *case.arrays[place + 1 :])
                if _as_before(trial, replace(case, arrays=arrays)):
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
    return tuple(a.shape if isinstance(a, np.ndarray) else None for a in case.arrays)


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
