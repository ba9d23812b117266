"""What the kinds of shapes look like, on a light ground and on a dark one."""

from __future__ import annotations

__all__ = ["FONT", "INK", "STYLE", "shade"]

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
    ".ou": ("", "fill:#9adbc9;stroke:#2f8f79", "fill:#1c6557;stroke:#4fc3a8"),
    ".bl": ("", "fill:#f1f8f6;stroke:#a9cfc5", "fill:#12201d;stroke:#2f5d52"),
}
# Of a count of 0 and of the largest, on a light ground and on a dark one.
SHADES = ((0xE4F4EF, 0x4FBBA0), (0x13352E, 0x2A8D77))


def shade(part: float) -> tuple[str, str, str]:
    """Return the style of a count that is so large a part of the largest."""
    light, dark = (_mixed(*ends, part) for ends in SHADES)
    return "", f"fill:{light};stroke:#2f8f79", f"fill:{dark};stroke:#4fc3a8"


def _mixed(start: int, end: int, part: float) -> str:
    channels = [
        round((start >> shift & 255) * (1 - part) + (end >> shift & 255) * part)
        for shift in (16, 8, 0)
    ]
    return "#{:02x}{:02x}{:02x}".format(*channels)
