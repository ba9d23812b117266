"""Matrix products, groups first, cut so that a narrow one stays on one core.

Up to PIECE multiplications OpenBLAS keeps a product on one core, with the factors where they are.
Products of at most NARROW columns or inner entries are cut into pieces of that size; all others
are left to it whole (see `_costs.piece`).
"""

from __future__ import annotations

import numpy as np

from convinsights import _costs
from convinsights._arguments import Array

__all__ = ["add_product", "product"]


def product(a: Array, b: Array, out: Array) -> Array:
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

    It goes `most` rows at a time, so that the products take at most WORKSPACE bytes. If it is
    narrow, `few` rows at a time, and the count is cut into pieces, of at least NARROW each;
    `several` pieces are multiplied in one call, and summed.
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
    several = max(1, room // few) * piece
    for first in range(0, rows, few):
        part, sums = a[:, first : first + few], target[:, first : first + few]
        for start in range(0, whole, several):
            some = slice(start, min(start + several, whole))
            of_a = part[:, :, some].reshape(groups, part.shape[1], -1, piece).swapaxes(1, 2)
            of_b = b[:, some].reshape(groups, -1, piece, columns)
            sums += (of_a @ of_b).sum(axis=1)
        if whole < count:
            sums += part[:, :, whole:] @ b[:, whole:]
