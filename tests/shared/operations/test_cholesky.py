import numpy as np
import pytest
import scipy.linalg

from matstream.shared.operations import OPERATIONS
from tests.shared.operations.answers import answers, close


@pytest.mark.parametrize("n", [1, 2, 5, 24])
@pytest.mark.parametrize(
    "fields", [{}, {"spectrum": "abs_laplace,marchenko_pastur"}, {"structure": "covariance"}]
)
def test_factors_are_lower_triangular_with_a_positive_diagonal_and_give_the_matrix(n, fields):
    for matrix, factor in zip(*answers("cholesky", n, **fields), strict=True):
        assert np.array_equal(factor, np.tril(factor))
        assert (np.diag(factor) > 0).all()
        assert close(factor @ factor.T, matrix, 1e-13)
        assert close(factor, scipy.linalg.cholesky(matrix).T, 1e-9)


def test_what_is_not_positive_definite_has_no_factor_and_harms_no_other():
    inputs = np.array([[[4.0, 2], [2, 3]], [[1.0, 2], [2, 1]], [[9.0, 0], [0, 1]]])
    targets, residuals = OPERATIONS["cholesky"].target(inputs)
    assert np.isnan(residuals).tolist() == [False, True, False]
    np.testing.assert_allclose(targets[0], [[2, 0], [1, np.sqrt(2)]])
