import itertools
import math
from fractions import Fraction

import numpy as np
import pytest

from matstream.shared.operations import OPERATIONS
from tests.shared.operations.answers import answers


def leibniz(matrix):
    """The sum over all permutations, which is the definition."""
    n = len(matrix)
    return math.fsum(
        np.linalg.det(np.eye(n)[list(order)]) * math.prod(matrix[i, j] for i, j in enumerate(order))
        for order in itertools.permutations(range(n))
    )


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_determinants_are_sums_over_permutations(n):
    for matrix, target in zip(*answers("determinant", n), strict=True):
        bound = np.prod(np.linalg.norm(matrix, axis=1))
        assert abs(target[0, 0] - leibniz(matrix)) <= 1e-14 * n * bound


def test_determinants_of_structures_are_products_of_eigenvalues():
    for structure in ("toeplitz", "kronecker", "block_diagonal:toeplitz"):
        inputs, targets = answers("determinant", 6, structure=structure)
        expected = np.linalg.eigvals(inputs).prod(axis=1).real
        np.testing.assert_allclose(targets[:, 0, 0], expected, rtol=1e-9)


@pytest.mark.parametrize("n", [2, 15, 40])
def test_determinants_of_large_and_of_ill_conditioned_matrices_are_not_taken_for_0(n):
    for kappa in (1e2, 1e4):
        _, targets = answers("determinant", n, count=20, scale=1, structure=f"condition-{kappa:g}")
        np.testing.assert_allclose(np.abs(targets), kappa ** (-n / 2), rtol=1e-9)
    _, targets = answers("determinant", 2 * n, count=20)
    assert targets.all()


def test_a_determinant_that_rounding_cannot_tell_from_0_is_0():
    singular = np.array([[[1.0, 2], [3, 6]], [[0.1, 0.3], [0.2, 0.6]], [[1.0, 2], [3, 4]]])
    targets, residuals = OPERATIONS["determinant"].target(singular)
    assert targets[:2].tolist() == [[[0.0]], [[0.0]]]
    assert targets[2, 0, 0] == pytest.approx(-2)
    assert (residuals < 1e-15).all()


def test_rounding_that_decides_a_digit_is_refused():
    rng = np.random.default_rng(0)
    a, b, c, far = (rng.uniform(1, 2, 4000) for _ in range(4))
    nearly = np.stack([a, b, c, b * c / a * (1 + 1e-9 * far)], axis=1).reshape(-1, 2, 2)
    targets, residuals = OPERATIONS["determinant"].target(nearly)
    exact = [
        float(Fraction(w) * Fraction(z) - Fraction(x) * Fraction(y))
        for w, x, y, z in nearly.reshape(-1, 4).tolist()
    ]
    error = np.abs(targets[:, 0, 0] - exact) / np.abs(exact)
    accepted = residuals <= OPERATIONS["determinant"].residual_bound
    assert accepted.mean() < 0.2
    assert (error > 1e-9).mean() > 0.9
    assert np.median(residuals / error) > 0.5
