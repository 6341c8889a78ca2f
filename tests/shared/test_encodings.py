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

from matstream.shared.encodings import by_name, matrix_words

GOLDEN = Path(__file__).parents[1] / "data" / "encodings.jsonl"
DIGITS = range(2, 10)
ENCODINGS = [  # every one, with its fewest, its published and its most digits
    ("P10", 2),
    ("P10", 3),
    ("P10", 9),
    ("P1000", 2),
    ("P1000", 3),
    ("P1000", 4),
    ("P1000", 6),
    ("P1000", 9),
    ("B1999", 2),
    ("B1999", 3),
    ("B1999", 5),
    ("FP15", 3),
]
every_encoding = pytest.mark.parametrize(("name", "digits"), ENCODINGS)


def words(encoding, value):
    return [encoding.vocabulary[i] for i in encoding.encode(value)]


def number(encoding, ids):
    """(sign, mantissa, exponent) as the words of one number say it."""
    written = [encoding.vocabulary[i] for i in ids]
    if encoding.name == "FP15":
        mantissa, exponent = written[0].removeprefix("N").split("e")
        return (-1 if mantissa[0] == "-" else 1, abs(int(mantissa)), int(exponent) - 9)
    exponent = int(written.pop().removeprefix("E"))
    if encoding.name == "B1999":
        mantissa = int(written[0].removeprefix("N"))
        return (-1 if mantissa < 0 else 1, abs(mantissa), exponent)
    whole = 0
    for word in written[1:]:
        whole = whole * (10 if encoding.name == "P10" else 1000) + int(word or 0)
    return (-1 if written[0] == "-" else 1, whole, exponent)


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


def exponents(name, digits):
    """The decimal exponents at which all digits are written."""
    return range(-7, 8) if name == "FP15" else range(lowest(digits), 100 + digits)


@st.composite
def writable(draw):
    """An encoding and a number it writes with all digits: any, a decimal, a tie, a power, or next to one."""
    name, digits = draw(st.sampled_from(ENCODINGS))
    exponent = draw(st.sampled_from(exponents(name, digits)))
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
    return by_name(name, digits), draw(st.sampled_from([-1, 1])) * value


def hard_values(name, digits):
    """Many such numbers at once, both signs, in one array."""
    rng = np.random.default_rng(digits)
    scales = exponents(name, digits)[:-1]
    mantissas = rng.integers(10 ** (digits - 1), 10**digits - 1, size=40)
    tables = [
        [float(f"{m}{half}e{e - digits + 1}") for m in mantissas for e in scales] for half in ("", ".5")
    ]
    powers = np.array([float(f"1e{e}") for e in scales])
    spread = 10.0 ** rng.uniform(scales[0] + 0.1, scales[-1], 20_000)
    values = np.concatenate([*tables, powers, np.nextafter(powers, np.inf), powers * (1 - 1e-16), spread])
    values = values[values >= powers[0]]
    return np.concatenate([values, -values, [0.0, -0.0, 1e-99, -5e-324, 1e-300]])


@pytest.mark.parametrize("name", ["P10", "P1000", "B1999", "FP15"])
def test_numbers_are_written_and_read_as_the_published_code_does(name):
    encoding = by_name(name)
    for line in GOLDEN.read_text().splitlines():
        golden = json.loads(line)
        value, published = golden["value"], golden[name]
        written = [
            word for word in words(encoding, value) if word
        ]  # the published sequences have no empty words
        if written == published["tokens"]:
            assert float(encoding.decode(encoding.encode(value))) == published["decoded"]
        else:
            assert len(roundings(value, 3)) == 2, "not near a midpoint of two mantissas"
            assert number(encoding, encoding.encode(value))[1:] in roundings(value, 3)


def test_there_are_300_published_numbers():
    assert len(GOLDEN.read_text().splitlines()) == 300


@given(writable())
def test_a_number_is_rounded_to_the_nearest_of_its_digits(case):
    encoding, value = case
    sign, mantissa, exponent = number(encoding, encoding.encode(value))
    assert sign == math.copysign(1, value)
    assert (mantissa, exponent) in roundings(value, encoding.digits)


@given(writable())
def test_a_round_trip_is_off_by_at_most_half_a_unit_of_the_last_digit(case):
    encoding, value = case
    ids = encoding.encode(value)
    _, _, exponent = number(encoding, ids)
    error = abs(Decimal(float(encoding.decode(ids))) - Decimal(value))
    assert error <= Decimal(10) ** exponent / 2 + 4 * Decimal(math.ulp(value))


@given(writable())
def test_rounding_twice_is_rounding_once(case):
    encoding, value = case
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


@every_encoding
def test_what_was_written_once_is_written_the_same_again(name, digits):
    encoding = by_name(name, digits)
    ids = encoding.encode(hard_values(name, digits))
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
    assert words(by_name("P10"), 3.14159) == ["+", "3", "1", "4", "E-2"]
    assert words(by_name("P10"), 0) == ["+", "", "", "0", "E0"]
    assert words(by_name("B1999"), -3.14159) == ["N-314", "E-2"]
    assert words(by_name("B1999"), -0.0) == ["N0", "E0"]
    assert words(by_name("B1999", 5), 3.14159) == ["N31416", "E-4"]
    assert words(by_name("FP15"), 3.14159) == ["N314e7"]
    assert words(by_name("FP15"), -0.0) == ["N0e0"]


def test_fp15_ends_in_words_for_too_much_and_begins_by_losing_digits():
    encoding = by_name("FP15")
    assert len(encoding.vocabulary) == len(set(encoding.vocabulary)) == 29_001
    for value, word, read in [
        (9.994e8, "N999e15", 9.99e8),
        (9.996e8, "NaN", 1e9),
        (-9.996e8, "-NaN", -1e9),
        (1e300, "NaN", 1e9),
        (-1e300, "-NaN", -1e9),
        (1.234e-7, "N123e0", 1.23e-7),
        (9.87e-8, "N99e0", 9.9e-8),
        (-6e-10, "N-1e0", -1e-9),
        (4.9e-10, "N0e0", 0),
        (-1e-300, "N0e0", 0),
    ]:
        assert words(encoding, value) == [word]
        assert float(encoding.round(value)) == read
    every = np.arange(29_001 - 2)[:, None]
    assert np.array_equal(encoding.encode(encoding.decode(every)), every)


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


@every_encoding
def test_torch_and_numpy_agree_on_every_id_and_every_bit(name, digits):
    torch = pytest.importorskip("torch")
    encoding = by_name(name, digits)
    values = hard_values(name, digits)
    ids = encoding.encode(values)
    torch_ids = encoding.encode(torch.from_numpy(values))
    assert np.array_equal(torch_ids.numpy(), ids)
    decoded = encoding.decode(torch_ids)
    assert decoded.dtype == torch.float64
    assert decoded.numpy().tobytes() == encoding.decode(ids).tobytes()


@every_encoding
def test_torch_and_numpy_agree_on_what_is_no_number(name, digits):
    torch = pytest.importorskip("torch")
    encoding = by_name(name, digits)
    rng = np.random.default_rng(0)
    ids = rng.integers(-2, len(encoding.vocabulary) + 2, (20_000, encoding.words_per_number))
    for slot, (low, high) in enumerate(encoding.slots):
        ids[::2, slot] = rng.integers(low, high, 10_000)
    values = encoding.decode(ids)
    assert not np.isnan(values).all()
    assert np.isnan(encoding.decode(np.full((1, encoding.words_per_number), -1))).all()
    assert np.isnan(encoding.decode(np.full((1, encoding.words_per_number), len(encoding.vocabulary)))).all()
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


@every_encoding
def test_every_id_stands_in_the_range_of_its_slot(name, digits):
    encoding = by_name(name, digits)
    ids = encoding.encode(hard_values(name, digits))
    assert len(encoding.slots) == encoding.words_per_number
    for slot, (low, high) in enumerate(encoding.slots):
        assert 0 <= low <= ids[:, slot].min()
        assert ids[:, slot].max() < high <= len(encoding.vocabulary)


@pytest.mark.parametrize(
    ("name", "digits"),
    [
        *[("P100", 3), ("p1000", 3), ("", 3), ("P1000", 1), ("P1000", 10), ("P1000", True), ("P1000", 3.0)],
        *[("P10", 1), ("P10", 10), ("B1999", 1), ("B1999", 6), ("FP15", 2), ("FP15", 4)],
        *[("Z10", 0), ("Z10", 16), ("Z1000", 16), ("Z100", 3)],
    ],
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


def test_a_masked_value_is_refused_by_its_place():
    encoding = by_name("P1000")
    np.testing.assert_array_equal(encoding.encode(np.ma.array([1.0, 2.0])), encoding.encode([1.0, 2.0]))
    with pytest.raises(ValueError, match=r"values\[1\] is masked: must be a number"):
        encoding.encode(np.ma.masked_equal([1.0, 2.0], 2.0))


WHOLE = [(name, digits) for name in ("Z10", "Z1000") for digits in (1, 2, 3, 6, 15)]
WHOLE += [(f"{name}_lowest_first", digits) for name, digits in WHOLE]
every_whole_encoding = pytest.mark.parametrize(("name", "digits"), WHOLE)


def whole_numbers(digits):
    """Whole numbers of up to so many digits, both signs, as Python's."""
    rng = np.random.default_rng(digits)
    numbers = [int(number) for number in rng.integers(0, 10**digits, 500)]
    numbers += [0, 1, 9, 10**digits - 1, *(10**k for k in range(digits))]
    return numbers + [-number for number in numbers if number]


@every_whole_encoding
def test_whole_numbers_are_written_with_all_their_digits_and_read_back(name, digits):
    encoding = by_name(name, digits)
    base_digits = 1 if name.startswith("Z10_") or name == "Z10" else 3
    count = -(-digits // base_digits)
    for number in whole_numbers(digits):
        sign, *written = words(encoding, float(number))
        assert sign == ("-" if number < 0 else "+")
        padded = str(abs(number)).zfill(count * base_digits)
        expected = [str(int(padded[i : i + base_digits])) for i in range(0, len(padded), base_digits)]
        assert written == (expected[::-1] if name.endswith("first") else expected)
        assert float(encoding.decode(encoding.encode(float(number)))) == number


@every_whole_encoding
def test_torch_and_numpy_agree_on_whole_numbers(name, digits):
    torch = pytest.importorskip("torch")
    encoding = by_name(name, digits)
    values = np.array(whole_numbers(digits), dtype=float)
    ids = encoding.encode(values)
    assert np.array_equal(encoding.encode(torch.from_numpy(values)).numpy(), ids)
    rng = np.random.default_rng(0)
    ids = rng.integers(-2, len(encoding.vocabulary) + 2, (5000, encoding.words_per_number))
    for slot, (low, high) in enumerate(encoding.slots):
        ids[::2, slot] = rng.integers(low, high, 2500)
    decoded = encoding.decode(ids)
    valid = np.all([(ids[:, s] >= a) & (ids[:, s] < b) for s, (a, b) in enumerate(encoding.slots)], axis=0)
    assert np.array_equal(np.isnan(decoded), ~valid)
    assert np.array_equal(encoding.decode(torch.from_numpy(ids)).numpy(), decoded, equal_nan=True)


@pytest.mark.parametrize("value", [0.5, 1000.0, -1e9, math.nan, math.inf, 1e300])
def test_what_is_not_whole_or_has_too_many_digits_cannot_be_written(value):
    with pytest.raises(ValueError, match=r"cannot write .*: must be a whole number of at most 3 digits"):
        by_name("Z10", 3).encode([1.0, value])
