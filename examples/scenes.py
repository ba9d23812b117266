"""Draw the moving pictures of numbers: mixed, normalized, past a short cut, prices handed back.

Dots move without a script, over a picture that says the same when it stands still, as it does
where less motion is preferred.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from curves import HUES, STYLE, text

from convinsights import batchnorm, conv, relu, residual, unary

Place = tuple[float, float]
SECONDS = 12


def travel(name: str, stops: Sequence[tuple[float, Place]]) -> str:
    """Return the keyframes of a dot that is at each place from its share of the time on."""
    frames = "".join(
        f"{100 * share:.1f}%{{transform:translate({x:.1f}px,{y:.1f}px)}}" for share, (x, y) in stops
    )
    return f"@keyframes {name}{{{frames}}}"


def scene(
    title: str, words: str, width: float, height: float, parts: Sequence[str], frames: str
) -> str:
    motion = (
        f"<style>.dot{{animation-duration:{SECONDS}s;animation-iteration-count:infinite}}{frames}"
        "@media (prefers-reduced-motion: reduce){.dot{display:none}}</style>"
    )
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" '
        f'width="{width:g}" height="{height:g}" role="img">'
    )
    described = f"<title>{title}</title><desc>{words}</desc>"
    return "\n".join([head, described, STYLE, motion, *parts, "</svg>\n"])


def normalized() -> str:
    """Show six values of one channel: as they are, centred, scaled, and scaled anew."""
    x = np.array([1, 7, 4, 6, 3, 3], float).reshape(2, 3, 1)
    scaled, cache = batchnorm.forward(x, epsilon=0)
    mean, _ = cache.statistics
    anew, _ = batchnorm.forward(x, np.array([4.0]), np.array([10.0]), epsilon=0)
    rows = {
        "x: mean 4": x,
        "x − 4: mean 0": x - mean,
        "(x − 4) / 2: mean 0, deviation 1": scaled,
        "4 (x − 4) / 2 + 10: mean 10, deviation 4": anew,
    }
    left, unit, low, high, gap = 16, 19, -4, 17, 80

    def place(row: int, value: float, lift: int) -> Place:
        return left + (value - low) * unit, 60 + row * gap - 15 * lift

    parts, places = [], [[] for _ in range(6)]
    for row, (name, values) in enumerate(rows.items()):
        y = 60 + row * gap
        parts.append(text(left - 8, y - 34, name, "start"))
        parts.append(f'<path class="grid" d="M{left} {y + 8}H{left + (high - low) * unit}"/>')
        parts += [
            text(place(row, n, 0)[0], y + 20, f"{n}".replace("-", "−"))
            for n in range(low, high + 1, 4)
        ]
        seen: list[float] = []
        for i, value in enumerate(values.ravel()):
            spot = place(row, value, seen.count(value))
            seen.append(value)
            places[i].append(spot)
            parts.append(
                f'<circle cx="{spot[0]:.1f}" cy="{spot[1]:.1f}" r="6" fill="{HUES[i // 3]}" '
                'opacity=".45"/>'
            )
    frames = ""
    for i, spots in enumerate(places):
        # A dot rests for most of a quarter of the time on each row, and then falls to the next.
        stops = [(row / 4 + share, spot) for row, spot in enumerate(spots) for share in (0, 0.17)]
        frames += travel(f"v{i}", [*stops, (1, spots[-1])])
        parts.append(
            f'<circle class="dot" r="7" fill="{HUES[i // 3]}" style="animation-name:v{i}"/>'
        )
    bottom = 60 + 3 * gap + 52
    parts += [
        f'<circle cx="{left + 6}" cy="{bottom}" r="6" fill="{HUES[0]}"/>',
        text(left + 18, bottom, "values of image 1", "start"),
        f'<circle cx="{left + 166}" cy="{bottom}" r="6" fill="{HUES[1]}"/>',
        text(left + 178, bottom, "of image 2", "start"),
    ]
    title = "Six values of a channel, centred, scaled to deviation 1, and given a new one"
    words = "; ".join(f"{name}: {values.ravel().tolist()}" for name, values in rows.items())
    return scene(title, words, left + (high - low) * unit + 16, bottom + 18, parts, frames)


def shortcut() -> str:
    """Show the block of `residual.md`: values on the way forward, prices on the way back."""
    x, dy = np.array([1, -2, 3]).reshape(1, 3, 1), np.array([1, 2, 4]).reshape(1, 3, 1)
    w1, w2 = (np.array(w).reshape(3, 1, 1) for w in ([1, 2, -1], [0, 1, -1]))
    norm = np.ones(1), np.zeros(1)
    block = residual.Parameters((w1, w2), (norm, norm))
    idle = residual.initial_statistics(block)
    y, cache = residual.forward(x, block, idle, epsilon=0, variant="preactivation")
    dx = residual.backward(dy, cache).x
    once, _ = relu.forward(x)

    def shown(values: np.ndarray) -> str:
        return ", ".join(f"{v:g}".replace("-", "−") for v in values.ravel())

    high, low, fork, join = 60, 176, 92, 368
    parts = [
        f'<path class="way" d="M16 {low}H{join - 11}M{join + 11} {low}H{join + 110}'
        f"M{fork} {low}V{high}H104M160 {high}h8M224 {high}h8M288 {high}h8M352 {high}"
        f'H{join}V{low - 11}"/>',
        f'<circle cx="{join}" cy="{low}" r="11" class="box"/>',
        text(join, low, "+"),
    ]
    for i, name in enumerate(("ReLU", "conv.", "ReLU", "conv.")):
        at = 104 + 64 * i
        parts.append(f'<rect x="{at}" y="{high - 15}" width="56" height="30" rx="5" class="box"/>')
        parts.append(text(at + 28, high, name))
    labels = [
        (6, low - 16, f"x = {shown(x)}", "start", 0),
        (join + 18, low - 16, f"y = {shown(y)}", "start", 0),
        (join + 10, high - 6, f"F(x) = {shown(y - x)}", "start", 0),
        ((fork + join) / 2, low - 14, f"short cut: {shown(x)}", "middle", 0),
        (join + 18, low + 18, f"dy = {shown(dy)}", "start", 1),
        ((fork + join) / 2, low + 18, f"short cut: {shown(dy)}", "middle", 1),
        (fork + 8, high + 34, f"branch: {shown(dx - dy)}", "start", 1),
        (6, low + 18, f"dx = {shown(dx)}", "start", 1),
    ]
    parts += [
        text(a, b, words, anchor).replace("<text", f'<text class="k{kind}"')
        for a, b, words, anchor, kind in labels
    ]
    parts += legend(16, low + 52)

    ways = {
        "branch": [
            (16, low),
            (fork, low),
            (fork, high),
            (join, high),
            (join, low),
            (join + 90, low),
        ],
        "short": [(16, low), (fork, low), (fork, low), (join, low), (join, low), (join + 90, low)],
    }
    frames = ".k0{fill:#4c78a8}.k1{fill:#d9822b}.way{fill:none;stroke:#8b949e;stroke-width:2}"
    frames += ".box{fill:#8b949e;fill-opacity:.25;stroke:#8b949e}"
    shares = (0, 0.08, 0.14, 0.38, 0.42, 0.5)
    for name, spots in ways.items():
        there = list(zip(shares, spots, strict=True))
        back = [(1 - share / 1.02, spot) for share, spot in reversed(there)]
        frames += travel(f"{name}0", [*there, (1, spots[-1])])
        frames += travel(f"{name}1", [(0, spots[-1]), *back, (1, spots[0])])
        for kind in (0, 1):
            parts.append(
                f'<circle class="dot d{kind}" r="7" fill="{HUES[kind]}" '
                f'style="animation-name:{name}{kind},seen{kind}"/>'
            )
    frames += "@keyframes seen0{0%,50%{opacity:1}50.1%,100%{opacity:0}}"
    frames += "@keyframes seen1{0%,50%{opacity:0}50.1%,100%{opacity:1}}"
    title = "A residual block: values go both ways and are added, prices come back both ways"
    words = "; ".join(label[2] for label in labels) + f". Behind the first ReLU {shown(once)}."
    return scene(title, words, join + 130, low + 74, parts, frames)


def handed_back() -> str:
    """Show the three prices of `gradients.md`, and what they come to at its four pixels."""
    x, w, dy = np.array([1, 2, 3, 4]), np.array([1, 2]), np.array([1, -1, 2])
    _, cache = conv.forward(x.reshape(1, 4, 1), w.reshape(2, 1, 1))
    # Of each price alone, and of all.
    parts_of = [
        conv.backward((dy * one).reshape(1, 3, 1), cache).x.ravel() for one in np.eye(3, dtype=int)
    ]
    dx = conv.backward(dy.reshape(1, 3, 1), cache).x.ravel()

    def shown(value: float) -> str:
        return f"{value:g}".replace("-", "−")

    pitch, left, top, low = 92, 76, 52, 170
    upper = [left + pitch * (i + 1) for i in range(3)]
    lower = [left + pitch * (p + 0.5) for p in range(4)]
    lines = "".join(
        f"M{upper[i]:g} {top + 17}L{lower[i + u]:g} {low - 17}" for i in range(3) for u in range(2)
    )
    parts = [
        f'<path class="way" d="{lines}"/>',
        text(14, top, "prices dy", "start"),
        text(14, low, "dx", "start"),
        *(text(at, top - 32, f"window {i}") for i, at in enumerate(upper)),
        *(text(at, low + 54, f"pixel {p}") for p, at in enumerate(lower)),
    ]
    boxes = [*zip(upper, (top,) * 3, strict=True), *zip(lower, (low,) * 4, strict=True)]
    parts += [
        f'<rect x="{a - 38:g}" y="{b - 17}" width="76" height="34" rx="5" class="box"/>'
        for a, b in boxes
    ]
    parts += [text(at, top, shown(price)) for at, price in zip(upper, dy, strict=True)]
    frames = ".way{fill:none;stroke:#8b949e;stroke-width:2}"
    frames += ".box{fill:#8b949e;fill-opacity:.25;stroke:#8b949e}"
    frames += f".dot,.term{{animation-delay:{-0.8 * SECONDS:g}s}}"
    frames += f".term{{animation-duration:{SECONDS}s;animation-iteration-count:infinite}}"
    frames += "@media (prefers-reduced-motion: reduce){.term{animation:none}}"
    for i in range(4):  # the third price has arrived at 0.67 of the time, the sums follow
        come = i / 4 + 0.17 if i < 3 else 0.72
        frames += (
            f"@keyframes term{i}{{0%,{100 * come:.1f}%{{opacity:0}}{100 * come + 0.1:.1f}%,100%"
            "{opacity:1}}"
        )
        frames += (
            f"@keyframes seen{i}{{0%,{25 * i}%{{opacity:0}}{25 * i + 0.1:.1f}%,{100 * come:.1f}%"
            f"{{opacity:1}}{100 * come + 0.1:.1f}%,100%{{opacity:0}}}}"
        )
    for p, at in enumerate(lower):
        terms = [(i, parts_of[i][p]) for i in (p - 1, p) if 0 <= i < 3]
        for k, (i, term) in enumerate(terms):
            sign = ("+ " if term >= 0 else "− ") if k else ""
            words = sign + shown(abs(term) if k else term)
            shift = (k - 0.5) * 30 if len(terms) > 1 else 0
            parts.append(f'<g class="term" style="animation-name:term{i}">')
            parts += [text(at + shift, low, words), "</g>"]
        total = text(at, low + 32, f"= {shown(dx[p])}")
        parts.append(f'<g class="term" style="animation-name:term3">{total}</g>')
    for i in range(3):
        for u in range(2):
            start, end = (upper[i], top), (lower[i + u], low)
            parts.append(text((2 * start[0] + end[0]) / 3 + 16 * (2 * u - 1), 106, f"· {w[u]}"))
            stops = [(0, start), (i / 4, start), (i / 4 + 0.17, end), (1, end)]
            frames += travel(f"h{i}{u}", stops)
            parts.append(
                f'<circle class="dot" r="7" fill="{HUES[1]}" '
                f'style="animation-name:h{i}{u},seen{i}"/>'
            )
    title = "Each of three prices is handed back to the two pixels that its window has read"
    words = f"dy = {', '.join(map(shown, dy))}; dx = {', '.join(map(shown, dx))}; "
    words += f"weights {', '.join(map(shown, w))}"
    return scene(title, words, left + 4 * pitch + 14, low + 70, parts, frames)


def mixed() -> str:
    """Show the image of `unary.md`: every pixel by itself becomes its channels times W."""
    x = np.array([[[1, 2], [4, 3]], [[5, 5], [0, 1]]])
    kernels = np.array([[1, 0, 1], [0, 1, 1]])
    y, _ = unary.forward(x[np.newaxis], kernels)
    high, top = 40, 40

    def numbers(values: np.ndarray, hues: Sequence[str], gap: str) -> str:
        shown = zip(values.tolist(), hues, strict=True)
        return gap.join(f'<tspan fill="{hue}">{value:g}</tspan>' for value, hue in shown)

    look = ".box{fill:#8b949e;fill-opacity:.15;stroke:#8b949e}tspan{font:600 15px sans-serif}"
    parts = [f"<style>{look}</style>"]
    frames, outputs = "", (HUES[2], HUES[4], HUES[5])
    for name, image, left, wide, hues in (
        ("input, 2 channels", x, 16, 56, HUES[:2]),
        ("output, 3 channels", y[0], 270, 72, outputs),
    ):
        parts.append(text(left + wide, top - 18, name))
        corners = [(left + j * wide, top + i * high) for i in range(2) for j in range(2)]
        for (a, b), pixel in zip(corners, image.reshape(4, -1), strict=True):
            parts.append(f'<rect class="box" x="{a}" y="{b}" width="{wide}" height="{high}"/>')
            parts.append(text(a + wide / 2, b + high / 2, numbers(pixel, hues, ", ")))
        # The ring rests for most of a quarter of the time on each pixel.
        stops = [(i / 4 + share, spot) for i, spot in enumerate(corners) for share in (0, 0.21)]
        frames += travel(name[:2], [*stops, (1, corners[-1])])
        parts.append(
            f'<rect class="dot" width="{wide}" height="{high}" rx="4" fill="none" '
            f'stroke="#c44e52" stroke-width="3" style="animation-name:{name[:2]}"/>'
        )
    parts += [text(148, top + high, "×"), text(251, top + high, "="), text(199, top - 18, "W")]
    bracket = f'<path fill="none" stroke="#8b949e" d="M{{}} {top}h{{}}v{2 * high}h{{}}"/>'
    parts += [bracket.format(168, -4, 4), bracket.format(230, 4, -4)]
    for c, row in enumerate(kernels):
        for o, weight in enumerate(row):
            place = 179 + 20 * o, top + (c + 0.5) * high
            parts.append(text(*place, numbers(weight[np.newaxis], outputs[o : o + 1], "")))
    below = top + 2 * high + 20
    says = (
        "A pixel is the numbers of its channels: (4, 3) × W = (4, 3, 7).",
        "W has a row for each channel of the input, and a column,",
        "a kernel, for each channel of the output.",
    )
    parts += [text(16, below + 18 * i, words, "start") for i, words in enumerate(says)]
    title = "Every pixel by itself is multiplied by the same matrix W"
    return scene(title, " ".join(says), 430, below + 52, parts, frames)


def averaged() -> str:
    """Show what is averaged together with one number, by four normalizations."""
    # The array of `batchnorm.md`: 113 is image 1, pixel 1, channel 3.
    x = (np.indices((2, 2, 4)).T @ [100, 10, 1]).T
    # Each is batch normalization of the array with other axes in the channels' place.
    orders = {
        "batch": lambda a: a,
        "layer": lambda a: a.reshape(2, -1).T,
        "instance": lambda a: a.swapaxes(0, 1).reshape(2, -1),
        "group": lambda a: a.reshape(2, 2, 2, 2).transpose(1, 3, 0, 2).reshape(4, -1),
    }
    size, parts = 24, ["<style>.cell{font-size:11px}</style>"]
    for column, (name, order) in enumerate(orders.items()):
        cotangent = np.zeros(x.shape)
        cotangent[1, 1, 3] = 1
        # Only what is averaged together with the number moves it.
        _, cache = batchnorm.forward(order(x) ** 2.0)
        moved = batchnorm.backward(order(cotangent), cache).x
        together = order(x)[moved != 0]
        left = 10 + column * (4 * size + 12)
        parts.append(text(left + 2 * size, 16, name))
        for (n, p, c), value in np.ndenumerate(x):
            a, b = left + c * size, 34 + n * (2 * size + 12) + p * size
            seen = value in together
            colour, faint = (HUES[column], ".55") if seen else ("#8b949e", ".2")
            ring = ' stroke="#c44e52" stroke-width="3"' if value == 113 else ""
            parts.append(
                f'<rect x="{a + 1}" y="{b + 1}" width="{size - 2}" height="{size - 2}" '
                f'fill="{colour}" fill-opacity="{faint}"{ring}/>'
            )
            number = text(a + size / 2, b + size / 2 - 0.5, f"{value:03d}")
            parts.append(number.replace("<text", '<text class="cell"'))
    bottom = 34 + 2 * (2 * size + 12)
    says = "a block is an image, a row a pixel, a column a channel", "group: 2 groups of 2 channels"
    parts += [text(10, bottom + 4 + 18 * i, words, "start") for i, words in enumerate(says)]
    words = "Coloured is what is averaged together with the outlined number, 113."
    width = 10 + 4 * (4 * size + 12)
    return scene("What is averaged together", words, width, bottom + 34, parts, "")


def legend(x: float, y: float) -> Iterator[str]:
    for kind, words in enumerate(("values, forward", "prices, back")):
        at = x + 150 * kind
        yield f'<circle cx="{at + 6}" cy="{y}" r="6" fill="{HUES[kind]}"/>'
        yield text(at + 18, y, words, "start")
