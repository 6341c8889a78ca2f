import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from matstream.generator_service.variates import uniforms

keys = st.integers(0, 2**128 - 1)
widths = st.integers(1, 12).map(lambda quarter: 4 * quarter)


@given(keys, st.integers(0, 2**63 - 100), widths, st.integers(1, 40), st.data())
def test_a_row_is_the_same_whatever_rows_are_asked_for(key, start, words, count, data):
    table = uniforms(key, start, count, words)
    first = data.draw(st.integers(0, count - 1))
    asked = data.draw(st.integers(1, count - first))
    assert np.array_equal(uniforms(key, start + first, asked, words), table[first : first + asked])


@given(keys, st.integers(0, 50), widths)
def test_rows_are_the_words_of_philox_one_after_another(key, start, words):
    sequence = np.random.Philox(key=key).random_raw((start + 3) * words) >> np.uint64(11)
    expected = sequence.reshape(-1, words)[start:] * 2.0**-53
    assert np.array_equal(uniforms(key, start, 3, words), expected)


def test_no_word_is_used_twice():
    assert len(np.unique(uniforms(5, 2**40, 3000, 12))) == 36_000


def test_another_key_gives_other_words():
    tables = [uniforms(key, 0, 100, 8) for key in (0, 1, 2**64, 2**127)]
    assert len(np.unique(tables)) == 4 * 800


def test_uniforms_lie_strictly_between_0_and_1(monkeypatch):
    extremes = np.array([[0.0, 2.0**-53, 0.5, 1 - 2.0**-53]])

    class Extreme:
        def __init__(self, bits):
            pass

        def random(self, shape):
            return extremes.copy()

    monkeypatch.setattr(np.random, "Generator", Extreme)
    table = uniforms(0, 0, 1, 4)
    assert ((table > 0) & (table < 1)).all()
    assert np.array_equal(table[0, 1:], extremes[0, 1:])
    assert table[0, 0] < 2.0**-53


def test_the_last_index_of_the_widest_rows_can_be_reached():
    table = uniforms(2**128 - 1, 2**63 - 2, 1, 4096)
    assert table.shape == (1, 4096)
    assert len(np.unique(table)) == 4096
