"""_passes: the numbers of the channels meet all rows, whatever the blocks."""

import numpy as np
import pytest
from helpers import close, integers, spied
from numpy.testing import assert_array_equal

from convinsights import _passes

rng = np.random.default_rng(73)
FLOAT = np.dtype(np.float64)


@pytest.mark.parametrize(
    ("rows", "channels", "wanted"),
    [
        (12, 1, 12),
        (2048, 1, 1024),
        (1030, 1, 515),
        (1026 * 2, 1, 684),  # of a few divisors
        (1022, 2, 511),
        (514, 2, 257),
        (1028, 4, 256),  # 257 is more than fit
        (508, 4, 254),
        (762, 4, 254),
        (1021, 2, 512),  # a prime
        (6, 300, 3),
        (4, 1025, 1),
        (1, 3, 1),
        (0, 3, 1),
    ],
)
def test_as_many_rows_as_fit_are_shown_as_one_or_a_divisor_of_more_than_half(
    rows, channels, wanted
):
    assert _passes.together(rows, channels) == wanted


@pytest.mark.parametrize(
    ("size", "wanted"), [(480, [10, 10]), (479, [7, 7, 6]), (48, [1] * 20), (1, [1] * 20)]
)
def test_a_block_has_all_parts_and_channels_of_as_many_rows_as_fit(monkeypatch, size, wanted):
    monkeypatch.setattr(_passes, "BLOCK", size)
    monkeypatch.setattr(_passes, "RUN", 1)
    monkeypatch.setattr(_passes, "PIECE", 0)
    a = integers(rng, (2, 20, 3)).astype(float)  # 48 bytes a row
    cut = [part for (part,) in _passes.in_blocks(FLOAT, [a])]
    assert [part.shape for part in cut] == [(2, rows, 3) for rows in wanted]
    assert all(np.shares_memory(part, a) for part in cut)
    assert_array_equal(np.concatenate(cut, axis=1), a)


@pytest.mark.parametrize("shape", [(0, 5, 7), (2, 0, 7), (2, 5, 0)])
@pytest.mark.parametrize("most", [1, 10, 100])
def test_an_empty_array_is_one_block(shape, most):
    assert list(_passes.blocks(shape, most)) == [(slice(None),) * 3]


@pytest.mark.parametrize(
    ("piece", "wanted"), [(12, [4] * 5), (15, [5] * 4), (24, [7, 7, 6]), (60, [20])]
)
def test_a_block_has_long_pieces_of_every_part(monkeypatch, piece, wanted):
    monkeypatch.setattr(_passes, "BLOCK", 4 * 48)
    monkeypatch.setattr(_passes, "RUN", 1)
    monkeypatch.setattr(_passes, "PIECE", piece)
    a = integers(rng, (2, 20, 3)).astype(float)
    assert [part.shape[1] for (part,) in _passes.in_blocks(FLOAT, [a])] == wanted


@pytest.mark.parametrize("rows", [0, 1, 11, 12, 13, 23])
@pytest.mark.parametrize("size", [2**18, 1000, 1])
def test_neighbours_are_shown_as_one_row_of_many_channels_and_the_rest_as_it_is(
    monkeypatch, rows, size
):
    monkeypatch.setattr(_passes, "BLOCK", size)
    monkeypatch.setattr(_passes, "RUN", 14)  # 4 rows of 3 channels
    monkeypatch.setattr(_passes, "PIECE", 1)
    a = integers(rng, (2, rows, 3)).astype(float)
    cut = [part for (part,) in _passes.in_blocks(FLOAT, [a])]
    t = _passes.together(rows, 3)
    assert t == (4 if rows > 1 else 1)
    whole = rows // t
    assert sum(part.shape[1] for part in cut if part.shape[2] == 3 * t) >= whole
    assert {part.shape[2] for part in cut} <= {3 * t, 3}
    together = [part.reshape(2, -1, 3) for part in cut]
    assert_array_equal(np.concatenate([a[:, :0], *together], axis=1), a)


@pytest.mark.parametrize("shape", [(3,), (1, 1, 3), (2, 1, 3)])
@pytest.mark.parametrize("size", [2**20, 800, 600, 1])
@pytest.mark.parametrize("run", [1, 12, 39])
def test_numbers_per_channel_are_repeated_to_the_shape_of_a_block(monkeypatch, shape, size, run):
    """And lie in memory like it: NumPy copies what it broadcasts."""
    monkeypatch.setattr(_passes, "BLOCK", size)
    monkeypatch.setattr(_passes, "RUN", run)
    monkeypatch.setattr(_passes, "PIECE", 1)
    a, values = integers(rng, (2, 41, 3)), integers(rng, shape).astype(np.float32)
    for part, repeated in _passes.in_blocks(FLOAT, [a], values):
        assert (repeated.shape, repeated.dtype) == (part.shape, np.float64)
        assert repeated[0].flags.c_contiguous
        by_pixel = repeated.reshape(2, -1, 3)
        assert_array_equal(by_pixel, np.broadcast_to(values, by_pixel.shape))


def test_room_is_of_the_shape_of_a_block_and_the_same_for_all(monkeypatch):
    monkeypatch.setattr(_passes, "BLOCK", 7 * 48)
    monkeypatch.setattr(_passes, "RUN", 1)
    monkeypatch.setattr(_passes, "PIECE", 1)
    a = integers(rng, (2, 20, 3)).astype(np.float32)
    taken = []
    for part, room in _passes.in_blocks(FLOAT, [a], None):
        assert (room.shape, room.dtype) == (part.shape, np.float64)
        np.multiply(part, 2, out=room)
        taken.append(room)
    assert [len(room[0]) for room in taken] == [7, 7, 6]
    assert_array_equal(taken[-1], 2 * a[:, 14:])
    assert all(np.shares_memory(room, taken[0]) for room in taken)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_room_and_repeated_numbers_begin_with_a_cache_line(dtype):
    a = integers(rng, (2, 20, 3)).astype(dtype)
    for _ in range(4):  # what NumPy allots begins with one at times
        for _, *rooms in _passes.in_blocks(np.dtype(dtype), [a], None, a[0, 0], None):
            assert [room.ctypes.data % 64 for room in rooms] == [0, 0, 0]
            assert [room.flags.c_contiguous for room in rooms] == [True] * 3


@pytest.mark.parametrize(
    ("arrays", "values", "wanted"),
    [(1, 0, [10, 10]), (3, 0, [10, 10]), (1, 2, [10, 10]), (4, 0, [7, 7, 6]), (1, 3, [7, 7, 6])],
)
def test_all_that_go_together_fit_in_the_cache(monkeypatch, arrays, values, wanted):
    monkeypatch.setattr(_passes, "BLOCK", 10 * 48)
    monkeypatch.setattr(_passes, "CACHE", 3 * 10 * 48)
    monkeypatch.setattr(_passes, "RUN", 1)
    monkeypatch.setattr(_passes, "PIECE", 1)
    given = [np.zeros((2, 20, 3))] * arrays
    cut = [part for part, *_ in _passes.in_blocks(FLOAT, given, *[None] * values)]
    assert [part.shape[1] for part in cut] == wanted


@pytest.mark.parametrize("channels", [1, 2, 3, 31, 32, 1500])
def test_a_bias_is_added_to_every_pixel_of_few_channels_many_at_a_time(monkeypatch, channels):
    taken = spied(monkeypatch, _passes, "together", lambda result, *_: result)
    y, bias = integers(rng, (2, 5, 7, channels)), integers(rng, (channels,))
    wanted = y + bias
    _passes.add_bias(y, bias)
    assert_array_equal(y, wanted)
    assert taken == {2: [70], 3: [70], 31: [33]}.get(channels, [])


@pytest.mark.parametrize("shape", [(1, 10**6, 1), (3, 333_333, 1), (999_983, 3), (500, 2000)])
def test_the_gradient_of_the_bias_is_as_exact_for_a_million_terms_as_for_one(shape):
    dy = np.full(shape, 0.1, np.float32)
    sums = _passes.channel_sum(dy, np.dtype(np.float32)).astype(float)
    wanted = dy.size // shape[-1] * float(np.float32(0.1))
    close(sums, np.full(shape[-1], wanted), tolerance=2**-19)
