"""Draw the pictures of the worked derivations, from what the library computes.

    python examples/figures.py

writes every SVG file under `examples/figures/` again. Each function below returns one picture; the
numbers in it are gradients, columns and matrices that `convinsights` made. `curves.py` plots what
was measured, `scenes.py` draws what moves and is no geometry.
"""

from collections.abc import Callable, Iterable
from pathlib import Path

import curves
import numpy as np
import scenes

from convinsights import batchnorm, conv, depthwise, dilated, draw, im2col, transposed, unary

FOLDER = Path(__file__).parent / "figures"
INK, PAPER, EMPTY = "#24292f", "#fbfaf7", "#eceae4"
HUES = ("#4c78a8", "#e0903a", "#57a05c", "#c05a5a", "#8d6cab", "#8a7556", "#4aa6a6", "#b5a13c")

# -- drawing ------------------------------------------------------------------------------------


def text(x: float, y: float, words: object, size: int = 13, anchor: str = "middle") -> str:
    return (
        f'<text x="{x:g}" y="{y + size * 0.36:g}" font-size="{size}" text-anchor="{anchor}">'
        f"{words}</text>"
    )


def cell(x: float, y: float, size: float, colour: str, opacity: float = 1, label: str = "") -> str:
    faint = f' fill-opacity="{opacity:.2f}"' if opacity < 1 else ""
    square = (
        f'<rect x="{x + 1:g}" y="{y + 1:g}" width="{size - 2:g}" height="{size - 2:g}" rx="2" '
        f'fill="{colour}"{faint}/>'
    )
    return square + (text(x + size / 2, y + size / 2, label, 12) if label else "")


def counts(
    x: float, y: float, values: np.ndarray, size: float, colour: str, most: float
) -> Iterable[str]:
    """Draw a table of counts: the darker, the nearer to the largest; 0 is empty."""
    for (i, j), value in np.ndenumerate(np.atleast_2d(values).astype(int)):
        fill, strength = (colour, 0.25 + 0.6 * value / most) if value else (EMPTY, 1)
        label = str(value) if value else ""
        yield cell(x + j * size, y + i * size, size, fill, strength, label)


def squares(x: float, y: float, values: np.ndarray, size: float, colour: str) -> Iterable[str]:
    """Draw a table without numbers, one path for all cells of the same value; 0 is empty."""
    for value in np.unique(values):
        side = size - 2
        path = "".join(
            f"M{x + j * size + 1:g} {y + i * size + 1:g}h{side:g}v{side:g}h-{side:g}z"
            for i, j in np.argwhere(values == value)
        )
        fill, strength = (colour, 0.2 + 0.8 * value / values.max()) if value else (EMPTY, 1)
        yield f'<path d="{path}" fill="{fill}" fill-opacity="{strength:.2f}"/>'


def picture(width: float, height: float, title: str, parts: Iterable[str]) -> str:
    """Put parts on paper of its own colour, so that they are legible on light and dark pages."""
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" '
            f'width="{width:g}" height="{height:g}" font-family="sans-serif" fill="{INK}" '
            'role="img">',
            f"<title>{title}</title>",
            f'<rect width="{width:g}" height="{height:g}" rx="8" fill="{PAPER}"/>',
            *parts,
            "</svg>\n",
        ]
    )


# -- pictures -----------------------------------------------------------------------------------


def columns() -> str:
    """Show the windows of a 3×4 image as the rows of the column matrix."""
    x = (10 * np.arange(3)[:, None] + np.arange(4)).reshape(1, 3, 4, 1)
    rows = im2col.im2col(x, (2, 2)).astype(int)
    size, parts = 34, [text(98, 24, "image, pixel 10 i + j"), text(404, 24, "im2col, 2×2 windows")]
    first = set(rows[0]) | {None}
    for (_, i, j, _), pixel in np.ndenumerate(x):
        colour = HUES[0] if pixel in first else (HUES[1] if pixel in rows[-1] else EMPTY)
        parts.append(cell(30 + j * size, 84 + i * size, size, colour, 0.6, f"{pixel:02d}"))
    for (i, j), pixel in np.ndenumerate(rows):
        colour = HUES[0] if i == 0 else (HUES[1] if i == len(rows) - 1 else EMPTY)
        parts.append(cell(336 + j * size, 44 + i * size, size, colour, 0.6, f"{pixel:02d}"))
    window = np.arange(len(rows)).reshape(2, 3)
    for (i, j), row in np.ndenumerate(window):
        parts.append(text(322, 44 + (row + 0.5) * size, f"window ({i}, {j})", 12, "end"))
    return picture(500, 264, "The windows of a small image, and the rows they become", parts)


def matrix() -> str:
    """Show the matrix of a strided 1-D convolution and its transpose."""
    kernel = np.array([1, 2, 3]).reshape(3, 1, 1)
    dense = conv.matrix(kernel, (7, 1), strides=2).astype(int)
    size, parts = 30, []
    for x, y, table, label in ((30, 106, dense, "M"), (300, 46, dense.T, "Mᵀ")):
        for (i, j), tap in np.ndenumerate(table):
            colour = HUES[tap - 1] if tap else EMPTY
            parts.append(
                cell(x + j * size, y + i * size, size, colour, 0.75, f"w{tap - 1}" if tap else "")
            )
        parts.append(text(x + table.shape[1] * size / 2, y - 14, label, 16))
    parts.append(text(135, 226, "7 pixels in, 3 out: stride 2", 12))
    parts.append(text(345, 274, "3 in, 7 out", 12))
    return picture(420, 292, "The pattern of a convolution's matrix, and of its transpose", parts)


def stack(width: int, strides: list[int], rates: list[int]) -> list[np.ndarray]:
    """Return the gradient of the middle output pixel at every stage, with kernels of three ones."""
    kernel, x, caches = np.ones((3, 1, 1)), np.zeros((1, width, 1)), []
    for stride, rate in zip(strides, rates, strict=True):
        x, cache = dilated.forward(x, kernel, dilation_rate=rate, strides=stride)
        caches.append(cache)
    gradient = np.zeros_like(x)
    gradient[0, x.shape[1] // 2] = 1
    stages = [gradient]
    for cache in reversed(caches):
        gradient = conv.backward(gradient, cache).x
        stages.append(gradient)
    return [stage.ravel() for stage in stages]


def receptive(strides: list[int], rates: list[int], title: str, names: list[str]) -> str:
    width, size, parts = 33, 20, []
    for level, (stage, name) in enumerate(zip(stack(width, strides, rates), names, strict=True)):
        jump = (width - 1) // (len(stage) - 1)
        y = 44 + level * 56
        parts.append(text(20, y - 12, name, 13, "start"))
        for index, value in enumerate(stage):
            left = 20 + index * jump * size
            parts += counts(left, y, value, size, HUES[level % 4], stage.max())
    return picture(width * size + 40, 44 + 56 * len(names), title, parts)


def receptive_stride() -> str:
    names = ["one output pixel", "after two layers", "after one layer", "the input: 15 pixels"]
    return receptive(
        [2, 2, 2], [1, 1, 1], "What one pixel depends on: three layers with strides of 2", names
    )


def receptive_dilation() -> str:
    names = [
        "one output pixel",
        "rate 4: what it sees of the layer below",
        "rate 2",
        "rate 1: 15 pixels of the input, each once or more",
    ]
    return receptive([1, 1, 1], [1, 2, 4], "What one pixel depends on: rates 1, 2, 4", names)


def gridding() -> str:
    """Compare the pixels seen through equal and through mixed dilation rates, in 2-D."""
    parts, size, shown = [], 17, 15
    for place, rates in enumerate(((2, 2, 2), (1, 2, 3))):
        kernel, x, caches = np.ones((3, 3, 1, 1)), np.zeros((1, shown, shown, 1)), []
        for rate in rates:
            x, cache = dilated.forward(x, kernel, dilation_rate=rate)
            caches.append(cache)
        gradient = np.zeros_like(x)
        gradient[0, shown // 2, shown // 2] = 1
        for cache in reversed(caches):
            gradient = dilated.backward(gradient, cache).x
        seen = gradient.reshape(shown, shown)
        left = 20 + place * (shown * size + 30)
        parts += squares(left, 40, seen, size, HUES[place])
        label = f"rates {rates}: {np.count_nonzero(seen)} pixels"
        parts.append(text(left + shown * size / 2, 22, label))
    width = 40 + 2 * shown * size + 30
    return picture(width, 60 + shown * size, "Gridding: equal rates leave gaps", parts)


def overlap() -> str:
    """Count the stamps of a transposed convolution that lie on each pixel."""
    parts, size, left = [], 26, 20
    for place, taps in enumerate((3, 4)):
        x, kernel = np.ones((1, 4, 4, 1)), np.ones((taps, taps, 1, 1))
        y, _ = transposed.forward(x, kernel, strides=2)
        table = y[0, :, :, 0]
        parts += counts(left, 40, table, size, HUES[place], table.max())
        label = f"kernel {taps}×{taps}, stride 2"
        parts.append(text(left + len(table) * size / 2, 22, label))
        left += len(table) * size + 30
    return picture(left - 10, 60 + 10 * size, "Overlap counts of a transposed convolution", parts)


def norms() -> str:
    """Show what is averaged together with one number, by four normalizations."""
    images, pixels, channels = 3, 4, 6
    rng = np.random.default_rng(0)
    x = rng.normal(size=(images, pixels, channels))
    # Each is batch normalization of the array with other axes in the channels' place.
    orders = {
        "batch": lambda a: a,
        "layer": lambda a: a.reshape(images, -1).T,
        "instance": lambda a: a.swapaxes(0, 1).reshape(pixels, -1),
        "group (2 of 3)": lambda a: (
            a.reshape(images, pixels, 2, 3).transpose(1, 3, 0, 2).reshape(pixels * 3, -1)
        ),
    }
    size, parts = 15, []
    for place, (name, order) in enumerate(orders.items()):
        numbers = order(np.arange(x.size).reshape(x.shape))
        cotangent = np.zeros(x.shape)
        cotangent[1, 1, 1] = 1
        _, cache = batchnorm.forward(order(x))
        moved = batchnorm.backward(order(cotangent), cache).x
        support = np.zeros(x.size, bool)
        support[numbers.ravel()] = moved.ravel() != 0
        left = 24 + place * (channels * size + 40)
        parts.append(text(left + channels * size / 2, 20, name))
        for n, image in enumerate(support.reshape(x.shape)):
            y = 36 + n * (pixels * size + 10)
            parts += squares(left, y, image.astype(int), size, HUES[place])
    bottom = 36 + images * (pixels * size + 10)
    parts.append(
        text(
            24,
            bottom + 10,
            "Each block is an image: a row is a pixel, a column a channel.",
            12,
            "start",
        )
    )
    return picture(8 + 4 * (channels * size + 40), bottom + 30, "What is averaged together", parts)


PICTURES: dict[str, Callable[[], str]] = {
    "columns": columns,
    "matrix": matrix,
    "receptive-stride": receptive_stride,
    "receptive-dilation": receptive_dilation,
    "gridding": gridding,
    "overlap": overlap,
    "norms": norms,
    **curves.PLOTS,
    "normalized": scenes.normalized,
    "shortcut": scenes.shortcut,
    "convolution": lambda: str(draw.windows(conv, (5, 5), (3, 3))),
    "strided": lambda: str(draw.windows(conv, (6, 6), (3, 3), strides=2, padding="same")),
    "unary": lambda: str(draw.windows(unary, (3, 4))),
    "depthwise": lambda: str(draw.windows(depthwise, (4, 4), (3, 3))),
    "transposed": lambda: str(draw.windows(transposed, (3, 3), (3, 3), strides=2)),
    "prices": lambda: str(draw.windows(transposed, 3, 2)),
    "dilated": lambda: str(draw.windows(dilated, (7, 7), (3, 3), padding="valid")),
}


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, drawn in PICTURES.items():
        (FOLDER / f"{name}.svg").write_text(drawn(), encoding="utf-8")


if __name__ == "__main__":
    main()
