from fractions import Fraction

import numpy as np
import pytest

from matstream.generator_service.stream import generate
from matstream.shared.spec import StreamSpec
from matstream.shared.wire import from_batch
from tests.shared.operations.answers import answers, close


@pytest.mark.parametrize(("m", "n"), [(2, 1), (5, 3), (9, 8), (24, 5)])
def test_solutions_are_those_of_an_svd_and_leave_what_is_orthogonal_to_the_columns(m, n):
    for matrix, x in zip(*answers("least_squares", m, n), strict=True):
        a, b = matrix[:, :-1], matrix[:, -1:]
        assert close(x, np.linalg.lstsq(a, b)[0], 1e-10)
        assert np.abs(a.T @ (b - a @ x)).max() <= 1e-12 * np.linalg.norm(a) * np.linalg.norm(b)


def exactly(matrix):
    """The solution of the normal equations of two unknowns, in fractions."""
    rows = [[Fraction(entry) for entry in row] for row in matrix.tolist()]
    p, q, r, s, t = (
        sum(row[i] * row[j] for row in rows) for i, j in ((0, 0), (0, 1), (1, 1), (0, 2), (1, 2))
    )
    return [float((r * s - q * t) / (p * r - q * q)), float((p * t - q * s) / (p * r - q * q))]


@pytest.mark.parametrize("kappa", [1e3, 1e5])
def test_the_residual_estimates_the_error(kappa):
    spec = StreamSpec(operation="least_squares", dim=30, cols=2, structure=f"condition-{kappa:g}")
    samples = from_batch(generate(spec, 0, "train", 0, 200))
    exact = np.array([exactly(matrix) for matrix in samples.input])
    error = np.abs(samples.target[:, :, 0] - exact).max(axis=1) / np.abs(exact).max(axis=1)
    assert np.median(error / samples.residual) == pytest.approx(1, rel=0.5)
    assert np.quantile(error / samples.residual, 0.9) < 5
