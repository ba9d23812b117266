"""Which cases a candidate is given, in which order: small ones first."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from types import ModuleType
from typing import Any

from convinsights.verify._calls import NORMALIZATIONS
from convinsights.verify._cases import Case
from convinsights.verify._covering import Levels
from convinsights.verify._factors import Space, covering, rows
from convinsights.verify._given import given_cases
from convinsights.verify._made import case_of
from convinsights.verify._precision import Precision

__all__ = ["FORMS", "Plan", "special_cases"]

# Kinds of cases, at most, that are tried with nan and inf, and with arrays that change.
SPECIAL_CASES = 4
# Elements that y must have for that: a spoilt one needs neighbours.
ELEMENTS = 12
# The levels of the factor "form", by the argument `forms`.
FORMS = {"canonical": ("tuple",), "all": ("tuple", "short", "list")}


@dataclass(frozen=True)
class Plan:
    """The cases of a module for some ranks, and those that the author gave.

    `names`: whether padding may be a name.
    """

    module: ModuleType
    ranks: Sequence[int]
    varied: frozenset[str]
    precision: Precision
    forms: str = "canonical"
    names: bool = False
    thorough: bool = False
    given: Sequence[Mapping[str, Any]] = ()
    seed: int = 0

    def cases(self) -> Iterator[Case]:
        """Yield every case, the author's first."""
        for number, mapping in enumerate(self.given):
            try:
                yield from given_cases(self.module, number, mapping, self.precision, self.seed)
            except (ValueError, TypeError) as error:
                raise type(error)(f"cases[{number}]: {error}") from None
        for rank in self.ranks:
            yield from self.of_rows(rank, chain(self.rows(rank), self.extra(rank)))

    def of_rows(self, rank: int, some: Iterable[Levels]) -> Iterator[Case]:
        """Yield the cases of these rows, small ones first."""
        for row in sorted(some, key=multiply_adds):
            yield case_of(self.module, rank, row, self.precision, self.seed)

    def space(self, rank: int, kept: Mapping[str, tuple[Any, ...]] | None = None) -> Space:
        """Return the calls that are possible, where `kept` names the levels that are left."""
        left = tuple(sorted((kept or {}).items()))
        return Space(
            self.module,
            rank,
            self.varied,
            self.precision.values,
            FORMS[self.forms],
            self.names,
            self.thorough,
            left,
        )

    def rows(self, rank: int, kept: Mapping[str, tuple[Any, ...]] | None = None) -> list[Levels]:
        """Return rows in which all pairs of levels meet, and all triples if `thorough`."""
        return list(rows(self.space(rank, kept), 3 if self.thorough else 2))

    def extra(self, rank: int) -> Iterator[Levels]:
        """Yield what no level of a factor is.

        No images; variance 0; many terms; flat indices beyond 2^15.
        """
        plain = self.plain(rank)

        def row(inputs: int, outputs: int, **levels: Any) -> Levels:
            # Of those factors that there are
            widths: dict[str, Any] = {
                "in_channels": inputs,
                "channels": inputs,
                "out_channels": outputs,
            }
            return {**plain, **{n: k for n, k in (widths | levels).items() if n in plain}}

        yield {**plain, "batch": 0} | ({"training": False} if "training" in plain else {})
        for bits in (15, 16, 17) if self.thorough else (15,):
            side = math.ceil((2**bits / 16) ** (1 / rank)) + 1
            sizes = {f"size[{a}]": side for a in range(rank)}
            # 2 images of 9 channels: 18 / 16 of 2^bits numbers
            yield row(9, 9, **sizes, values="integers")
            # x has more than 2^bits numbers, by its images.
            yield row(11, 10, batch=2**bits // (9 * 3**rank) + 5)
        if self.module in NORMALIZATIONS:
            still = {"values": "variance 0", "epsilon": min(self.levels(rank)["epsilon"])}
            yield row(3, 3, **still)
            yield row(6, 6, **still, batch=8)
            yield row(11, 11, **still, batch=3, groups=3)
            yield row(4, 4, **still, batch=4, **{"size[0]": 11}, beta=False)
            yield row(8, 8, **still, batch=6, groups=2, gamma=False)
        else:
            taps = math.prod(plain.get(f"kernel_size[{a}]", 1) for a in range(rank))
            for values in self.precision.values:
                # Sums of some 2,304 terms; depthwise sums only its taps.
                yield row(-(-2304 // taps), 2, values=values)
            # The kernel has more than 2^15 numbers, but for depthwise and depthwise_separable.
            yield row(64, -(-(2**15) // (64 * taps)) + 1)

    def levels(self, rank: int) -> dict[str, tuple[Any, ...]]:
        """Return the levels of every factor, the simplest first."""
        return {f.name: f.levels for f in covering(self.space(rank)).factors}

    def plain(self, rank: int) -> Levels:
        """Return the simplest level of every factor."""
        return {name: levels[0] for name, levels in self.levels(rank).items()}


def special_cases(cases: Iterable[Case]) -> list[Case]:
    """Return the smallest case of each of the first kinds, of several images and outputs, drawn.

    One more is added if none of these has a bias (a bias and groups, where some case has both): an
    error of the bias' gradient alone shows in no other.
    """
    fit = [
        case
        for case in cases
        if case.dy.size >= ELEMENTS
        and len(case.x) > 1
        and case.layout == "C"
        and case.row is not None
    ]
    kinds: dict[tuple[int, str], Case] = {}
    for case in fit:
        kinds.setdefault((case.rank, case.kind), case)
    chosen = [*kinds.values()][:SPECIAL_CASES]
    biased = [case for case in fit if case.given.get("bias") is not None]
    biased = [case for case in biased if case.settings.get("groups", 1) > 1] or biased
    if not any(case in chosen for case in biased):
        chosen += biased[:1]
    return [case.drawn() for case in chosen]


def multiply_adds(row: Levels) -> float:
    """Return about how many multiply-adds a row takes; what has no images comes last."""
    steps = "strides", "dilation_rate"
    counts = (n for name, n in row.items() if type(n) is int and not name.startswith(steps))
    return math.prod(counts) or math.inf
