import numpy as np
import pytest
import scipy.linalg

from matstream.shared.operations import OPERATIONS
from matstream.shared.scoring import right_strictly, score
from tests.shared.operations.answers import answers, close


@pytest.mark.parametrize("n", [1, 2, 3, 5, 24])
@pytest.mark.parametrize(
    "fields", [{}, {"structure": "toeplitz"}, {"coefficients": "gaussian", "scale": 1e6}]
)
def test_factors_and_permutation_are_those_of_lapack(n, fields):
    for matrix, target in zip(*answers("lu", n, **fields), strict=True):
        p, lower, upper = scipy.linalg.lu(matrix)
        assert (target[0] - 1).tolist() == p.T.argmax(axis=1).tolist()
        assert close(np.tril(target[1:], -1) + np.eye(n), lower, 1e-10)
        assert close(np.triu(target[1:]), upper, 1e-10)


def test_a_known_matrix():
    target, residuals = OPERATIONS["lu"].target(np.array([[[1.0, 2], [4, 6]]]))
    assert target[0].tolist() == [[2, 1], [4, 6], [0.25, 0.5]]
    assert residuals[0] == 0


def test_equal_pivots_are_marked_and_singular_matrices_refused():
    inputs = np.array([[[1.0, 2], [-1, 5]], [[1.0, 2], [0.5, 1]], [[1.0, 2], [3, 4]]])
    operation = OPERATIONS["lu"]
    targets, residuals = operation.target(inputs)
    assert operation.has_one_answer(inputs, targets).tolist() == [False, True, True]
    assert (residuals <= operation.residual_bound).tolist() == [True, False, True]


def test_another_permutation_is_wrong_by_the_strict_rule():
    inputs, targets = answers("lu", 3)
    predictions = targets.copy()
    predictions[:, 0, :2] = targets[:, 0, 1::-1]
    scores = score("lu", inputs, targets, predictions)
    assert not right_strictly("lu", scores, inputs, targets, predictions).any()
    scores = score("lu", inputs, targets, targets)
    assert right_strictly("lu", scores, inputs, targets, targets).all()
