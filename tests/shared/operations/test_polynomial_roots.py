import mpmath
import numpy as np
import pytest

from matstream.shared.operations import OPERATIONS
from tests.shared.operations.answers import answers


@pytest.mark.parametrize("n", [1, 2, 3, 5, 9])
def test_roots_are_those_of_a_computation_with_40_digits(n):
    for coefficients, target in zip(*answers("polynomial_roots", n, count=5), strict=True):
        with mpmath.workdps(40):
            exact = mpmath.polyroots([1, *coefficients[:, 0].tolist()], maxsteps=500, extraprec=200)
        expected = sorted(
            (complex(root) for root in exact), key=lambda root: (-round(root.real, 8), -root.imag)
        )
        found = target[:, 0] + 1j * target[:, 1]
        assert np.abs(found - expected).max() <= 1e-9 * np.abs(expected).max()


@pytest.mark.parametrize("n", [2, 6, 20])
def test_products_of_roots_are_the_polynomial(n):
    for coefficients, target in zip(*answers("polynomial_roots", n), strict=True):
        rebuilt = np.poly(target[:, 0] + 1j * target[:, 1])
        assert np.abs(rebuilt[1:] - coefficients[:, 0]).max() <= 1e-8 * np.abs(rebuilt).max()


def test_roots_that_meet_are_refused():
    twice, apart = [-2.0, 1], [-3.0, 2]  # (x − 1)² and (x − 1)(x − 2)
    targets, residuals = OPERATIONS["polynomial_roots"].target(np.array([twice, apart])[:, :, None])
    assert targets[1].tolist() == [[2, 0], [1, 0]]
    nearly = np.array([[-2.0, 1 - 1e-13]])[:, :, None]
    assert not OPERATIONS["polynomial_roots"].target(nearly)[1][0] <= 1e-10
    assert residuals[1] <= 1e-14
