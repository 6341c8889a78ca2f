import numpy as np
import pytest

from matstream.shared.operations import OPERATIONS
from tests.shared.operations.answers import answers, close


@pytest.mark.parametrize(("m", "n"), [(1, 1), (2, 2), (4, 6), (6, 4), (9, 9)])
def test_answers_keep_what_is_seen_and_have_the_rank_of_what_is_seen_whole(m, n):
    hidden = 0
    for matrix, target in zip(*answers("completion", m, n, 60), strict=True):
        seen = matrix != 0
        hidden += (~seen).sum()
        assert np.array_equal(target[seen], matrix[seen])
        rows, cols = seen.all(axis=1), seen.all(axis=0)
        rank = np.linalg.matrix_rank(matrix[np.ix_(rows, cols)], tol=1e-7 * np.abs(matrix).max())
        assert np.linalg.matrix_rank(target, tol=1e-7 * np.abs(matrix).max()) == rank
    assert hidden > 0 or min(m, n) == 1


def test_answers_of_rank_1_are_those_of_ratios():
    inputs, targets = answers("completion", 3, 2, 60)
    for matrix, target in zip(inputs, targets, strict=True):
        [col] = np.flatnonzero((matrix != 0).all(axis=0))[:1]
        [row] = np.flatnonzero((matrix != 0).all(axis=1))[:1]
        assert close(target, np.outer(matrix[:, col], matrix[row]) / matrix[row, col], 1e-10)


def test_without_a_whole_row_and_column_nothing_is_determined():
    _, residuals = OPERATIONS["completion"].target(np.array([[[0.0, 1], [1, 0]], [[1.0, 2], [2, 0]]]))
    assert (residuals <= 1e-10).tolist() == [False, True]
