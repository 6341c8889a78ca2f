import numpy as np
import pytest
from scipy.sparse.csgraph import connected_components

from matstream.shared.operations import OPERATIONS
from tests.shared.operations.answers import answers, close


@pytest.mark.parametrize("n", [1, 2, 3, 5, 16])
def test_potentials_are_those_of_the_pseudo_inverse(n):
    for matrix, target in zip(*answers("potentials", n, count=60), strict=True):
        laplacian, currents = matrix[:, :-1], matrix[:, -1:]
        expected = np.linalg.pinv(laplacian, rcond=1e-10, hermitian=True) @ currents
        assert close(target, expected, 1e-7) or np.abs(target - expected).max() < 1e-12


def test_what_flows_in_is_what_flows_out_over_the_edges():
    inputs, targets = answers("potentials", 6, count=60)
    for matrix, potentials in zip(inputs, targets[:, :, 0], strict=True):
        weights = -np.tril(matrix[:, :-1], -1)
        flow = weights * np.subtract.outer(potentials, potentials)  # from row to column
        net = flow.sum(axis=1) - flow.sum(axis=0)
        graph = matrix[:, :-1] != 0
        _, part = connected_components(graph)
        currents = matrix[:, -1]
        balanced = currents - np.array([currents[part == p].mean() for p in part])
        np.testing.assert_allclose(net, balanced, atol=1e-9 * np.abs(currents).max())


def test_what_is_no_laplacian_is_refused():
    no = np.array([[2.0, -1, 1], [-1, 2, 1]])
    yes = np.array([[2.0, -2, 1], [-2, 2, 3]])
    alone = np.array([[0.0, 0, 1], [0, 0, 3]])
    targets, residuals = OPERATIONS["potentials"].target(np.stack([no, yes, alone]))
    assert np.isnan(residuals).tolist() == [True, False, False]
    np.testing.assert_allclose(targets[1, :, 0], [-0.25, 0.25])
    assert targets[2].tolist() == [[0], [0]]
