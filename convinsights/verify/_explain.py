"""From the trials of a candidate to the report: the slip, when it shows, and where."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from convinsights.verify._candidate import Candidate
from convinsights.verify._cases import Case
from convinsights.verify._diagnosis import diagnose
from convinsights.verify._plan import Plan
from convinsights.verify._report import Report, table
from convinsights.verify._shrink import Shrinker
from convinsights.verify._thresholds import Retry
from convinsights.verify._trials import Failure, Trial
from convinsights.verify._when import condition
from convinsights.verify._where import Finding, region

__all__ = ["explained"]

# What is wrong with a kernel that remembers, a cause before what comes of it.
STATES = ("argument_modified", "output_reused", "first_call_differs", "not_deterministic")


def explained(
    candidate: Candidate, plan: Plan | None, trials: Sequence[Trial], when: str | None
) -> Report:
    """Return the report; `when` is what is known of the order of the calls.

    Without a plan there is nothing to call, and no failing case is made smaller.
    """
    ran = [t for t in trials if t.answered and not t.vain]
    reasons = ((t.case.kind, "vain" if t.vain else t.declined) for t in trials)
    declined = Counter(f"{kind} ({reason})" for kind, reason in reasons if reason)
    name, failures = _named(candidate, ran)
    where = None
    wrong = [trial for trial in ran if trial.wrong]
    failing = wrong or [trial for trial in ran if trial.failures]
    if failing:
        ordered = sorted(failing, key=lambda trial: trial.case.order)
        retry = again = None
        if plan is not None:
            shrinker = Shrinker(candidate, plan)
            least = shrinker.shrunk(ordered[0])
            # The case made plain is one failure more; what explains the one that it came from
            # explains it.
            if least is not ordered[0]:
                call = str(ordered[0].case)
                told = {f.result: f.diagnosis for f in failures if f.call == call}
                failures += [
                    replace(f, diagnosis=f.diagnosis or name or told.get(f.result))
                    for f in least.failures
                ]
            shrinker = shrinker.rested()
            retry = partial(shrinker.retry, [least, *_spread(ordered)])
            again = partial(shrinker.again, frozenset().union(*(t.wrong for t in failing)))
        if when is None:
            when = _when(ran, failing, retry, again)
            several = when is not None and " and " in when
            if several and str(name).startswith("low_precision"):
                when = None  # whether few bits are seen is a matter of chance
        where = region([finding for trial in failing for finding in _wrong_elements(trial)])
    return Report(
        title=candidate.title,
        cases=len(ran),
        failures=tuple(failures),
        declined=dict(declined),
        diagnosis=name,
        rows=table(ran),
        when=when,
        where=where,
        power=sum(trial.seen for trial in ran) / max(1, sum(trial.outputs for trial in ran)),
    )


def _named(candidate: Candidate, ran: Sequence[Trial]) -> tuple[str | None, list[Failure]]:
    # The slip behind all failures, if it is one, and every failure with what explains it.
    wrong = [trial for trial in ran if trial.wrong]
    name: str | None = None
    single: dict[tuple[int, str], str] = {}
    if wrong:
        # Trials that still have their numbers. Those that `judged_finite` made never count as such
        # (they have no `allowed`), so only a captured example may hold some that are not finite.
        whole = [trial for trial in ran if trial.whole]
        name, told = diagnose(whole, candidate.examine, candidate.precision)
        single = {(id(whole[index]), result): slip for (index, result), slip in told.items()}
    failures = []
    for trial in ran:
        for failure in trial.failures:
            found = failure.diagnosis or name or single.get((id(trial), failure.result))
            failures.append(replace(failure, diagnosis=found))
    known = {failure.diagnosis for failure in failures}
    if "not_deterministic" in known and wrong:  # whatever else is wrong now and then
        name = "not_deterministic"
    elif name is None and len(known) == 1:  # what needs no hypothesis, such as a dtype
        (name,) = known
    elif name is None:
        # Wrong values have a cause of their own, unless the arguments were changed.
        states = STATES[:1] if wrong else STATES
        name = next((state for state in states if state in known), None)
    return name, failures


def _when(
    ran: Sequence[Trial],
    failing: Sequence[Trial],
    retry: Retry | None,
    again: Callable[[Case], bool] | None,
) -> str | None:
    # Cases that have none of the results that are wrong somewhere (no bias' gradient, say) tell
    # nothing, nor do those whose bounds allow errors as large as failing cases usually have.
    kinds = {failure.result for trial in failing for failure in trial.failures}
    marks = {id(trial) for trial in failing}
    errors = [error for trial in failing for error in trial.errors.values()]
    usual = float(np.median(errors)) if errors else math.inf
    concerned = [
        t
        for t in ran
        if id(t) in marks or any(t.telling[name] <= usual for name in kinds & t.telling.keys())
    ]
    failed = [id(t) in marks for t in concerned]
    return condition([t.case for t in concerned], failed, retry, again)


def _spread(trials: Sequence[Trial]) -> list[Trial]:
    # The smallest, the middle one and that at three quarters.
    return [trials[len(trials) * quarter // 4] for quarter in (0, 2, 3)]


def _wrong_elements(trial: Trial) -> list[Finding]:
    return [(trial.case, name, marks) for name, marks in sorted(trial.marks.items())]
