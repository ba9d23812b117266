"""Make a plan once: planning is half of a small call's time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache, wraps
from typing import ParamSpec, TypeVar

__all__ = ["remembered"]

P = ParamSpec("P")
T = TypeVar("T")

PLAIN = {int, str, type(None)}


def remembered(plan: Callable[P, T]) -> Callable[P, T]:
    """Let a function of sizes remember its last results.

    Only where all arguments are plain, and given by position: True and 1.0 are equal to 1, and
    would get what is remembered for 1, but they are to be refused.
    """
    known: Callable[..., T] = lru_cache(256)(plan)

    @wraps(plan)
    def planned(*arguments: P.args, **named: P.kwargs) -> T:
        plain = not named and _are_plain(arguments)
        return known(*arguments) if plain else plan(*arguments, **named)

    return planned


def _are_plain(values: Iterable[object], levels: int = 2) -> bool:
    # Each is None, an int, a string, or a tuple of such, at most two deep (the pairs of a padding)
    for value in values:
        if type(value) is tuple:
            if not levels or not _are_plain(value, levels - 1):
                return False
        elif type(value) not in PLAIN:
            return False
    return True
