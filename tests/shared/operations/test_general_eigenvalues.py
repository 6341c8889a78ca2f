import numpy as np
import pytest
import scipy.linalg

from matstream.shared.linear_algebra.complex_values import in_order
from matstream.shared.operations import OPERATIONS
from tests.shared.operations.answers import answers


@pytest.mark.parametrize("n", [1, 2, 3, 5, 16])
@pytest.mark.parametrize("structure", ["none", "circulant", "orthogonal"])
def test_eigenvalues_are_those_of_a_schur_form_in_order(n, structure):
    for matrix, target in zip(*answers("general_eigenvalues", n, structure=structure), strict=True):
        expected = np.diag(scipy.linalg.schur(matrix, output="complex")[0])
        left = list(expected)
        for real, imaginary in target:
            value = complex(real, imaginary)
            nearest = min(left, key=lambda other: abs(other - value))
            assert abs(nearest - value) <= 1e-9 * np.abs(expected).max()
            left.remove(nearest)
        ties = np.diff(target[:, 0]) > -1e-9 * np.abs(expected).max()
        assert (np.diff(target[:, 0]) <= 1e-9 * np.abs(expected).max()).all()
        assert (np.diff(target[:, 1])[ties] <= 0).all()


def test_real_parts_that_rounding_makes_differ_count_as_equal():
    values = np.array([[1 + 1e-14 + 2j, 1 + 3j, 1 - 1e-14 - 3j, 1 - 2j, 5]])
    np.testing.assert_allclose(in_order(values)[0, :, 1], [0, 3, 2, -2, -3])


def test_matrices_whose_eigenvalues_an_ulp_moves_far_are_refused():
    inputs = np.array([[[1.0, 1e8], [0, 1]], [[1.0, 1e8], [0, 3]], [[0.0, -1], [1, 0]], [[2.0, 0], [0, 2]]])
    targets, residuals = OPERATIONS["general_eigenvalues"].target(inputs)
    assert (residuals <= 1e-10).tolist() == [False, True, True, True]
    assert targets[2].tolist() == [[0, 1], [0, -1]]
    assert targets[3].tolist() == [[2, 0], [2, 0]]
