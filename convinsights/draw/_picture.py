"""A picture as a value."""

from __future__ import annotations

import os
from dataclasses import dataclass
from html import unescape
from pathlib import Path

__all__ = ["Picture"]


@dataclass(frozen=True, repr=False)
class Picture:
    """An SVG: `str(picture)` is its text, notebooks show it, `save` writes it to a file."""

    svg: str

    def __str__(self) -> str:
        """Return the text of the SVG file."""
        return self.svg

    def __repr__(self) -> str:
        """Say what is on the picture, not all of its text."""
        title = self.svg.partition("<title")[2].partition(">")[2].partition("</title>")[0]
        return f"<Picture: {unescape(title)}>"

    def _repr_svg_(self) -> str:
        return self.svg

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the picture to a file."""
        Path(path).write_text(self.svg, encoding="utf-8", newline="\n")
