"""Every case is called again, with others in between: the same arrays must give the same bits.

And a result that was handed out must not change when others are made. Until the second call
(BETWEEN cases later, or sooner if they are large) all arrays of a case are held; then `Kept`
decides. What fails here depends on the order of the calls; it is never explained as a slip of
geometry.
"""

from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np

from convinsights._arguments import Array
from convinsights.verify._candidate import Candidate, same_bits
from convinsights.verify._kept import Kept
from convinsights.verify._trials import Answer, Trial, as_real_array

__all__ = ["Memory"]

# Cases between the two calls of one; fewer, if they have so many numbers together.
BETWEEN, NUMBERS = 8, 2_000_000
# At most so many cases are called twice more, once calls differ.
ONCE_MORE = 1000
# If results change at random, in one case out of 2^SURE are so many wrong first and then right.
SURE = 8


@dataclass
class _Second:
    # A result whose second call gave other bits, and whether each call was right.
    number: int
    trial: Trial
    name: str
    first_right: bool
    second_right: bool


class Memory:
    """The last answers of a candidate, each asked for a second time after a few others."""

    def __init__(self, candidate: Candidate) -> None:
        self.candidate = candidate
        self.waiting: deque[tuple[int, Trial, Answer]] = deque()
        self.seconds: list[_Second] = []
        self.reused: list[tuple[Trial, str]] = []
        self.trials: list[Trial] = []
        self.kept = Kept()

    def add(self, trial: Trial, answer: Answer) -> None:
        """Note the first answer to a case, and ask an earlier one again."""
        self.waiting.append((len(self.trials), trial, answer))
        self.trials.append(trial)
        while len(self.waiting) > BETWEEN or (len(self.waiting) > 2 and self._numbers > NUMBERS):
            self._again()

    def finish(self) -> None:
        """Ask the rest again, and write every finding into its trial."""
        while self.waiting:
            self._again()
        if self.seconds:
            self._once_more()
        for trial, name in self.reused:
            message = f"{name}: the array that was returned changed in a later call"
            trial.fail(name, message, values=False, diagnosis="output_reused")
        name = "first_call_differs" if self._only_first else "not_deterministic"
        for second in self.seconds:
            trial = second.trial
            words = ["right" if ok else "wrong" for ok in (second.first_right, second.second_right)]
            trial.forget(second.name)
            trial.fail(
                second.name,
                f"{second.name}: a second call on the same arrays gave other bits "
                f"(first {words[0]}, then {words[1]})",
                values=False,
                diagnosis=name,
            )

    @property
    def when(self) -> str | None:
        """In which calls results differ, where that is known."""
        if not self.seconds:
            return None
        if self._only_first:
            return "first call" if self._cases == {0} else "first call of its kind"
        turned = [s for s in self.seconds if s.first_right and not s.second_right]
        cases = len({s.number for s in turned})
        if len(turned) < len(self.seconds) or 2 * cases < len(self.trials):
            return None
        fresh = [self.candidate.examine(s.trial.case.drawn()).right(s.name) for s in turned[:4]]
        return "second call on the same array" if all(fresh) else None

    @property
    def _numbers(self) -> int:
        return sum(trial.case.size for _, trial, _ in self.waiting)

    @property
    def _only_first(self) -> bool:
        # The very first call alone; or that of many cases, as where a kernel tunes itself
        if not all(second.second_right for second in self.seconds):
            return False
        wrong = not any(second.first_right for second in self.seconds)
        return self._cases == {0} or (wrong and len(self._cases) >= SURE)

    @property
    def _cases(self) -> set[int]:
        return {second.number for second in self.seconds}

    def _once_more(self) -> None:
        # Where calls differ at all, a case may have been wrong both times by chance, or right.
        known = {second.number for second in self.seconds}
        others = [one for one in enumerate(self.trials) if one[0] not in known]
        for number, trial in sorted(others, key=lambda one: not one[1].wrong)[:ONCE_MORE]:
            case = trial.case.drawn()
            again = [self.candidate.examine(case) for _ in range(2)]
            for name in trial.got:
                right = trial.right(name)
                if any(one.right(name) != right for one in again):
                    self.seconds.append(_Second(number, trial, name, right, not right))

    def _again(self) -> None:
        number, trial, first = self.waiting.popleft()
        second = self.candidate.ask(trial.case, first.handed)
        judged = None
        for name, value in first.results.items():
            now, then = second.copies.get(name), first.copies[name]
            array, other = as_real_array(value), as_real_array(second.results.get(name))
            if array is None:
                continue
            if not same_bits(array, then) or _shared(array, other, first.handed):
                self.reused.append((trial, name))
            if not same_bits(now, then):
                judged = judged or self.candidate.judged(trial.case, second)
                right = trial.right(name), judged.right(name)
                self.seconds.append(_Second(number, trial, name, *right))
        self.kept.add(trial)


def _shared(array: Array, other: Array | None, handed: dict[str, Any]) -> bool:
    # Whether two results are one in memory, and the first is no view of an argument.
    if other is None or not np.may_share_memory(array, other):
        return False
    given = [a for a in handed.values() if isinstance(a, np.ndarray)]
    return array.size > 0 and not any(np.may_share_memory(array, a) for a in given)
