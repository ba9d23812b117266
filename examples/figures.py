"""Draw the pictures of the worked derivations, from what the library computes.

    python examples/figures.py

writes every SVG file under `examples/figures/` again. `convinsights.draw` draws what a geometry
does, `scenes.py` what has none; `curves.py` plots what was measured.
"""

from collections.abc import Callable
from pathlib import Path

import curves
import numpy as np
import scenes

from convinsights import conv, depthwise, dilated, draw, max_pooling, transposed
from convinsights.receptive_field import Layer

FOLDER = Path(__file__).parent / "figures"
with np.load(Path(__file__).parent / "data" / "digits.npz") as data:
    SEVEN = data["images"][7].astype(int)
UPRIGHT = np.array([[-1, 0, 1]] * 3)
STRIDED = [Layer(3, strides=2, padding=1)] * 3


def with_rates(*rates: int) -> list[Layer]:
    return [Layer(3, dilation_rate=rate, padding=rate) for rate in rates]


def larger(taps: int) -> list[Layer]:
    return [Layer(taps, strides=2, transposed=True)]


def edges(*kernels: np.ndarray) -> np.ndarray:
    """Add up what the kernels find in the seven, one as it is and several without their signs."""
    taps = np.stack(kernels, axis=-1)[:, :, None]
    y, _ = conv.forward(SEVEN.reshape(1, 8, 8, 1), taps, padding="same")
    return (y if len(kernels) == 1 else abs(y)).sum(axis=(0, 3)).astype(int)


def largest(size: int) -> np.ndarray:
    """Keep of every window of the seven the largest pixel."""
    return max_pooling.forward(SEVEN.reshape(1, 8, 8, 1), size)[0][0, :, :, 0].astype(int)


def seen(*rates: int) -> np.ndarray:
    """Leave of the seven what output pixel (3, 4) of a stack depends on."""
    price = np.zeros((1, 8, 8, 1))
    price[0, 3, 4] = 1
    for rate in rates:
        _, cache = dilated.forward(price, np.ones((3, 3, 1, 1)), dilation_rate=rate)
        price = dilated.backward(price, cache).x
    return SEVEN * (price[0, :, :, 0] > 0)


PICTURES: dict[str, Callable[[], str]] = {
    "columns": lambda: str(draw.columns((3, 3), (2, 2))),
    "matrix": lambda: str(draw.matrix(np.array([1, 2, 3]).reshape(3, 1, 1), (7, 1), strides=2)),
    "receptive-stride": lambda: str(draw.receptive_field(STRIDED)),
    "receptive-dilation": lambda: str(draw.receptive_field(with_rates(1, 2, 4))),
    "gridding": lambda: str(draw.receptive_field([with_rates(2, 2, 2)] * 2, input_size=(15, 15))),
    "gridding-mixed": lambda: str(
        draw.receptive_field([with_rates(1, 2, 3)] * 2, input_size=(15, 15))
    ),
    "overlap": lambda: str(draw.overlaps([larger(3)] * 2, (4, 4))),
    "overlap-even": lambda: str(draw.overlaps([larger(4)] * 2, (4, 4))),
    "norms": scenes.averaged,
    "seven": lambda: str(draw.array(SEVEN, title="a seven")),
    "edges": lambda: str(draw.array(edges(UPRIGHT), title="its upright edges")),
    "strength": lambda: str(draw.array(edges(UPRIGHT, UPRIGHT.T), title="how much edge")),
    "pooled": lambda: str(draw.array(largest(2), title="the largest of each 2 × 2 window")),
    "seen": lambda: str(draw.array(seen(2, 2, 2), title="what rates 2, 2, 2 see of a seven")),
    **curves.PLOTS,
    "normalized": scenes.normalized,
    "shortcut": scenes.shortcut,
    "unary": scenes.mixed,
    "convolution": lambda: str(draw.windows(conv, (5, 5), (3, 3))),
    "strided": lambda: str(draw.windows(conv, (6, 6), (3, 3), strides=2, padding="same")),
    "pooling": lambda: str(draw.windows(max_pooling, (6, 6), (2, 2))),
    "depthwise": lambda: str(draw.windows(depthwise, (4, 4), (3, 3))),
    "transposed": lambda: str(draw.windows(transposed, (3, 3), (3, 3), strides=2)),
    "prices": scenes.handed_back,
    "dilated": lambda: str(draw.windows(dilated, (7, 7), (3, 3), padding="valid")),
}


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, drawn in PICTURES.items():
        (FOLDER / f"{name}.svg").write_text(drawn(), encoding="utf-8")


if __name__ == "__main__":
    main()
