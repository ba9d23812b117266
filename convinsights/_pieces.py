"""Matrix products, groups first, in pieces where they are narrow (see `_costs.piece`)."""

from __future__ import annotations

import numpy as np

from convinsights import _costs
from convinsights._arguments import Array

__all__ = ["add_product", "write_product"]


def write_product(a: Array, b: Array, out: Array) -> Array:
    """Write out = a b, groups first, a piece of the rows at a time where that pays."""
    (groups, count, inner), columns = a.shape, b.shape[-1]
    piece = _costs.piece(inner, columns)
    whole = count - count % piece if piece else 0
    if not whole:
        return np.matmul(a, b, out=out)
    pieces = groups, whole // piece, piece
    of_a, of_out = a[:, :whole].reshape(*pieces, inner), out[:, :whole].reshape(*pieces, columns)
    np.matmul(of_a, b[:, np.newaxis], out=of_out)
    if whole < count:
        np.matmul(a[:, whole:], b, out=out[:, whole:])
    return out


def add_product(a: Array, b: Array, target: Array, *, write: bool) -> None:
    """Add a b to target, or write it: (groups, rows, count) (groups, count, columns), count large.

    Without pieces, `most` rows are added at a time, so that their product takes at most WORKSPACE
    bytes (or one row). What is narrow is cut twice: into `few` rows at a time, and these along the
    count, the axis that is summed over, into pieces. `few` is small enough for a piece to have
    NARROW or more of the count. The pieces of a `stretch` are multiplied in one call, and their
    products summed.
    """
    (groups, rows, count), columns = a.shape, b.shape[-1]
    room = max(1, _costs.WORKSPACE // (groups * columns * target.itemsize))  # rows
    most = min(rows, room)
    few = min(most, max(1, _costs.PIECE // (_costs.NARROW * columns)))
    piece = _costs.piece(few, columns) if min(rows, columns) <= _costs.NARROW else 0
    whole = count - count % piece if piece else 0
    if not whole and write:
        np.matmul(a, b, out=target)
        return
    if write:
        target[...] = 0
    if not whole:
        for first in range(0, rows, most):
            some = slice(first, first + most)
            target[:, some] += a[:, some] @ b
        return
    stretch = max(1, room // few) * piece
    for first in range(0, rows, few):
        part, sums = a[:, first : first + few], target[:, first : first + few]
        for start in range(0, whole, stretch):
            some = slice(start, min(start + stretch, whole))
            of_a = part[:, :, some].reshape(groups, part.shape[1], -1, piece).swapaxes(1, 2)
            of_b = b[:, some].reshape(groups, -1, piece, columns)
            sums += (of_a @ of_b).sum(axis=1)
        if whole < count:
            sums += part[:, :, whole:] @ b[:, whole:]
