import math
import warnings

import mpmath
import numpy as np
import pytest
import scipy.linalg
from scipy.sparse.csgraph import connected_components

from matstream.generator_service.ensembles.draws import draw, row_layout
from matstream.generator_service.service.limits import estimated_seconds
from matstream.generator_service.stream import UndrawableError, generate
from matstream.generator_service.variates import uniforms
from matstream.shared.fields import SPECTRA
from matstream.shared.operations import OPERATIONS
from matstream.shared.scoring import score
from matstream.shared.spec import StreamSpec, stream_key
from matstream.shared.structures import STRUCTURES
from tests.specs import fields_of


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
    targets, residuals = OPERATIONS["eigenvalues"].target(np.array([matrix], dtype=float))
    assert residuals[0] <= OPERATIONS["eigenvalues"].residual_bound
    return targets[0, :, 0]


def norms(inputs):
    return np.sqrt(np.square(inputs).sum(axis=(1, 2)))


def residual_of(matrix, values):
    """The residual of eigenvalues, in exact sums."""
    n = len(matrix)
    square = math.fsum(x * x for x in matrix.flat)
    trace = abs(math.fsum([*values, *-np.diag(matrix)])) / (n * math.sqrt(square))
    return max(trace, abs(math.fsum([*(x * x for x in values), -square])) / square)


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_has_a_target_a_bound_an_error_and_an_estimate_of_its_work(name):
    spec = StreamSpec(**fields_of(name, 3))
    inputs, targets = matrices(spec, 4)
    m, n = 3, 2 if OPERATIONS[name].spare_rows else 3
    assert inputs.shape[1:] == OPERATIONS[name].input_shape(m, n)
    assert targets.shape[1:] == OPERATIONS[name].target_shape(m, n)
    errors = score(name, inputs, targets, targets).max
    if name in ("eigenvectors", "inverse", "svd", "symmetric_inverse"):  # measured on the input: rounding
        assert (errors < 1e-13).all()
    else:
        assert errors.tolist() == [0, 0, 0, 0]
    assert 0 < estimated_seconds(spec) < estimated_seconds(StreamSpec(**fields_of(name, 30)))


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
    _, residuals = OPERATIONS["eigenvalues"].target(np.zeros((3, 4, 4)))
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
    targets, residuals = OPERATIONS["eigenvalues"].target(drawn.exact)
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


# --- the other operations

EPS = np.finfo(np.float64).eps
SHAPES = [(1, 1), (1, 4), (4, 1), (2, 3), (5, 5), (8, 3), (3, 8), (17, 16), (64, 5), (5, 64), (64, 64)]
DIMS = [1, 2, 3, 5, 8, 33, 64]
SQUARE = ["eigenvalues", "eigenvectors", "inverse", "symmetric_inverse"]


def problems(operation, m, n, count=10, **fields):
    """Inputs and targets of an operation on m×n matrices."""
    cols = {} if OPERATIONS[operation].square else {"cols": n}
    return zip(*matrices(StreamSpec(operation=operation, dim=m, **cols, **fields), count), strict=True)


def split_svd(target, m, n):
    assert target.shape == (1 + m + n, min(m, n))
    return target[0], target[1 : 1 + m], target[1 + m :]


def signed(columns):
    """The first component that is not 0 of every column is positive."""
    return all(next(x for x in column if x != 0) > 0 for column in columns.T)


def has_negative_zero(array):
    return bool((np.signbit(array) & (array == 0)).any())


def off_orthonormal(columns):
    return np.abs(np.einsum("ij,ik->jk", columns, columns) - np.eye(columns.shape[1])).max()


def one_target(operation, matrix):
    targets, residuals = OPERATIONS[operation].target(np.array([matrix], dtype=float))
    assert residuals[0] <= OPERATIONS[operation].residual_bound
    return targets[0]


def same_columns(found, other, values, null=False):
    """Columns equal up to sign, as far as the gaps between the values, and to a null space, allow."""
    gaps = np.abs(np.subtract.outer(values, values)) + np.diag([np.inf] * len(values))
    gap = np.minimum(gaps.min(axis=0), values if null else np.inf)
    wrong = np.abs(found - other * np.sign(np.einsum("ij,ij->j", found, other))).max(axis=0)
    return (wrong <= 20 * EPS * len(found) * (1 + np.linalg.norm(values) / gap)).all()


@pytest.mark.parametrize(("m", "n"), SHAPES)
@pytest.mark.parametrize("coefficients", ["uniform", "gaussian"])
def test_products_are_those_of_sums_written_out(m, n, coefficients):
    for operation, width in (("matmul", n), ("matvec", 1)):
        for matrix, target in problems(operation, m, n, coefficients=coefficients):
            a, b = matrix[:, :n], matrix[:, n:]
            assert b.shape == (m, width)
            exact = np.einsum("ki,kj->ij", a.astype(np.longdouble), b.astype(np.longdouble))
            assert (np.abs(target - exact) <= 2 * m * EPS * np.einsum("ki,kj->ij", abs(a), abs(b))).all()


@pytest.mark.parametrize("n", DIMS)
@pytest.mark.parametrize("driver", ["ev", "evr"])
def test_eigenvectors_are_those_of_another_solver(n, driver):
    for matrix, target in problems("eigenvectors", n, n):
        values, q = target[0], target[1:]
        other, vectors = scipy.linalg.eigh(matrix, driver=driver)
        size = np.linalg.norm(matrix)
        assert np.abs(values - other[::-1]).max() <= 1e-15 * n * size
        assert same_columns(q, vectors[:, ::-1], values)


@pytest.mark.parametrize(("m", "n"), SHAPES)
def test_singular_values_and_vectors_are_those_of_another_solver(m, n):
    for matrix, target in problems("singular_values", m, n):
        other = scipy.linalg.svd(matrix, compute_uv=False, lapack_driver="gesvd")
        assert np.abs(target[:, 0] - other).max() <= 1e-15 * max(m, n) * other[0]
    for matrix, target in problems("svd", m, n):
        u, other, vt = scipy.linalg.svd(matrix, full_matrices=False, lapack_driver="gesvd")
        sigma, left, right = split_svd(target, m, n)
        assert np.abs(sigma - other).max() <= 1e-15 * max(m, n) * other[0]
        assert same_columns(left, u, sigma, null=m != n)
        assert same_columns(right, vt.T, sigma, null=m != n)


@pytest.mark.parametrize("n", DIMS)
@pytest.mark.parametrize("operation", ["inverse", "symmetric_inverse"])
def test_inverses_are_those_of_another_solver(operation, n):
    for matrix, target in problems(operation, n, n):
        other = scipy.linalg.lu_solve(scipy.linalg.lu_factor(matrix), np.eye(n))
        condition = np.linalg.norm(matrix) * np.linalg.norm(other)
        assert np.abs(target - other).max() <= 4 * EPS * n * condition * np.abs(other).max()
        if operation == "symmetric_inverse":
            assert np.array_equal(matrix, matrix.T)


@pytest.mark.parametrize(
    "operation",
    [
        *("eigenvalues", "eigenvectors", "inverse", "matmul", "matvec"),
        *("singular_values", "svd", "symmetric_inverse"),
    ],
)
def test_targets_are_those_of_a_computation_with_50_digits(operation):
    for matrix, target in problems(operation, 4, 4, 3):
        with mpmath.workdps(50):
            a = mpmath.matrix(matrix[:, :4].tolist())
            if operation in ("matmul", "matvec"):
                exact = a.T * mpmath.matrix(matrix[:, 4:].tolist())
            elif operation in ("inverse", "symmetric_inverse"):
                exact = a**-1
            elif operation in ("eigenvalues", "eigenvectors"):
                values, vectors = mpmath.eigsy(a)
                order = sorted(range(4), key=lambda i: -values[i])
                signs = [mpmath.sign(vectors[0, i]) for i in order]
                rows = [[values[i] for i in order]] + [
                    [vectors[k, i] * sign for i, sign in zip(order, signs, strict=True)] for k in range(4)
                ]
                exact = mpmath.matrix(rows) if operation == "eigenvectors" else mpmath.matrix(rows[0])
            else:
                u, sigma, vt = mpmath.svd_r(a)
                signs = [mpmath.sign(u[0, j]) for j in range(4)]
                rows = [list(sigma)] + [
                    [part[k, j] * signs[j] for j in range(4)] for part in (u, vt.T) for k in range(4)
                ]
                exact = mpmath.matrix(rows) if operation == "svd" else sigma
            exact = np.array(exact.tolist(), dtype=np.float64).reshape(target.shape)
        assert target == pytest.approx(exact, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("n", DIMS)
@pytest.mark.parametrize("scale", [10, 1e-100, 1e100])
def test_eigenvectors_are_orthonormal_signed_and_solve_the_eigenproblem(n, scale):
    for matrix, target in problems("eigenvectors", n, n, 5, scale=scale):
        assert target.shape == (n + 1, n)
        values, q = target[0], target[1:]
        assert off_orthonormal(q) <= 4 * EPS * n
        off = np.einsum("ij,jk->ik", matrix, q) - np.einsum("ij,j->ij", q, values)
        assert np.abs(off).max() <= 4 * EPS * n * np.linalg.norm(matrix)
        assert (np.diff(values) <= 0).all()
        assert (q[0] > 0).all()


@pytest.mark.parametrize(("m", "n"), SHAPES)
@pytest.mark.parametrize("scale", [10, 1e-100, 1e100])
def test_singular_vectors_are_orthonormal_signed_and_rebuild_the_matrix(m, n, scale):
    for matrix, target in problems("svd", m, n, 5, scale=scale):
        sigma, u, v = split_svd(target, m, n)
        assert off_orthonormal(u) <= 4 * EPS * max(m, n)
        assert off_orthonormal(v) <= 4 * EPS * max(m, n)
        rebuilt = np.einsum("ik,k,jk->ij", u, sigma, v)
        assert np.abs(rebuilt - matrix).max() <= 4 * EPS * max(m, n) * sigma[0]
        assert (np.diff(sigma) <= 0).all()
        assert sigma[-1] >= 0
        assert (u[0] > 0).all()


@pytest.mark.parametrize("n", DIMS)
@pytest.mark.parametrize("operation", ["inverse", "symmetric_inverse"])
def test_a_matrix_times_its_inverse_is_the_identity_within_the_bound(operation, n):
    for matrix, target in problems(operation, n, n):
        assert np.abs(np.einsum("ij,jk->ik", matrix, target) - np.eye(n)).max() <= 1.1e-10


KNOWN = {
    "blocks": scipy.linalg.block_diag([[1.0]], [[2, 1], [1, 3]], [[7, -2, 0], [-2, 8, 1], [0, 1, 9]]),
    "falling blocks": scipy.linalg.block_diag([[-9.0, 1], [1, -8]], [[2, 1], [1, 3]], [[30]]),
    "diagonal": np.diag([3.0, -1, 7, 3]),
    "identity": np.eye(5),
    "minus identity": -np.eye(3),
    "zero": np.zeros((4, 4)),
    "ones": np.ones((4, 4)),
    "rank one": np.outer([1.0, -2, 0, 3], [1.0, -2, 0, 3]),
    "rank one, leading zero": -np.outer([0, 1.0, 2], [0, 1.0, 2]),
    "a number": np.array([[-3.5]]),
    "nought": np.array([[0.0]]),
    "exchange": np.fliplr(np.eye(4)),
}


@pytest.mark.parametrize("matrix", KNOWN.values(), ids=KNOWN)
def test_conventions_hold_for_repeated_values_and_leading_zeros(matrix):
    n, size = len(matrix), np.linalg.norm(matrix)
    target = one_target("eigenvectors", matrix)
    values, q = target[0], target[1:]
    assert signed(q)
    assert off_orthonormal(q) <= 4 * EPS * n
    assert np.abs(matrix @ q - q * values).max() <= 4 * EPS * n * size
    assert values == pytest.approx(np.sort(scipy.linalg.eigvalsh(matrix))[::-1], abs=1e-14 * size)
    assert (np.diff(values) <= 0).all()
    assert one_target("eigenvalues", matrix)[:, 0] == pytest.approx(values, abs=1e-15 * size)
    target = one_target("svd", matrix)
    sigma, u, v = split_svd(target, n, n)
    assert signed(u)
    assert max(off_orthonormal(u), off_orthonormal(v)) <= 4 * EPS * n
    assert np.abs(u * sigma @ v.T - matrix).max() <= 4 * EPS * n * size
    assert sigma == pytest.approx(np.sort(np.abs(values))[::-1], abs=1e-14 * size)
    assert (np.diff(sigma) <= 0).all()
    assert one_target("singular_values", matrix)[:, 0] == pytest.approx(sigma, abs=1e-15 * size)


@pytest.mark.parametrize("matrix", KNOWN.values(), ids=KNOWN)
@pytest.mark.parametrize("operation", ["eigenvectors", "eigenvalues", "svd", "singular_values"])
def test_no_component_is_a_negative_zero(operation, matrix):
    for signed_zeros in (matrix, -matrix, 0.0 - matrix):
        assert not has_negative_zero(one_target(operation, signed_zeros))


def test_the_second_component_decides_a_sign_where_the_first_is_exactly_zero():
    matrix = KNOWN["blocks"]
    q, u = one_target("eigenvectors", matrix)[1:], one_target("svd", matrix)[1:7]
    for vectors in (q, u):
        assert (vectors[0, :5] == 0).all()
        assert (vectors[3, :3] > 0).all()
        assert (vectors[1, 3:5] > 0).all()
        assert vectors[:, 5].tolist() == [1, 0, 0, 0, 0, 0]


@pytest.mark.parametrize("shape", [(2, 5), (5, 2)])
def test_the_svd_of_a_rectangle_of_low_rank_keeps_its_conventions(shape):
    for matrix in (np.zeros(shape), np.ones(shape), np.eye(*shape), -np.eye(*shape)):
        target = one_target("svd", matrix)
        sigma, u, v = split_svd(target, *shape)
        assert signed(u)
        assert max(off_orthonormal(u), off_orthonormal(v)) <= 1e-15
        assert np.abs(u * sigma @ v.T - matrix).max() <= 1e-15 * 4
        assert not has_negative_zero(target)


# --- what rounding cannot tell from 0


def squares(operation, n, count, **fields):
    """Inputs and targets of an operation on n×n matrices, of structures that take no `cols`."""
    return zip(*matrices(StreamSpec(operation=operation, dim=n, **fields), count), strict=True)


@pytest.mark.parametrize("operation", ["eigenvectors", "svd"])
def test_a_component_that_is_0_but_for_rounding_decides_no_sign(operation):
    a, b = 2.4619041844234113, 0.5441991124046275
    matrix = np.array([[a, 0, 0, -a], [0, b, -b, 0], [0, -b, b, 0], [-a, 0, 0, a]])
    target, half = one_target(operation, matrix), math.sqrt(0.5)
    assert target[0] == pytest.approx([2 * a, 2 * b, 0, 0])
    assert target[0, 2:].tolist() == [0, 0]
    for vectors in (target[1:5], target[-4:]):
        assert vectors[:, 0] == pytest.approx([half, 0, 0, -half])
        assert vectors[:, 1] == pytest.approx([0, half, -half, 0])
        assert vectors[0, 1] == vectors[3, 1] == 0


@pytest.mark.parametrize("operation", ["eigenvectors", "svd"])
@pytest.mark.parametrize("n", [4, 8])
def test_vectors_of_a_graph_in_parts_have_the_sign_of_their_part(operation, n):
    seen = 0
    for matrix, target in squares(operation, n, 2000, structure="laplacian"):
        parts, part = connected_components(matrix)
        if parts == 1:
            continue
        values, vectors = target[0], target[1 : 1 + n]
        for i in range(n):  # a simple value belongs to one part: its vector is 0 elsewhere
            if np.abs(np.delete(values, i) - values[i]).min() > 1e-6 * values[0]:
                first = np.flatnonzero(part == part[np.abs(vectors[:, i]).argmax()])[0]
                assert vectors[first, i] > 0
                assert (vectors[:first, i] == 0).all()
                seen += 1
    assert seen > 400


@pytest.mark.parametrize("operation", ["eigenvectors", "svd"])
def test_signs_are_those_of_a_computation_with_40_digits(operation):
    for matrix, target in squares(operation, 5, 150, structure="laplacian"):
        if connected_components(matrix)[0] == 1:
            continue
        with mpmath.workdps(40):
            values, columns = mpmath.eigsy(mpmath.matrix(matrix.tolist()))
            order = sorted(range(5), key=lambda i: -values[i])
            values, vectors = [values[i] for i in order], [list(columns[:, i]) for i in order]
            for i in range(5):
                if min(abs(values[i] - values[j]) for j in range(5) if j != i) > 1e-6 * values[0]:
                    leading = next(x for x in vectors[i] if abs(x) > 1e-30)
                    exact = [float(x * mpmath.sign(leading)) for x in vectors[i]]
                    for found in (target[1:6], target[-5:]):
                        assert found[:, i] == pytest.approx(exact, abs=1e-9)


def test_the_sign_of_a_zero_singular_value_is_that_of_each_of_its_vectors():
    connected = 0
    for matrix, target in squares("svd", 4, 300, structure="laplacian"):
        if connected_components(matrix)[0] == 1:
            sigma, u, v = split_svd(target, 4, 4)
            assert sigma[3] == 0
            assert u[:, 3] == pytest.approx([0.5] * 4)
            assert v[:, 3] == pytest.approx([0.5] * 4)
            connected += 1
    assert connected > 100


@pytest.mark.parametrize("operation", ["eigenvalues", "singular_values", "eigenvectors", "svd"])
@pytest.mark.parametrize("n", [2, 3, 9, 40])
def test_a_value_that_is_0_but_for_rounding_is_0_one_for_each_part_of_a_graph(operation, n):
    for matrix, target in squares(operation, n, 60, structure="laplacian"):
        values = target[:, 0] if target.shape[1] == 1 else target[0]
        assert (values == 0).sum() == connected_components(matrix)[0]


@pytest.mark.parametrize("operation", ["singular_values", "svd", "eigenvalues", "eigenvectors"])
@pytest.mark.parametrize("n", [2, 8, 64])
def test_small_values_that_are_not_0_are_kept(operation, n):
    for _, target in squares(operation, n, 10, structure="condition-1e12", scale=3):
        values = target[:, 0] if target.shape[1] == 1 else target[0]
        assert values[-1] == pytest.approx(3e-12, rel=0.01)


def test_the_middle_of_an_antisymmetric_eigenvector_is_0():
    for _, target in squares("eigenvectors", 3, 200, structure="toeplitz"):
        [antisymmetric] = [v for v in target[1:].T if v[0] * v[2] < 0 and abs(v[0] + v[2]) < 1e-9]
        assert abs(antisymmetric[1]) < 1e-9
        assert antisymmetric[1] == 0 or abs(antisymmetric[1]) > 1e-13


def test_a_sign_that_rounding_would_decide_is_refused_by_the_residual():
    close = [
        [5, 4e-10, 0],
        [4e-10, 1, 0],
        [0, 0, 1 + 1e-8],
    ]  # the vector of 1 begins with 1e-10, or with noise
    targets, residuals = OPERATIONS["eigenvectors"].target(np.array([close]))
    assert targets[0, 1, 1:].tolist() == [0, 0]
    assert residuals[0] > OPERATIONS["eigenvectors"].residual_bound


@pytest.mark.parametrize("n", [2, 5, 12])
def test_ordinary_targets_have_every_bit_of_lapacks_answer(n):
    inputs, targets = matrices(StreamSpec(operation="eigenvectors", dim=n), 1000)
    ascending, vectors = np.linalg.eigh(inputs)
    assert np.array_equal(targets[:, 0], ascending[:, ::-1])
    assert np.array_equal(np.abs(targets[:, 1:]), np.abs(vectors[:, :, ::-1]))
    inputs, targets = matrices(StreamSpec(operation="svd", dim=n), 1000)
    u, sigma, vt = np.linalg.svd(inputs)
    assert np.array_equal(targets[:, 0], sigma)
    assert np.array_equal(np.abs(targets[:, 1 : 1 + n]), np.abs(u))
    assert np.array_equal(np.abs(targets[:, 1 + n :]), np.abs(vt.swapaxes(1, 2)))


# --- answers that are not unique


def moved(operation, inputs, targets):
    """How far a target moves, (B,), relative to its largest entry, where each entry of the input (B, m, w)
    moves by about an ulp, or by one of the largest entry: the larger of both. A target that is 0 up to
    rounding has the size of a millionth of the input."""
    signs = np.where(np.random.default_rng(0).random(inputs.shape) < 0.5, -1.0, 1.0)
    most = np.abs(inputs).max(axis=(1, 2), keepdims=True)
    far = []
    for step in (np.spacing(inputs) * (inputs != 0), np.spacing(most) * (most != 0)):
        near = inputs + signs * step
        if OPERATIONS[operation].symmetric:
            near = np.tril(near) + np.tril(near, -1).swapaxes(1, 2)
        size = np.maximum(np.abs(targets).max(axis=(1, 2)), 1e-6 * most[:, 0, 0])
        size[size == 0] = 1.0  # of a matrix of zeros
        change = OPERATIONS[operation].target(near)[0] - targets
        if OPERATIONS[operation].not_unique:
            change, size = change[:, 1:], 1.0
        far.append(np.abs(change).max(axis=(1, 2)) / size)
    return np.maximum(*far)


ENSEMBLES = [{"structure": name} for name in (*STRUCTURES, "condition-1", "condition-100")]
ENSEMBLES += [{"spectrum": name} for name in SPECTRA]


def fits(operation, ensemble, **fields):
    try:
        return StreamSpec(operation=operation, **ensemble, **fields)
    except ValueError:
        return None


# operations of which an ulp of the input makes another problem, or none
OTHERWISE = [
    "completion",
    "effective_resistance",
    "gcd",
    "heat_kernel",
    "integer_product",
    "potentials",
    "regression",
]


@pytest.mark.parametrize("operation", sorted(set(OPERATIONS) - set(OTHERWISE)))
@pytest.mark.parametrize("ensemble", ENSEMBLES, ids=lambda ensemble: "-".join(*ensemble.items()))
def test_a_target_is_marked_where_an_ulp_of_the_input_changes_it_and_only_there(operation, ensemble):
    listed = ensemble.get("structure") in OPERATIONS[operation].not_unique
    others = 0
    for shape in (
        {"dim": 2},
        {"dim": 3},
        {"dim": 4},
        {"dim": 6},
        {"dim": 8, "cols": 9},
        {"dim": 4, "cols": 1},
        {"dim": 5, "cols": 3},
    ):
        if spec := fits(operation, ensemble, **shape):
            # of symmetric 2×2 matrices of the whole numbers from 0 to 9, one in 100 repeats an eigenvalue
            inputs, targets = matrices(spec, 600 if spec.dim.high == 2 else 60)
            only = OPERATIONS[operation].has_one_answer(inputs, targets)
            far = moved(operation, inputs, targets)
            assert (far[only] < 1e-6).all()
            assert only.all() or listed
            others += int((far[~only] > 0.01).sum())
    assert (others > 0) == listed


@pytest.mark.parametrize(
    ("operation", "matrix", "expected"),
    [
        ("eigenvectors", np.zeros((1, 1)), True),
        ("eigenvectors", np.zeros((2, 2)), False),
        ("eigenvectors", np.eye(3), False),
        ("eigenvectors", np.diag([2.0, 1, -2]), True),
        ("svd", np.diag([2.0, 1, -2]), False),
        ("svd", np.diag([2.0, 1, 0]), True),
        ("svd", np.diag([2.0, 0, 0]), False),
        ("svd", np.zeros((1, 1)), True),
        ("svd", np.zeros((1, 3)), False),
        ("svd", np.ones((1, 3)), True),
        ("svd", np.ones((3, 2)), False),
        ("svd", np.eye(3, 2) * [2, 1], True),
        ("eigenvalues", np.eye(3), True),
        ("singular_values", np.zeros((2, 2)), True),
    ],
)
def test_an_answer_is_unique_unless_vectors_are_asked_for_and_a_value_repeats(operation, matrix, expected):
    inputs = np.array([matrix])
    assert OPERATIONS[operation].has_one_answer(inputs, OPERATIONS[operation].target(inputs)[0]).tolist() == [
        expected
    ]


# --- residuals


def exact_residual(operation, matrix, target):
    """The operation's residual, with 18 digits or more."""
    a, t = matrix.astype(np.longdouble), target.astype(np.longdouble)
    size = np.sqrt((a**2).sum())
    if operation == "eigenvalues":
        return residual_of(matrix, target[:, 0])
    if operation == "singular_values":
        return abs((t**2).sum() - size**2) / size**2
    if operation == "eigenvectors":
        values, q = t[0], t[1:]
        return max(np.abs(a @ q - q * values).max() / size, np.abs(q.T @ q - np.eye(len(a))).max())
    if operation == "svd":
        sigma, u, v = split_svd(t, *a.shape)
        off = max(np.abs(u.T @ u - np.eye(u.shape[1])).max(), np.abs(v.T @ v - np.eye(v.shape[1])).max())
        return max(np.abs(u * sigma @ v.T - a).max() / size, off)
    return np.abs(a @ t - np.eye(len(a))).max()


CERTIFIED = ["eigenvalues", "eigenvectors", "inverse", "singular_values", "svd", "symmetric_inverse"]


@pytest.mark.parametrize("operation", CERTIFIED)
@pytest.mark.parametrize("shape", [(1, 1), (6, 6), (3, 7), (7, 3), (30, 30)])
def test_residuals_sent_are_those_of_the_matrix_and_its_target_as_sent(operation, shape):
    cols = {"cols": shape[1]} if not OPERATIONS[operation].square else {}
    spec = StreamSpec(operation=operation, dim=shape[0], **cols)
    sent = generate(spec, 0, "train", 0, 10).column("residual").to_pylist()
    for matrix, target, residual in zip(*matrices(spec, 10), sent, strict=True):
        rounding = 2 * EPS * len(matrix)
        if "inverse" in operation:
            rounding *= np.linalg.norm(matrix) * np.linalg.norm(target)
        assert residual == pytest.approx(float(exact_residual(operation, matrix, target)), abs=rounding)


@pytest.mark.parametrize(
    ("operation", "routine"),
    [
        ("eigenvectors", "eigh"),
        ("inverse", "inv"),
        ("singular_values", "svd"),
        ("svd", "svd"),
        ("symmetric_inverse", "inv"),
    ],
)
@pytest.mark.parametrize("part", [0, 1, 2])
def test_residuals_tell_how_wrong_a_target_is(monkeypatch, operation, routine, part):
    right = getattr(np.linalg, routine)

    def wrong(*arguments, **options):
        result = right(*arguments, **options)
        if not isinstance(result, tuple):
            return result * (1 + 1e-5 * (1 + part))
        parts = [np.array(each) for each in result]
        parts[part % len(parts)][:, 0] += 1e-5
        return tuple(parts)

    monkeypatch.setattr(np.linalg, routine, wrong)
    spec = StreamSpec(operation=operation, dim=4)
    [drawn] = draw(spec, uniforms(1, 0, 10, row_layout(spec).words))
    targets, residuals = OPERATIONS[operation].target(drawn.exact)
    expected = [float(exact_residual(operation, *pair)) for pair in zip(drawn.exact, targets, strict=True)]
    assert residuals == pytest.approx(expected, rel=1e-6)
    assert (residuals > OPERATIONS[operation].residual_bound).all()


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("coefficients", ["uniform", "gaussian"])
def test_ordinary_draws_are_within_the_bound_at_the_first_attempt(operation, coefficients):
    scale = {"scale": 2} if operation == "matrix_exponential" else {}  # it overflows at 10
    for dim, count in ((1, 300), (2, 300), (5, 300), (64, 10)):
        fields = fields_of(operation, max(dim, OPERATIONS[operation].least)) | scale
        batch = generate(StreamSpec(**fields, coefficients=coefficients), 3, "test", 0, count)
        if operation != "effective_resistance":  # whose graphs are drawn again until they are connected
            assert set(batch.column("attempt").to_pylist()) == {0}
        residuals = batch.column("residual").to_numpy()
        assert ((residuals >= 0) & (residuals <= OPERATIONS[operation].residual_bound)).all()


# operations whose answers do not grow in proportion with a power of the input, or are computed by logarithms
OF_ONE_SCALE = [
    "determinant",
    "gcd",
    "heat_kernel",
    "integer_product",
    "log_determinant",
    "matrix_exponential",
]
OF_ONE_SCALE += ["polynomial_roots", "transformed_product"]


@pytest.mark.parametrize("operation", sorted(set(OPERATIONS) - set(OF_ONE_SCALE)))
@pytest.mark.parametrize("power", [332, -332])
def test_a_residual_does_not_depend_on_the_scale_of_the_matrix(operation, power):
    spec = StreamSpec(**fields_of(operation, 3), scale=1)
    [drawn] = draw(spec, uniforms(7, 0, 20, row_layout(spec).words))
    _, usual = OPERATIONS[operation].target(drawn.exact)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _, scaled = OPERATIONS[operation].target(drawn.exact * 2.0**power)
    assert scaled == pytest.approx(usual, rel=0.1, abs=4e-16, nan_ok=True)
    if operation in ("matmul", "matvec"):  # a power of two changes no rounding
        assert scaled.tolist() == usual.tolist()
        assert scaled.any()


# --- matrices that cannot be solved

ROUTINES = {
    "eigenvalues": "eigvalsh",
    "eigenvectors": "eigh",
    "inverse": "inv",
    "singular_values": "svd",
    "svd": "svd",
    "symmetric_inverse": "inv",
}


def failing(routine, fails):
    """A routine that fails as NumPy does: all of a batch for one matrix."""

    def solve(inputs, *arguments, **options):
        if fails(inputs).any():
            raise np.linalg.LinAlgError("did not converge")
        return routine(inputs, *arguments, **options)

    return solve


@pytest.mark.parametrize(("operation", "routine"), ROUTINES.items())
@pytest.mark.parametrize("bad", [[0], [6], [3, 4], [0, 2, 5], list(range(7))])
def test_a_matrix_lapack_fails_on_is_nan_and_harms_no_other(monkeypatch, operation, routine, bad):
    spec = StreamSpec(operation=operation, dim=4)
    [drawn] = draw(spec, uniforms(5, 0, 7, row_layout(spec).words))
    inputs = drawn.exact.copy()
    inputs[bad, 0, 0] = 12345
    usual, usual_residuals = OPERATIONS[operation].target(inputs)
    solve = failing(getattr(np.linalg, routine), lambda a: a[:, 0, 0] == 12345)
    monkeypatch.setattr(np.linalg, routine, solve)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        targets, residuals = OPERATIONS[operation].target(inputs)
    good = [i for i in range(7) if i not in bad]
    assert targets.shape == usual.shape
    assert np.isnan(targets[bad]).all()
    assert np.isnan(residuals[bad]).all()
    assert targets[good].tobytes() == usual[good].tobytes()
    assert residuals[good].tobytes() == usual_residuals[good].tobytes()


@pytest.mark.parametrize("operation", ["inverse", "symmetric_inverse"])
@pytest.mark.parametrize(
    "singular", [np.zeros((3, 3)), np.ones((3, 3)), np.diag([1.0, 0, 2]), [[1, 2, 0], [2, 4, 0], [0, 0, 1]]]
)
def test_a_singular_matrix_has_no_inverse_and_harms_no_other(operation, singular):
    inputs = np.random.default_rng(0).normal(size=(9, 3, 3))
    inputs = inputs + inputs.swapaxes(1, 2)
    usual, usual_residuals = OPERATIONS[operation].target(inputs)
    inputs[[1, 7]] = singular
    targets, residuals = OPERATIONS[operation].target(inputs)
    good = [0, 2, 3, 4, 5, 6, 8]
    assert np.isnan(targets[[1, 7]]).all()
    assert np.isnan(residuals[[1, 7]]).all()
    assert targets[good].tobytes() == usual[good].tobytes()
    assert residuals[good].tobytes() == usual_residuals[good].tobytes()


@pytest.mark.parametrize(
    ("fields", "routine"),
    [({"operation": name}, routine) for name, routine in ROUTINES.items()]
    + [
        ({"operation": "eigenvalues", "spectrum": "positive"}, "eigh"),
        ({"operation": "symmetric_inverse", "spectrum": "laplace"}, "eigh"),
        ({"operation": "eigenvectors", "spectrum": "uniform,semicircle"}, "eigh"),
    ],
)
def test_a_sample_lapack_fails_on_is_drawn_again(rows, monkeypatch, fields, routine):
    spec = StreamSpec(dim=3, **fields)
    usual = generate(spec, 0, "train", 0, 60)
    solve = failing(getattr(np.linalg, routine), lambda a: a[:, 0, 0] > 5)
    monkeypatch.setattr(np.linalg, routine, solve)
    batch = generate(spec, 0, "train", 0, 60)
    again = np.flatnonzero(batch.column("attempt").to_numpy())
    assert 3 < len(again) < 40
    before, after = rows([usual]), rows([batch])
    assert [i for i in range(60) if before[i] != after[i]] == again.tolist()
    assert (batch.column("residual").to_numpy() <= OPERATIONS[spec.operation[0]].residual_bound).all()
    assert rows(generate(spec, 0, "train", i, 1) for i in range(60)) == after


@pytest.mark.parametrize(
    "fields",
    [
        {"operation": "inverse", "dim": 1, "max_abs": 3},
        {"operation": "symmetric_inverse", "dim": 1, "max_abs": 2, "scale": 3},
        {"operation": "inverse", "dim": 3, "structure": "low_rank", "max_abs": 8},
        {"operation": "inverse", "dim": 6, "structure": "condition-5000000"},
        {"operation": "symmetric_inverse", "dim": 6, "structure": "condition-5000000"},
        {"operation": "inverse", "dim": 2, "structure": "banded", "scale": "1-9", "max_abs": 2},
    ],
)
def test_an_inverse_is_drawn_again_exactly_where_it_or_its_residual_is_too_large(fields):
    spec = StreamSpec(**fields)
    n, count = fields["dim"], 200
    table = uniforms(stream_key(spec, 0, "train", 0), 0, count, row_layout(spec).words)
    [first] = draw(spec, table)
    most = fields.get("max_abs", math.inf)
    refused = []
    for matrix in first.exact:
        inverse = np.linalg.inv(matrix)
        good = np.abs(matrix @ inverse - np.eye(n)).max() <= 1e-10
        refused.append(not (good and np.abs(matrix).max() <= most and np.abs(inverse).max() <= most))
    batch = generate(spec, 0, "train", 0, count)
    assert (batch.column("attempt").to_numpy() > 0).tolist() == refused
    assert 0 < sum(refused) < count
    assert batch.column("residual").to_numpy().max() <= 1e-10
    for matrix, target in zip(*matrices(spec, count), strict=True):
        rounding = EPS * n * np.linalg.norm(matrix) * np.linalg.norm(target)
        assert np.abs(np.einsum("ij,jk->ik", matrix, target) - np.eye(n)).max() <= 1e-10 + rounding
        assert max(np.abs(matrix).max(), np.abs(target).max()) <= most


def test_inverses_of_low_rank_plus_a_diagonal_are_within_the_bound_at_every_dimension():
    batch = generate(StreamSpec(operation="inverse", dim="1-12", structure="low_rank"), 0, "train", 0, 300)
    assert batch.column("residual").to_numpy().max() <= 1e-10
    for matrix, target in zip(
        *(
            getattr(batch.column(name), "storage", batch.column(name)).to_pylist()
            for name in ("input", "target")
        ),
        strict=True,
    ):
        a, inverse = (np.reshape(each["data"], each["shape"]) for each in (matrix, target))
        assert np.abs(a @ inverse - np.eye(len(a))).max() <= 1.1e-10
