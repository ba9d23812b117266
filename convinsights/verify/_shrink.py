"""A failing case made as plain as it can be while it still fails."""

import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from convinsights.verify._candidate import Candidate
from convinsights.verify._cases import Case
from convinsights.verify._covering import Levels
from convinsights.verify._features import features, tells
from convinsights.verify._levels import with_count, with_feature
from convinsights.verify._made import case_of
from convinsights.verify._plan import Plan
from convinsights.verify._trials import Trial

__all__ = ["Shrinker"]

# Seconds of the processor that one Shrinker may take (shrinking has one, the search for thresholds
# another),
SECONDS = 0.6
# … seconds by the clock,
WAIT = 3.0
# … and calls.
CALLS = 200
# How often a case that passes is tried with other numbers: a fault may not show by chance.
REPEATS = 2


@dataclass
class Shrinker:
    """Tries rows that no covering array has, until time or calls are used up."""

    candidate: Candidate
    plan: Plan
    calls: int = 0
    start: float = field(default_factory=time.process_time)
    begun: float = field(default_factory=time.monotonic)

    def tried(self, row: Levels, rank: int, more: int = 0) -> Trial | None:
        """Try a row, with `more` added to the seed.

        None where its levels do not go together, the candidate declines, or time or calls are used
        up.
        """
        late = time.process_time() > self.start + SECONDS or time.monotonic() > self.begun + WAIT
        if late or self.calls >= CALLS:
            return None
        self.calls += 1
        seed = self.plan.seed + more
        try:
            case = case_of(self.plan.module, rank, row, self.plan.precision, seed)
            trial = self.candidate.examine(case)
        except ValueError:
            return None
        return None if trial.declined == "forward" else trial

    def shrunk(self, trial: Trial) -> Trial:
        """Give one factor after the other a simpler level, as long as a result stays wrong."""
        if trial.case.row is None:
            return trial
        row, rank = dict(trial.case.row), trial.case.rank
        levels, simpler = self.plan.levels(rank), True
        while simpler:
            simpler = False
            for name in row:
                for level in _simpler(levels.get(name, ()), row[name]):
                    found = self.tried({**row, name: level}, rank)
                    if found and not found.case.empty and _alike(found, trial):
                        row, trial, simpler = {**row, name: level}, found, True
                        break
        return trial

    def rested(self) -> "Shrinker":
        """Return another with all its time and calls left."""
        return Shrinker(self.candidate, self.plan)

    def retry(self, trials: Sequence[Trial], feature: str, value: Any) -> bool | None:
        """Tell whether a failing case still fails with this feature, None where none can have it.

        The first of the cases that can is asked.
        """
        for trial in trials:
            if trial.case.row is None:
                continue
            row, rank = dict(trial.case.row), trial.case.rank
            changes = with_feature(rank, row, feature, value) or with_count(
                rank, row, feature, value, trial.case
            )
            if changes is not None:
                answer = self._fails({**row, **changes}, trial, (feature, value))
                if answer is not None:
                    return answer
        return None

    def again(self, results: frozenset[str], case: Case) -> bool:
        """Tell whether one of these results of a case is wrong with other numbers."""
        if case.row is None:
            return False
        tried = (
            self.tried({**case.row, "values": values}, case.rank, 1)
            for values in reversed(self.plan.precision.values)
        )
        return any(trial is not None and bool(trial.wrong & results) for trial in tried)

    def _fails(self, row: Levels, trial: Trial, feature: tuple[str, Any]) -> bool | None:
        # Whether a row fails with its own numbers or with others; None if it tells nothing, or has
        # no such feature.
        for more in range(REPEATS + 1):
            values = self.plan.precision.values[more % 2] if more else row["values"]
            found = self.tried({**row, "values": values}, trial.case.rank, more)
            if found is None or feature not in features(found.case).items():
                return None
            if _alike(found, trial):
                return True
            if not tells(found.case):
                return None
        return False


def _alike(found: Trial, trial: Trial) -> bool:
    # The same kind of fault: a result that was wrong before still is, or is not there for the same
    # reason.
    if trial.wrong:
        both = found.wrong & trial.wrong
        return any(_missing(found, name) == _missing(trial, name) for name in both)
    return {f.diagnosis for f in found.failures} == {f.diagnosis for f in trial.failures}


def _missing(trial: Trial, name: str) -> list[str] | None:
    # Why no array came, without the words that hold numbers (of sizes, of addresses)
    if trial.got.get(name) is not None:
        return None
    return [re.sub(r"\w*\d\w*", "", f.message) for f in trial.failures if f.result == name]


def _simpler(levels: Sequence[Any], value: Any) -> Iterator[Any]:
    if type(value) is int:
        yield from sorted(level for level in levels if level < value)
    elif value in levels:
        yield from levels[: levels.index(value)]
