"""The words on a picture of windows: what is counted, and the geometry."""

from __future__ import annotations

import math

from convinsights._arguments import per_axis
from convinsights.draw._scenes import Scene

__all__ = [
    "TAPS",
    "beside",
    "by",
    "counted",
    "description",
    "law",
    "legend",
    "mixing",
    "settings",
    "several",
    "sides",
    "summary",
    "title",
]

TAPS = ("tp", "tq")  # the kernels of two planes


def by(size: tuple[int, ...]) -> str:
    """Write a size: 5 × 5."""
    return " × ".join(map(str, size))


def _brief(values: tuple[int, ...]) -> str:
    return str(values[0]) if len(set(values)) == 1 else by(values)


def settings(view: Scene) -> str:
    """Write the hyperparameters in words."""
    geometry, options = view.geometry, view.options
    what = "pool" if view.pools else "kernel"
    words = [f"{what} {by(geometry.kernel_size)}", f"strides {_brief(geometry.strides)}"]
    padding = options.get("padding")
    if isinstance(padding, str):
        words.append(f'padding "{padding}"')
    if max(geometry.dilation_rate) > 1:
        words.append(f"dilation rate {_brief(geometry.dilation_rate)}")
    if options.get("output_padding") is not None:
        extra = per_axis(
            "output_padding", options["output_padding"], len(view.input_size), minimum=0
        )
        words.append(f"output padding {_brief(extra)}")
    if "groups" in options and len(view.parts) > 1:
        words.append(f"groups {options['groups']}")
    return ", ".join(words)


def mixing(view: Scene) -> list[str]:
    """Say what is done with channels that are not drawn."""
    if view.name == "unary":
        return ["one channel of input and of output; all are mixed"]
    follows = "then 1 × 1: of every pixel between, the channels are mixed"
    return [follows] if view.result == "between" else []


def sides(view: Scene) -> str:
    """Say how many zeros there are on which side, or of a transposed one how much is cut off."""
    pairs = view.geometry.padding
    names = (
        (("above", "below"), ("left", "right")) if len(pairs) == 2 else (("in front", "behind"),)
    )
    words = [
        f"{count} {side}"
        for pair, both in zip(pairs, names, strict=True)
        for count, side in zip(pair, both, strict=True)
    ]
    what = "padding" if view.pools else "zeros"
    if view.back:
        what = "cut off"
    if not any(map(sum, pairs)):
        return "nothing cut off" if view.back else f"no {what}"
    return f"{what}: {', '.join(words)}"


def law(view: Scene) -> list[str]:
    """Calculate the output's size, once where all axes are alike."""
    geometry, span = view.geometry, view.span
    spans = zip(geometry.kernel_size, geometry.dilation_rate, span, strict=True)
    spanned = [f"({k} − 1) · {d} + 1 = {ke}" for k, d, ke in spans]
    dilated = [f"the kernel spans {_once(spanned)}"] if max(geometry.dilation_rate) > 1 else []
    laws = []
    for axis, (n, s, (before, after), k) in enumerate(
        zip(view.input_size, geometry.strides, geometry.padding, span, strict=True)
    ):
        m = view.output_size[axis]
        if view.back:
            cut = f" − {before} − {after}" if before + after else ""
            extra = m - ((n - 1) * s + k - before - after)
            more = f" + {extra}" if extra else ""
            laws.append(f"({n} − 1) · {s} + {k}{cut}{more} = {m}")
        else:
            free = f"{before} + {n} + {after} − {k}" if before + after else f"{n} − {k}"
            if s > 1:
                down = ", rounded down," if (before + n + after - k) % s else ""
                free = f"({free}) / {s}{down}"
            laws.append(f"{free} + 1 = {m}")
    if len(set(laws)) > 1:
        laws = [f"{what}: {law}" for what, law in zip(("rows", "columns"), laws, strict=True)]
    else:
        laws = [f"output: {laws[0]}"]
    return [*dilated, *laws]


def _once(axes: list[str]) -> str:
    # What holds of both axes is said once.
    return axes[0] if len(set(axes)) == 1 else " and ".join(axes)


def counted(view: Scene, frame: int, window: tuple[int, ...]) -> str:
    """Count what a window reads, or how much of a stamp lands."""
    taps = view.reads.shape[1]
    pixels = int((view.reads[frame] > 0).sum())
    where = window[0] if len(window) == 1 else f"({', '.join(map(str, window))})"
    if view.back:
        lost = f", {taps - pixels} cut off" if taps > pixels else ""
        return f"stamp {where}: {pixels} of {taps} taps land{lost}"
    if view.name == "max_pooling":
        return f"window {where}: the maximum of {several(pixels, 'pixel')}"
    if view.name == "average_pooling":
        count = taps if view.options["count_padding"] else pixels
        return f"window {where}: the sum of {several(pixels, 'pixel')} / {count}"
    zeros = f" and {several(taps - pixels, 'zero')}" if taps > pixels else ""
    return f"window {where}: {several(pixels, 'pixel')}{zeros}"


def beside(view: Scene) -> str:
    """Say in the still picture what the dashed window is."""
    if math.prod(view.geometry.output_size) == 1:
        return ""
    return "; dashed: its neighbour"


def summary(view: Scene) -> str:
    """Count all products."""
    windows, taps = view.reads.shape
    outside = int((view.reads == 0).sum())
    if view.pools:
        lost = f", {windows * taps - outside} of them over pixels" if outside else ""
        return f"{several(windows, 'window')} of {several(taps, 'pixel')}{lost}"
    parts = max(len(view.parts), int(view.options.get("groups", 1)))
    what = "stamp" if view.back else "window"
    lost = "cut off" if view.back else "with zeros"
    rest = f", {parts * outside} {lost}" if outside else ""
    factors = [several(windows, what), several(taps, "tap")]
    if parts > 1:
        factors.insert(0, several(parts, view.parts[0].split()[0]))
    return f"{' × '.join(factors)} = {several(parts * windows * taps, 'product')}{rest}"


def several(count: int, noun: str) -> str:
    """Write how many there are."""
    return f"{count} {noun}{'s' * (count != 1)}"


def legend(view: Scene) -> list[tuple[str, str]]:
    """Explain the kinds of cells that there are."""
    idle, padded = not view.counts.all(), any(map(sum, view.geometry.padding))
    if view.back:
        most = int(view.counts.max())
        stamps = [(f"k{count}", several(count, "stamp")) for count in sorted({1, most} - {0})]
        return [
            ("px", "input"),
            ("ts", "stamp of the kernel"),
            *stamps,
            *[("bl", "no stamp")] * idle,
            *[("ze", "cut off")] * padded,
        ]
    taps = [("tp", "in the window" if view.pools else "pixel × weight")]
    padding = "zero of the padding"
    if view.pools:
        counted = view.options.get("count_padding", False)
        padding = "padding, counted as 0" if counted else "padding, left out"
    if len(view.parts) > 1:
        taps = [(kind, f"kernel of {part}") for kind, part in zip(TAPS, view.parts, strict=True)]
    return [
        ("px", "pixel"),
        *[("un", "read by no window")] * idle,
        *[("ze", padding)] * padded,
        *taps,
        ("ou", view.result),
    ]


def title(view: Scene) -> str:
    """Name the picture."""
    sizes = by(view.input_size), by(view.output_size)
    return f"{view.name}: input {sizes[0]}, {settings(view)}, output {sizes[1]}"


def description(view: Scene) -> str:
    """Say what is seen, for those who do not see it."""
    return f"{summary(view)}. {'; '.join([sides(view), *law(view)])}."
