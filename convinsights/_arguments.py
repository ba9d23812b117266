"""The checks that several modules share: an argument is refused by its name.

They return the argument in the one form that the rest of the library works with: arrays as
`numpy.ndarray`, sizes as tuples of `int` with one entry per spatial axis.
"""

from __future__ import annotations

import math
import operator
import reprlib
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any, TypeAlias, TypeGuard, TypeVar

import numpy as np

from convinsights._caches import holds_cache

__all__ = [
    "MOST_AXES",
    "Array",
    "DType",
    "FloatType",
    "Ints",
    "Pad",
    "as_array",
    "as_dtype",
    "as_float",
    "as_generator",
    "as_iterable",
    "as_sequence",
    "as_vector",
    "as_vectors",
    "channels_first_hint",
    "check_cache",
    "check_callable",
    "check_choice",
    "check_dy",
    "check_flag",
    "check_groups",
    "check_not_negative",
    "check_pixels",
    "check_size",
    "compute_dtype",
    "converted",
    "described",
    "entries_of",
    "is_sequence",
    "per_axis",
    "result_dtype",
    "shape_of",
    "shown",
    "spatial_rank",
    "to_integer",
    "to_integers",
]

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]
DType: TypeAlias = np.dtype[Any]
FloatType: TypeAlias = DType | type[Any] | str
Ints: TypeAlias = int | Sequence[int]
Pad: TypeAlias = str | int | Sequence[int | Sequence[int]]
T = TypeVar("T")

MOST_ENTRIES = 10**9  # of a sequence, which NumPy would ask for one by one
MOST_IN_SEQUENCE = 10**6  # of a sequence that is not made an array (see `as_sequence`)
MOST_AXES = 64  # of an array of NumPy
LONGEST = 160  # in letters, of what a message shows
RAGGED = "setting an array element with a sequence"  # so NumPy's message begins

FLOATS = (np.float16, np.float32, np.float64)


def as_array(name: str, value: object) -> Array:
    """Return `value` as an array of real numbers, without a copy where it is one already."""
    if not isinstance(value, np.ndarray) or hasattr(value, "mask"):
        _refuse_look_alikes(name, value)
    try:
        array = np.asarray(value)
    except (OverflowError, RuntimeError, TypeError, ValueError) as error:
        if str(error).startswith(RAGGED):
            what = "nested too deep" if "exceed" in str(error) else "of unequal length"
            raise ValueError(
                f"{name} must be a rectangular array of numbers, got nested sequences {what}"
            ) from None
        raise TypeError(  # what its own __array__ says, PyTorch's for one: detach(), cpu(), …
            f"{name} must be an array, got a {type(value).__name__} that is none: {error}"
        ) from None
    except MemoryError:
        raise ValueError(f"{name} must fit in memory, got {shown(value)}") from None
    if array.dtype.kind not in "biu" and array.dtype.type not in FLOATS:
        raise TypeError(
            f"{name} must hold real numbers (float16, float32, float64, integers or bools), "
            f"got {shown(value) if array.dtype == object else f'dtype {array.dtype}'}"
        )
    return array


def _refuse_look_alikes(name: str, value: object) -> None:
    # What NumPy would make an array of, though it was not meant as one (what a forward returned,
    # bytes, too many), and a masked array, whose mask it would lose
    if isinstance(value, tuple) and any(map(holds_cache, value)):
        raise TypeError(
            f"{name} must be an array, got what a forward returned: take y of its (y, cache)"
        )
    if isinstance(value, bytearray) or (isinstance(value, memoryview) and value.format in "Bbc"):
        raise TypeError(
            f"{name} must be an array of numbers, got bytes in a {type(value).__name__}"
        )
    if is_sequence(value) and len(value) > MOST_ENTRIES:
        raise ValueError(f"{name} must fit in memory, got {len(value)} entries")
    level = [value]
    for _ in range(MOST_AXES):
        if any(isinstance(entry, np.ndarray) and hasattr(entry, "mask") for entry in level):
            raise TypeError(
                f"{name} must be a plain array, got a masked one: its mask would be lost"
            )
        below: list[Any] = []
        for sequence in level:
            if isinstance(sequence, (list, tuple)):
                below += [entry for entry in sequence if hasattr(entry, "__len__")]
            elif is_sequence(sequence) and not hasattr(sequence, "__array__"):
                with suppress(Exception):  # NumPy makes no array of a sequence that fails
                    below += [entry for entry in sequence if hasattr(entry, "__len__")]
        level = below


def result_dtype(*arrays: Array | None) -> DType:
    """Return the dtype of a result: NumPy's promotion of the floating ones of the arrays."""
    types = {a.dtype.type for a in arrays if a is not None}
    for kind in reversed(FLOATS):  # the widest first: what NumPy promotes the others to
        if kind in types:
            return np.dtype(kind)
    return np.dtype(np.float64)


def compute_dtype(dtype: DType) -> DType:
    """Return the dtype to compute in: float16 is only ever stored, and computed as float32."""
    return np.dtype(np.float32) if dtype.type is np.float16 else dtype


def converted(dtype: DType, *arrays: Array | None) -> Iterator[Any]:
    """Convert arrays to the dtype that they are to have; None stays None."""
    return (None if a is None else a.astype(dtype, copy=False) for a in arrays)


def as_float(dtype: FloatType) -> DType:
    """Return `dtype`, which must be float16, float32 or float64."""
    result = as_dtype(dtype)
    if result.type not in FLOATS:
        came = shown(dtype) if result.kind == "O" else result
        raise TypeError(f"dtype must be float16, float32 or float64, got {came}")
    return result.newbyteorder("=")


def as_dtype(value: object) -> DType:
    """Return what a dtype, a type or a string means to NumPy; object where it means nothing.

    NumPy also reads None (as float64), tuples, and whatever has a dtype: a mistake here.
    """
    try:
        return np.dtype(value if isinstance(value, (np.dtype, type, str)) else object)
    except (AttributeError, RuntimeError, SyntaxError, TypeError, ValueError):  # by NumPy's parser
        return np.dtype(object)


def as_generator(rng: object) -> np.random.Generator:
    """Return `rng`, which must be a random generator."""
    if not isinstance(rng, np.random.Generator):
        raise TypeError(f"rng must be a numpy.random.Generator, got {shown(rng)}")
    return rng


def as_vector(name: str, value: object, channels: int) -> Array | None:
    """Return a per-channel array (bias, gamma, …), or None where it was not given."""
    if value is None:
        return None
    array = as_array(name, value)
    _check_vector(name, array, channels)
    return array


def as_vectors(
    names: Sequence[str], values: Sequence[object], channels: int | None
) -> tuple[Array, ...]:
    """Return per-channel arrays that belong together, of so many channels if that is given."""
    arrays = tuple([as_array(name, value) for name, value in zip(names, values, strict=True)])
    if channels is None:
        channels = max(1, arrays[0].size)  # 1: an empty one is refused
    for name, array in zip(names, arrays, strict=True):
        _check_vector(name, array, channels)
    return arrays


def _check_vector(name: str, array: Array, channels: int) -> None:
    if array.shape != (channels,):
        raise ValueError(
            f"{name} must be ({channels},), one number per channel, got shape {array.shape}"
        )


def check_dy(dy: object, shape: tuple[int, ...]) -> Array:
    """Return the array `dy`, which must have the output's shape."""
    array = as_array("dy", dy)
    if array.shape != shape:
        raise ValueError(f"dy must be of the output's shape {shape}, got shape {array.shape}")
    return array


def check_cache(cache: object, kind: type[T], name: str) -> T:
    """Return `cache`, which must be what the forward function of the same module made."""
    if not isinstance(cache, kind):
        came = f"{type(cache).__module__}.{type(cache).__name__}"
        raise TypeError(f"cache must be what convinsights.{name}.forward returned, got a {came}")
    return cache


def channels_first_hint(shape: tuple[int, ...], channels: int) -> str:
    """Return, for a message, that an image may have so many channels in front; or nothing."""
    asked = " (channels first? layouts.to_channels_last puts them behind)"
    return asked if shape[1] == channels else ""


def described(name: str, shape: tuple[int, ...]) -> str:
    """Name a shape for a message: `x of shape (2, 3, 4)`, or `input_shape (2, 3, 4)`."""
    return f"{name} {shape}" if name.endswith("shape") else f"{name} of shape {shape}"


def shown(value: object) -> str:
    """Write `value` for a message: as Python does, but cut short where it is long."""
    try:
        text = reprlib.repr(value)
    except (RecursionError, RuntimeError, ValueError):  # an int of 5000 digits, among others
        return f"a {type(value).__name__} that cannot be written out"
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"  # of lists in lists in lists


def is_sequence(value: object) -> TypeGuard[Sequence[Any]]:
    """Tell whether `value` is one entry per axis rather than one for all."""
    if isinstance(value, np.ndarray):
        return value.ndim > 0
    return isinstance(value, Sequence) and not isinstance(
        value, (str, bytes, bytearray, memoryview)
    )


def entries_of(name: str, value: Sequence[Any], most: int | None = None) -> list[Any]:
    """Return the entries of a sequence, which must be as many as it says."""
    try:
        count = len(value)
        entries = list(islice(value, count + 1)) if most is None or count <= most else []
    except Exception as error:
        raise TypeError(f"{name} must be a sequence, got {shown(value)}, which is none") from error
    if most is not None and count > most:
        raise ValueError(f"{name} must have at most {most} entries, got {count}")
    if len(entries) != count:
        raise ValueError(
            f"{name} must have as many entries as it says, {count}, got {shown(value)}"
        )
    return entries


def as_iterable(name: str, value: object, what: str) -> Iterable[Any]:
    """Return `value`, which must be an iterable of things: no text, bytes or mapping."""
    # An array without axes claims to be iterable and is not.
    of_none = isinstance(value, (str, bytes, bytearray, memoryview, Mapping))
    if of_none or not isinstance(value, Iterable) or getattr(value, "ndim", 1) == 0:
        raise TypeError(f"{name} must be {what}, got {shown(value)}")
    return value


def as_sequence(name: str, value: object, what: str, count: int | None = None) -> Sequence[Any]:
    """Return `value`, which must be a sequence: of so many entries, or of one at least."""
    if not is_sequence(value):
        raise TypeError(f"{name} must be {what}, got {shown(value)}")
    entries = entries_of(name, value, MOST_IN_SEQUENCE)
    if len(entries) == 0 or count not in (None, len(entries)):
        raise ValueError(f"{name} must be {what}, got {len(entries)} entries")
    return entries


def to_integer(name: str, value: object, *, minimum: int | None = 1) -> int:
    """Return `value` as an int, of at least `minimum`; bools and fractions are no integers."""
    if isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be an integer, got {shown(value)}")
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except Exception as error:
        cause = None if isinstance(error, TypeError) else error
        raise TypeError(f"{name} must be an integer, got {shown(value)}") from cause
    if minimum is not None and number < minimum:
        raise ValueError(f"{name} must be at least {minimum}, got {shown(value)}")
    if abs(number) > sys.maxsize:
        raise ValueError(f"{name} must be of at most {sys.maxsize}, got {shown(value)}")
    return number


def to_integers(
    name: str, entries: Sequence[object], *, minimum: int | None = 1, most: int = MOST_AXES
) -> tuple[int, ...]:
    """Return every entry as an int of at least `minimum`."""
    return tuple(
        to_integer(f"{name}[{index}]", entry, minimum=minimum)
        for index, entry in enumerate(entries_of(name, entries, most))
    )


def per_axis(
    name: str, value: object, count: int, *, minimum: int | None = 1, axis: str = "spatial axis"
) -> tuple[int, ...]:
    """Return one int per axis: `value` itself, or the one int for all of them."""
    if not is_sequence(value):
        return (to_integer(name, value, minimum=minimum),) * count
    most = max(count, MOST_AXES)
    numbers = entries_of(name, value, most)
    if len(numbers) != count:
        raise ValueError(
            f"{name} must be an int or have one entry per {axis} ({count}), got {shown(value)}"
        )
    return to_integers(name, numbers, minimum=minimum, most=most)


def check_choice(name: str, value: object, choices: Sequence[str]) -> None:
    """Refuse what is none of the words to choose from."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a string, one of {choices}, got {shown(value)}")
    if value not in choices:
        raise ValueError(f"{name} must be one of {choices}, got {shown(value)}")


def check_callable(name: str, value: T) -> T:
    """Return `value`, which must be a function."""
    if not callable(value):
        raise TypeError(f"{name} must be callable, got {shown(value)}")
    return value


def check_flag(name: str, value: object) -> bool:
    """Return `value`, which must be a bool."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be a bool, got {shown(value)}")
    return bool(value)


def check_not_negative(name: str, value: object, *, most: float = math.inf) -> float:
    """Return `value` as a float from 0 to `most`."""
    if isinstance(value, (bool, np.bool_, np.timedelta64)) or not isinstance(
        value, (int, float, np.integer, np.floating)
    ):
        raise TypeError(f"{name} must be a real number, got {shown(value)}")
    try:
        number = float(value)
    except OverflowError:  # an int that no float can hold
        number = math.inf
    if not 0 <= number <= most or number == math.inf:
        rule = "finite and at least 0" if most == math.inf else f"from 0 to {most}"
        raise ValueError(f"{name} must be {rule}, got {shown(value)}")
    return number


def shape_of(name: str, value: object, *, minimum: int | None = 1) -> tuple[int, ...]:
    """Return a shape argument as a tuple of ints."""
    if not is_sequence(value):
        raise TypeError(f"{name} must be a sequence of ints, got {shown(value)}")
    return to_integers(name, value, minimum=minimum)


def check_size(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return `shape`, unless no memory could hold an array of it."""
    if math.prod([max(1, size) for size in shape]) > sys.maxsize // 8:
        raise ValueError(f"{name} must make arrays that fit in memory, got one of shape {shape}")
    return shape


def spatial_rank(name: str, shape: tuple[int, ...], form: str) -> int:
    """Return how many spatial axes a kernel has: all of its axes but the two of its channels."""
    if not 3 <= len(shape) <= 5 or 0 in shape:
        raise ValueError(
            f"{name} must be {form} with one, two or three spatial axes and no size of 0, "
            f"got shape {shape}"
        )
    return len(shape) - 2


def check_pixels(name: str, shape: tuple[int, ...], rank: int | None = None) -> None:
    """Refuse an image that is not (N, *spatial, C), or has no pixels or no channels."""
    if not 3 <= len(shape) <= 5 or rank not in (None, len(shape) - 2):
        axes = "one, two or three" if rank is None else f"the kernel's {rank}"
        raise ValueError(
            f"{name} must be (N, *spatial, C) with {axes} spatial axes, got shape {shape}"
        )
    if 0 in shape[1:]:
        raise ValueError(
            f"{name} must have no spatial size and no channel count of 0, got shape {shape}"
        )


def check_groups(groups: object, **channels: int) -> int:
    """Return `groups` as an int that divides every one of the channel counts."""
    number = to_integer("groups", groups)
    for name, count in channels.items():
        if count % number:
            raise ValueError(f"groups must divide {name} = {count}, got {shown(groups)}")
    return number
