"""Cases for a candidate that declines most of them: of the calls that it takes.

A kernel that is made for 3×3 with padding of 1 declines nearly every row of a covering array, and
what is left covers little. So there is another array, of only those levels that it took. Where it
took nothing, one row of every path is tried in the usual widths, and the next narrowing learns from
what is taken of those.
"""

from collections.abc import Iterator, Sequence

from convinsights.verify._cases import Case
from convinsights.verify._covering import Levels
from convinsights.verify._plan import Plan
from convinsights.verify._trials import Trial

__all__ = ["narrowed"]

# Below this share of cases that are taken, there are others.
TAKEN = 0.6
# These are narrowed however few cases were taken; all other factors only if FEW_TAKEN were.
WINDOWS = ("path", "kernel_size", "strides", "dilation_rate", "padding", "output")
FEW_TAKEN = 5
# The widths that kernels ask for.
WIDTHS = (4, 16, 32, 64)


def narrowed(plan: Plan, rank: int, trials: Sequence[Trial]) -> Iterator[Case]:
    """Yield further cases of a rank, if few of those that were tried were taken."""
    made = [(t, t.case.row) for t in trials if t.case.row is not None and t.case.rank == rank]
    taken = [row for trial, row in made if trial.declined is None]
    if not made or len(taken) >= TAKEN * len(made):
        return
    if not taken:
        yield from plan.of_rows(rank, _likely(plan, rank))
        return
    kept = {}
    for name, levels in plan.levels(rank).items():
        have = {row[name] for row in taken}
        if len(taken) >= FEW_TAKEN or name.startswith(WINDOWS):
            kept[name] = tuple(level for level in levels if level in have)
    tried = [row for _, row in made]
    yield from plan.of_rows(rank, [row for row in plan.rows(rank, kept) if row not in tried])


def _likely(plan: Plan, rank: int) -> list[Levels]:
    plain = plan.plain(rank)
    found: list[Levels] = []
    bases = {row["path"]: row for row in plan.rows(rank) if "path" in row}
    for base in bases.values():
        simple = {**base, **{n: plain[n] for n in ("groups", "layout", "bias") if n in base}}
        names = [name for name in ("in_channels", "out_channels") if name in base]
        found += [simple | dict.fromkeys(names, width) for width in WIDTHS]
    return found
