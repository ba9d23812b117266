"""The geometries that kernels have fast ways for: 1×1, 3×3 at strides of 1 and 2, 1×k, others."""

from collections.abc import Callable, Iterator
from types import ModuleType
from typing import NamedTuple

from convinsights import depthwise, depthwise_separable, transposed, unary

__all__ = ["Path", "paths_of"]


class Path(NamedTuple):
    """What a path fixes; None leaves a setting free."""

    name: str
    kernel: Callable[[int, int], bool] = lambda size, axis: True  # whether an axis may be so
    strides: int | None = None
    dilation_rate: int | None = None
    padding: str | None = None
    whole: bool = False  # the kernel is as large as the image
    depth_multiplier: int | None = None
    output: str | None = None


def paths_of(module: ModuleType, rank: int) -> Iterator[Path]:
    """Yield those of a module, after "any", which fixes nothing."""
    times = "×".join
    yield Path("any")
    if module is unary:
        return

    def all_of(k: int) -> Callable[[int, int], bool]:
        return lambda size, axis: size == k

    threes, ones = times(["3"] * rank), times(["1"] * rank)
    twos, fours, fives, sevens = (times([k] * rank) for k in "2457")
    yield Path(f"{ones}, strides 1", all_of(1), 1, 1, "valid")
    yield Path(f"{ones}, strides 2", all_of(1), 2, 1, "valid")
    yield Path(ones, all_of(1))
    yield Path(threes, all_of(3))
    yield Path(f"{threes}, strides 1", all_of(3), 1, 1)
    yield Path(f"{threes}, padding 1", all_of(3), 1, 1, "1")
    yield Path(f"{threes}, strides 2, padding 1", all_of(3), 2, 1, "1")
    yield Path(f"{twos}, strides 2", all_of(2), 2, 1, "valid")
    if rank < 3:
        yield Path(f"{fives}, strides 1", all_of(5), 1, 1)
        yield Path(f"{fives}, strides 2", all_of(5), 2, 1)
    if rank > 1:
        yield Path(times(["1"] * (rank - 1) + ["k"]), lambda k, a: (k == 1) == (a < rank - 1))
        yield Path(times(["k"] + ["1"] * (rank - 1)), lambda k, a: (k == 1) == (a > 0))
    if module is transposed:
        yield Path(f"{fours}, strides 2, padding 1", all_of(4), 2, 1, "1")
        yield Path(
            f"{threes}, strides 2, padding 1, output_padding 1", all_of(3), 2, 1, "1", output="most"
        )
    else:
        yield Path(f"{sevens}, strides 2, padding 3", all_of(7), 2, 1, "3")
        yield Path("as large as the image", strides=1, dilation_rate=1, padding="valid", whole=True)
    if module in (depthwise, depthwise_separable):
        name = f"{threes}, padding 1, multiplier 1"
        yield Path(name, all_of(3), 1, 1, "1", depth_multiplier=1)
    yield Path(f"{twos}, strides 1", all_of(2), 1, 1, "valid")
