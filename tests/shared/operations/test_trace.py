import math

import pytest

from tests.shared.operations.answers import answers


@pytest.mark.parametrize("n", [1, 2, 5, 24])
def test_traces_are_sums_of_the_diagonal(n):
    for matrix, target in zip(*answers("trace", n), strict=True):
        exact = math.fsum(matrix[i, i] for i in range(n))
        assert abs(target[0, 0] - exact) <= 1e-15 * sum(abs(matrix[i, i]) for i in range(n))
