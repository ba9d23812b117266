"""Slips of the zeros around the image: forgotten, exchanged, by the numbers of another axis."""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import combinations, product
from typing import Any, TypeAlias

from convinsights import im2col, transposed
from convinsights._geometry import effective_size
from convinsights.verify._calls import Outcome
from convinsights.verify._cases import Case
from convinsights.verify._slips import FITS, Fit, Hypothesis, changed

__all__ = ["Pairs", "first", "last", "of_padding", "of_same"]

Pairs: TypeAlias = tuple[tuple[int, int], ...]


def of_padding() -> Iterator[Hypothesis]:
    """Yield the slips of zeros that are forgotten, exchanged, or counted by another rule."""
    # Zeros on either side, from the taps k, the rate d and the effective kernel ke.
    rules: tuple[Callable[[int, int, int], int], ...] = (
        lambda k, d, ke: k // 2,
        lambda k, d, ke: (k - 1) // 2,
        lambda k, d, ke: d * (k // 2),
        lambda k, d, ke: ke // 2,
        lambda k, d, ke: (ke - 1) // 2,
    )
    for rule in rules:
        yield Hypothesis("padding_symmetric", partial(_padding_symmetric, rule=rule))
    yield Hypothesis("padding_before", _padding_before)
    yield Hypothesis("padding_reversed", _padding_reversed)
    yield Hypothesis("padding_by_sides", _padding_by_sides)
    for fit in FITS:
        yield Hypothesis("padding_ignored", partial(_padding_ignored, fit=fit))
        yield Hypothesis("padding_always_1", partial(_padding_always_1, fit=fit))
    yield Hypothesis("size_by_whole_rates", _size_by_whole_rates)


def _padded(case: Case, pairs: Pairs, fit: Fit = "own") -> Outcome:
    if pairs == case.padding:
        return case.truth
    if case.module is not transposed:
        return changed(case, padding=pairs, fit=fit)
    size = case.dy.shape[1:-1]
    return changed(case, padding=pairs, output_size=size, output_padding=None, fit=fit)


def _padding_symmetric(case: Case, rule: Callable[[int, int, int], int]) -> Outcome:
    if case.settings["padding"] != "same":
        return case.truth
    taps, rates = case.arrays[1].shape[:-2], case.axes("dilation_rate")
    zeros = map(rule, taps, rates, effective_size(taps, rates))
    return _padded(case, tuple((z, z) for z in zeros))


def _padding_before(case: Case) -> Outcome:
    if case.settings["padding"] != "same":
        return case.truth
    return _padding_reversed(case)


def _padding_reversed(case: Case) -> Outcome:
    return _padded(case, tuple((after, before) for before, after in case.padding))


def _padding_by_sides(case: Case) -> Outcome:
    # (before, after) pairs in a row, read as all zeros before and then all behind.
    if isinstance(case.settings["padding"], str):
        return case.truth
    flat = [zeros for pair in case.padding for zeros in pair]
    return _padded(case, tuple(zip(flat[: case.rank], flat[case.rank :], strict=True)))


def _padding_ignored(case: Case, fit: Fit) -> Outcome:
    if not any(map(sum, case.padding)):
        return case.truth
    return changed(case, padding="valid", fit=fit)


def _padding_always_1(case: Case, fit: Fit) -> Outcome:
    ones = ((1, 1),) * case.rank
    return case.truth if case.padding == ones else changed(case, padding=ones, fit=fit)


def _size_by_whole_rates(case: Case) -> Outcome:
    # y in the size of a kernel of k d pixels, where it is (k - 1) d + 1.
    rates, taps = case.axes("dilation_rate"), case.arrays[1].shape
    if case.module is transposed or max(rates) == 1:
        return case.truth
    geometry = zip(
        case.x.shape[1:-1], case.padding, taps, rates, case.axes("strides"), strict=False
    )
    sizes = [(n + sum(pair) - k * d) // s + 1 for n, pair, k, d, s in geometry]
    if min(sizes) < 1:
        return {}
    return {"y": case.truth["y"][(slice(None), *map(slice, sizes))]}


def of_same() -> Iterator[Hypothesis]:
    """Yield the slips of "same": its zeros by another axis' numbers, or as if steps were 1."""
    numbers = ("size", "taps", "strides", "rates")
    for count, axes, fit in product(range(1, 5), (_reversed, first, last), FITS):
        for some in combinations(numbers, count):
            slip = partial(_same_by, other=dict.fromkeys(some, axes), fit=fit)
            yield Hypothesis("size_from_other_axis", slip)
    for name, number in (("strides", "strides"), ("dilation", "rates")):
        for fit in FITS:
            slip = partial(_same_by, other={number: _ones}, fit=fit)
            yield Hypothesis(f"{name}_ignored (padding)", slip)


def _same_by(
    case: Case, other: dict[str, Callable[[tuple[int, ...]], tuple[int, ...]]], fit: Fit
) -> Outcome:
    if case.settings["padding"] != "same":
        return case.truth
    numbers = {
        "size": case.image_size,
        "taps": case.arrays[1].shape[:-2],
        "strides": case.axes("strides"),
        "rates": case.axes("dilation_rate"),
    }
    numbers |= {name: axes(numbers[name]) for name, axes in other.items()}
    pairs = im2col.resolve_padding(
        numbers["size"],
        numbers["taps"],
        strides=numbers["strides"],
        padding="same",
        dilation_rate=numbers["rates"],
    )
    return _padded(case, pairs, fit)


def _reversed(values: tuple[Any, ...]) -> tuple[Any, ...]:
    return values[::-1]


def first(values: tuple[Any, ...]) -> tuple[Any, ...]:
    return values[:1] * len(values)


def last(values: tuple[Any, ...]) -> tuple[Any, ...]:
    return values[-1:] * len(values)


def _ones(values: tuple[Any, ...]) -> tuple[Any, ...]:
    return (1,) * len(values)
