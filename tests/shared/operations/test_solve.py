import numpy as np
import pytest
import scipy.linalg

from matstream.shared.operations import OPERATIONS
from tests.shared.operations.answers import answers, close


@pytest.mark.parametrize("n", [1, 2, 5, 24])
def test_solutions_are_those_of_a_qr_decomposition(n):
    for matrix, x in zip(*answers("solve", n), strict=True):
        q, r = scipy.linalg.qr(matrix[:, :-1])
        expected = scipy.linalg.solve_triangular(r, q.T @ matrix[:, -1:])
        assert close(x, expected, 1e-10)


def test_a_known_system():
    inputs = np.array([[[2.0, 1, 5], [1, 3, 10]]])
    targets, residuals = OPERATIONS["solve"].target(inputs)
    np.testing.assert_allclose(targets[0, :, 0], [1, 3], rtol=1e-15)
    assert residuals[0] < 1e-15
