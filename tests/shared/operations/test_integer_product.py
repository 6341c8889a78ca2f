import numpy as np
import pytest

from matstream.shared.operations import OPERATIONS
from matstream.shared.scoring import score
from tests.shared.operations.answers import answers


@pytest.mark.parametrize(("m", "n"), [(1, 1), (2, 2), (1, 3), (4, 2)])
@pytest.mark.parametrize("scale", [10, 1000, 10**7])
def test_products_are_those_of_python_integers(m, n, scale):
    inputs, targets = answers("integer_product", m, n, scale=scale)
    for matrix, target in zip(inputs, targets, strict=True):
        for i, j in np.ndindex(m, n):
            assert int(target[i, j]) == int(matrix[i, j]) * int(matrix[i, j + n])
    assert inputs.min() >= 0
    assert scale / 2 < inputs.max() < scale


def test_what_is_not_whole_or_not_exact_is_refused():
    inputs = np.array([[[2.0, 3]], [[2.5, 2]], [[2.0**30, 2.0**30]]])
    _, residuals = OPERATIONS["integer_product"].target(inputs)
    assert residuals.tolist()[0] == 0
    assert np.isnan(residuals[1:]).all()


def test_only_the_very_number_is_right():
    inputs, targets = np.array([[[12.0, 34]]] * 3), np.full((3, 1, 1), 408.0)
    predictions = np.array([408.0, 409, np.nan])[:, None, None]
    assert score("integer_product", inputs, targets, predictions).l1.tolist()[:2] == [0, np.inf]
    assert np.isnan(score("integer_product", inputs, targets, predictions).l1[2])


def test_the_study_tells_the_digits_apart():
    targets = np.array([408.0, 17, 5])[:, None, None]
    predictions = np.array([418.0, 17, 6])[:, None, None]
    found = OPERATIONS["integer_product"].study(
        np.zeros((3, 1, 2)), targets, predictions, np.array([1.0, 0, 1])
    )
    assert found["by_digit"] == [2 / 3, 1 / 2, 1]
