"""Which trials keep their numbers, out of thousands: the smallest of each kind.

Trials are of one kind if the same results are wrong in them; the right ones are a kind too. Of each
kind the smallest are kept whole, since small cases explain best; the others keep an outline, which
can be drawn again, and which elements are wrong.
"""

from collections import Counter, defaultdict
from heapq import heappop, heappush

from convinsights.verify._trials import Trial

__all__ = ["Kept"]

# How many numbers the cases of a kind may have together.
NUMBERS = 2_000_000
# How many trials of a kind are kept, however large.
FEWEST = 12


class Kept:
    """The trials that are whole, by the results that are wrong in them."""

    def __init__(self) -> None:
        # Heaps, the largest first and before it what has no outputs; `count` breaks ties.
        self.kinds: dict[frozenset[str], list[tuple[bool, int, int, Trial]]] = defaultdict(list)
        self.numbers: Counter[frozenset[str]] = Counter()
        self.count = 0

    def add(self, trial: Trial) -> None:
        """Keep a trial, and let the largest of its kind go where it is too much.

        Of what was declined nothing is kept.
        """
        if not trial.answered:
            trial.let_go()
            return
        kind, self.count = frozenset(trial.wrong), self.count + 1
        kept = self.kinds[kind]
        empty, size = trial.case.order
        heappush(kept, (not empty, -size, self.count, trial))
        self.numbers[kind] += size
        while len(kept) > FEWEST and self.numbers[kind] > NUMBERS:
            _, size, _, largest = heappop(kept)
            self.numbers[kind] += size
            largest.let_go()
