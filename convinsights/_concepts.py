"""What a module of the library is called, and what its forward takes by keyword."""

from __future__ import annotations

import inspect
from functools import cache
from types import ModuleType
from typing import Any

__all__ = ["defaults", "name_of"]

_signature = cache(inspect.signature)  # which takes longer than all that is asked of it


def name_of(module: ModuleType) -> str:
    """Return the name of a module of the library without the package."""
    return module.__name__.rpartition(".")[2]


def defaults(module: ModuleType) -> dict[str, Any]:
    """Return the hyperparameters of a module's forward with their defaults."""
    parameters = _signature(module.forward).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
