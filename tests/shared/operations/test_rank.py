from fractions import Fraction

import numpy as np
import pytest
from scipy.sparse.csgraph import connected_components

from matstream.shared.operations import OPERATIONS
from tests.shared.operations.answers import answers


def eliminated(matrix):
    """The rank of whole numbers by elimination in exact fractions."""
    rows = [[Fraction(int(entry)) for entry in row] for row in matrix]
    rank = 0
    for col in range(matrix.shape[1]):
        pivot = next((i for i in range(rank, len(rows)) if rows[i][col]), None)
        if pivot is None:
            continue
        rows[rank], rows[pivot] = rows[pivot], rows[rank]
        for i in range(rank + 1, len(rows)):
            factor = rows[i][col] / rows[rank][col]
            rows[i] = [a - factor * b for a, b in zip(rows[i], rows[rank], strict=True)]
        rank += 1
    return rank


@pytest.mark.parametrize(("m", "n"), [(1, 1), (2, 2), (3, 5), (6, 4), (12, 12)])
@pytest.mark.parametrize("scale", [1, 10, 100])
def test_ranks_are_those_of_exact_elimination(m, n, scale):
    inputs, targets = answers("rank", m, n, 60, scale=scale)
    assert [eliminated(matrix) for matrix in inputs] == targets[:, 0, 0].tolist()
    assert set(targets[:, 0, 0]) >= {0, min(m, n)} or min(m, n) > 6


def test_the_rank_of_a_laplacian_is_the_number_of_nodes_less_the_parts_of_its_graph():
    inputs, targets = answers("rank", 5, count=200, structure="laplacian")
    parts = [connected_components(matrix != 0)[0] for matrix in inputs]
    assert targets[:, 0, 0].tolist() == [5 - part for part in parts]


def test_a_rank_that_rounding_decides_is_refused():
    matrices = np.array([np.diag([1.0, value]) for value in (1e-3, 1e-13, 1e-15, 0)])
    targets, residuals = OPERATIONS["rank"].target(matrices)
    assert targets[[0, 2, 3], 0, 0].tolist() == [2, 1, 1]
    assert (residuals <= OPERATIONS["rank"].residual_bound).tolist() == [True, False, True, True]
