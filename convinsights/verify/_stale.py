"""Arrays and hyperparameters that have changed must be read anew: a kernel may keep earlier ones.

A trial is stale if its wrong results are those of a call with one array, or the hyperparameters,
of an earlier call. That is no slip of geometry.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from convinsights._arguments import Array
from convinsights.verify._agreement import agree
from convinsights.verify._candidate import Candidate
from convinsights.verify._cases import Case
from convinsights.verify._trials import Trial

__all__ = ["mark_stale", "remembered", "stale_arguments", "stale_settings"]

# The unit that earlier arrays are compared with: the case's own bound may be 0, for integers, and
# says nothing of normal deviates.
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


def remembered(trials: Sequence[Trial]) -> Iterator[tuple[Trial, str]]:
    """Yield the wrong trials that are right for an array of an earlier case, of the same shape.

    Nothing is yielded if that does not explain them all, as when results go by the shape alone.
    """
    found = []
    for number, trial in enumerate(trials):
        if trial.wrong:
            name = next(_earlier(trial, trials[:number]), None)
            if name is None:
                return
            found.append((trial, name))
    yield from found


def mark_stale(trial: Trial, name: str) -> Trial:
    """Say of a wrong trial that it is no slip of geometry: earlier values of an array were used.

    Or earlier hyperparameters.
    """
    result = min(trial.wrong)
    trial.wrong, trial.failures = set(), []
    message = f"{result}: earlier values of {name} were used, though they had changed"
    trial.fail(result, message, values=False, diagnosis="stale_argument")
    return trial


def _earlier(trial: Trial, before: Sequence[Trial]) -> Iterator[str]:
    case = trial.case
    for earlier in before:
        settings = earlier.case.settings
        alike = settings != case.settings and _shapes(earlier.case) == _shapes(case)
        if alike and _as_before(trial, replace(case, settings=settings)):
            yield "the hyperparameters"
    for place, name in enumerate(case.names):
        array = case.arrays[place]
        known: list[Array] = []
        for earlier in before:
            other = earlier.case.arrays[place]
            if not isinstance(other, np.ndarray) or np.shape(array) != other.shape:
                continue
            if (array == other).all() or any(other is one for one in known):
                continue
            known.append(other)
            arrays = (*case.arrays[:place], other, *case.arrays[place + 1 :])
            if _as_before(trial, replace(case, arrays=arrays)):
                yield name


def _shapes(case: Case) -> list[tuple[int, ...]]:
    return [a.shape for a in case.arrays if isinstance(a, np.ndarray)]


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
