import numpy as np
import pytest
import scipy.linalg

from matstream.shared.operations import OPERATIONS
from tests.shared.operations.answers import answers, close


@pytest.mark.parametrize("n", [1, 2, 5, 16])
@pytest.mark.parametrize("fields", [{}, {"spectrum": "marchenko_pastur"}, {"structure": "laplacian"}])
def test_roots_give_the_matrix_and_have_no_negative_eigenvalue(n, fields):
    for matrix, root in zip(*answers("matrix_square_root", n, **fields), strict=True):
        assert close(root @ root, matrix, 1e-12)
        assert np.linalg.eigvalsh(root)[0] >= -1e-12 * np.abs(root).max()


def test_roots_are_those_of_a_schur_method():
    for matrix, root in zip(*answers("matrix_square_root", 4), strict=True):
        assert close(root, scipy.linalg.sqrtm(matrix), 1e-9)


def test_a_negative_eigenvalue_is_refused_and_0_has_the_root_0():
    inputs = np.array([np.diag([1.0, -1]), np.zeros((2, 2)), np.diag([4.0, 0])])
    targets, residuals = OPERATIONS["matrix_square_root"].target(inputs)
    assert np.isnan(residuals).tolist() == [True, False, False]
    assert targets[1:].tolist() == [[[0, 0], [0, 0]], [[2, 0], [0, 0]]]
