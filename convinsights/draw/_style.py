"""What the kinds of shapes look like, on a light ground and on a dark one."""

from __future__ import annotations

__all__ = ["FONT", "HUES", "INK", "STYLE", "shade", "written"]

FONT = "system-ui,-apple-system,'Segoe UI',Helvetica,Arial,sans-serif"
INK = ("#1f2328", "#e6edf3")

# Class, what it is of every shape, its colours on a light ground and on a dark one.
STYLE = {
    # The seam keeps words legible on a dark page of a reader whose scheme is light.
    "text": (
        "font-size:14px;text-anchor:middle;paint-order:stroke;stroke-width:3px;"
        "stroke-linejoin:round",
        "fill:#1f2328;stroke:#fff",
        "fill:#e6edf3;stroke:#0d1117",
    ),
    ".l": ("text-anchor:start", "", ""),
    ".e": ("text-anchor:end", "", ""),
    ".h": ("font-weight:600;font-size:15px", "", ""),
    ".m": ("", "fill:#59636e", "fill:#9aa4af"),
    ".px": ("", "fill:#cfe2f5;stroke:#86aed6", "fill:#1d3f63;stroke:#4675a8"),
    ".un": ("stroke-dasharray:none", "fill:#eef1f4;stroke:#c4ccd4", "fill:#20262d;stroke:#444c56"),
    ".ze": ("fill:none;stroke-dasharray:3 3", "stroke:#8c959f", "stroke:#768390"),
    ".tp": ("fill-opacity:.82", "fill:#f6a935;stroke:#b76a00", "fill:#d58a1c;stroke:#ffc46b"),
    ".tq": ("fill-opacity:.8", "fill:#b79af0;stroke:#7447d1", "fill:#8460d0;stroke:#c9b3ff"),
    ".ts": ("fill-opacity:.35", "fill:#f6a935;stroke:#b76a00", "fill:#d58a1c;stroke:#ffc46b"),
    ".wi": ("fill:none;stroke-width:2.5", "stroke:#c2410c", "stroke:#ffa657"),
    ".gh": ("fill:none;stroke-width:2;stroke-dasharray:6 4", "stroke:#c2410c", "stroke:#ffa657"),
    ".be": ("fill-opacity:.2;stroke-opacity:.75", "fill:#f6a935;stroke:#c2410c", "stroke:#ffa657"),
    ".ln": ("fill:none;stroke-width:1.2", "stroke:#2f8f79", "stroke:#4fc3a8"),
    ".ou": ("", "fill:#9adbc9;stroke:#2f8f79", "fill:#1c6557;stroke:#4fc3a8"),
    ".d": ("stroke:none", "fill:#1f2328", "fill:#1f2328"),
    ".bl": ("", "fill:#f1f8f6;stroke:#a9cfc5", "fill:#12201d;stroke:#2f5d52"),
}
# Of the weights of a kernel, one after the other; on both grounds, with dark numbers on them.
HUES = (
    *("#8ab6e8", "#f5b466", "#8fd0a4", "#ee9a9a", "#bba4e6"),
    *("#d9c06a", "#7fcfd0", "#e3a1cf", "#b5bcc6", "#a9d36f"),
)
# Of nothing and of the most, on a light ground and on a dark one: counts, positive, negative.
SHADES = {
    "k": ((0xE4F4EF, 0x4FBBA0), (0x13352E, 0x20705E)),
    "v": ((0xF0F3F6, 0x24292F), (0x1C2128, 0xF0F3F6)),
    "m": ((0xF0F3F6, 0xC2410C), (0x1C2128, 0xFFA657)),
}
EDGES = {"k": ("#2f8f79", "#4fc3a8"), "v": ("none", "none"), "m": ("none", "none")}


def shade(kind: str, part: float) -> tuple[str, str, str]:
    """Return the style of what is so large a part of the most: "k", "v" or "m"."""
    light, dark = (
        f"fill:{_mixed(*ends, part)};stroke:{edge}"
        for ends, edge in zip(SHADES[kind], EDGES[kind], strict=True)
    )
    return "", light, dark


def written(kind: str, part: float) -> tuple[str, str, str]:
    """Return the style of a number on such a shade: black or white, whichever stands out."""
    light, dark = (_mixed(*ends, part) for ends in SHADES[kind])
    return "stroke:none", f"fill:{_contrary(light)}", f"fill:{_contrary(dark)}"


def _contrary(colour: str) -> str:
    # Black has more contrast from a luminance of sqrt(1.05 * 0.05) - 0.05 on (WCAG 2.1, 1.4.3)
    channels = (int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5))
    linear = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    luminance = sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
    return "#000" if luminance > 0.179 else "#fff"


def _mixed(start: int, end: int, part: float) -> str:
    channels = [
        round((start >> shift & 255) * (1 - part) + (end >> shift & 255) * part)
        for shift in (16, 8, 0)
    ]
    return "#{:02x}{:02x}{:02x}".format(*channels)
