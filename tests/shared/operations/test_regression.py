import numpy as np
import pytest

from matstream.generator_service.ensembles.coefficients import scale_of_uniform
from matstream.shared.fields import COEFFICIENTS
from matstream.shared.operations.regression import NOISE
from tests.shared.operations.answers import answers


@pytest.mark.parametrize(("m", "n"), [(2, 2), (11, 3), (30, 6)])
@pytest.mark.parametrize("coefficients", COEFFICIENTS)
def test_the_query_shows_no_y_and_the_answer_is_that_of_weights_found_up_to_the_noise(m, n, coefficients):
    inputs, targets = answers("regression", m, n, 400, coefficients=coefficients)
    assert not inputs[:, -1, -1].any()
    deviation = float(scale_of_uniform(coefficients, 10)) / np.sqrt(3)
    x, y, query = inputs[:, :-1, :-1], inputs[:, :-1, -1], inputs[:, -1, :-1]
    if m > 2 * n:
        full = np.linalg.matrix_rank(x) == n - 1  # else no weights are the only ones
        assert full.mean() > 0.9
        x, y, query, targets = x[full], y[full], query[full], targets[full]
        found = np.array([q @ np.linalg.lstsq(a, b)[0] for a, b, q in zip(x, y, query, strict=True)])
        error = np.sqrt(np.mean((found - targets[:, 0, 0]) ** 2))
        noise = NOISE * deviation
        expected = noise * np.sqrt(
            np.mean([q @ np.linalg.solve(a.T @ a, q) for a, q in zip(x, query, strict=True)])
        )
        assert error == pytest.approx(expected, rel=0.15)
    assert targets.std() == pytest.approx(deviation, rel=0.25 if coefficients == "log_uniform" else 0.15)


def test_one_example_of_one_feature_gives_the_answer_up_to_its_noise():
    inputs, targets = answers("regression", 2, 2, 2000)
    [[x, _], [query, _]] = inputs.transpose(1, 2, 0)
    slope = inputs[:, 0, 1] / x
    off = np.abs(slope * query - targets[:, 0, 0]) / (NOISE * 10 / np.sqrt(3) * np.abs(query / x))
    assert np.median(off) == pytest.approx(0.6745, rel=0.1)  # that of a normal deviation
