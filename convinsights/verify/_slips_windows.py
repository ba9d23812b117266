"""Slips of where the windows lie: strides, rates and padding forgotten, exchanged, of another axis.

"same" may have been resolved before the slip or after it, and the output may keep the shape that
the slip gives it or be brought to the one asked for.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import combinations, product
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np

from convinsights import im2col, transposed
from convinsights._arguments import Array
from convinsights._concepts import defaults
from convinsights._geometry import effective_size
from convinsights.verify._cases import Case, Outcome, apply, resolved
from convinsights.verify._slips import FITS, Fit, Hypothesis, changed

__all__ = ["of_windows"]

Pairs: TypeAlias = tuple[tuple[int, int], ...]


def of_windows(module: ModuleType) -> Iterator[Hypothesis]:
    """Yield the slips of a module's windows, most specific first."""
    settings = defaults(module)
    if "padding" in settings:
        yield from _of_padding()
        yield Hypothesis("size_by_whole_rates", _size_by_whole_rates)
    yield from _of_other_axes(settings)
    yield from _of_steps(settings)
    if "padding" in settings:
        yield from _of_other_sizes()
        for along, across in product((False, True), repeat=2):
            yield Hypothesis("reads_outside", partial(_wrapped, along=along, across=across))


# -- padding -------------------------------------------------------------------------------------


def _of_padding() -> Iterator[Hypothesis]:
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


def _padded(case: Case, pairs: Pairs, fit: Fit = "own") -> Outcome:
    if pairs == resolved(case):
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
    return _padded(case, tuple((after, before) for before, after in resolved(case)))


def _padding_reversed(case: Case) -> Outcome:
    return _padded(case, tuple((after, before) for before, after in resolved(case)))


def _padding_by_sides(case: Case) -> Outcome:
    # All zeros before and then all behind, taken for pairs.
    if isinstance(case.settings["padding"], str):
        return case.truth
    flat = [zeros for pair in resolved(case) for zeros in pair]
    return _padded(case, tuple(zip(flat[: case.rank], flat[case.rank :], strict=True)))


def _padding_ignored(case: Case, fit: Fit) -> Outcome:
    if not any(map(sum, resolved(case))):
        return case.truth
    return changed(case, padding="valid", fit=fit)


def _size_by_whole_rates(case: Case) -> Outcome:
    # The kernel counts as k d pixels wide, where it is (k - 1) d + 1.
    rates, taps = case.axes("dilation_rate"), case.arrays[1].shape
    if case.module is transposed or max(rates) == 1:
        return case.truth
    geometry = zip(
        case.x.shape[1:-1], resolved(case), taps, rates, case.axes("strides"), strict=False
    )
    sizes = [(n + sum(pair) - k * d) // s + 1 for n, pair, k, d, s in geometry]
    if min(sizes) < 1:
        return {}
    return {"y": case.truth["y"][(slice(None), *map(slice, sizes))]}


def _padding_always_1(case: Case, fit: Fit) -> Outcome:
    ones = ((1, 1),) * case.rank
    return case.truth if resolved(case) == ones else changed(case, padding=ones, fit=fit)


def _of_other_sizes() -> Iterator[Hypothesis]:
    # The zeros of "same" by the numbers of another axis, or as if there were no steps.
    numbers = ("size", "taps", "strides", "rates")
    for count, axes, fit in product(range(1, 5), (_reversed, _first, _last), FITS):
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
    image = case.dy if case.module is transposed else case.x
    numbers = {
        "size": image.shape[1:-1],
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


def _first(values: tuple[Any, ...]) -> tuple[Any, ...]:
    return values[:1] * len(values)


def _last(values: tuple[Any, ...]) -> tuple[Any, ...]:
    return values[-1:] * len(values)


def _ones(values: tuple[Any, ...]) -> tuple[Any, ...]:
    return (1,) * len(values)


def _wrapped(case: Case, along: bool, across: bool) -> Outcome:
    # Beyond the end of a row the next one is read; `along`: of all axes, not of the last alone,
    # `across`: of other images too. Zeros are read beyond the memory.
    pairs = resolved(case)
    if case.module is transposed or not any(map(sum, pairs)) or not case.x.size:
        return case.truth
    images, *size, channels = case.x.shape
    numbers, inside = np.arange(images), np.ones(images, bool)
    first = numbers
    for axis, (n, (before, after)) in enumerate(zip(size, pairs, strict=True)):
        places = np.arange(-before, n + after)
        wraps = along or axis == len(size) - 1
        numbers = numbers[..., np.newaxis] * n + places
        inside = inside[..., np.newaxis] & (((places >= 0) & (places < n)) | wraps)
        first = first[..., np.newaxis] * n + 0 * places
    pixels = math.prod(size)
    low, high = (0, images * pixels) if across else (first, first + pixels)
    known = inside & (numbers >= low) & (numbers < high)
    read = case.x.reshape(-1, channels)[np.where(known, numbers, 0)]
    x: Array = read * known[..., np.newaxis]
    settings = case.settings | {"padding": "valid"}
    return {"y": apply(case.module, (x, *case.arrays[1:]), settings)["y"]}


# -- steps ---------------------------------------------------------------------------------------


def _of_steps(settings: dict[str, Any]) -> Iterator[Hypothesis]:
    rules: list[tuple[str, str, Callable[[int], int]]] = [
        ("strides_ignored", "strides", lambda s: 1)
    ]
    if "dilation_rate" in settings:
        rules += [
            ("dilation_ignored", "dilation_rate", lambda d: 1),
            ("dilation_off_by_one", "dilation_rate", lambda d: d + 1),
            ("dilation_off_by_one", "dilation_rate", lambda d: d + (d > 1)),
            ("dilation_off_by_one", "dilation_rate", lambda d: max(d - 1, 1)),
            ("dilation_applied_twice", "dilation_rate", lambda d: d * d),
        ]
        for before, fit in product((False, True), FITS):
            slip = partial(_exchanged, before=before, fit=fit)
            yield Hypothesis("strides_and_dilation_exchanged", slip)
    for (said, name, step), before, fit in product(rules, (False, True), FITS):
        yield Hypothesis(said, partial(_stepped, name=name, step=step, before=before, fit=fit))
    if "output_padding" in settings:
        for value, outright, cut in product((0, None), (False, True), (False, True)):
            slip = partial(
                _output_padding_ignored, value=value, said=outright, fit="cut" if cut else "own"
            )
            yield Hypothesis("output_padding_ignored", slip)


def _resolved_first(case: Case, before: bool) -> dict[str, Any]:
    # The padding in zeros by the right strides and rates, if the slip came after that.
    return {"padding": resolved(case)} if before and case.settings.get("padding") == "same" else {}


def _stepped(case: Case, name: str, step: Callable[[int], int], before: bool, fit: Fit) -> Outcome:
    entries = tuple(map(step, case.axes(name)))
    if entries == case.axes(name):
        return case.truth
    return changed(case, fit=fit, **_resolved_first(case, before), **{name: entries}, **_free(case))


def _free(case: Case) -> dict[str, Any]:
    # The size that comes of the strides.
    return {"output_padding": None, "output_size": None} if case.module is transposed else {}


def _exchanged(case: Case, before: bool, fit: Fit) -> Outcome:
    strides, rates = case.axes("strides"), case.axes("dilation_rate")
    if strides == rates:
        return case.truth
    steps = {"strides": rates, "dilation_rate": strides}
    return changed(case, fit=fit, **_resolved_first(case, before), **steps, **_free(case))


def _output_padding_ignored(case: Case, value: int | None, said: bool, fit: Fit) -> Outcome:
    # `said`: a size that was said outright is ignored as well.
    padding, size = case.settings["output_padding"], case.settings["output_size"]
    if padding is None and (size is None or not said):
        return case.truth
    return changed(case, output_padding=value, output_size=None, fit=fit)


# -- of other axes -------------------------------------------------------------------------------

# The same for two axes; of three any two may be exchanged.
SWAPS = ((-1, -2), (0, 1), (0, -1))


def _of_other_axes(settings: dict[str, Any]) -> Iterator[Hypothesis]:
    names = [n for n in ("strides", "dilation_rate", "padding", "output_padding") if n in settings]
    subsets = [some for count in range(1, len(names) + 1) for some in combinations(names, count)]
    for some in subsets:
        said = f"first_axis_for_all ({', '.join(some)})"
        fits = FITS if "padding" in settings else FITS[:1]
        both = (_first, _first_before) if "padding" in some else (_first,)
        for before, pad, fit in product((False, True), both, fits):
            slip = partial(_of_axes, names=some, before=before, axes=_first, pad=pad, fit=fit)
            yield Hypothesis(said, slip)
    if "padding" in settings:
        for fit in FITS:
            slip = partial(
                _of_axes, names=("padding",), before=True, axes=_first, pad=_before, fit=fit
            )
            yield Hypothesis("first_axis_for_all (padding before)", slip)
    for some, before, swap in product(subsets, (False, True), SWAPS):
        axes = partial(_swapped, swap=swap)
        slip = partial(_of_axes, names=some, before=before, axes=axes, pad=axes, fit="own")
        yield Hypothesis("axes_swapped", slip)
    for some, before in product(subsets, (False, True)):
        slip = partial(_of_axes, names=some, before=before, axes=_last, pad=_last, fit="own")
        yield Hypothesis(f"last_axis_for_all ({', '.join(some)})", slip)


def _swapped(values: Sequence[Any], swap: tuple[int, int]) -> tuple[Any, ...]:
    entries = list(values)
    if len(entries) > 1:
        entries[swap[0]], entries[swap[1]] = entries[swap[1]], entries[swap[0]]
    return tuple(entries)


def _before(pairs: Pairs) -> Pairs:
    return tuple((before, before) for before, _ in pairs)


def _first_before(pairs: Pairs) -> Pairs:
    return ((pairs[0][0],) * 2,) * len(pairs)


def _of_axes(
    case: Case,
    names: tuple[str, ...],
    before: bool,
    axes: Callable[[Any], Any],
    pad: Callable[[Any], Any],
    fit: Fit,
) -> Outcome:
    # Every entry from the axis that `axes` and `pad` take it from.
    settings = _resolved_first(case, before)
    padding = settings.get("padding", case.settings.get("padding"))
    for name in names:
        if name != "padding":
            value = case.settings[name]
            if value is not None:
                settings[name] = axes(tuple(np.broadcast_to(value, case.rank).tolist()))
        elif not isinstance(padding, str):
            settings[name] = pad(resolved(case))
    same = {
        name: tuple(np.broadcast_to(case.settings[name], case.rank).tolist()) == value
        if name != "padding"
        else resolved(case) == value
        for name, value in settings.items()
    }
    if all(same.values()):
        return case.truth
    return changed(case, fit=fit, **settings)
