import math

import mpmath
import numpy as np
import pytest
import scipy.linalg

from generator_service.ensembles import draw, row_layout
from generator_service.limits import estimated_work
from generator_service.stream import UndrawableError, generate
from generator_service.targets import RESIDUAL_BOUND, TARGETS
from generator_service.variates import uniforms
from shared.operations import OPERATIONS
from shared.scoring import score
from shared.spec import StreamSpec


def matrices(spec, count):
    """Inputs and targets of the first samples of a spec whose shapes are fixed."""
    batch = generate(spec, 0, "train", 0, count)
    return tuple(
        np.array(batch.column(name).storage.to_pylist()).reshape(count, *batch.column(name).type.shape)
        for name in ("input", "target")
    )


def symmetric(n, count=20, **fields):
    inputs, targets = matrices(StreamSpec(operation="eigenvalues", dim=n, **fields), count)
    return inputs, targets[:, :, 0]


def eigenvalues(matrix):
    targets, residuals = TARGETS["eigenvalues"](np.array([matrix], dtype=float))
    assert residuals[0] <= RESIDUAL_BOUND["eigenvalues"]
    return targets[0, :, 0]


def norms(inputs):
    return np.sqrt(np.square(inputs).sum(axis=(1, 2)))


def residual_of(matrix, values):
    """PAPER.md's residual of eigenvalues, in exact sums."""
    n = len(matrix)
    square = math.fsum(x * x for x in matrix.flat)
    trace = abs(math.fsum([*values, *-np.diag(matrix)])) / (n * math.sqrt(square))
    return max(trace, abs(math.fsum([*(x * x for x in values), -square])) / square)


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_has_a_target_a_bound_an_error_and_an_estimate_of_its_work(name):
    spec = StreamSpec(operation=name, dim=3)
    inputs, targets = matrices(spec, 4)
    assert inputs.shape[1:] == OPERATIONS[name].input_shape(3, 3)
    assert targets.shape[1:] == OPERATIONS[name].target_shape(3, 3)
    assert set(TARGETS) == set(RESIDUAL_BOUND) == set(OPERATIONS)
    assert score(name, inputs, targets, targets).max.tolist() == [0, 0, 0, 0]
    assert 0 < estimated_work(spec) < estimated_work(StreamSpec(operation=name, dim=30))


@pytest.mark.parametrize("n", [1, 2, 3, 5, 8, 16, 33, 64])
@pytest.mark.parametrize("coefficients", ["uniform", "gaussian"])
def test_eigenvalues_are_those_of_another_solver(n, coefficients):
    inputs, targets = symmetric(n, coefficients=coefficients)
    for matrix, values in zip(inputs, targets, strict=True):
        other = scipy.linalg.eigh(matrix, eigvals_only=True, driver="ev")[::-1]
        assert np.abs(values - other).max() <= 4e-16 * n * np.linalg.norm(matrix)


@pytest.mark.parametrize("n", [2, 3, 4, 6])
def test_eigenvalues_are_those_of_a_computation_with_40_digits(n):
    inputs, targets = symmetric(n, 4)
    with mpmath.workdps(40):
        for matrix, values in zip(inputs, targets, strict=True):
            exact = sorted(mpmath.eigsy(mpmath.matrix(matrix.tolist()), eigvals_only=True), reverse=True)
            assert max(abs(a - b) for a, b in zip(values, exact, strict=True)) < 4e-16 * n * np.linalg.norm(
                matrix
            )


@pytest.mark.parametrize("n", [2, 3, 5, 8])
def test_eigenvalues_are_roots_of_the_characteristic_polynomial(n):
    inputs, targets = symmetric(n)
    for matrix, values in zip(inputs, targets, strict=True):
        size = np.linalg.norm(matrix, 2)
        for value in values:
            assert abs(scipy.linalg.det(matrix - value * np.eye(n))) <= 1e-13 * (2 * size) ** n


@pytest.mark.parametrize("n", [2, 3, 5, 8, 20])
def test_eigenvalues_add_up_to_the_trace_and_multiply_to_the_determinant(n):
    inputs, targets = symmetric(n)
    size = norms(inputs)
    assert (np.abs(targets.sum(axis=1) - np.trace(inputs, axis1=1, axis2=2)) <= 1e-14 * n * size).all()
    determinants = np.array([scipy.linalg.det(matrix) for matrix in inputs])
    assert (np.abs(targets.prod(axis=1) - determinants) <= 1e-12 * size**n).all()


@pytest.mark.parametrize("n", [2, 5, 64])
def test_eigenvalues_descend(n):
    assert (np.diff(symmetric(n)[1], axis=1) <= 0).all()


@pytest.mark.parametrize(
    ("matrix", "expected"),
    [
        ([[-3.5]], [-3.5]),
        (np.zeros((4, 4)), [0, 0, 0, 0]),
        (np.eye(5), [1, 1, 1, 1, 1]),
        (np.diag([3.0, -1, 7, 3]), [7, 3, 3, -1]),
        (np.ones((4, 4)), [4, 0, 0, 0]),
        ([[0, 1], [1, 0]], [1, -1]),
        ([[2, 1], [1, 3]], [(5 + math.sqrt(5)) / 2, (5 - math.sqrt(5)) / 2]),
        (
            2 * np.eye(9) - np.eye(9, k=1) - np.eye(9, k=-1),
            [2 - 2 * math.cos(k * math.pi / 10) for k in range(9, 0, -1)],
        ),
        (np.diag([1e100, -1e100]), [1e100, -1e100]),
        (np.diag([1e-100, -1e-100]), [1e-100, -1e-100]),
    ],
    ids=lambda value: "",
)
def test_eigenvalues_of_known_matrices(matrix, expected):
    size = np.abs(expected).max()
    assert eigenvalues(matrix) == pytest.approx(expected, rel=1e-14, abs=4e-16 * len(expected) * size)


def test_a_zero_matrix_has_no_residual():
    _, residuals = TARGETS["eigenvalues"](np.zeros((3, 4, 4)))
    assert residuals.tolist() == [0, 0, 0]


@pytest.mark.parametrize("n", [1, 2, 5, 16, 64, 128])
@pytest.mark.parametrize("scale", [1e-100, 10, 1e100])
def test_residuals_hold_their_bound_at_every_size_and_scale(n, scale):
    spec = StreamSpec(operation="eigenvalues", dim=n, coefficients="gaussian", scale=scale)
    batch = generate(spec, 0, "train", 0, 10)
    assert max(batch.column("attempt").to_pylist()) == 0
    assert 0 <= max(batch.column("residual").to_pylist()) <= 1e-12


def test_residuals_are_those_of_the_matrix_and_its_target():
    inputs, targets = symmetric(6)
    batch = generate(StreamSpec(operation="eigenvalues", dim=6), 0, "train", 0, 20)
    for matrix, values, residual in zip(inputs, targets, batch.column("residual").to_pylist(), strict=True):
        assert residual == pytest.approx(residual_of(matrix, values), abs=2e-15)


@pytest.mark.parametrize(
    "error", [lambda values: values + 1e-3, lambda values: values * (1 + 1e-5), lambda values: 0 * values]
)
def test_the_residual_tells_how_wrong_eigenvalues_are(monkeypatch, error):
    solve = np.linalg.eigvalsh
    monkeypatch.setattr(np.linalg, "eigvalsh", lambda inputs: error(solve(inputs)))
    spec = StreamSpec(operation="eigenvalues", dim=4)
    [drawn] = draw(spec, uniforms(1, 0, 10, row_layout(spec).words))
    targets, residuals = TARGETS["eigenvalues"](drawn.exact)
    expected = [
        residual_of(matrix, values[:, 0]) for matrix, values in zip(drawn.exact, targets, strict=True)
    ]
    assert residuals == pytest.approx(expected, rel=1e-6)
    assert (residuals > 1e-12).all()


def test_a_sample_over_the_bound_of_its_residual_is_drawn_again(monkeypatch):
    solve = np.linalg.eigvalsh
    spec = StreamSpec(operation="eigenvalues", dim=3)
    usual = generate(spec, 0, "train", 0, 50)

    def wrong_for_positive_traces(inputs):
        wrong = np.trace(inputs, axis1=1, axis2=2) > 0
        return solve(inputs) + 1e-6 * wrong[:, None]

    monkeypatch.setattr(np.linalg, "eigvalsh", wrong_for_positive_traces)
    redrawn = generate(spec, 0, "train", 0, 50)
    usual, redrawn = (
        [
            (np.trace(np.reshape(a, (3, 3))), k, a)
            for a, k in zip(
                batch.column("input").storage.to_pylist(), batch.column("attempt").to_pylist(), strict=True
            )
        ]
        for batch in (usual, redrawn)
    )
    for (trace, _, matrix), (trace_again, attempt, matrix_again) in zip(usual, redrawn, strict=True):
        assert trace_again <= 0
        assert (attempt > 0) == (trace > 0)
        assert (matrix == matrix_again) == (trace <= 0)


def test_a_target_that_is_never_good_enough_is_an_error(monkeypatch):
    solve = np.linalg.eigvalsh
    monkeypatch.setattr(np.linalg, "eigvalsh", lambda inputs: solve(inputs) + 1)
    with pytest.raises(UndrawableError, match="residual"):
        generate(StreamSpec(operation="eigenvalues", dim=3), 0, "train", 0, 2)


@pytest.mark.parametrize(("m", "n"), [(1, 1), (2, 3), (5, 5), (7, 1), (64, 3)])
@pytest.mark.parametrize("coefficients", ["uniform", "gaussian"])
def test_transposes_and_sums_are_exact(m, n, coefficients):
    fields = {"dim": m, "cols": n, "coefficients": coefficients}
    inputs, targets = matrices(StreamSpec(operation="transpose", **fields), 6)
    assert all(targets[b, j, i] == inputs[b, i, j] for b in range(6) for i in range(m) for j in range(n))
    inputs, targets = matrices(StreamSpec(operation="add", **fields), 6)
    assert all(
        targets[b, i, j] == inputs[b, i, j] + inputs[b, i, j + n]
        for b in range(6)
        for i in range(m)
        for j in range(n)
    )


@pytest.mark.parametrize("operation", ["add", "transpose"])
def test_exact_operations_have_no_residual(operation):
    batch = generate(StreamSpec(operation=operation, dim="1-9", cols="1-9"), 0, "train", 0, 100)
    assert set(batch.column("residual").to_pylist()) == {0.0}
