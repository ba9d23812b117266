"""What forward leaves for backward: frozen, equal to itself alone, and short to print."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar, dataclass_transform

import numpy as np

__all__ = ["cache_class", "holds_cache"]

T = TypeVar("T")


@dataclass_transform(eq_default=False, frozen_default=True)
def cache_class(kind: type[T]) -> type[T]:
    """Make a cache of a class with annotated fields: a frozen dataclass with two differences.

    It prints as the dtypes and shapes of its arrays, for these themselves would fill the screen.
    It compares by identity, for arrays do not compare to one truth.
    """
    kind.__repr__ = _repr  # type: ignore[method-assign]
    return dataclass(frozen=True, slots=True, eq=False, repr=False)(kind)


def holds_cache(value: object) -> bool:
    """Tell whether a value is the cache of some forward, or a dict, list or tuple of such."""
    if isinstance(value, dict):
        value = list(value.values())
    entries = value if isinstance(value, (list, tuple)) else [value]
    return any(type(entry).__repr__ is _repr for entry in entries)


def _repr(cache: object) -> str:
    return _shown(cache) or f"{type(cache).__name__}()"


def _shown(value: Any) -> str:
    # Empty where there are no arrays in it
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {value.shape}"
    names = getattr(value, "_fields", None) or getattr(value, "__dataclass_fields__", ())
    form, entries = "", list[tuple[str, Any]]()
    if names:
        form = f"{type(value).__name__}({{}})"
        entries = [(f"{name}=", getattr(value, name)) for name in names]
    elif isinstance(value, dict):
        form, entries = "{{{}}}", [(f"{key}: ", entry) for key, entry in value.items()]
    elif isinstance(value, tuple):
        form, entries = "({})", [("", entry) for entry in value]
    texts = [label + text for label, entry in entries if (text := _shown(entry))]
    return form.format(", ".join(texts)) if texts else ""
