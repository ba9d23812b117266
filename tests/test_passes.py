"""_passes: the numbers of the channels meet all rows, whatever the blocks."""

import numpy as np
import pytest
from helpers import close, integers
from numpy.testing import assert_array_equal

from convinsights import _passes

rng = np.random.default_rng(73)
FLOAT = np.dtype(np.float64)


def cut(arrays, *values):
    """Every block of these arrays, without saying of which parts it is."""
    return [block for _, block in _passes.in_blocks(FLOAT, arrays, *values)]


@pytest.fixture
def rows_of_one(monkeypatch):
    """No neighbouring rows are shown as one."""
    monkeypatch.setattr(_passes, "RUN", 1)


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
    monkeypatch, rows, channels, wanted
):
    monkeypatch.setattr(_passes, "RUN", 1024)
    assert _passes.together(np.zeros((1, rows, channels))) == wanted


@pytest.mark.parametrize(
    ("rows", "wanted"), [(3, 1), (8, 2), (16, 4), (24, 4), (49, 7), (65, 5), (10**4, 16)]
)
def test_of_several_parts_no_more_neighbours_are_shown_as_one_than_rows_are_left(
    monkeypatch, rows, wanted
):
    monkeypatch.setattr(_passes, "RUN", 1024)
    assert _passes.together(np.zeros((5, rows, 64))) == wanted
    assert _passes.together(np.zeros((5, rows, 2000))) == 1


def test_rows_that_do_not_lie_side_by_side_stay_apart():
    a = integers(rng, (2, 12, 9))
    assert _passes.together(a[:, :, :3]) == 1
    assert _passes.together(a[:, ::2]) == 1
    written = np.zeros((2, 12, 9))
    for part, target in cut([a[:, :, 2:5], written[:, :, 2:5]]):
        target[...] = part
    assert_array_equal(written[:, :, 2:5], a[:, :, 2:5])


@pytest.mark.parametrize(
    ("size", "wanted"),
    [
        (960, [(2, 20)]),
        (959, [(1, 20)] * 2),
        (479, [(1, 10)] * 4),
        (239, [(1, 7), (1, 7), (1, 6)] * 2),
        (24, [(1, 1)] * 40),
        (1, [(1, 1)] * 40),
    ],
)
def test_a_block_has_as_many_rows_as_fit_and_all_of_a_part_before_others(
    monkeypatch, rows_of_one, size, wanted
):
    monkeypatch.setattr(_passes, "PASS", size)
    a = integers(rng, (2, 20, 3)).astype(float)  # 24 bytes a row
    blocks = list(_passes.in_blocks(FLOAT, [a]))
    assert [block.shape[:2] for _, (block,) in blocks] == wanted
    assert all(np.shares_memory(block, a) for _, (block,) in blocks)
    for n in range(2):
        own = [block for parts, (block,) in blocks if n in range(2)[parts]]
        assert_array_equal(
            np.concatenate([block[-1 if len(block) == 1 else n] for block in own]), a[n]
        )


@pytest.mark.parametrize("shape", [(0, 5, 7), (2, 0, 7), (2, 5, 0)])
@pytest.mark.parametrize("most", [1, 10, 100])
def test_an_empty_array_is_one_block(shape, most):
    assert list(_passes.blocks(shape, most)) == [(slice(None),) * 3]


@pytest.mark.parametrize("rows", [0, 1, 11, 12, 13, 23])
@pytest.mark.parametrize("size", [2**18, 1000, 1])
def test_neighbours_are_shown_as_one_row_of_many_channels_and_the_rest_as_it_is(
    monkeypatch, rows, size
):
    monkeypatch.setattr(_passes, "PASS", size)
    monkeypatch.setattr(_passes, "RUN", 14)  # 4 rows of 3 channels
    a = integers(rng, (1, rows, 3)).astype(float)
    blocks = [block for (block,) in cut([a])]
    t = _passes.together(a)
    assert t == (4 if rows > 1 else 1)
    assert sum(block.shape[1] for block in blocks if block.shape[2] == 3 * t) >= rows // t
    assert {block.shape[2] for block in blocks} <= {3 * t, 3}
    together = [block.reshape(1, -1, 3) for block in blocks]
    assert_array_equal(np.concatenate([a[:, :0], *together], axis=1), a)


@pytest.mark.parametrize("parts", [1, 2, 3])
@pytest.mark.parametrize("size", [2**20, 800, 600, 1])
@pytest.mark.parametrize("run", [1, 12, 39])
def test_every_row_meets_the_numbers_of_its_channels(monkeypatch, parts, size, run):
    monkeypatch.setattr(_passes, "PASS", size)
    monkeypatch.setattr(_passes, "RUN", run)
    a, common = integers(rng, (parts, 41, 3)), integers(rng, (1, 1, 3)).astype(np.float32)
    own, out = integers(rng, (parts, 1, 3)), np.zeros((parts, 41, 3))
    for block, target, one, other in cut([a, out], own, common):
        assert (one.dtype, other.dtype) == (np.float64, np.float64)
        assert one.flags.c_contiguous
        target[...] = block * one + other
    assert_array_equal(out, a * own + common)


def test_room_is_of_the_shape_of_a_block_and_the_same_for_all(monkeypatch, rows_of_one):
    monkeypatch.setattr(_passes, "PASS", 7 * 24)
    a = integers(rng, (2, 20, 3)).astype(np.float32)
    taken = []
    for part, room, other in cut([a], None, None):
        assert (room.shape, room.dtype) == (part.shape, np.float64)
        assert not np.shares_memory(room, other)
        np.multiply(part, 2, out=room)
        taken.append(room)
    assert [len(room[0]) for room in taken] == [7, 7, 6] * 2
    assert_array_equal(taken[-1], 2 * a[1:, 14:])
    assert all(np.shares_memory(room, taken[0]) for room in taken)


def test_buffers_are_short_for_a_while():
    before = np.getbufsize()
    with _passes.short_buffers():
        assert np.getbufsize() == _passes.RUN // 2
    assert np.getbufsize() == before
    with pytest.raises(KeyError), _passes.short_buffers():
        raise KeyError
    assert np.getbufsize() == before


@pytest.mark.parametrize("shape", [(2, 5, 7, 3), (3, 90, 70, 1), (50, 40, 20, 3), (2, 90, 1500)])
def test_a_bias_is_added_to_every_pixel(shape):
    y, bias = integers(rng, shape), integers(rng, shape[-1])
    wanted = y + bias
    _passes.add_bias(y, bias)
    assert_array_equal(y, wanted)


@pytest.mark.parametrize("shape", [(1, 10**6, 1), (3, 333_333, 1), (999_983, 3), (500, 2000)])
def test_the_gradient_of_the_bias_is_as_exact_for_a_million_terms_as_for_one(shape):
    dy = np.full(shape, 0.1, np.float32)
    sums = _passes.channel_sum(dy, np.dtype(np.float32)).astype(float)
    wanted = dy.size // shape[-1] * float(np.float32(0.1))
    close(sums, np.full(shape[-1], wanted), tolerance=2**-19)


def test_the_gradient_of_a_bias_loses_no_small_term_beside_a_large_one():
    dy = np.ones((9, 2), np.float32)
    dy[3] = 2**24  # to which float32 cannot add 1
    assert_array_equal(_passes.channel_sum(dy, np.dtype(np.float32)), [2**24 + 8, 2**24 + 8])
