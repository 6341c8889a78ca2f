import numpy as np
import pytest

from matstream.shared.operations import OPERATIONS
from tests.shared.operations.answers import answers


@pytest.mark.parametrize("n", [1, 2, 5, 24])
@pytest.mark.parametrize("fields", [{}, {"spectrum": "marchenko_pastur"}, {"structure": "covariance"}])
def test_logarithms_are_those_of_the_lu_decomposition(n, fields):
    inputs, targets = answers("log_determinant", n, **fields)
    signs, expected = np.linalg.slogdet(inputs)
    assert (signs == 1).all()
    np.testing.assert_allclose(targets[:, 0, 0], expected, rtol=1e-9, atol=1e-9)


def test_a_logarithm_that_rounding_cannot_tell_from_0_is_0_and_what_is_not_definite_is_refused():
    inputs = np.array([np.eye(2), np.diag([3.0, 1 / 3]), [[1.0, 2], [2, 1]], np.zeros((2, 2))])
    targets, residuals = OPERATIONS["log_determinant"].target(inputs)
    assert targets[:2, 0, 0].tolist() == [0, 0]
    assert np.isnan(residuals[2:]).all()
