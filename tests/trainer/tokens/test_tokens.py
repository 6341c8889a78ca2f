import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given

from matstream.generator_service.stream import generate
from matstream.shared.encodings import POWERS, by_name
from matstream.shared.operations import OPERATIONS
from matstream.shared.spec import StreamSpec
from matstream.shared.tasks import tasks_of
from matstream.shared.wire import flat, from_batch, select
from matstream.trainer.tokens.tokens import NOTHING, Tokens, encode
from tests.specs import fields_of

FORMS = ("factored", "sequential")
ENCODINGS = [("P10", 3), ("P10", 6), ("P1000", 3), ("P1000", 5), ("B1999", 3), ("FP15", 3)]
P1000 = by_name("P1000")
FIXED = StreamSpec(operation="svd", dim=2, cols=3)
MIXED = StreamSpec(operation="add,matvec,svd", dim="1-3", cols="1-2")


def tokens(spec: StreamSpec, encoding=P1000, form="factored", side="target", in_grid=True) -> Tokens:
    return Tokens(encoding, form, side, tasks_of(spec), in_grid and form == "factored")


def words(side: Tokens, ids: np.ndarray) -> list[str]:
    """A sequential sequence as words, up to its end."""
    vocabulary = [*side.encoding.vocabulary, "MARK", *side.headers[1:]]
    return [vocabulary[i] for i in ids[:, 0] if i != NOTHING]


@pytest.mark.parametrize("spec", [FIXED, MIXED, StreamSpec(operation="eigenvectors", dim="1-4")])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("name", "digits"), ENCODINGS)
def test_matrices_are_read_back_as_their_encoding_rounds_them(spec, form, name, digits):
    encoding = by_name(name, digits)
    read, write = (tokens(spec, encoding, form, side) for side in ("input", "target"))
    samples = from_batch(generate(spec, 0, "train", 0, 300))
    input_ids, target_ids, tasks = encode(samples, spec.operation, read, write)
    assert len(np.unique(tasks)) == len(tasks_of(spec))
    for task in np.unique(tasks):
        rows = np.flatnonzero(tasks == task)
        for side, ids, column in ((read, input_ids, samples.input), (write, target_ids, samples.target)):
            expected = encoding.round(select(column, rows))
            np.testing.assert_array_equal(side.decode(ids[rows], task), expected)


@given(st.lists(st.floats(-1e90, 1e90), min_size=4, max_size=4), st.sampled_from(FORMS))
def test_any_numbers_are_read_back_zeros_among_them(numbers, form):
    spec = StreamSpec(operation="transpose", dim=2)
    for name, digits in ENCODINGS[:5]:
        side = tokens(spec, by_name(name, digits), form)
        matrices = np.array(numbers).reshape(1, 2, 2)
        ids = side.encode(flat(matrices), np.zeros(1, np.int64))
        np.testing.assert_array_equal(side.decode(ids, 0), side.encoding.round(matrices))


@pytest.mark.parametrize(
    ("name", "digits", "slot"), [("P1000", 3, 1), ("P1000", 2, 1), ("B1999", 3, 0), ("FP15", 3, 0)]
)
def test_a_word_that_holds_all_digits_has_a_value_in_proportion_to_its_number(name, digits, slot):
    side = tokens(StreamSpec(operation="transpose", dim=1), by_name(name, digits))
    found, values = side.mantissas
    numbers = np.array([x for x in range(-990, 1000, 10) if abs(x) >= 100], dtype=float)  # of one exponent
    ids = side.encode(flat(numbers.reshape(-1, 1, 1)), np.zeros(len(numbers), np.int64))
    words = ids[:, 0, slot] - side.slots[slot][0]
    signed = numbers if name != "P1000" else np.abs(numbers)
    assert found == slot
    assert len(values) == side.slots[slot][1] - side.slots[slot][0]
    anything = np.geomspace(1e-9, 1e8, 100_000)
    anything = np.concatenate([-anything, [0.0], anything])
    written = side.encoding.encode(anything)[:, slot] - side.encoding.slots[slot][0]
    assert set(np.flatnonzero(np.isfinite(values))) >= set(written.tolist())
    assert np.isfinite(values).sum() < len(values) or name == "FP15"  # "" and "007" are never written
    np.testing.assert_allclose(values[words] / signed, values[words[0]] / signed[0])


@pytest.mark.parametrize(
    ("name", "digits", "form"),
    [
        ("P10", 3, "factored"),
        ("P1000", 4, "factored"),
        ("P1000", 3, "sequential"),
        ("B1999", 4, "factored"),  # 19,999 words
    ],
)
def test_where_several_words_hold_the_digits_or_words_are_many_none_has_a_value(name, digits, form):
    assert tokens(FIXED, by_name(name, digits), form).mantissas is None


def test_the_sequential_form_is_the_published_one():
    spec = StreamSpec(operation="transpose", dim=2)
    matrix = np.array([[[3.14159, 0.0], [-2.5, 1000.0]]])
    task = np.zeros(1, np.int64)
    for name, expected in {
        "P10": "V2 V2 + 3 1 4 E-2 + 0 E0 - 2 5 0 E-2 + 1 0 0 E1 MARK",
        "P1000": "V2 V2 + 314 E-2 + 0 E0 - 250 E-2 + 100 E1 MARK",
        "B1999": "V2 V2 N314 E-2 N0 E0 N-250 E-2 N100 E1 MARK",
        "FP15": "V2 V2 N314e7 N0e0 N-250e7 N100e10 MARK",
    }.items():
        side = tokens(spec, by_name(name), "sequential")
        assert words(side, side.encode(flat(matrix), task)[0]) == expected.split()


def test_with_several_operations_its_name_comes_first():
    spec = StreamSpec(operation="add,transpose", dim=1)
    for side in (tokens(spec, form="sequential", side=name) for name in ("input", "target")):
        for number, task in enumerate(side.tasks):
            shape = task.input_shape if side.side == "input" else task.target_shape
            ids = side.encode(flat(np.ones((1, *shape))), np.array([number]))
            assert words(side, ids[0])[0] == task.operation
    factored = tokens(spec)
    assert len(set(factored.opening.tolist())) == 2


def test_factored_sequences_are_as_many_times_shorter_as_a_number_has_words():
    spec = StreamSpec(operation="transpose", dim=3)
    assert tokens(spec).length == 9
    assert tokens(spec, form="sequential").length == 27 + 3


def test_a_vocabulary_for_larger_matrices_begins_as_that_for_smaller_ones():
    small, large = (tokens(StreamSpec(operation="transpose", dim=n), form="sequential") for n in (2, 5))
    matrix = flat(np.full((1, 2, 2), 7.0))
    either = StreamSpec(operation="transpose", dim="2-5")
    assert large.size > small.size
    ids = small.encode(matrix, np.zeros(1, np.int64))[0]
    same = tokens(either, form="sequential").encode(matrix, np.zeros(1, np.int64))[0]
    np.testing.assert_array_equal(same[: len(ids)], ids)


def test_ids_stay_within_the_range_of_their_slot():
    side = tokens(StreamSpec(operation="transpose", dim=2))
    extremes = np.array([[[0.0, -9.99e102], [1e-98, 999]]])
    ids = side.encode(flat(extremes), np.zeros(1, np.int64))
    starts, stops = np.array(side.slots).T
    assert ((ids >= starts) & (ids < stops)).all()


@pytest.mark.parametrize("operation", OPERATIONS)
def test_no_two_positions_of_a_sequence_have_the_same_place(operation):
    for side in ("input", "target"):
        made = tokens(StreamSpec(**(fields_of(operation, 3, 2) | {"dim": "3-4"})), side=side)
        for places, length in zip(made.places, made.lengths, strict=True):
            assert len(np.unique(places[:length], axis=0)) == length


def test_entries_that_belong_together_have_the_same_row_and_column_in_their_blocks():
    add = tokens(StreamSpec(operation="add", dim=2, cols=3), side="input").places[0]
    blocks, cells = add[:, 0], add[:, 1:]
    np.testing.assert_array_equal(cells[blocks == 1], cells[blocks == 2])
    svd = tokens(FIXED).places[0]  # 2×3: σ in one row of two, U 2×2, V 3×2
    assert [(svd[:, 0] == block).sum() for block in (1, 2, 3)] == [2, 4, 6]
    assert svd[svd[:, 0] == 3][0].tolist() == [3, 0, 0]


@pytest.mark.parametrize(("name", "digits"), ENCODINGS)
def test_the_values_of_ids_are_the_numbers_that_they_write_and_0_elsewhere(name, digits):
    samples = from_batch(generate(MIXED, 0, "train", 0, 20))
    read = tokens(MIXED, by_name(name, digits), side="input")
    ids, _, tasks = encode(samples, MIXED.operation, read, tokens(MIXED))
    values = read.values(torch.from_numpy(ids), torch.from_numpy(POWERS)).numpy()
    header = read.header(0).size
    assert (values[:, :header] == 0).all()
    for row, task in enumerate(tasks):
        entries = read.decode(ids[row : row + 1], task)[0].ravel()
        assert np.array_equal(values[row, header : header + len(entries)], entries)
        assert (values[row, header + len(entries) :] == 0).all()


@pytest.mark.parametrize("form", FORMS)
def test_an_output_that_is_no_number_is_read_as_nan(form):
    spec = StreamSpec(operation="transpose", dim=1, cols=2)
    side = tokens(spec, form=form)
    ids = side.encode(flat(np.array([[[1.5], [2.5]], [[3.5], [4.5]]])), np.zeros(2, np.int64))
    broken = ids.copy()
    broken[0, -2 if form == "sequential" else -1, 0] = side.mark
    read = side.decode(broken, 0)
    assert np.isnan(read[0]).any()
    assert read[1].tolist() == [[3.5], [4.5]]


SEQUENTIAL = tokens(StreamSpec(operation="transpose", dim=1, cols=2), by_name("P10"), "sequential")


@pytest.mark.parametrize(
    ("written", "valid"),
    [
        ("V2 V1 + 3 1 4 E-2 - 2 5 0 E-2 MARK", True),
        ("V2 V1 + 0 E0 + 0 E0 MARK", True),
        ("V2 V1 + 5 E0 + 0 E0 MARK", True),  # fewer digits than it would write, but a number
        ("V1 V2 + 3 1 4 E-2 - 2 5 0 E-2 MARK", False),  # another shape
        ("V2 V1 + 3 1 4 E-2 MARK", False),  # one number missing
        ("V2 V1 + 3 1 4 E-2 - 2 5 0 E-2 + 1 0 0 E0 MARK", False),  # one too many
        ("V2 V1 + 3 1 4 E-2 - 2 5 0 E-2", False),  # no end
        ("V2 V1 + 3 1 4 - 2 5 0 E-2 MARK", False),  # no exponent
        ("V2 V1 + E-2 - 2 5 0 E-2 MARK", False),  # no digits
        ("V2 V1 3 1 4 E-2 - 2 5 0 E-2 MARK", False),  # no sign
        ("V2 V1 + 3 E-2 1 4 E-2 - 2 5 0 E-2 MARK", False),  # a digit too many, an exponent within
        ("V2 V1 + 3 1 4 1 E-2 - 2 5 0 E-2 MARK", False),  # four digits
        ("V2 V1 + V1 1 4 E-2 - 2 5 0 E-2 MARK", False),  # a dimension within a number
        ("V2 V1 + MARK", False),
        ("MARK", False),
    ],
)
def test_what_a_model_wrote_is_a_matrix_only_where_the_grammar_says_so(written, valid):
    vocabulary = [
        *SEQUENTIAL.encoding.vocabulary,
        "MARK",
        "V1",
        "V2",
    ]
    ids = np.full((1, 20, 1), NOTHING)
    ids[0, : len(written.split()), 0] = [vocabulary.index(word) for word in written.split()]
    assert (not np.isnan(SEQUENTIAL.decode(ids, 0)).any()) == valid
