import numpy as np
import pytest

from shared.encodings import by_name
from trainer.tokens import Tokens

P1000 = by_name("P1000")


@pytest.mark.parametrize("form", ["factored", "sequential"])
@pytest.mark.parametrize("with_shape", [True, False])
@pytest.mark.parametrize("shape", [(1, 1), (2, 5), (4, 3)])
def test_matrices_are_read_back_as_their_encoding_rounds_them(form, with_shape, shape):
    tokens = Tokens(P1000, form, shape, with_shape)
    matrices = np.random.default_rng(0).normal(size=(20, *shape)) * 100
    ids = tokens.encode(matrices)
    assert ids.shape == (20, tokens.length, len(tokens.alphabets))
    np.testing.assert_array_equal(tokens.decode(ids), P1000.round(matrices))


def test_factored_sequences_are_as_many_times_shorter_as_a_number_has_words():
    factored, sequential = (
        Tokens(P1000, form, (3, 3), with_shape=False) for form in ("factored", "sequential")
    )
    assert factored.length == 9
    assert sequential.length == 27


def test_ids_stay_within_the_alphabet_of_their_slot():
    tokens = Tokens(P1000, "factored", (2, 2), with_shape=True)
    extremes = np.array([[[0.0, -9.99e102], [1e-98, 999]]])
    ids = tokens.encode(extremes)
    assert (ids >= 0).all()
    assert (ids < np.array(tokens.alphabets)).all()


def test_the_shape_stands_before_the_entries():
    tokens = Tokens(P1000, "sequential", (2, 5), with_shape=True)
    ids = tokens.encode(np.zeros((1, 2, 5)))
    assert ids[0, :2, 0].tolist() == [2, 5]


@pytest.mark.parametrize("form", ["factored", "sequential"])
def test_an_output_that_is_no_number_is_read_as_nan_and_harms_no_other(form):
    tokens = Tokens(P1000, form, (1, 2), with_shape=False)
    ids = tokens.encode(np.array([[[1.5, 2.5]], [[3.5, 4.5]]]))
    ids[0, 0, 0] = 0  # the word that opens an output, where a sign should stand
    read = tokens.decode(ids)
    assert np.isnan(read[0, 0, 0])
    assert read[0, 0, 1] == 2.5
    assert read[1].tolist() == [[3.5, 4.5]]
