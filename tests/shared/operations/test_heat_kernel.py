import numpy as np
import pytest
import scipy.linalg

from matstream.shared.operations import OPERATIONS
from tests.shared.operations.answers import answers, close


@pytest.mark.parametrize("n", [1, 2, 5, 12])
@pytest.mark.parametrize("scale", [0.3, 10])
def test_kernels_are_exponentials_whose_rows_are_probabilities(n, scale):
    inputs, targets = answers("heat_kernel", n, scale=scale)
    for matrix, target in zip(inputs, targets, strict=True):
        assert close(target, scipy.linalg.expm(-matrix), 1e-11)
    np.testing.assert_allclose(targets.sum(axis=2), 1, atol=1e-10)
    assert (targets >= 0).all()


def test_what_is_no_laplacian_is_refused():
    _, residuals = OPERATIONS["heat_kernel"].target(np.array([[[1.0, 1], [1, 1]], [[1.0, -1], [-1, 1]]]))
    assert np.isnan(residuals).tolist() == [True, False]
