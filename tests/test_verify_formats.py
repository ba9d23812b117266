import numpy as np
import pytest

from convinsights import batchnorm, conv, normalization, verify
from convinsights.verify import BFLOAT16, FLOAT8_E4M3, FLOAT8_E5M2, TFLOAT32, Format
from convinsights.verify._formats import Numbers
from convinsights.verify._precision import Precision

INF = np.inf
TINY = Format("tiny", 3, -2, 14.0)


@pytest.mark.parametrize(
    ("kind", "given", "rounded"),
    [
        (TINY, [8.9, 9, 9.1, 11, 13, -0.4375, 0.03125, 0.1], [8, 8, 10, 12, 12, -0.4375, 0, 0.125]),
        (TINY, [14.9, 15, -15, INF, -INF], [14, INF, -INF, INF, -INF]),
        (
            BFLOAT16,
            [1 + 2.0**-8, 1 + 3 * 2.0**-8, 2.0**-133, 2.0**-134],
            [1, 1.015625, 2.0**-133, 0],
        ),
        (BFLOAT16, [3.38953139e38, 3.397e38, -3.4e38], [3.38953139e38, INF, -INF]),
        (TFLOAT32, [1 + 2.0**-11, 1 + 3 * 2.0**-11, 3.4028e38], [1, 1 + 2.0**-9, INF]),
        (
            FLOAT8_E4M3,
            [1.0625, 1.1875, 17, 2.0**-10, 2.0**-9, 0.9375 * 2.0**-6],
            [1, 1.25, 16, 0, 2.0**-9, 2.0**-6],
        ),
        (FLOAT8_E4M3, [464, 480, -1e9, INF, -INF], [448, 448, -448, 448, -448]),
        (FLOAT8_E5M2, [1.125, 1.375, 2.0**-17, 2.0**-16, 9], [1, 1.5, 0, 2.0**-16, 8]),
        (FLOAT8_E5M2, [61439, 61440, -61440, INF], [57344, INF, -INF, INF]),
    ],
)  # as PyTorch 2.13 converts
def test_numbers_go_to_the_nearest_ties_to_even(kind, given, rounded):
    got = kind.round(given)
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, np.array(rounded, np.float32))


def test_signs_and_nan_are_kept():
    for kind in (BFLOAT16, TFLOAT32, FLOAT8_E4M3, FLOAT8_E5M2):
        got = kind.round(np.array([-0.0, -1e-30 * kind.largest**-0.5, np.nan]))
        assert np.signbit(got[:2]).all()
        assert np.isnan(got[2])


def values():
    """Numbers of every size, halves and near-halves of float16 and float32 among them."""
    draw = np.random.default_rng(0)
    some = np.ldexp(draw.integers(-(2**13), 2**13, 20000) / 2.0**12, draw.integers(-30, 17, 20000))
    return np.concatenate([some, some * (1 + 2.0**-40), draw.normal(size=1000)])


def test_the_formats_that_numpy_has_are_rounded_as_numpy_does():
    half, single = Format("half", 11, -14, 65504.0), Format("single", 24, -126, 2.0**128 - 2.0**104)
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(half.round(values()), values().astype(np.float16))
        np.testing.assert_array_equal(single.round(values()), values().astype(np.float32))


@pytest.mark.parametrize("kind", [BFLOAT16, TFLOAT32, FLOAT8_E4M3, FLOAT8_E5M2])
def test_rounding_is_off_by_half_a_unit_at_most_and_ends_there(kind):
    given = values()[np.abs(values()) <= kind.largest]
    before, numbers = given.copy(), Numbers.of(kind)
    got = kind.round(given).astype(float)
    np.testing.assert_array_equal(kind.round(got), got)
    assert (abs(got - given) <= np.maximum(numbers.unit * abs(given), numbers.smallest / 2)).all()
    np.testing.assert_array_equal(given, before)


def test_one_number_and_none_are_arrays_too():
    assert BFLOAT16.round(1.003) == 1
    assert BFLOAT16.round(np.zeros((0, 3))).shape == (0, 3)


def test_formats_are_values():
    assert Format("bfloat16", np.int64(8), -126, BFLOAT16.largest) == BFLOAT16
    assert len({BFLOAT16, TFLOAT32, BFLOAT16}) == 2
    assert str(TINY) == "Format(name='tiny', significand_bits=3, min_exponent=-2, largest=14.0)"


@pytest.mark.parametrize(
    ("kind", "carrier", "unit", "smallest", "largest", "exact"),
    [
        (np.dtype(np.float16), np.float16, 2.0**-11, 2.0**-24, 65504, 2**11),
        (np.dtype(np.float64), np.float64, 2.0**-53, 2.0**-1074, np.finfo(float).max, 2**53),
        (np.dtype(np.uint8), np.uint8, 0, 0, 255, 255),
        (BFLOAT16, np.float32, 2.0**-8, 2.0**-133, BFLOAT16.largest, 2**8),
        (FLOAT8_E4M3, np.float32, 2.0**-4, 2.0**-9, 448, 16),
        (TINY, np.float32, 2.0**-3, 2.0**-4, 14, 8),
        (Format("few", 5, 0, 7.0), np.float32, 2.0**-5, 2.0**-4, 7, 7),
        (Format("whole", 3, 2, 2.0**20), np.float32, 2.0**-3, 1, 2**20, 8),
        (Format("even", 3, 3, 2.0**20), np.float32, 2.0**-3, 2, 2**20, 0),  # 1 and 3 are none
    ],
)
def test_what_a_bound_has_to_know_of_a_format(kind, carrier, unit, smallest, largest, exact):
    numbers = Numbers.of(kind)
    assert numbers.carrier == carrier
    assert (numbers.unit, numbers.smallest) == (unit, smallest)
    assert (numbers.largest, numbers.exact) == (largest, exact)


def test_arrays_are_rounded_to_what_carries_them():
    x = np.array([1.0, 257.0])
    for kind in (np.dtype(np.float16), np.dtype(np.int16), BFLOAT16):
        got = Numbers.of(kind).rounded(x)
        assert got.dtype == Numbers.of(kind).carrier
        np.testing.assert_array_equal(got, [1, 256 if kind is BFLOAT16 else 257])
    assert Numbers.of(np.dtype(np.float16)).rounded(np.array(1e6)) == INF


def claims(module=conv, **options):
    p = Precision.of(module, **options)
    return [numbers.name for numbers in (p.stored, p.operands, p.summed, p.result)]


def test_what_is_not_claimed_is_filled_in():
    assert claims(dtype="float16") == ["float16"] * 4
    assert claims(dtype=">f4") == ["float32"] * 4
    half = claims(dtype=np.float16, accumulate=np.float32)
    assert half == ["float16", "float16", "float32", "float16"]
    assert claims(dtype=BFLOAT16) == ["bfloat16", "bfloat16", "float32", "bfloat16"]
    assert claims(dtype=BFLOAT16, accumulate=BFLOAT16) == ["bfloat16"] * 4
    tensor = claims(dtype=np.float32, operands=TFLOAT32)
    assert tensor == ["float32", "tfloat32", "float32", "float32"]
    assert claims(normalization, dtype=np.float32, operands=TFLOAT32) == tensor
    assert claims(dtype=np.int8) == ["int8", "int8", "int32", "int32"]
    assert claims(dtype=np.uint16, accumulate=np.int32)[2:] == ["int32", "int32"]
    assert claims(normalization, dtype=BFLOAT16, accumulate=np.float64)[2] == "float64"


def precision(*, module=conv, dtype=np.float32, **options):
    return Precision.of(module, dtype, **options)


DTYPES = "float16, float32, float64"


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Format(1, 8, -126, 1.0), TypeError, "name must be a str, got 1"),
        (lambda: Format("f", 8.0, -126, 1.0), TypeError, "significand_bits must be an integer"),
        (lambda: Format("f", 1, -126, 1.0), ValueError, "significand_bits must be at least 2"),
        (lambda: Format("f", 25, -126, 1.0), ValueError, "must be from 2 to 24, got 25"),
        (lambda: Format("f", 8, "low", 1.0), TypeError, "min_exponent must be an integer"),
        (lambda: Format("f", 8, -143, 1.0), ValueError, "min_exponent must be at least -142"),
        (lambda: Format("f", 3, -2, "1"), TypeError, "largest must be a real number"),
        (lambda: Format("f", 3, -2, INF), ValueError, "largest must be finite"),
        (lambda: Format("f", 3, -2, 13.0), ValueError, "largest must be a number of 3 significant"),
        (lambda: Format("f", 3, -2, 0.125), ValueError, r"largest must .* from 2\^-2"),
        (lambda: Format("f", 3, -2, 2.0**128), ValueError, "to float32's largest"),
        (lambda: Format("f", 8, 2000, 1e3), ValueError, r"from 2\^2000 to float32's largest"),
        (lambda: BFLOAT16.round("1"), TypeError, "array must hold real numbers"),
        (
            lambda: precision(dtype=complex),
            TypeError,
            f"dtype must be {DTYPES}, int8, int16, uint8",
        ),
        (
            lambda: precision(dtype=np.int32),
            TypeError,
            "uint16 or a Format, got int32",
        ),
        (lambda: precision(dtype=None), TypeError, "got None"),
        (lambda: precision(dtype="bfloat16"), TypeError, "got 'bfloat16'"),
        (lambda: precision(operands=np.int8), TypeError, f"operands must be {DTYPES} or a Format"),
        (lambda: precision(accumulate=np.int32), TypeError, f"accumulate must be {DTYPES} or a"),
        (
            lambda: precision(dtype=np.int8, accumulate=BFLOAT16),
            TypeError,
            r"accumulate must be int32, got bfloat16",
        ),
        (
            lambda: precision(dtype=np.int8, operands=np.int8),
            TypeError,
            "operands must be float16, float32, float64 or a Format",
        ),
        (
            lambda: precision(dtype=np.int8, operands=BFLOAT16),
            ValueError,
            "operands must not be given for int8, which rounds none, got bfloat16",
        ),
        (lambda: precision(algorithm="magic"), ValueError, "algorithm must be one of"),
        (lambda: precision(algorithm=["fft"]), ValueError, "algorithm must be one of"),
        (
            lambda: precision(module=batchnorm, algorithm="fft"),
            ValueError,
            "algorithm must be direct for batchnorm, which is no convolution, got fft",
        ),
        (
            lambda: precision(module=batchnorm, dtype=np.int8),
            TypeError,
            f"dtype must be {DTYPES} or",
        ),
        (
            lambda: verify.error_bound(conv, [[[300]]], [[[1]]], dtype=np.int8),
            ValueError,
            "hold integers from -128 to 127 .int8., got 300",
        ),
    ],
)
def test_refusals(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_a_claim_in_words():
    assert str(precision()) == "float32"
    assert str(precision(operands=TFLOAT32)) == "float32 with tfloat32 operands"
    assert str(precision(dtype=np.int8)) == "int8 summed in int32"
    words = "float16 with float32 operands summed in float32 by winograd"
    claim = precision(dtype=np.float16, accumulate=np.float32, algorithm="winograd")
    assert str(claim) == words


def test_what_a_case_may_hold():
    assert precision().values == ("integers", "normal")
    assert precision(dtype=np.int8).values == ("integers", "extremes")
    np.testing.assert_array_equal(precision().not_finite, [np.nan, INF])
    assert np.isnan(precision(operands=FLOAT8_E4M3).not_finite).tolist() == [True]
    assert precision(dtype=np.int8).not_finite == ()
    held = precision(dtype=np.float16, operands=FLOAT8_E4M3).held(np.array([1 + 2.0**-12, 1.2]))
    np.testing.assert_array_equal(held, [1, 1.25])
