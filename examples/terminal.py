"""What the two scripts share: options, saving, a progress bar, tables, small grey pictures."""

import argparse
import os
import shutil
import sys
import zipfile
from pathlib import Path

import numpy as np

from convinsights import parameters

BAR = 20  # characters


def options(description, epochs, arguments=None):
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "--epochs",
        type=_at_least(1),
        default=epochs,
        help="passes over the training digits (default: %(default)s)",
    )
    parser.add_argument(
        "--seed",
        type=_at_least(0),
        default=0,
        help="of all random numbers; the same seed gives the same result (default: %(default)s)",
    )
    parser.add_argument(
        "--save", type=_in_a_folder, metavar="FILE", help="write what was learnt to an .npz file"
    )
    parser.add_argument(
        "--load", metavar="FILE", help="do not train, but take what was saved in this file"
    )
    return parser.parse_args(arguments)


def save(path, learnt):
    """Save nested arrays, each under its name."""
    with open(path, "wb") as file:  # np.savez would add .npz to a name without it
        np.savez(file, **parameters.named(learnt))


def load(path, like):
    """Load what `save` saved, in the structure of `like`."""
    try:
        return parameters.restore(np.load(path), like)
    except (OSError, EOFError, TypeError, ValueError, zipfile.BadZipFile) as error:
        sys.exit(f"cannot load {path}: {error}")


def run(main):
    """Run a script so that neither Ctrl-C nor a pipe that is closed ends in a traceback."""
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # Python writes what is left when it exits; it must not meet the closed pipe again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def progress(epoch, epochs, text):
    """Move the bar on, or print a line where the output is a file or a pipe."""
    text = f"epoch {epoch:{len(str(epochs))}}/{epochs}  {text}"
    if not sys.stdout.isatty():
        print(text, flush=True)
        return
    full, empty = shades()[-1], shades()[1]
    done = BAR * epoch // epochs
    line = f"{full * done}{empty * (BAR - done)} {text}"
    # A line that is too long would wrap, and could not be written over.
    line = line[: shutil.get_terminal_size().columns - 1]
    print(f"\r{line}", end="\n" if epoch == epochs else "", flush=True)


def table(head, rows):
    """Print rows of text and numbers, the numbers right-aligned and with commas."""
    lines = [head, *([f"{cell:,}" if isinstance(cell, int) else cell for cell in r] for r in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for first, *others in lines:
        cells = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        print("  ".join([first.ljust(widths[0]), *cells]))


def draw(images, captions=()):
    """Draw images (n, H, W) of values from 0 to 1 side by side, two characters to a pixel."""
    ink = np.array(list(shades()))
    levels = np.rint(np.clip(images, 0, 1) * (len(ink) - 1)).astype(int)
    for line in ink[levels].repeat(2, axis=2).swapaxes(0, 1):  # (n, 2 W), one for each of the H
        print("   ".join("".join(pixels) for pixels in line).rstrip())
    print("   ".join(caption.center(2 * images.shape[2]) for caption in captions).rstrip())


def shades():
    """Return five characters from empty to full: blocks where the output can encode them."""
    try:
        " ░▒▓█".encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return " .:+#"
    return " ░▒▓█"


def _at_least(minimum):
    def convert(text):
        try:
            number = int(text)
        except ValueError:
            number = minimum - 1
        if number < minimum:
            raise argparse.ArgumentTypeError(f"must be an integer from {minimum} on, got {text!r}")
        return number

    return convert


def _in_a_folder(path):
    if not Path(path).absolute().parent.is_dir():
        raise argparse.ArgumentTypeError(f"must be in a folder that exists, got {path!r}")
    return path
