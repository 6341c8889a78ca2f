import numpy as np
import pytest
import scipy.linalg

from matstream.shared.operations import OPERATIONS
from tests.shared.operations.answers import answers, close


@pytest.mark.parametrize(("m", "n"), [(1, 1), (2, 2), (5, 3), (3, 5), (8, 20)])
def test_full_ranks_are_inverted_by_the_normal_equations(m, n):
    for matrix, target in zip(*answers("pseudo_inverse", m, n), strict=True):
        tall = matrix if m >= n else matrix.T
        expected = np.linalg.solve(tall.T @ tall, tall.T)
        assert close(target, expected if m >= n else expected.T, 1e-7)


@pytest.mark.parametrize(("m", "n"), [(4, 4), (6, 3), (3, 6)])
def test_low_ranks_are_those_of_a_rank_factorisation(m, n):
    """A = FG with full-rank F and G: A⁺ = Gᵀ(GGᵀ)⁻¹(FᵀF)⁻¹Fᵀ."""
    inputs, targets = answers("pseudo_inverse", m, n, 60, structure="chosen_rank")
    ranks = set()
    for matrix, target in zip(inputs, targets, strict=True):
        rank = np.linalg.matrix_rank(matrix)
        ranks.add(int(rank))
        if rank == 0:
            assert not target.any()
            continue
        columns = scipy.linalg.qr(matrix, pivoting=True)[2]
        f = matrix[:, columns[:rank]]
        g = np.linalg.lstsq(f, matrix)[0]
        expected = g.T @ np.linalg.solve(g @ g.T, np.linalg.solve(f.T @ f, f.T))
        assert close(target, expected, 1e-8)
    assert len(ranks) > 2


def test_an_uncertain_rank_is_refused():
    _, residuals = OPERATIONS["pseudo_inverse"].target(np.array([np.diag([1.0, 1e-13]), np.diag([1.0, 0])]))
    assert residuals[0] == np.inf
    assert residuals[1] < 1e-15
