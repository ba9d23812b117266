"""Slips of where the windows lie: strides, rates and padding forgotten, exchanged, of another axis.

"same" may have been resolved before the slip (`resolved`) or after it; `fit` is what becomes of an
output of another shape (see `_slips`).
"""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import combinations, product
from types import ModuleType
from typing import Any

import numpy as np

from convinsights import transposed
from convinsights._arguments import Array
from convinsights._concepts import defaults
from convinsights.verify._calls import Call, Outcome
from convinsights.verify._cases import Case
from convinsights.verify._slips import FITS, Fit, Hypothesis, changed
from convinsights.verify._slips_padding import (
    Pairs,
    first,
    last,
    of_padding,
    of_same,
)

__all__ = ["of_windows"]


def of_windows(module: ModuleType) -> Iterator[Hypothesis]:
    """Yield the slips of a module's windows, most specific first."""
    settings = defaults(module)
    if "padding" in settings:
        yield from of_padding()
    yield from _of_other_axes(settings)
    yield from _of_steps(settings)
    if "padding" in settings:
        yield from of_same()
        for along, across in product((False, True), repeat=2):
            yield Hypothesis("reads_outside", partial(_read_on, along=along, across=across))


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
        for resolved, fit in product((False, True), FITS):
            slip = partial(_exchanged, resolved=resolved, fit=fit)
            yield Hypothesis("strides_and_dilation_exchanged", slip)
    for (said, name, step), resolved, fit in product(rules, (False, True), FITS):
        yield Hypothesis(said, partial(_stepped, name=name, step=step, resolved=resolved, fit=fit))
    if "output_padding" in settings:
        for value, outright, fit in product((0, None), (False, True), FITS[:2]):
            slip = partial(_output_padding_ignored, value=value, outright=outright, fit=fit)
            yield Hypothesis("output_padding_ignored", slip)


def _resolved_first(case: Case, resolved: bool) -> dict[str, Any]:
    # The padding in zeros by the right strides and rates, if the slip came after that.
    return {"padding": case.padding} if resolved and case.settings.get("padding") == "same" else {}


def _stepped(
    case: Case, name: str, step: Callable[[int], int], resolved: bool, fit: Fit
) -> Outcome:
    entries = tuple(map(step, case.axes(name)))
    if entries == case.axes(name):
        return case.truth
    return changed(
        case, fit=fit, **_resolved_first(case, resolved), **{name: entries}, **_free(case)
    )


def _free(case: Case) -> dict[str, Any]:
    # No output size is asked for: of transposed it then follows from the changed settings.
    return {"output_padding": None, "output_size": None} if case.module is transposed else {}


def _exchanged(case: Case, resolved: bool, fit: Fit) -> Outcome:
    strides, rates = case.axes("strides"), case.axes("dilation_rate")
    if strides == rates:
        return case.truth
    steps = {"strides": rates, "dilation_rate": strides}
    return changed(case, fit=fit, **_resolved_first(case, resolved), **steps, **_free(case))


def _output_padding_ignored(case: Case, value: int | None, outright: bool, fit: Fit) -> Outcome:
    # `value` is taken in its place; `outright`: an output_size that was given is ignored as well.
    padding, size = case.settings["output_padding"], case.settings["output_size"]
    if padding is None and (size is None or not outright):
        return case.truth
    return changed(case, output_padding=value, output_size=None, fit=fit)


# With two axes all three are the same exchange.
SWAPS = ((-1, -2), (0, 1), (0, -1))


def _of_other_axes(settings: dict[str, Any]) -> Iterator[Hypothesis]:
    names = [n for n in ("strides", "dilation_rate", "padding", "output_padding") if n in settings]
    subsets = [some for count in range(1, len(names) + 1) for some in combinations(names, count)]
    for some in subsets:
        said = f"first_axis_for_all ({', '.join(some)})"
        fits = FITS if "padding" in settings else FITS[:1]
        both = (first, _first_before) if "padding" in some else (first,)
        for resolved, pad, fit in product((False, True), both, fits):
            slip = partial(_of_axes, names=some, resolved=resolved, axes=first, pad=pad, fit=fit)
            yield Hypothesis(said, slip)
    if "padding" in settings:
        for fit in FITS:
            slip = partial(
                _of_axes, names=("padding",), resolved=True, axes=first, pad=_before, fit=fit
            )
            yield Hypothesis("first_axis_for_all (padding before)", slip)
    for some, resolved, swap in product(subsets, (False, True), SWAPS):
        axes = partial(_swapped, swap=swap)
        slip = partial(_of_axes, names=some, resolved=resolved, axes=axes, pad=axes, fit="own")
        yield Hypothesis("axes_swapped", slip)
    for some, swap, fit in product(subsets[: len(names)], SWAPS, FITS[1:]):
        axes = partial(_swapped, swap=swap)
        slip = partial(_of_axes, names=some, resolved=True, axes=axes, pad=axes, fit=fit)
        yield Hypothesis("axes_swapped", slip)
    for some, resolved in product(subsets, (False, True)):
        slip = partial(_of_axes, names=some, resolved=resolved, axes=last, pad=last, fit="own")
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
    resolved: bool,
    axes: Callable[[Any], Any],
    pad: Callable[[Any], Any],
    fit: Fit,
) -> Outcome:
    # Every setting as `axes` makes it of the right ones, the padding as `pad` does.
    settings = _resolved_first(case, resolved)
    padding = settings.get("padding", case.settings.get("padding"))
    for name in names:
        if name != "padding":
            if case.settings[name] is not None:
                settings[name] = axes(case.axes(name))
        elif not isinstance(padding, str):
            settings[name] = pad(case.padding)
    same = (
        value == (case.padding if name == "padding" else case.axes(name))
        for name, value in settings.items()
    )
    if all(same):
        return case.truth
    return changed(case, fit=fit, **settings)


def _read_on(case: Case, along: bool, across: bool) -> Outcome:
    # Flat indices: beyond the end of a row lies the next one. `along`: beyond the end of any axis,
    # not of the last alone; `across`: beyond the end of an image lies the next one. Elsewhere, and
    # beyond the memory, zeros.
    pairs = case.padding
    if case.module is transposed or not any(map(sum, pairs)) or not case.x.size:
        return case.truth
    images, *size, channels = case.x.shape
    numbers, inside = np.arange(images), np.ones(images, bool)
    starts = numbers
    for axis, (n, (before, after)) in enumerate(zip(size, pairs, strict=True)):
        places = np.arange(-before, n + after)
        wraps = along or axis == len(size) - 1
        numbers = numbers[..., np.newaxis] * n + places
        inside = inside[..., np.newaxis] & (((places >= 0) & (places < n)) | wraps)
        starts = starts[..., np.newaxis] * n + 0 * places
    pixels = math.prod(size)
    low, high = (0, images * pixels) if across else (starts, starts + pixels)
    known = inside & (numbers >= low) & (numbers < high)
    read = case.x.reshape(-1, channels)[np.where(known, numbers, 0)]
    x: Array = read * known[..., np.newaxis]
    settings = case.settings | {"padding": "valid"}
    return {"y": Call(case.module, (x, *case.arrays[1:]), settings, None).outcome()["y"]}
