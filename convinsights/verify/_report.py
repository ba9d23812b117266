"""What was found, as a value and as text."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from convinsights.verify._meanings import meaning
from convinsights.verify._trials import Failure, Trial

__all__ = ["Report", "Row", "table"]

# Share of the cases below which a pass says little, for most were declined.
FEW = 0.5
# Share of the outputs on which one forgotten product must be seen, or a pass says little.
WEAK = 0.25


class Row(NamedTuple):
    """A geometry: cases run, cases that failed, and the largest error in units of the allowed."""

    kind: str
    cases: int
    failed: int
    worst: float


@dataclass(frozen=True, eq=False)
class Report:
    """What `verify` found.

    `title` is what was tried, in which dtype, `cases` how many cases ran, `failures` every wrong
    result, `declined` how many cases of each kind were declined, or say nothing (vain: they may be
    off by more than their values), `rows` the table by geometry. `diagnosis` is the one slip that
    explains every wrong value (of `verify.SLIPS`; brackets say which of a kind), `when` what the
    failing cases share and the others do not, `where` which part of the results is wrong; each is
    None where nothing holds. `power` is the share of all outputs tried in which one forgotten
    average product would have been seen; `interrupted`: the run was stopped before all cases were
    tried.
    """

    title: str
    cases: int
    failures: tuple[Failure, ...]
    declined: Mapping[str, int]
    diagnosis: str | None
    rows: tuple[Row, ...]
    when: str | None = None
    where: str | None = None
    power: float = 0.0
    interrupted: bool = False

    @property
    def passed(self) -> bool:
        """Whether cases ran and none failed."""
        return self.cases > 0 and not self.failures

    def check(self) -> None:
        """Raise an AssertionError with the whole report unless all is right."""
        if not self.passed:
            raise AssertionError(str(self))

    def __str__(self) -> str:
        """Write the verdict, the explanation, the smallest failing case and a table."""
        lines = [f"{self.title}: {self._verdict()}"]
        if self.failures:
            lines += self._explanation()
            least = min(self.failures, key=lambda failure: (failure.empty, failure.size))
            lines += ["", "smallest failing case:", f"  {least.call}", f"  {least.message}"]
        if self.rows:
            width = max(len(row.kind) for row in self.rows)
            lines += ["", f"{'geometry':<{width}}  cases  failed  error / allowed"]
        for row in self.rows:
            line = f"{row.kind:<{width}}  {row.cases:5}  {row.failed:6}  {row.worst:15.2g}"
            same = [f for f in self.failures if f.kind == row.kind]
            lines.append(f"{line}  {same[0].message}" if same else line)
        if self.cases:
            share = f"{self.power:.0%}"
            lines += ["", f"power: one forgotten product is seen in {share} of the outputs"]
        if self.declined:
            lines += ["", "declined:"]
            lines += [f"  {kind}: {count}" for kind, count in self.declined.items()]
        return "\n".join(lines)

    def _verdict(self) -> str:
        failed = sum(row.failed for row in self.rows)
        asked = self.cases + sum(n for kind, n in self.declined.items() if "(backward)" not in kind)
        if not self.cases:
            verdict = "nothing was verified, for no case ran"
        elif self.failures:
            verdict = f"{failed} of {self.cases} cases failed"
        elif self.cases < FEW * asked:
            verdict = f"passed {self.cases} cases, but declined {asked - self.cases} of {asked}"
        elif self.power < WEAK:
            verdict = (
                f"passed all {self.cases} cases, but of little power: one forgotten product would "
                f"be seen in {self.power:.0%} of the outputs"
            )
        else:
            verdict = f"passed all {self.cases} cases"
        return f"{verdict} (interrupted)" if self.interrupted else verdict

    def _explanation(self) -> list[str]:
        if self.diagnosis is not None:
            lines = [f"diagnosis: {self.diagnosis}", f"  {meaning(self.diagnosis)}"]
            told = [str(failure.diagnosis).startswith("non_finite") for failure in self.failures]
            if all(told) and self.cases > 1:  # of a captured example nothing else was tried
                lines.append("  all is right without such numbers (non_finite=False)")
        else:
            lines = ["diagnosis: none, no single slip explains all failures"]
            single = Counter(failure.diagnosis for failure in self.failures if failure.diagnosis)
            lines += [
                f"  {name} would explain {count} of {len(self.failures)} wrong results"
                for name, count in single.items()
            ]
        found = {"when": self.when, "where": self.where}
        return lines + [f"{name}: {words}" for name, words in found.items() if words is not None]


def table(trials: Sequence[Trial]) -> tuple[Row, ...]:
    """Sum up the trials by their kind."""
    rows = []
    for kind in dict.fromkeys(trial.case.kind for trial in trials):
        same = [trial for trial in trials if trial.case.kind == kind]
        failed = sum(bool(trial.failures) for trial in same)
        rows.append(Row(kind, len(same), failed, max(trial.worst for trial in same)))
    return tuple(rows)
