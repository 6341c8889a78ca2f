import itertools

import numpy as np
import pytest

from matstream.shared.operations import OPERATIONS
from tests.shared.operations.answers import answers, close


@pytest.mark.parametrize("n", [1, 2, 3, 5, 12])
def test_resistances_are_those_of_the_pseudo_inverse(n):
    for matrix, target in zip(*answers("effective_resistance", n), strict=True):
        g = np.linalg.pinv(matrix, rcond=1e-12, hermitian=True)
        diagonal = np.diag(g)
        assert close(target, diagonal[:, None] + diagonal - 2 * g, 1e-6)
        assert np.array_equal(target, target.T)


def test_resistances_of_three_nodes_are_those_of_wires_in_series_and_in_parallel():
    inputs, targets = answers("effective_resistance", 3, count=40)
    for matrix, target in zip(inputs, targets, strict=True):
        for i, j in itertools.combinations(range(3), 2):
            [k] = {0, 1, 2} - {i, j}
            direct, first, second = -matrix[i, j], -matrix[i, k], -matrix[k, j]
            round_about = first * second / (first + second) if first + second else 0
            assert target[i, j] == pytest.approx(1 / (direct + round_about), rel=1e-9)


def test_a_graph_in_two_parts_is_refused():
    two = np.zeros((3, 3))
    two[:2, :2] = [[1, -1], [-1, 1]]
    one = np.array([[1.0, -1, 0], [-1, 2, -1], [0, -1, 1]])
    targets, residuals = OPERATIONS["effective_resistance"].target(np.stack([two, one]))
    assert np.isnan(residuals).tolist() == [True, False]
    np.testing.assert_allclose(targets[1], [[0, 1, 2], [1, 0, 1], [2, 1, 0]], atol=1e-14)
