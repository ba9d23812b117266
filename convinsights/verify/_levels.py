"""From a feature back to the levels of a case that has it: the opposite of `_features`."""

from typing import Any, cast

from convinsights import transposed
from convinsights.verify._cases import Case
from convinsights.verify._covering import Levels
from convinsights.verify._features import axis_names, features
from convinsights.verify._padding import BY_NAME
from convinsights.verify._words import BETWEEN

__all__ = ["with_count", "with_feature"]


def with_feature(rank: int, row: Levels, feature: str, value: Any) -> Levels | None:
    """Return the levels to change; None if no level says as much as this feature."""
    groups, axes = row.get("groups", 1), axis_names(rank)
    if feature in row and feature not in ("in_channels", "out_channels", "channels", "padding"):
        if feature == "epsilon":
            return {feature: float(value)}
        return {feature: value == "given" if isinstance(row[feature], bool) else value}
    if feature in axes:
        return {f"size[{axes.index(feature)}]": value}
    if feature == "mode":
        return {"training": value == "training"}
    if feature in ("strides", "dilation_rate", "kernel_size"):
        values = value if isinstance(value, tuple) else (value,) * rank
        return {f"{feature}[{axis}]": entry for axis, entry in enumerate(values)}
    if feature == "padding":
        return {"padding": {0: "valid", 1: "1", 3: "3"}[value]} if value in (0, 1, 3) else None
    if feature == "padding by name":
        return {"padding": "same" if value == "zeros" else f"{value}{BY_NAME}"}
    if feature == BETWEEN:
        return {"in_channels": value, "depth_multiplier": 1}
    name, _, per_group = feature.partition(" // ")
    if name in row and (per_group or value % groups == 0):
        return {name: value if per_group else value // groups}
    return None


def with_count(rank: int, row: Levels, feature: str, value: Any, case: Case) -> Levels | None:
    """Return the levels to change for so many products in a sum, or pixels of the output."""
    if case.empty:
        return None  # a count of 0 is not multiplied up
    if feature == "terms":
        return _with_terms(rank, row, value, cast(int, features(case)["terms"]))
    if feature == "output pixels":
        each, rest = divmod(value * row["batch"], cast(int, features(case)[feature]))
        alone = {f"size[{axis}]": 1 for axis in range(rank)}
        return {**alone, "batch": value} if rest else {"batch": each}
    if feature.startswith("output "):
        axis = axis_names(rank).index(feature.removeprefix("output "))
        return _with_output(row, axis, value, case)
    return None


def _with_terms(rank: int, row: Levels, value: int, terms: int) -> Levels:
    # By the channels; of batch normalization by the images, of normalization by the first axis. If
    # they would be no whole number, all other sizes are 1.
    counted, alone = "in_channels", {f"kernel_size[{axis}]": 1 for axis in range(rank)}
    if "gamma" in row:
        counted, alone = "batch", {f"size[{axis}]": 1 for axis in range(rank)}
        if "training" not in row:
            counted, alone = "size[0]", {**alone, "channels": 1}
    each, rest = divmod(value * row[counted], terms)
    return {**alone, counted: value} if rest else {counted: each}


def _with_output(row: Levels, axis: int, value: int, case: Case) -> Levels | None:
    # By the size of the image: one output more takes as many pixels more as the stride; transposed,
    # one pixel more gives as many outputs more.
    more, step = value - case.dy.shape[1 + axis], case.axes("strides")[axis]
    if case.module is not transposed:
        more *= step
    elif more % step:
        return None
    else:
        more //= step
    return {f"size[{axis}]": row[f"size[{axis}]"] + more}
