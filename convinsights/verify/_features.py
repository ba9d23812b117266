"""What can be said of a case: its features by name, and whether faults can show in it at all.

A setting has an effect only where it changes which pixels are read: strides between two windows at
least, rates between two taps, zeros that some window reads. So beside each of these settings stands
the largest that has an effect, as a feature of its own ("effective strides").
"""

import math

import numpy as np

from convinsights import batchnorm, depthwise, depthwise_separable, normalization, transposed, unary
from convinsights._arguments import Array
from convinsights.verify._calls import NORMALIZATIONS
from convinsights.verify._cases import Case
from convinsights.verify._grouped import Grouped
from convinsights.verify._words import BETWEEN, EFFECTIVE, Feature

__all__ = ["axis_names", "features", "tells"]

LEFT = "pixels behind the last window"
SAME_AXIS = "strides and dilation_rate"


def axis_names(rank: int) -> tuple[str, ...]:
    """Return what the spatial axes are called."""
    return ("length",) if rank == 1 else ("depth", "height", "width")[-rank:]


def features(case: Case) -> dict[str, Feature]:
    """Return the features of a case by name, as whoever writes a kernel would call them.

    `strides`, `dilation_rate`, `padding` and `output_padding` are the largest over the axes,
    `padding` in zeros; with an index they are those of one axis.
    """
    found: dict[str, Feature] = {"rank": case.rank, "batch": len(case.x)}
    found |= _of_normalization(case) if case.module in NORMALIZATIONS else _of_windows(case)
    size = case.x.shape[1:-1]
    found |= dict(zip(axis_names(case.rank), size, strict=True))
    found |= {"max(size)": max(size), "min(size)": min(size), "x.size": case.x.size}
    return found | {"layout": case.layout, "values": case.values}


def tells(case: Case) -> bool:
    """Tell whether faults can show in a case.

    Not if it has no values, or some tap never reads a pixel; nor if what is to be normalized is one
    value, or images that are all the same.
    """
    if case.empty:
        return False
    if case.module is batchnorm and case.layout == "broadcast" and len(case.x) > 1:
        return False
    if case.module in NORMALIZATIONS:
        return Grouped(case).count > 1
    if case.module is unary:
        return True
    return all(
        bool(((pixels >= 0) & (pixels < size)).any(axis=0).all())
        for size, pixels in zip(case.image_size, _read(case), strict=True)
    )


def _of_normalization(case: Case) -> dict[str, Feature]:
    found: dict[str, Feature] = {"channels": case.x.shape[-1]}
    if case.module is normalization:
        groups = case.settings["groups"]
        found |= {"groups": groups, "channels // groups": case.x.shape[-1] // groups}
        found["output pixels"] = math.prod(case.x.shape[:-1])  # of batchnorm its terms
    else:
        found["mode"] = "training" if case.arrays[3] is None else "inference"
    found |= _given(case, ("gamma", "beta"))
    found["epsilon"] = f"{case.settings['epsilon']:g}"
    return found | {"pixels": math.prod(case.x.shape[1:-1]), "terms": Grouped(case).count}


def _same(one: Feature, other: Feature) -> str:
    return "equal" if one == other else "differ"


def _given(case: Case, names: tuple[str, ...]) -> dict[str, Feature]:
    return {name: "not given" if case.given[name] is None else "given" for name in names}


def _of_windows(case: Case) -> dict[str, Feature]:
    kernel, filters = case.arrays[1], case.dy.shape[-1]
    taps = kernel.shape[:-2] or (1,) * case.rank
    found: dict[str, Feature] = {"in_channels": case.x.shape[-1], "out_channels": filters}
    terms = math.prod(taps)
    if case.module in (depthwise, depthwise_separable):
        found["depth_multiplier"] = kernel.shape[-1]
        if case.module is depthwise_separable:
            found[BETWEEN] = case.arrays[2].shape[-2]
            found[f"{BETWEEN} and out_channels"] = _same(found[BETWEEN], filters)
    else:
        groups = case.settings.get("groups", 1)
        terms *= case.x.shape[-1] // groups
        if "groups" in case.settings:
            found["in_channels // groups"] = case.x.shape[-1] // groups
            found["out_channels // groups"] = filters // groups
    found["in_channels and out_channels"] = _same(case.x.shape[-1], filters)
    found["last axes of the kernel"] = _same(*kernel.shape[-2:])
    found["kernel_size"] = taps
    found |= _per_axis("kernel_size", taps)
    found |= _of_steps(case, "strides", _windows(case))
    if "dilation_rate" in case.settings:
        found |= _of_steps(case, "dilation_rate", taps)
        strides, rates = case.axes("strides"), _felt(case.axes("dilation_rate"), taps)
        found[SAME_AXIS] = _met(strides, rates)
        found[f"{EFFECTIVE}{SAME_AXIS}"] = _met(_felt(strides, _windows(case)), rates)
    if "padding" in case.settings:
        found |= _of_padding(case)
    if case.module is transposed and case.settings["output_padding"] is not None:
        entries = case.axes("output_padding")
        found |= {"output_padding": max(entries)} | _per_axis("output_padding", entries)
    if "groups" in case.settings:
        found["groups"] = case.settings["groups"]
    strides = case.axes("strides")
    found |= _compared("strides", strides, "kernel_size", taps)
    felt = _compared("strides", _felt(strides, _windows(case)), "kernel_size", taps)
    found |= {f"{EFFECTIVE}{name}": words for name, words in felt.items()}
    if "padding" in case.settings:
        found |= _compared("kernel_size", taps, "size", case.x.shape[1:-1])
        if case.module is not transposed:
            found |= _compared("padding", tuple(map(max, case.padding)), "kernel_size", taps)
    found |= _given(case, ("bias",))
    outputs = (f"output {name}" for name in axis_names(case.rank))
    found |= dict(zip(outputs, case.dy.shape[1:-1], strict=True))
    found |= {"taps": math.prod(taps), "terms": terms}
    found["output pixels"] = math.prod(case.dy.shape[:-1])
    found["im2col.size"] = found["output pixels"] * terms
    return found | {"y.size": case.dy.size, "kernel.size": kernel.size}


def _windows(case: Case) -> tuple[int, ...]:
    # How many there are along each axis.
    counts: tuple[int, ...] = (case.x if case.module is transposed else case.dy).shape[1:-1]
    return counts


def _of_steps(case: Case, name: str, counts: tuple[int, ...]) -> dict[str, Feature]:
    # Of strides between so many windows, or of rates between so many taps.
    entries = case.axes(name)
    felt = _felt(entries, counts)
    found: dict[str, Feature] = {name: max(entries), f"{EFFECTIVE}{name}": max(felt)}
    found |= _per_axis(name, entries)
    found |= {f"{EFFECTIVE}{axis}": n for axis, n in _per_axis(name, felt).items()}
    found[f"min({name})"] = min(entries)
    return found | {f"{name} of the axes": "alike" if len(set(entries)) == 1 else "differ"}


def _felt(entries: tuple[int, ...], counts: tuple[int, ...]) -> tuple[int, ...]:
    # A step between less than two windows, or taps, has no effect.
    return tuple(step if n > 1 else 1 for step, n in zip(entries, counts, strict=True))


def _met(strides: tuple[int, ...], rates: tuple[int, ...]) -> str:
    both = any(s > 1 and d > 1 for s, d in zip(strides, rates, strict=True))
    return "both > 1 on an axis" if both else "never both > 1 on an axis"


def _compared(
    name: str, entries: tuple[int, ...], other: str, others: tuple[int, ...]
) -> dict[str, Feature]:
    # Whether entries are larger than others of the same axis: on some axis, and on each.
    pairs = list(zip(entries, others, strict=True))
    some = ">" if any(one > two for one, two in pairs) else "<="
    found: dict[str, Feature] = {f"{name} and {other}": f"{name} {some} {other}"}
    for a, (one, two) in enumerate(pairs if len(pairs) > 1 else ()):
        sign = "<" if one < two else ">" if one > two else "=="
        found[f"{name}[{a}] and {other}"] = f"{name}[{a}] {sign} {other}[{a}]"
    return found


def _read(case: Case) -> list[Array]:
    # The numbers of the pixels that each window reads, (windows, taps), axis by axis; of zeros
    # around the image they are less than 0, or too large.
    steps = zip(case.axes("strides"), case.axes("dilation_rate"), case.padding, strict=True)
    counts = zip(_windows(case), case.arrays[1].shape[:-2], strict=True)
    return [
        np.add.outer(stride * np.arange(windows), rate * np.arange(taps)) - before
        for (stride, rate, (before, _)), (windows, taps) in zip(steps, counts, strict=True)
    ]


def _per_axis(name: str, entries: tuple[int, ...]) -> dict[str, Feature]:
    # Of one axis a setting is its own entry already; but kernel_size is a tuple so far, and its
    # only entry takes its place.
    if len(entries) == 1:
        return {name: entries[0]} if name == "kernel_size" else {}
    return {f"{name}[{axis}]": entry for axis, entry in enumerate(entries)}


def _left_over(case: Case) -> dict[str, Feature]:
    # How many pixels of the padded image lie behind the last window.
    over = tuple(
        n + sum(pair) - (count - 1) * s - (k - 1) * d - 1
        for n, count, k, s, d, pair in zip(
            case.image_size,
            _windows(case),
            case.arrays[1].shape[:-2],
            case.axes("strides"),
            case.axes("dilation_rate"),
            case.padding,
            strict=True,
        )
    )
    return {LEFT: max(over)} | _per_axis(LEFT, over)


def _of_padding(case: Case) -> dict[str, Feature]:
    said, pairs = case.settings["padding"], case.padding
    largest = tuple(map(max, pairs))
    found: dict[str, Feature] = {"padding": max(largest)} | _per_axis("padding", largest)
    found |= _left_over(case)
    if case.module is not transposed:
        felt = tuple(
            most * bool(((pixels < 0) | (pixels >= size)).any())
            for most, size, pixels in zip(largest, case.x.shape[1:-1], _read(case), strict=True)
        )
        found |= {f"{EFFECTIVE}padding": max(felt)}
        found |= {f"{EFFECTIVE}{name}": n for name, n in _per_axis("padding", felt).items()}
    found["padding by name"] = said if isinstance(said, str) else "zeros"
    uneven = any(before != after for before, after in pairs)
    found["padding before and after"] = "differ" if uneven else "alike"
    found["padding of the axes"] = "alike" if len(set(pairs)) == 1 else "differ"
    return found
