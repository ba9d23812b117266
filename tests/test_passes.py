"""_passes: the numbers of the channels meet all rows, whatever the blocks."""

import numpy as np
import pytest
from helpers import close, integers, spied
from numpy.testing import assert_array_equal

from convinsights import _passes

rng = np.random.default_rng(73)


# ---- blocks


@pytest.mark.parametrize(
    ("size", "wanted"), [(480, [10, 10]), (479, [7, 7, 6]), (48, [1] * 20), (1, [1] * 20)]
)
def test_a_block_has_all_parts_and_channels_of_as_many_rows_as_fit(monkeypatch, size, wanted):
    monkeypatch.setattr(_passes, "BLOCK", size)
    a = integers(rng, (2, 20, 3))  # 48 bytes a row
    cut = [part for (part,) in _passes.in_blocks(np.dtype(float), 1, [a])]
    assert [part.shape for part in cut] == [(2, rows, 3) for rows in wanted]
    assert_array_equal(np.concatenate(cut, axis=1), a)


@pytest.mark.parametrize("shape", [(3,), (1, 1, 3), (2, 1, 3)])
@pytest.mark.parametrize("size", [2**20, 800, 600, 1])
@pytest.mark.parametrize("t", [1, 4])
def test_numbers_per_channel_are_repeated_to_the_shape_of_a_block(monkeypatch, shape, size, t):
    """And lie in memory like it: NumPy copies what it broadcasts."""
    monkeypatch.setattr(_passes, "BLOCK", size)
    a, values = integers(rng, (2, 40, 3)), integers(rng, shape).astype(np.float32)
    wide = a.reshape(2, 40 // t, t * 3)
    for part, repeated in _passes.in_blocks(np.dtype(float), t, [wide], values):
        assert (repeated.shape, repeated.dtype) == (part.shape, np.float64)
        assert repeated[0].flags.c_contiguous
        by_pixel = repeated.reshape(2, -1, 3)
        assert_array_equal(by_pixel, np.broadcast_to(values, by_pixel.shape))


@pytest.mark.parametrize(
    ("channels", "together"), [(1, [70]), (3, [70]), (31, [14]), (32, []), (1500, [])]
)
def test_a_bias_is_added_to_every_pixel_of_few_channels_many_at_a_time(
    monkeypatch, channels, together
):
    monkeypatch.setattr(_passes, "RUN", 31 * 14)
    taken = spied(monkeypatch, _passes, "widened", lambda result, *_: result[0])
    y, bias = integers(rng, (2, 5, 7, channels)), integers(rng, (channels,))
    wanted = y + bias
    _passes.add_bias(y, bias)
    assert_array_equal(y, wanted)
    assert taken == together


@pytest.mark.parametrize("channels", [1, 3, 2000])
def test_the_gradient_of_the_bias_is_as_exact_for_a_million_terms_as_for_one(channels):
    shape = (1, 10**6 // channels, channels)
    dy = np.full(shape, 0.1, np.float32)
    sums = _passes.channel_sum(dy, np.dtype(np.float32)).astype(float)
    close(sums, np.full(channels, 10**6 // channels * float(np.float32(0.1))), tolerance=2**-19)


@pytest.mark.parametrize(
    ("length", "channels", "wanted"),
    [(12, 1, 12), (2048, 1, 1024), (1026, 1, 513), (1031, 1, 1), (6, 300, 3), (4, 1025, 1)],
)
def test_neighbours_are_shown_as_one_with_many_channels(length, channels, wanted):
    x = integers(rng, (2, length, 3, channels))
    view = x.swapaxes(1, 2)  # (2, 3, length, channels): the neighbours are a row apart
    t, views = _passes.widened(2, view, view)
    assert (t, len(views)) == (1, 2)
    x = integers(rng, (2, 3, length, channels))
    t, (first, second) = _passes.widened(2, x, x[:, :2])
    assert t == wanted
    assert_array_equal(first, x.reshape(2, 3, length // t, t * channels))
    assert_array_equal(second, x.reshape(2, 3, length // t, t * channels)[:, :2])
    assert np.shares_memory(first, x)


@pytest.mark.parametrize("cut", [np.s_[..., ::-1], np.s_[:, :, ::-1], np.s_[..., ::2]])
def test_neighbours_that_do_not_lie_side_by_side_stay_apart(cut):
    x = integers(rng, (2, 3, 4, 6))
    t, views = _passes.widened(2, x[cut], x[cut])
    assert t == 1
    assert_array_equal(views[0], x[cut])
    assert _passes.widened(2, np.ones(x[cut].shape), x[cut])[0] == 1
