"""What may be said of features: clauses, and conditions made of a few."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from convinsights._arguments import Array
from convinsights.verify._words import EFFECTIVE, Feature, in_words, is_power

__all__ = ["OPERATORS", "Clause", "Condition"]

OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    ">=": lambda value, limit: value >= limit,
    "<=": lambda value, limit: value <= limit,
    "==": lambda value, other: value == other,
    "!=": lambda value, other: value != other,
    "multiple": lambda value, m: value % m == 0,
    "no multiple": lambda value, m: value % m != 0,
    "power": lambda value, m: is_power(value),
    "no power": lambda value, m: value > 0 and not is_power(value),
}


@dataclass(frozen=True)
class Clause:
    """One thing said of one feature.

    `holds` marks the cases in which it is true, `cost` is how far-fetched it is.
    """

    feature: str
    operator: str
    value: Feature
    holds: Array
    cost: float

    @property
    def text(self) -> str:
        """The clause in words."""
        return in_words(self.feature, self.operator, self.value)

    def implies(self, other: "Clause") -> bool:
        """Tell whether `other` follows.

        It does if both read the same. Or if both are lower limits, and `other`'s is no higher: of
        the same feature; or this one of one axis, and `other` of the largest over all axes.
        """
        one, two = (clause.feature.removeprefix(EFFECTIVE) for clause in (self, other))
        if self.operator == other.operator == ">=" and (one == two or one.startswith(f"{two}[")):
            return bool(self.value >= other.value)  # type: ignore[operator]
        return self.text == other.text


class Condition(NamedTuple):
    """Clauses that hold together, and parts of which one at least holds too, if there are any."""

    whole: tuple[Clause, ...]
    parts: tuple[Clause, ...] = ()

    def __str__(self) -> str:
        """Write the condition down."""
        said: list[Clause] = []
        for clause in self.whole:
            if not any(other.implies(clause) for other in said):
                said = [other for other in said if not clause.implies(other)] + [clause]
        words = [clause.text for clause in said]
        either = " or ".join(clause.text for clause in self.parts)
        if words and either:
            either = f"({either})"
        return " and ".join([*words, either] if either else words)
