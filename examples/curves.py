"""Plot what was measured: several runs of each kind as a band, from the least to the largest.

The line in a band is the median of the runs. Plots are SVG text with a transparent ground, for
light and dark pages.
"""

import json
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import numpy as np

from convinsights import conv, residual

RESULTS = json.loads((Path(__file__).parent / "results.json").read_text(encoding="utf-8"))
HUES = ("#4c78a8", "#d9822b", "#3f9b4b", "#c44e52", "#8d6cab", "#8a7556")
LEFT, RIGHT, TOP, HEIGHT = 56, 424, 44, 220
STYLE = """<style>
text { fill: #24292f; font: 13px sans-serif }
path.grid { stroke: #d0d4d9; fill: none }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 }
path.grid { stroke: #3d444d }
}
</style>"""

Series = dict[str, Sequence[Sequence[float]]]  # name: runs, each a value for every x


def plot(
    title: str, axes: tuple[str, str], xs: Sequence[float], series: Series, ticks: Sequence[float]
) -> str:
    """Draw bands and medians; the second axis is one of powers where the ticks are."""
    low, high = ticks[0], ticks[-1]
    powers = low > 0 and high / low > 50

    def place(x: float, y: float) -> tuple[float, float]:
        y = min(max(y, low), high)
        part = math.log(y / low) / math.log(high / low) if powers else (y - low) / (high - low)
        across = (x - xs[0]) / (xs[-1] - xs[0])
        return LEFT + across * (RIGHT - LEFT), TOP + (1 - part) * HEIGHT

    bottom = TOP + HEIGHT
    parts = [text(LEFT - 44, TOP - 26, axes[1], "start")]
    for tick in ticks:
        y = place(xs[0], tick)[1]
        parts.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{RIGHT}"/>')
        parts.append(text(LEFT - 6, y, f"{tick:g}", "end"))
    step = max(1, (len(xs) - 1) // 6)
    parts += [text(place(x, low)[0], bottom + 16, f"{x:g}") for x in xs[::step]]
    parts.append(text((LEFT + RIGHT) / 2, bottom + 36, axes[0]))

    last = []
    for (name, runs), hue in zip(series.items(), HUES, strict=False):
        columns = list(zip(*runs, strict=True))
        above = [place(x, max(column)) for x, column in zip(xs, columns, strict=True)]
        below = [place(x, min(column)) for x, column in zip(xs, columns, strict=True)]
        middle = [place(x, median(column)) for x, column in zip(xs, columns, strict=True)]
        parts.append(f'<polygon points="{points(above + below[::-1])}" fill="{hue}" opacity=".2"/>')
        parts.append(
            f'<polyline points="{points(middle)}" fill="none" stroke="{hue}" stroke-width="2.5"/>'
        )
        last.append((middle[-1][1], name, hue))
    y = bottom + 44
    for _, name, hue in sorted(last):  # the names from above, as the lines end
        y += 18
        parts.append(f'<path d="M{LEFT} {y:.1f}h14" stroke="{hue}" stroke-width="3"/>')
        parts.append(text(LEFT + 22, y, name, "start"))
    runs = len(next(iter(series.values())))
    note = f"{runs} starts each: the band from least to largest, the line the median"
    parts.append(text(LEFT - 44, y + 24, note, "start"))
    ends = {name: sorted(run[-1] for run in runs) for name, runs in series.items()}
    told = (f"{name}: {least:.2g} to {most:.2g}" for name, (least, *_, most) in ends.items())
    words = f"{axes[1]}, by {axes[0]}; at the end " + ", ".join(told)
    return picture(title, words, RIGHT + 16, y + 40, parts)


def bars(title: str, note: str, rows: dict[str, dict[str, float]]) -> str:
    """Draw groups of bars, each with its number, and say below what they mean."""
    parts, y = [], 16.0
    widest = max(value for row in rows.values() for value in row.values())
    for name, row in rows.items():
        parts.append(text(8, y, name, "start"))
        for (kind, value), hue in zip(row.items(), HUES, strict=False):
            y += 20
            parts.append(text(116, y, kind, "end"))
            width = 260 * value / widest
            parts.append(
                f'<rect x="124" y="{y - 7:g}" width="{width:.1f}" height="14" fill="{hue}"/>'
            )
            parts.append(text(130 + width, y, f"{value:.3g}", "start"))
        y += 30
    parts.append(text(8, y, note, "start"))
    words = "; ".join(
        f"{name}: " + ", ".join(f"{kind} {value:.3g}" for kind, value in row.items())
        for name, row in rows.items()
    )
    return picture(title, f"{note}. {words}", 440, y + 18, parts)


def text(x: float, y: float, words: str, anchor: str = "middle") -> str:
    return f'<text x="{x:.1f}" y="{y + 4.5:.1f}" text-anchor="{anchor}">{words}</text>'


def points(places: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in places)


def picture(title: str, words: str, width: float, height: float, parts: Sequence[str]) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" '
        f'width="{width:g}" height="{height:g}" role="img">'
    )
    described = f"<title>{title}</title><desc>{words}</desc>"
    return "\n".join([head, described, STYLE, *parts, "</svg>\n"])


# -- what is plotted ------------------------------------------------------------------------------


def gradient_sizes(seed: int, shortcut: bool, normalize: bool, layers: int = 20) -> list[float]:
    """Return the sizes of the gradient in the stack of `residual.md`, from the top down."""
    image = (np.arange(64) ** 3 % 23 - 11).reshape(1, 16, 4) / 8
    rng, x, caches, gradients = np.random.default_rng(seed), image, [], [image[:, ::-1]]
    for _ in range(layers):
        kernel = conv.initialize(rng, (3,), 4, 4)
        block = residual.Parameters((kernel,), ((np.ones(4), np.zeros(4)),))
        known = None if normalize else residual.initial_statistics(block)
        y, cache = residual.forward(x, block, known, variant="preactivation")
        x, caches = y if shortcut else y - x, [cache, *caches]
    for cache in caches:
        dx = residual.backward(gradients[-1], cache).x
        gradients.append(dx if shortcut else dx - gradients[-1])
    sizes = [float(np.sqrt((gradient**2).mean())) for gradient in gradients]
    return [size / sizes[0] for size in sizes]


def depth() -> str:
    kinds = {
        "plain": (False, False),
        "residual": (True, False),
        "plain, normalized": (False, True),
        "residual, normalized": (True, True),
    }
    runs = {
        name: [gradient_sizes(seed, *kind) for seed in range(9)] for name, kind in kinds.items()
    }
    return plot(
        "Size of the gradient by depth, before training",
        ("layers below the top", "size of the gradient, 1 at the top"),
        range(21),
        runs,
        [0.001, 0.01, 0.1, 1, 10, 100, 1000],
    )


def accuracies(title: str, series: Series) -> str:
    epochs = range(1, len(next(iter(series.values()))[0]) + 1)
    axes = "epochs", "test digits read correctly"
    return plot(title, axes, epochs, series, [0, 0.2, 0.4, 0.6, 0.8, 1])


def normalization() -> str:
    title = "Accuracy by epoch, with and without batch normalization, at three rates"
    return accuracies(title, RESULTS["normalization"])


def shortcuts() -> str:
    title = "Accuracy by epoch, plain and residual, of 8 and of 32 layers"
    kept = {
        name: [[unseen for unseen, _ in curve] for curve in runs]
        for name, runs in RESULTS["depth"].items()
        if name.endswith((" 8 layers", "32 layers"))
    }
    return accuracies(title, kept)


def checkerboard() -> str:
    series = {
        name: [[part for _, part in curve] for curve in runs]
        for name, runs in RESULTS["checkerboard"].items()
    }
    epochs = range(len(next(iter(series.values()))[0]))
    axes = "epochs", "part of period 2 that the errors share, per pixel"
    return plot(
        "Patterns of period 2 that the errors share, kernels of 3×3 and 4×4",
        axes,
        epochs,
        series,
        [0, 0.02, 0.04, 0.06],
    )


def separable() -> str:
    rows = {
        re.sub(r"(\d)x(\d)", r"\1×\2", name): {
            what: counts[0] / counts[1]
            for what, counts in zip(
                ("weights", "multiply-adds", "measured time"), row.values(), strict=True
            )
        }
        for name, row in RESULTS["separable"].items()
    }
    title = "How many times as much a classic layer takes as a separable one"
    return bars(title, "each bar: classic layer ÷ separable layer", rows)


PLOTS: dict[str, Callable[[], str]] = {
    "depth": depth,
    "normalization": normalization,
    "shortcuts": shortcuts,
    "checkerboard": checkerboard,
    "separable": separable,
}
