"""A failing case made as plain as it can be while it still fails."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from convinsights.verify._candidate import Candidate, Trial
from convinsights.verify._cases import case_of
from convinsights.verify._covering import Row
from convinsights.verify._features import axis_names
from convinsights.verify._plan import Plan

__all__ = ["Shrinker"]

# Seconds and calls that shrinking may take, and the search for a threshold after it.
SECONDS, CALLS = 0.7, 200


@dataclass
class Shrinker:
    """Tries rows that no covering array has, until time or calls are used up."""

    candidate: Candidate
    plan: Plan
    calls: int = 0
    start: float = field(default_factory=time.monotonic)

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

    def retry(self, trial: Trial, feature: str, value: Any) -> bool | None:
        """Tell whether a failing case still fails with this feature, None where it cannot be."""
        if trial.case.row is None:
            return None
        row, rank = dict(trial.case.row), trial.case.rank
        changes = _changes(rank, row, feature, value)
        if changes is None:
            return None
        found = self.tried({**row, **changes}, rank)
        return None if found is None else _alike(found, trial)

    def tried(self, row: Row, rank: int) -> Trial | None:
        """Try a row; None where its levels do not go together or the candidate declines."""
        if self.calls >= CALLS or time.monotonic() > self.start + SECONDS:
            return None
        self.calls += 1
        try:
            case = case_of(self.plan.module, rank, row, self.plan.precision, self.plan.seed)
            trial = self.candidate.examine(case)
        except ValueError:
            return None
        return None if trial.declined == "forward" else trial


def _alike(found: Trial, trial: Trial) -> bool:
    # The same kind of fault: a result that was wrong before still is.
    if trial.wrong:
        return bool(found.wrong & trial.wrong)
    return {f.diagnosis for f in found.failures} == {f.diagnosis for f in trial.failures}


def _changes(rank: int, row: Row, feature: str, value: Any) -> Row | None:
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


def _simpler(levels: Sequence[Any], value: Any) -> Iterator[Any]:
    if type(value) is int:
        yield from sorted(level for level in levels if level < value)
    elif value in levels:
        yield from levels[: levels.index(value)]
