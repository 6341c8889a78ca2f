import decimal
import json
import math
import warnings
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.encodings import by_name, matrix_words

GOLDEN = Path(__file__).parents[1] / "data" / "encodings.jsonl"
DIGITS = range(2, 10)


def words(encoding, value):
    return [encoding.vocabulary[i] for i in encoding.encode(value)]


def number(encoding, ids):
    """(sign, mantissa, exponent) as the words of one number say it."""
    sign, *mantissa, exponent = [encoding.vocabulary[i] for i in ids]
    whole = 0
    for word in mantissa:
        whole = whole * 1000 + int(word or 0)
    return (-1 if sign == "-" else 1, whole, int(exponent.removeprefix("E")))


def roundings(value, digits):
    """The (mantissa, exponent) that |value| may be rounded to: one, or two within 4 ulp of a midpoint."""
    context = decimal.Context(prec=digits, rounding=decimal.ROUND_HALF_EVEN)
    allowed = set()
    for ulps in (-4, 0, 4):
        exact = Decimal(abs(value)) + ulps * Decimal(math.ulp(value))
        _, figures, exponent = context.plus(exact).normalize().as_tuple()
        missing = digits - len(figures)
        allowed.add((int("".join(map(str, figures))) * 10**missing, exponent - missing))
    return allowed


def lowest(digits):
    return max(-98, digits - 101)


@st.composite
def magnitudes(draw, digits):
    """Numbers that `digits` digits can write: anywhere, literal decimals, ties, powers of ten, neighbours."""
    exponent = draw(st.integers(lowest(digits), 99 + digits))
    kind = draw(st.sampled_from(["anywhere", "decimal", "tie", "power"]))
    if kind == "anywhere":
        value = float(f"{draw(st.floats(1, 9.8))!r}e{exponent}")
    else:
        mantissa = (
            draw(st.integers(10 ** (digits - 1), 10**digits - 2)) if kind != "power" else 10 ** (digits - 1)
        )
        value = float(f"{mantissa}{'.5' if kind == 'tie' else ''}e{exponent - digits + 1}")
    for _ in range(draw(st.integers(0, 2))):
        value = math.nextafter(value, math.inf)
    return value


@st.composite
def writable(draw):
    digits = draw(st.sampled_from(DIGITS))
    sign = draw(st.sampled_from([-1, 1]))
    return digits, sign * draw(magnitudes(digits))


def hard_values(digits):
    """Many such numbers at once, both signs, in one array."""
    rng = np.random.default_rng(digits)
    exponents = np.arange(lowest(digits), 99 + digits)
    mantissas = rng.integers(10 ** (digits - 1), 10**digits - 1, size=40)
    tables = [
        [float(f"{m}{half}e{e - digits + 1}") for m in mantissas for e in exponents] for half in ("", ".5")
    ]
    powers = np.array([float(f"1e{e}") for e in exponents])
    spread = 10.0 ** rng.uniform(lowest(digits) + 0.1, 98 + digits, 20_000)
    values = np.concatenate([*tables, powers, np.nextafter(powers, np.inf), powers * (1 - 1e-16), spread])
    values = values[values >= powers[0]]
    return np.concatenate([values, -values, [0.0, -0.0, 1e-99, -5e-324, 1e-300]])


@pytest.mark.parametrize("line", GOLDEN.read_text().splitlines())
def test_numbers_are_written_and_read_as_the_published_code_does(line):
    golden = json.loads(line)
    value, published = golden["value"], golden["P1000"]
    encoding = by_name("P1000")
    written = words(encoding, value)
    if written != published["tokens"]:
        mine = number(encoding, encoding.encode(value))
        assert len(roundings(value, 3)) == 2, "not near a midpoint of two mantissas"
        assert mine[1:] in roundings(value, 3)
        return
    decoded = float(encoding.decode(encoding.encode(value)))
    assert decoded == published["decoded"]


def test_there_are_300_published_numbers():
    assert len(GOLDEN.read_text().splitlines()) == 300


@given(writable())
def test_a_number_is_rounded_to_the_nearest_of_its_digits(case):
    digits, value = case
    encoding = by_name("P1000", digits)
    sign, mantissa, exponent = number(encoding, encoding.encode(value))
    assert sign == math.copysign(1, value)
    assert (mantissa, exponent) in roundings(value, digits)


@given(writable())
def test_a_round_trip_is_off_by_at_most_half_a_unit_of_the_last_digit(case):
    digits, value = case
    encoding = by_name("P1000", digits)
    ids = encoding.encode(value)
    _, _, exponent = number(encoding, ids)
    error = abs(Decimal(float(encoding.decode(ids))) - Decimal(value))
    assert error <= Decimal(10) ** exponent / 2 + 4 * Decimal(math.ulp(value))


@given(writable())
def test_rounding_twice_is_rounding_once(case):
    digits, value = case
    encoding = by_name("P1000", digits)
    once = encoding.round(value)
    assert encoding.round(once) == once


@pytest.mark.parametrize("digits", [2, 3])
def test_every_canonical_number_is_its_own_round_trip(digits):
    encoding = by_name("P1000", digits)
    first = encoding.vocabulary.index("E-100") + (-98 - (digits - 1) + 100)
    mantissas = np.arange(10 ** (digits - 1), 10**digits) + encoding.vocabulary.index("0")
    exponents = np.arange(first, encoding.vocabulary.index("E100") + 1)
    ids = np.stack(np.meshgrid([0, 1], mantissas, exponents, indexing="ij"), axis=-1)
    assert np.array_equal(encoding.encode(encoding.decode(ids)), ids)


@pytest.mark.parametrize("digits", DIGITS)
def test_what_was_written_once_is_written_the_same_again(digits):
    encoding = by_name("P1000", digits)
    ids = encoding.encode(hard_values(digits))
    assert np.array_equal(encoding.encode(encoding.decode(ids)), ids)


@pytest.mark.parametrize("digits", DIGITS)
def test_words_per_number_are_a_sign_the_mantissa_and_an_exponent(digits):
    encoding = by_name("P1000", digits)
    assert encoding.words_per_number == 2 + math.ceil(digits / 3)
    assert encoding.encode(np.zeros((2, 7))).shape == (2, 7, encoding.words_per_number)
    assert encoding.encode(np.zeros((0, 7))).shape == (0, 7, encoding.words_per_number)
    assert encoding.decode(encoding.encode(np.zeros((0, 7)))).shape == (0, 7)


def test_known_numbers_have_known_words():
    assert words(by_name("P1000"), 3.14159) == ["+", "314", "E-2"]
    assert words(by_name("P1000"), -0.0) == ["+", "0", "E0"]
    assert words(by_name("P1000"), -9.996) == ["-", "100", "E-1"]
    assert words(by_name("P1000", 2), 3.14159) == ["+", "31", "E-1"]
    assert words(by_name("P1000", 4), 3.14159) == ["+", "3", "142", "E-3"]
    assert words(by_name("P1000", 5), 10005) == ["+", "10", "5", "E0"]
    assert words(by_name("P1000", 4), 0) == ["+", "", "0", "E0"]
    assert words(by_name("P1000", 9), -123456789e-20) == ["-", "123", "456", "789", "E-20"]
    assert words(by_name("P1000", 9), 1) == ["+", "100", "0", "0", "E-8"]


@pytest.mark.parametrize("digits", DIGITS)
def test_magnitudes_below_1e_98_are_written_as_zero(digits):
    encoding = by_name("P1000", digits)
    zero = encoding.encode(0.0)
    for value in (9.99e-99, -9.99e-99, 1e-99, -1e-200, 5e-324, -0.0):
        assert np.array_equal(encoding.encode(value), zero)
    assert float(encoding.decode(zero)) == 0
    assert math.copysign(1, float(encoding.decode(zero))) == 1


@pytest.mark.parametrize("digits", [2, 3])
def test_1e_98_is_the_smallest_number_written(digits):
    encoding = by_name("P1000", digits)
    assert float(encoding.round(1e-98)) == pytest.approx(1e-98, rel=1e-15, abs=0)
    assert float(encoding.round(-1e-98)) == pytest.approx(-1e-98, rel=1e-15, abs=0)


@pytest.mark.parametrize("digits", DIGITS)
def test_the_largest_number_is_all_nines_at_e100(digits):
    encoding = by_name("P1000", digits)
    assert number(encoding, encoding.encode(float(f"{'9' * digits}e100"))) == (1, 10**digits - 1, 100)
    with pytest.raises(ValueError, match="cannot write"):
        encoding.encode(float(f"{'9' * digits}.6e100"))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e103, -1e103, 1e109, 1e200, -1.7e308])
def test_what_is_not_finite_or_too_large_is_refused_without_a_warning(value):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match="cannot write"):
            by_name("P1000").encode(np.array([[1.0, value]]))


def test_words_that_are_no_number_decode_to_nan():
    encoding = by_name("P1000", 7)
    plus, empty, zero, one, e0 = (encoding.vocabulary.index(word) for word in ("+", "", "0", "1", "E0"))
    size = len(encoding.vocabulary)
    nonsense = [
        [empty, one, one, one, e0],
        [one, one, one, one, e0],
        [e0, one, one, one, e0],
        [plus, one, one, one, one],
        [plus, one, one, one, empty],
        [plus, one, one, one, plus],
        [plus, plus, one, one, e0],
        [plus, one, e0, one, e0],
        [plus, one, one, e0, e0],
        [plus, one, one, empty, e0],
        [plus, empty, empty, empty, e0],
        [plus, one, empty, one, e0],
        [plus, one, empty, empty, e0],
        [plus, zero, empty, one, e0],
        [-1, one, one, one, e0],
        [plus, one, one, one, size],
        [plus, one, one, one, 2**40],
        [plus, -5, one, one, e0],
    ]
    values = encoding.decode(np.array(nonsense))
    assert {tuple(ids) for ids, value in zip(nonsense, values, strict=True) if not np.isnan(value)} == set()
    numbers = [[plus, empty, empty, zero, e0], [plus, empty, one, zero, e0], [plus, one, one, one, e0]]
    assert encoding.decode(np.array(numbers)).tolist() == [0, 1000, 1001001]


def test_one_bad_number_spoils_no_other():
    encoding = by_name("P1000")
    ids = encoding.encode(np.array([[1.5, -2.5], [0.0, 40.0]]))
    ids[0, 1, 0] = 2
    values = encoding.decode(ids)
    assert np.isnan(values[0, 1])
    assert values[[0, 1, 1], [0, 0, 1]].tolist() == [1.5, 0.0, 40.0]


def test_ids_of_another_width_are_refused():
    with pytest.raises(ValueError, match="3"):
        by_name("P1000").decode(np.zeros((4, 5), dtype=np.int64))


@pytest.mark.parametrize("digits", DIGITS)
def test_torch_and_numpy_agree_on_every_id_and_every_bit(digits):
    torch = pytest.importorskip("torch")
    encoding = by_name("P1000", digits)
    values = hard_values(digits)
    ids = encoding.encode(values)
    torch_ids = encoding.encode(torch.from_numpy(values))
    assert np.array_equal(torch_ids.numpy(), ids)
    decoded = encoding.decode(torch_ids)
    assert decoded.dtype == torch.float64
    assert decoded.numpy().tobytes() == encoding.decode(ids).tobytes()


def test_torch_and_numpy_agree_on_what_is_no_number():
    torch = pytest.importorskip("torch")
    encoding = by_name("P1000", 5)
    ids = np.random.default_rng(0).integers(-2, len(encoding.vocabulary) + 2, (20_000, 4))
    ids[::3, 0] = 0
    ids[::2, 1] = 2
    ids[::2, -1] = len(encoding.vocabulary) - 7
    values = encoding.decode(ids)
    assert 0 < np.isnan(values).mean() < 1
    assert np.array_equal(encoding.decode(torch.from_numpy(ids)).numpy(), values, equal_nan=True)


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e103, -1.7e308])
def test_torch_refuses_what_numpy_refuses(value):
    torch = pytest.importorskip("torch")
    with pytest.raises(ValueError, match="cannot write"):
        by_name("P1000").encode(torch.tensor([1.0, value], dtype=torch.float64))


def test_the_vocabulary_is_signs_the_empty_word_mantissas_and_exponents():
    vocabulary = by_name("P1000").vocabulary
    assert len(vocabulary) == len(set(vocabulary)) == 2 + 1 + 1000 + 201
    assert set(vocabulary) == {
        *("+", "-", ""),
        *(str(mantissa) for mantissa in range(1000)),
        *(f"E{exponent}" for exponent in range(-100, 101)),
    }
    assert by_name("P1000", 9).vocabulary == vocabulary


@pytest.mark.parametrize("digits", DIGITS)
def test_every_id_stands_in_the_range_of_its_slot(digits):
    encoding = by_name("P1000", digits)
    ids = encoding.encode(hard_values(digits))
    assert len(encoding.slots) == encoding.words_per_number
    for slot, (low, high) in enumerate(encoding.slots):
        assert 0 <= low <= ids[:, slot].min()
        assert ids[:, slot].max() < high <= len(encoding.vocabulary)


@pytest.mark.parametrize(
    ("name", "digits"),
    [("P100", 3), ("p1000", 3), ("", 3), ("P1000", 1), ("P1000", 10), ("P1000", True), ("P1000", 3.0)],
)
def test_an_unknown_encoding_or_digit_count_is_refused(name, digits):
    with pytest.raises(ValueError, match="must be"):
        by_name(name, digits)


def test_a_matrix_is_its_dimensions_and_its_numbers_row_by_row():
    matrix = np.array([[3.14159, 0.0, -12345.0], [0.5, 1e-99, 9.996]])
    assert " ".join(matrix_words(by_name("P1000"), matrix)) == (
        "V2 V3 + 314 E-2 + 0 E0 - 123 E2 + 500 E-3 + 0 E0 + 100 E-1"
    )
    assert matrix_words(by_name("P1000", 4), np.array([[0.0]])) == ["V1", "V1", "+", "0", "E0"]
