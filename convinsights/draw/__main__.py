"""The command line: `python -m convinsights.draw`, with the picture on standard output."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from typing import Any

from convinsights import draw
from convinsights._arguments import Ints, as_array, is_sequence
from convinsights.draw._picture import Picture
from convinsights.draw._scenes import MODULES, axes
from convinsights.receptive_field import Layer

__all__ = ["main"]

PADDING = "valid, same, causal, or one entry per axis: zeros on both sides, or before,after"
STILL: dict[str, Any] = {"dest": "animate", "action": "store_false", "help": "without motion"}


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw what the arguments say, on standard output; end with status 2 where they are wrong."""
    parser = _parser()
    values = vars(parser.parse_args(arguments))
    make: Callable[..., Picture] = values.pop("make")
    path = values.pop("output")
    try:
        picture = make(**values)
        if path is None:
            sys.stdout.buffer.write(str(picture).encode())
        else:
            picture.save(path)
    except (OSError, TypeError, ValueError) as error:
        parser.error(str(error))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m convinsights.draw",
        description="Draw what a geometry does, as an SVG that moves.",
        epilog="Each has its own --help.",
    )
    commands = parser.add_subparsers(metavar="picture", required=True)
    windows = _command(commands, "windows", _windows, "a window that moves, or a stamp")
    windows.add_argument("module", choices=MODULES)
    _sizes(windows)
    _ints(windows, "--output-padding", "of transposed: which of several sizes it has")
    _ints(windows, "--output-size", "of transposed: the size itself")
    windows.add_argument("--groups", type=int, help="parts that the channels are split into")
    windows.add_argument(
        "--count-padding", action="store_true", help="of average_pooling: as zeros in the mean"
    )
    columns = _command(commands, "columns", draw.columns, "windows as the rows of a matrix")
    _sizes(columns)
    matrix = _command(commands, "matrix", _matrix, "the matrix of a convolution")
    _sizes(matrix, kernel=False)
    matrix.add_argument("--kernel", type=_numbers, required=True, help="its numbers: [1, 2, 1]")
    field = _command(commands, "receptive_field", _field, "what an output pixel sees of the input")
    field.add_argument("--layers", **LAYERS)
    _ints(field, "--input", "pixels along each of one or two axes", "input_size")
    _ints(field, "--pixel", "the output pixel; by default in the middle", "output_pixel")
    field.add_argument("--still", **STILL)
    overlaps = _command(commands, "overlaps", _overlaps, "how many paths end in every pixel")
    overlaps.add_argument("--layers", **LAYERS)
    _ints(overlaps, "--input", "pixels along each of one or two axes", "input_size", required=True)
    array = _command(commands, "array", draw.array, "an image or a kernel in shades")
    array.add_argument("x", type=_numbers, help="its numbers: [[0, 1], [2, 3]]")
    array.add_argument("--title", help="what it is called")
    return parser


def _command(
    commands: Any, name: str, make: Callable[..., Picture], what: str
) -> argparse.ArgumentParser:
    # What is not given is not there, so that the defaults are those of the function.
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=what, description=f"Draw {what}.", argument_default=argparse.SUPPRESS
    )
    parser.set_defaults(make=make)
    parser.add_argument(
        "--output", metavar="FILE", default=None, help="in place of standard output"
    )
    return parser


def _sizes(parser: argparse.ArgumentParser, kernel: bool = True) -> None:
    _ints(parser, "--input", "pixels along each of one or two axes", "input_size", required=True)
    if kernel:
        _ints(parser, "--kernel", "taps along each axis", "kernel_size")
    _ints(parser, "--strides", "pixels from one window to the next")
    parser.add_argument("--padding", nargs="+", type=_entry, action=OneOrMore, help=PADDING)
    _ints(parser, "--dilation-rate", "pixels from one tap to the next")
    parser.add_argument("--still", **STILL)


def _ints(
    parser: argparse.ArgumentParser,
    option: str,
    what: str,
    name: str | None = None,
    required: bool = False,
) -> None:
    names = {"dest": name} if name else {}
    parser.add_argument(
        option,
        nargs="+",
        type=int,
        metavar="N",
        action=OneOrMore,
        help=what,
        required=required,
        **names,
    )


class OneOrMore(argparse.Action):
    """One entry stands for itself, several for one per axis."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option: Any = None) -> None:
        """Keep what was given."""
        single = len(values) == 1 and not isinstance(values[0], tuple)
        setattr(namespace, self.dest, values[0] if single else tuple(values))


def _windows(module: str, input_size: Ints, **options: Any) -> Picture:
    return draw.windows(MODULES[module], input_size, **options)


def _matrix(kernel: object, input_size: Ints, **options: Any) -> Picture:
    taps = as_array("kernel", kernel)
    return draw.matrix(taps[..., None, None], (*axes("input_size", input_size), 1), **options)


def _field(layers: list[Layer], **options: Any) -> Picture:
    size = options.get("input_size")
    return draw.receptive_field(_along_axes(layers, size), **options)


def _overlaps(layers: list[Layer], input_size: Ints) -> Picture:
    return draw.overlaps(_along_axes(layers, input_size), input_size)


def _along_axes(layers: list[Layer], size: Ints | None) -> Any:
    return [layers] * len(size) if is_sequence(size) else layers


def _numbers(words: str) -> Any:
    try:
        return json.loads(words)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"must be numbers such as [[0, 1], [2, 3]], got {words}"
        ) from None


def _layer(words: str) -> Layer:
    size, *others = words.split(",")
    try:
        fields: dict[str, Any] = dict(other.split("=") for other in others)
        padding = _entry(fields.pop("padding", "0").replace(":", ","))
        flag = {"0": False, "1": True}[fields.pop("transposed", "0")]
        given = {name: int(value) for name, value in fields.items()}
        return Layer(int(size), **given, padding=padding, transposed=flag)  # type: ignore[arg-type]
    except (KeyError, TypeError, ValueError):
        raise argparse.ArgumentTypeError(
            f"must be such as 3 or 3,strides=2,padding=1, got {words}"
        ) from None


def _entry(word: str) -> str | int | tuple[int, ...]:
    try:
        numbers = tuple(map(int, word.split(",")))
    except ValueError:
        return word
    return numbers if "," in word else numbers[0]


LAYERS: dict[str, Any] = {
    "nargs": "+",
    "type": _layer,
    "required": True,
    "metavar": "LAYER",
    "help": "the input's side first; of each the kernel size and what else Layer has: "
    "3,strides=2,padding=1; padding is also a word, or 2:0; with transposed=1 it is transposed",
}


if __name__ == "__main__":
    main()
