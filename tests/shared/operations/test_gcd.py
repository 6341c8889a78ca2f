import math

import numpy as np
import pytest

from matstream.shared.operations import OPERATIONS
from tests.shared.operations.answers import answers


@pytest.mark.parametrize(("m", "n"), [(1, 1), (2, 2), (1, 3), (4, 2)])
@pytest.mark.parametrize("scale", [10, 1000, 10**12])
def test_divisors_are_those_of_python(m, n, scale):
    inputs, targets = answers("gcd", m, n, scale=scale)
    for matrix, target in zip(inputs, targets, strict=True):
        for i, j in np.ndindex(m, n):
            assert int(target[i, j]) == math.gcd(int(matrix[i, j]), int(matrix[i, j + n]))


def test_0_has_every_divisor_and_fractions_have_none():
    inputs = np.array([[[0.0, 6]], [[0.0, 0]], [[0.5, 1]], [[-4.0, 6]]])
    targets, residuals = OPERATIONS["gcd"].target(inputs)
    assert targets[[0, 1, 3], 0, 0].tolist() == [6, 0, 2]
    assert np.isnan(residuals).tolist() == [False, False, True, False]
