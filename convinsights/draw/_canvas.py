"""The sheet that pictures are drawn on: shapes and words, their colours, and how they move.

A picture is 480 units wide, so that its words are legible on 400 pixels. Its ground is transparent
and its colours follow `prefers-color-scheme`. What is drawn is the still picture; all motion is CSS
inside `prefers-reduced-motion: no-preference`, so that it stops where it is not wanted. Motion is
told in slots of time, one per frame, and a few more at the end in which the whole is seen.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from html import escape

from convinsights.draw._picture import Picture
from convinsights.draw._style import FONT, INK, STYLE, shade

__all__ = [
    "MARGIN",
    "WIDTH",
    "Canvas",
    "cell",
    "number",
    "placed",
    "squares",
    "together",
    "wrapped",
]

WIDTH, MARGIN = 480, 12
MOST_BYTES = 60_000
BETWEEN = 16  # entries of a legend
HOLD = 2.5  # slots at the end
GLIDE = 0.3  # of a slot: from one window to the next
ID = "\0"  # in what is written so far: the name of the picture


class Canvas:
    """What is drawn so far, from back to front."""

    def __init__(self, frames: int = 0, begin: int = 0) -> None:
        """Start an empty picture that moves through so many frames, first from `begin` on."""
        self.frames = frames
        self.begin = begin
        self.parts: list[str] = []
        self.moves: list[str] = []
        self.styles = dict(STYLE)
        slots = frames + HOLD
        self.seconds = round(slots * min(1.1, max(0.45, 18 / slots)), 1)

    def shades(self, kind: str, most: int) -> None:
        """Add the colours of counts from 1 to most."""
        for count in range(1, most + 1):
            self.styles[f".{kind}{count}"] = shade(kind, count / most)

    # -- shapes ---------------------------------------------------------------------------------

    def add(self, *parts: str) -> None:
        """Draw in front of what is there."""
        self.parts += parts

    def text(self, x: float, y: float, words: object, kind: str = "", size: float = 0) -> None:
        """Write words, their middle (or their start, of kind "l") at x, their line at y."""
        styled = f' style="font-size:{number(size)}px"' if size else ""
        self.add(f"<text{_class(kind)} {_at(x, y)}{styled}>{escape(str(words))}</text>")

    def heading(self, x: float, y: float, words: str) -> None:
        """Write a label over the middle of a table, or beside it where the picture ends."""
        half = 4.8 * len(words)
        self.text(min(max(x, half), WIDTH - half), y, words, "h")

    def define(self, name: str, size: float, label: object = "") -> None:
        """Define a cell, with what is written in it, to be placed many times.

        It has no colours of its own, but those of the class that it is placed with.
        """
        words = ""
        if label != "":
            font, middle = max(11.0, size * 0.4), number(size / 2)
            words = (
                f'<text x="{middle}" y="{number(size / 2 + font * 0.36)}" style="stroke:none;'
                f'fill:var(--ink);text-anchor:middle;font-size:{number(font)}px">{label}</text>'
            )
        self.add(f'<defs><g id="{ID}-{name}">{cell(0, 0, size)}{words}</g></defs>')

    def legend(self, y: float, entries: Iterable[tuple[str, str]]) -> float:
        """Explain kinds of cells, as many on a line as there is room for; return the next y."""
        lines: list[list[tuple[str, str]]] = [[]]
        for entry in entries:
            if lines[-1] and _length([*lines[-1], entry]) > WIDTH - 2 * MARGIN:
                lines.append([])
            lines[-1].append(entry)
        for line in lines:
            x = (WIDTH - _length(line)) / 2
            for kind, words in line:
                self.add(cell(x, y - 12, 15, kind))
                self.text(x + 20, y, words, "l m")
                x += _length([(kind, words)]) + BETWEEN
            y += 22
        return y

    def lines(self, y: float, lines: Iterable[str], kind: str = "") -> float:
        """Write lines of words in the middle, broken where they are too long; return the next y."""
        for line in lines:
            for part in wrapped(line):
                self.text(WIDTH / 2, y, part, kind)
                y += 20
        return y

    # -- motion ---------------------------------------------------------------------------------

    def moment(self, slot: float) -> str:
        """Tell when a slot begins, in percent of the whole."""
        return f"{round(100 * slot / (self.frames + HOLD), 2):g}%"

    def animate(self, selector: str, name: str, steps: str, timing: str = "step-end") -> None:
        """Let shapes go through the steps, over and over."""
        self.moves.append(f"@keyframes {ID}-{name}{{{steps}}}")
        self.moves.append(f"#{ID} {selector}{{animation:{ID}-{name} {self._pace(timing)}}}")

    def glide(self, name: str, places: Sequence[tuple[float, float]]) -> None:
        """Move the shapes of a class from place to place, one per frame; at the end they go."""
        steps = [
            f"{self.moment(slot)},{self.moment(slot + 1 - GLIDE)}"
            f"{{transform:translate({number(x)}px,{number(y)}px);opacity:1}}"
            for slot, (x, y) in enumerate(places)
        ]
        x, y = places[-1]
        gone = f"transform:translate({number(x)}px,{number(y)}px);opacity:0"
        steps.append(f"{self.moment(len(places))},100%{{{gone}}}")
        self.animate(f".{name}", name, "".join(steps), "ease-in-out")

    def show_each(self) -> None:
        """Show shapes of class f only in their frame, d0, d1, …, while nothing glides.

        Those of class n stay until the next frame, z come at the end, s are seen in the still
        picture too, and g in that alone.
        """
        self.styles[".f,.n,.z"] = ("opacity:0", "", "")
        self.styles[".s"] = ("opacity:1", "", "")
        if not self.frames:
            return
        full, gone, back = (self.moment(slot) for slot in (1 - GLIDE, 1 - GLIDE / 2, 1))
        slots = self.frames + HOLD
        early = f"{round(100 - 10 / slots, 2):g}%"
        steps = f"0%,{full}{{opacity:1}}{gone},{early}{{opacity:0}}100%{{opacity:1}}"
        self.animate(".f", "f", steps, "linear")
        self.animate(".n", "n", f"0%{{opacity:1}}{back},100%{{opacity:0}}")
        self.moves.append(f"#{ID} .o{{animation:{self._pace('step-end')}}}")
        self.animate(".z", "z", f"0%{{opacity:0}}{self.moment(self.frames)},100%{{opacity:1}}")
        self.moves.append(f"#{ID} .g{{display:none}}")
        for frame in range(self.frames):
            delay = self.seconds * (frame - slots - self.begin) / slots
            self.moves.append(f"#{ID} .d{frame}{{animation-delay:{round(delay, 3):g}s}}")

    def _pace(self, timing: str) -> str:
        # A delay below 0: what begins is already under way
        delay = -self.seconds * self.begin / (self.frames + HOLD)
        late = f" {round(delay, 3):g}s" if delay else ""
        return f"{self.seconds:g}s {timing}{late} infinite"

    def show_from(self, frame: int) -> None:
        """Show shapes of class o0, o1, … from that frame on."""
        steps = f"0%{{opacity:0}}{self.moment(frame + 0.1)},100%{{opacity:1}}"
        if frame == 0:
            steps = "0%,100%{opacity:1}"
        self.moves.append(f"@keyframes {ID}-o{frame}{{{steps}}}")
        self.moves.append(f"#{ID} .o{frame}{{animation-name:{ID}-o{frame}}}")

    # -- the whole ------------------------------------------------------------------------------

    def picture(
        self, height: float, title: str, description: str, argument: str = "input_size"
    ) -> Picture:
        """Return the picture as a value; names in it are its own, on a page with others too."""
        size = f'viewBox="0 0 {WIDTH} {number(height)}" width="{WIDTH}" height="{number(height)}"'
        body = "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" id="{ID}" {size} role="img" '
                f'aria-labelledby="{ID}-title {ID}-desc">',
                f'<title id="{ID}-title">{escape(title)}</title>',
                f'<desc id="{ID}-desc">{escape(description)}</desc>',
                f"<style>{self._style()}</style>",
                *self.parts,
                "</svg>\n",
            ]
        )
        svg = body.replace(ID, f"c{zlib.crc32(body.encode()) & 0xFFFFF:05x}")
        size_in_bytes = len(svg.encode())
        if size_in_bytes > MOST_BYTES:
            still = ", or be drawn still (animate=False)" if self.moves else ""
            raise ValueError(
                f"{argument} must make a picture of at most {MOST_BYTES} bytes{still}, "
                f"got one of {size_in_bytes}"
            )
        return Picture(svg)

    def _style(self) -> str:
        # Of the classes in use: what is drawn, its colours in the dark, and then its motion
        named = re.findall(r'class="(.*?)"', "".join(self.parts))
        used = {"text", *" ".join(named).split()}
        styles = [(k, s) for k, s in self.styles.items() if used & set(re.findall(r"\w+", k))]
        light = "".join(f"#{ID} {_scoped(k)}{{{a};{b}}}" for k, (a, b, _) in styles)
        dark = "".join(f"#{ID} {_scoped(k)}{{{c}}}" for k, (_, _, c) in styles if c)
        style = (
            f"#{ID}{{--ink:{INK[0]};font-family:{FONT}}}"
            f"{light}@media (prefers-color-scheme:dark){{#{ID}{{--ink:{INK[1]}}}{dark}}}"
        )
        if self.moves:
            style += f"@media (prefers-reduced-motion:no-preference){{{''.join(self.moves)}}}"
        return style.replace("{;", "{").replace(";}", "}")


def placed(name: str, x: float, y: float, kind: str, more: str = "") -> str:
    """Return a cell that is defined, at its place and in its colours."""
    return f'<use href="#{ID}-{name}" class="{kind}" {_at(x, y)}{more}/>'


def together(shapes: Iterable[str]) -> Iterator[str]:
    """Put cells that are placed into one group for each kind, which is named once."""
    groups: dict[str, list[str]] = {}
    for shape in shapes:
        opening, kind, rest = re.split(r' class="(\w+)"', shape)
        groups.setdefault(kind, []).append(opening + rest)
    for kind, members in groups.items():
        yield f'<g class="{kind}">{"".join(members)}</g>'


def cell(x: float, y: float, size: float, kind: str = "", more: str = "") -> str:
    """Return a square of a grid, with a gap to its neighbours."""
    side, gap = number(size - 2), 1
    corner = number(min(4, size / 8))
    return (
        f'<rect{_class(kind)} {_at(x + gap, y + gap)} width="{side}" height="{side}" '
        f'rx="{corner}"{more}/>'
    )


def squares(
    corners: Iterable[tuple[float, float]], size: float, kind: str, more: str = "", gap: float = 1
) -> str:
    """Return many squares of one kind as one shape."""
    side = number(size - 2 * gap)
    path = "".join(
        f"M{number(x + gap)} {number(y + gap)}h{side}v{side}h-{side}z" for x, y in corners
    )
    return f'<path class="{kind}" d="{path}"{more}/>'


def number(value: float) -> str:
    """Write a coordinate, to a tenth."""
    return f"{round(value, 1):g}"


def wrapped(line: str) -> list[str]:
    """Break a line of words where it is too long for the picture, but no size: 3 × 3."""
    lines = [""]
    for word in re.split(r"(?<!×) (?!×)", line):
        longer = f"{lines[-1]} {word}".strip()
        if _extent(longer) > WIDTH - 2 * MARGIN and lines[-1]:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def _extent(words: str) -> float:
    # Of words of 14 units, as wide as common fonts draw them
    return 7.2 * len(words)


def _length(entries: list[tuple[str, str]]) -> float:
    return sum(20 + _extent(words) for _, words in entries) + BETWEEN * (len(entries) - 1)


def _at(x: float, y: float) -> str:
    return f'x="{number(x)}" y="{number(y)}"'


def _class(kind: str) -> str:
    return f' class="{kind}"' if kind else ""


def _scoped(selector: str) -> str:
    return selector.replace(",", f",#{ID} ")
