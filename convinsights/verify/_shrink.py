"""A failing case made as plain as it can be while it still fails."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from convinsights import transposed
from convinsights.verify._candidate import Candidate
from convinsights.verify._cases import Case
from convinsights.verify._covering import Levels
from convinsights.verify._features import axis_names, features, tells
from convinsights.verify._made import case_of
from convinsights.verify._plan import Plan
from convinsights.verify._trials import Trial

__all__ = ["Shrinker"]

# Seconds of the processor, seconds in all and calls that shrinking may take, and the search for
# thresholds after it; how often a case that passes is tried again with other numbers, for a fault
# may not show by chance; how many failing cases are asked.
SECONDS, WAIT, CALLS, AGAIN, ASKED = 0.6, 3.0, 200, 2, 4


@dataclass
class Shrinker:
    """Tries rows that no covering array has, until time or calls are used up."""

    candidate: Candidate
    plan: Plan
    calls: int = 0
    start: float = field(default_factory=time.process_time)
    begun: float = field(default_factory=time.monotonic)

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
                    if found and found.case.dy.size and _alike(found, trial):
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
        for trial in trials[:ASKED]:
            if trial.case.row is None:
                continue
            row, rank = dict(trial.case.row), trial.case.rank
            changes = _changes(rank, row, feature, value) or _resized(
                rank, row, feature, value, trial.case
            )
            answer = None
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
        # With some of the numbers; None if the case tells nothing, or has no such feature.
        for more in range(AGAIN + 1):
            values = self.plan.precision.values[more % 2] if more else row["values"]
            found = self.tried({**row, "values": values}, trial.case.rank, more)
            if found is None or feature not in features(found.case).items():
                return None
            if _alike(found, trial):
                return True
            if not tells(found.case):
                return None
        return False

    def tried(self, row: Levels, rank: int, more: int = 0) -> Trial | None:
        """Try a row; None where its levels do not go together or the candidate declines."""
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


def _alike(found: Trial, trial: Trial) -> bool:
    # The same kind of fault: a result that was wrong before still is.
    if trial.wrong:
        return bool(found.wrong & trial.wrong)
    return {f.diagnosis for f in found.failures} == {f.diagnosis for f in trial.failures}


def _changes(rank: int, row: Levels, feature: str, value: Any) -> Levels | None:
    # The levels that give a case this feature.
    groups, axes = row.get("groups", 1), axis_names(rank)
    if feature in row and feature not in ("in_channels", "out_channels", "channels", "padding"):
        return {feature: value == "given" if isinstance(row[feature], bool) else value}
    if feature in axes:
        return {f"size[{axes.index(feature)}]": value}
    if feature == "mode":
        return {"training": value == "training"}
    if feature in ("strides", "dilation_rate", "kernel_size"):
        values = value if isinstance(value, tuple) else (value,) * rank
        return {f"{feature}[{axis}]": entry for axis, entry in enumerate(values)}
    if feature == "padding":
        return {"padding": {0: "valid", 1: "1", 3: "3"}[value]} if value in (0, 1, 3) else None
    name, _, per_group = feature.partition(" // ")
    if name in row and (per_group or value % groups == 0):
        return {name: value if per_group else value // groups}
    return None


def _resized(rank: int, row: Levels, feature: str, value: Any, case: Case) -> Levels | None:
    # The size of an axis that gives an output of so many pixels; the channels that give so many
    # products, or the images that give so many values.
    if not feature.startswith("output ") and feature != "terms":
        return None
    if feature == "terms":
        counted, alone = "in_channels", "kernel_size"
        if "gamma" in row:
            counted, alone = "batch" if "training" in row else "size[0]", "size"
        each, rest = divmod(value * row[counted], int(str(features(case)["terms"])))
        if not rest:
            return {counted: each}
        others = {f"{alone}[{axis}]": 1 for axis in range(rank)}
        return {**others, **({"channels": 1} if counted == "size[0]" else {}), counted: value}
    axis = axis_names(rank).index(feature.removeprefix("output "))
    more, step = value - case.dy.shape[1 + axis], case.axes("strides")[axis]
    if case.module is transposed:
        if more % step:
            return None
        more //= step
    else:
        more *= step
    return {f"size[{axis}]": row[f"size[{axis}]"] + more}


def _simpler(levels: Sequence[Any], value: Any) -> Iterator[Any]:
    if type(value) is int:
        yield from sorted(level for level in levels if level < value)
    elif value in levels:
        yield from levels[: levels.index(value)]
