"""How a statement about a feature of a case reads, and how far-fetched it is."""

from typing import TypeAlias

__all__ = [
    "BETWEEN",
    "EFFECTIVE",
    "ODD",
    "Feature",
    "cost_of",
    "in_words",
    "is_derived",
    "is_power",
    "is_setting",
    "written",
]

# A number, one of several words, or the sizes of a kernel.
Feature: TypeAlias = int | str | tuple[int, ...]

# What precedes the name of a setting that is counted only where it has an effect.
EFFECTIVE = "effective "
# The channels between the two steps of a separable convolution.
BETWEEN = "in_channels * depth_multiplier"

# What the names of features end with that compare two others.
COMPARISONS = (" and kernel_size", " and size")
# What those cost.
COMPARED = 1.5
# What others cost, so that the plain ones are preferred: by the first that the name starts with.
FEATURE_COSTS = {
    EFFECTIVE: 0.3,
    "groups": -0.1,
    "in_channels and out_channels": 1.0,
    f"{BETWEEN} and out_channels": 1.0,
    "last axes of the kernel": 1.1,
    BETWEEN: 0.6,
    "in_channels // groups": 0.6,
    "out_channels // groups": 0.6,
    "channels // groups": 0.6,
    "strides and dilation_rate": 1.0,
    "strides of the axes": 1.5,
    "dilation_rate of the axes": 1.5,
    "padding of the axes": 1.5,
    "padding before and after": 1.5,
    "padding by name": -0.6,
    "im2col.size": 2.9,
    "output pixels": 1.6,
    "output ": 1.2,
    "pixels behind": 1.4,
    "min(": 2.0,
    "max(": 2.0,
    "taps": 1.5,
    "terms": 2.5,
    "pixels": 2.0,
    "x.size": 3.0,
    "y.size": 2.8,
    "kernel.size": 3.0,
    "depth_multiplier": 0.0,
    "depth": 0.8,
    "height": 0.8,
    "width": 0.8,
    "length": 0.8,
    "values": 0.5,
}
# Nobody asks for 37 channels: there it is not their number that matters.
ODD = 3.0
COUNTED = ("batch", "length", "depth", "height", "width")
OPERATOR_COSTS = {
    ">=": 0.0,
    "==": 0.5,
    "<=": 1.5,
    "!=": 1.0,
    "multiple": 2.5,
    "no multiple": 1.0,
    "power": 2.0,
    "no power": 1.6,
}
# What it costs besides to speak of one axis,
ONE_AXIS = 0.7
# … of a limit that is no power of 2,
ODD_LIMIT = 0.2
# … of no multiple of m: if m is a usual width of vectors and tiles, and if it is any other number.
WIDTH_COSTS: dict[Feature, float] = {2: 0.4, 4: 0.1, 8: 0.0, 16: 0.2, 32: 0.3}
FAR_WIDTH = 0.4


def cost_of(name: str, operator: str, value: Feature) -> float:
    """Return how far-fetched a clause is: 0 for a plain threshold on a plain feature."""
    if name.endswith(COMPARISONS):
        cost = COMPARED
    else:
        cost = next((c for start, c in FEATURE_COSTS.items() if name.startswith(start)), 0.0)
    cost += OPERATOR_COSTS[operator] + ONE_AXIS * ("]" in name)
    if operator == ">=" and isinstance(value, int) and value > 2 and not is_power(value):
        cost += ODD_LIMIT
    if operator == "no multiple":
        cost += WIDTH_COSTS.get(value, FAR_WIDTH)
    if operator == "==" and isinstance(value, int) and value > 4 and not is_power(value):
        cost += ODD * ("channels" in name or name in COUNTED)
    return cost


# What a fast path may forget.
SETTINGS = (
    "strides",
    "dilation_rate",
    "padding",
    "groups",
    "output_padding",
    "bias",
    "kernel_size",
)


def is_setting(name: str) -> bool:
    """Tell whether a feature is a setting of its own, such as a fast path forgets."""
    return name.removeprefix(EFFECTIVE) in SETTINGS


DERIVED = (
    "x.size",
    "y.size",
    "kernel.size",
    "terms",
    "pixels",
    "output pixels",
    "im2col.size",
    "max(size)",
    "min(size)",
)


def is_derived(name: str) -> bool:
    """Tell whether a feature is worked out of others, so that no kernel asks for its value."""
    return name in DERIVED


# How some values read that are words.
WORDS = {
    ("layout", "C"): "arrays in C order",
    ("layout", "Fortran"): "arrays in Fortran order",
    ("layout", "negative"): "arrays of negative strides",
    ("layout", "odd address"): "arrays at an odd address",
    ("layout", "broadcast"): "broadcast arrays",
}


# The opposite of each comparison.
OPPOSITE = {"<": ">=", "<=": ">", "==": "!=", ">": "<="}


def in_words(name: str, operator: str, value: Feature) -> str:
    """Write a clause down."""
    name = name.removeprefix(EFFECTIVE)
    if operator in ("power", "no power"):
        return f"{name} {'no' if operator == 'no power' else 'a'} power of 2"
    if operator in ("multiple", "no multiple"):
        no = "not " if operator == "no multiple" else ""
        if value == 2:
            return f"{name} {'odd' if no else 'even'}"
        return f"{name} {no}a multiple of {value}"
    if isinstance(value, int):
        return _number(name, operator, value)
    if name.endswith(COMPARISONS):
        one, sign, other = str(value).split()
        return f"{one} {OPPOSITE[sign] if operator == '!=' else sign} {other}"
    if name == "epsilon":
        return f"epsilon {operator} {value}"
    word = _word(name, value)
    return f"not {word}" if operator == "!=" else word


def _number(name: str, operator: str, value: int) -> str:
    # No number is less than 0: that it is >= 0 says only that it is there.
    if operator == ">=" and value == 0:
        return f"{name} given"
    if operator == ">=" and (value <= 2 or (value > 4 and is_power(value - 1))):
        return f"{name} > {written(value - 1)}"
    return f"{name} {operator} {written(value)}"


def is_power(value: int) -> bool:
    """Tell whether a number is a power of 2."""
    return value > 0 and not value & (value - 1)


def written(value: int) -> str:
    """Write a number down, large powers of 2 as such."""
    return f"2^{value.bit_length() - 1}" if value >= 4096 and is_power(value) else str(value)


def _word(name: str, value: Feature) -> str:
    if (name, value) in WORDS:
        return WORDS[name, value]  # type: ignore[index]
    if isinstance(value, tuple):
        return f"{name} == {value}"
    if name == "mode":
        return str(value)
    if name == "layout":
        return f"arrays that are a {value}"
    if name == "padding by name":
        return "padding given in zeros" if value == "zeros" else f'padding == "{value}"'
    if name == "values":
        return f"values: {value}"
    return f"{name} {value}"
