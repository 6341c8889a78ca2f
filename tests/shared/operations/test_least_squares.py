import numpy as np
import pytest

from tests.shared.operations.answers import answers, close


@pytest.mark.parametrize(("m", "n"), [(2, 1), (5, 3), (9, 8), (24, 5)])
def test_solutions_are_those_of_an_svd_and_leave_what_is_orthogonal_to_the_columns(m, n):
    for matrix, x in zip(*answers("least_squares", m, n), strict=True):
        a, b = matrix[:, :-1], matrix[:, -1:]
        assert close(x, np.linalg.lstsq(a, b)[0], 1e-10)
        assert np.abs(a.T @ (b - a @ x)).max() <= 1e-12 * np.linalg.norm(a) * np.linalg.norm(b)
