import numpy as np
import pytest
import scipy.linalg

from matstream.shared.operations import OPERATIONS
from tests.shared.operations.answers import answers, close


@pytest.mark.parametrize("n", [1, 2, 5, 16])
@pytest.mark.parametrize("scale", [0.1, 2, 10])
def test_exponentials_are_those_of_a_pade_approximation(n, scale):
    for matrix, target in zip(*answers("matrix_exponential", n, scale=scale), strict=True):
        assert close(target, scipy.linalg.expm(matrix), 1e-12)
        assert np.array_equal(target, target.T)


def test_blocks_stay_apart_and_what_overflows_is_refused():
    _, targets = answers("matrix_exponential", 4, structure="block_diagonal", scale=1)
    assert not targets[:, :2, 2:].any()
    _, residuals = OPERATIONS["matrix_exponential"].target(np.array([[[800.0]], [[1.0]]]))
    assert np.isnan(residuals).tolist() == [True, False]
