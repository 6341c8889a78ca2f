import numpy as np
import pytest

from matstream.shared.operations import OPERATIONS
from matstream.shared.scoring import right_strictly, score
from tests.shared.operations.answers import answers, close


def gram_schmidt(matrix):
    """Q and R by projections, one column after another, each twice."""
    m, n = matrix.shape
    q, r = np.zeros((m, n)), np.zeros((n, n))
    for j in range(n):
        v = matrix[:, j].copy()
        for _ in range(2):
            along = q[:, :j].T @ v
            v -= q[:, :j] @ along
            r[:j, j] += along
        r[j, j] = np.linalg.norm(v)
        q[:, j] = v / r[j, j]
    return q, r


@pytest.mark.parametrize(("m", "n"), [(1, 1), (2, 2), (5, 3), (9, 8), (24, 24)])
def test_factors_are_those_of_gram_and_schmidt(m, n):
    for matrix, target in zip(*answers("qr", m, n), strict=True):
        q, r = gram_schmidt(matrix)
        assert close(target[:m], q, 1e-10)
        assert close(target[m:], r, 1e-10)
        assert np.array_equal(target[m:], np.triu(target[m:]))
        assert (np.diag(target[m:]) > 0).all()


def test_the_r_of_an_orthogonal_matrix_is_diagonal():
    _, targets = answers("qr", 4, structure="orthogonal", scale=3)
    assert np.array_equal(targets[:, 4:] != 0, np.broadcast_to(np.eye(4) != 0, (20, 4, 4)))


def test_a_wrong_q_beside_a_large_r_is_right_by_the_published_rule_only():
    inputs, targets = answers("qr", 3, scale=1000)
    predictions = targets.copy()
    predictions[:, :3] *= 1.5
    scores = score("qr", inputs, targets, predictions)
    assert (scores.l1 < 0.05).all()
    assert not right_strictly("qr", scores, inputs, targets, predictions).any()
    exact = score("qr", inputs, targets, targets)
    assert right_strictly("qr", exact, inputs, targets, targets).all()


def test_columns_that_depend_on_one_another_are_refused():
    _, residuals = OPERATIONS["qr"].target(np.array([[[1.0, 2], [2, 4], [3, 6]]]))
    assert not residuals[0] <= OPERATIONS["qr"].residual_bound
