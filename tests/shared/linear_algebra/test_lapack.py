"""A batch in which LAPACK fails on many matrices, as it does where entries are often 0."""

import numpy as np
import pytest

from matstream.shared.linear_algebra import lapack
from matstream.shared.operations import OPERATIONS
from matstream.shared.operations.cholesky import OPERATION as CHOLESKY


def sparse(count: int, n: int, *, definite: bool = False) -> np.ndarray:
    random = np.random.default_rng(n)
    a = np.where(random.uniform(size=(count, n, n)) < 0.5, 0.0, random.integers(-3, 4, (count, n, n)))
    return a.swapaxes(1, 2) @ a if definite else a


def calls_of(monkeypatch, routine: str) -> list[int]:
    """The sizes of the batches with which a routine of numpy.linalg is called from now on."""
    right, sizes = getattr(np.linalg, routine), []

    def counted(a, *others, **options):
        sizes.append(len(a))
        return right(a, *others, **options)

    monkeypatch.setattr(np.linalg, routine, counted)
    return sizes


@pytest.mark.parametrize("n", [1, 2, 3, 5])
@pytest.mark.parametrize(
    ("operation", "routine", "definite"),
    [
        ("inverse", "inv", False),
        ("lu", "solve", False),
        ("qr", "qr", False),
        ("cholesky", "cholesky", True),
        ("log_determinant", "cholesky", True),
        ("general_eigenvalues", "eig", False),
    ],
)
def test_many_singular_matrices_take_few_calls_and_leave_the_others_as_they_are(
    monkeypatch, operation, routine, definite, n
):
    matrices, found = sparse(500, n, definite=definite), OPERATIONS[operation]
    alone = [found.target(matrix[None]) for matrix in matrices]
    sizes = calls_of(monkeypatch, routine)
    answers = found.target(matrices)
    assert len(sizes) <= 4
    good = found.accepts(answers)
    assert good.tolist() == [bool(found.accepts(one)[0]) for one in alone]
    assert 20 < good.sum() <= 500
    for i in np.flatnonzero(good):
        assert answers.targets[i].tobytes() == alone[i].targets[0].tobytes()
        assert answers.residuals[i] == alone[i].residuals[0]


def test_solutions_are_those_of_each_system_and_nan_of_a_singular_one():
    a, b = sparse(300, 3), np.random.default_rng(1).normal(size=(300, 3, 2))
    found = lapack.solutions(a, b)
    for matrix, right, x in zip(a, b, found, strict=True):
        if np.linalg.matrix_rank(matrix) < 3:
            assert np.isnan(x).all() or np.abs(x).max() > 1e12  # rounding may hide that it is singular
        else:
            np.testing.assert_array_equal(x, np.linalg.solve(matrix, right))


def test_a_matrix_of_any_scale_is_definite_if_it_is_and_none_is_that_is_not():
    small = np.diag([1.0, 1e-30, 1e20])
    matrices = np.stack([small, np.diag([1.0, 0, 1]), np.ones((3, 3)), -np.eye(3), np.full((3, 3), np.nan)])
    assert lapack.not_definite(matrices).tolist() == [False, True, True, True, True]
    assert CHOLESKY.accepts(CHOLESKY.target(matrices)).tolist() == [True, False, False, False, False]
