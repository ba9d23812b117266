"""The command line: `python -m convinsights.draw`, with the picture on standard output."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any

from convinsights import draw
from convinsights._arguments import Ints
from convinsights.draw._canvas import Picture
from convinsights.draw._scenes import MODULES

__all__ = ["main"]

PADDING = "valid, same, causal, or one entry per axis: zeros on both sides, or before,after"


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
    _ints(windows, "--output-padding", "of transposed: picks the larger of several sizes")
    _ints(windows, "--output-size", "of transposed: says the size itself")
    windows.add_argument("--groups", type=int, help="parts that the channels are split into")
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


def _sizes(parser: argparse.ArgumentParser) -> None:
    _ints(parser, "--input", "pixels along each of one or two axes", "input_size", required=True)
    _ints(parser, "--kernel", "taps along each axis", "kernel_size")
    _ints(parser, "--strides", "pixels from one window to the next")
    parser.add_argument("--padding", nargs="+", type=_entry, action=OneOrMore, help=PADDING)
    _ints(parser, "--dilation-rate", "pixels from one tap to the next")
    still = {"dest": "animate", "action": "store_false", "help": "without motion"}
    parser.add_argument("--still", **still)  # type: ignore[arg-type]


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


def _entry(word: str) -> str | int | tuple[int, ...]:
    if "," in word:
        return tuple(map(int, word.split(",")))
    return int(word) if word.lstrip("-").isdecimal() else word


if __name__ == "__main__":
    main()
