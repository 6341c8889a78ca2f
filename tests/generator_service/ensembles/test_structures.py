import math

import numpy as np
import pytest
import scipy.stats
from pydantic import ValidationError

from matstream.generator_service.ensembles.draws import row_layout
from matstream.generator_service.stream import generate
from matstream.shared.errors import explain
from matstream.shared.operations import OPERATIONS
from matstream.shared.spec import StreamSpec
from matstream.shared.structures import STRUCTURES, rules

NAMED = [name for name in STRUCTURES if name != "none"]
CONDITIONED = ["condition-1", "condition-2.5", "condition-1000"]
COMPOSED = ["block_diagonal:toeplitz", "kronecker:circulant", "kronecker_sum:banded", "low_rank:toeplitz"]
COMPOSED += ["block_diagonal:condition-5", "low_rank:block_diagonal:laplacian"]
ALL = NAMED + CONDITIONED + COMPOSED
DIVIDED = [name for name in ALL if "kronecker" in name]
OPERATIONS_TRIED = ["add", "cholesky", "eigenvalues", "inverse", "matvec", "svd"]
RANGES = {name: ["8-10", "14-16", "24-25", "1", "8-9"] for name in DIVIDED}
ANY_RANGE = ["1-2", "1-7", "5-6"]
DIMS = {name: [1, 4, 6, 9, 16] for name in DIVIDED}
ANY_DIM = [1, 2, 3, 4, 9, 20]
RECTANGLES = {name: [(4, 6), (6, 1), (1, 9), (8, "8-10"), ("8-9", 4)] for name in DIVIDED}
ANY_RECTANGLE = [(1, 4), (4, 1), (3, 5), (7, 2), ("1-5", "2-3"), (6, "1-2")]
SQUARE = [name for name in ALL if rules(name).square]
NO_SCALE = ["chosen_rank", "whole_numbers"]  # of whole numbers


def takes(structure, operation):
    try:
        return StreamSpec(operation=operation, dim=4, structure=structure).dim.low
    except ValidationError:
        return False


def samples(count, seed=0, **fields):
    """Each sample's input (m, w), target and dimensions n of the first operand's columns."""
    batch = generate(StreamSpec(**fields), seed, "train", 0, count)
    columns = []
    for name in ("input", "target"):
        column = batch.column(name)
        stored = getattr(column, "storage", column).to_pylist()
        if shape := getattr(column.type, "shape", None):
            columns.append([np.reshape(entries, shape) for entries in stored])
        else:
            columns.append([np.reshape(each["data"], each["shape"]) for each in stored])
    return columns


def structured(count, **fields):
    """The matrices that the spec's structure shapes, operands apart."""
    operation = OPERATIONS[fields["operation"]]
    found = []
    for matrix in samples(count, **fields)[0]:
        m, width = matrix.shape
        n = next(n for n in range(1, width + 1) if operation.input_shape(m, n) == matrix.shape)
        operands = operation.operands(m, n)
        parts = np.split(matrix, np.cumsum([operand.cols for operand in operands])[:-1], axis=1)
        found += [part for part, operand in zip(parts, operands, strict=True) if not operand.vector]
    return found


def follows(values, law):
    return scipy.stats.kstest(np.ravel(values), law.cdf).pvalue > 1e-6


def as_likely(counts, chance):
    total = sum(counts)
    return all(abs(c - total * chance) < 5 * math.sqrt(total * chance * (1 - chance)) for c in counts)


# --- what defines each structure, checked on one matrix of scale s


def largest_divisor(number):
    return max(p for p in range(1, number + 1) if number % p == 0 and p * p <= number)


def is_toeplitz(a, s):
    assert np.array_equal(a[1:, 1:], a[:-1, :-1])


def is_circulant(a, s):
    assert a.shape[0] == a.shape[1]
    for i in range(1, len(a)):
        assert np.array_equal(a[i], np.roll(a[i - 1], 1))


def is_banded(a, s):
    m, n = a.shape
    offsets = np.abs(np.subtract.outer(range(m), range(n)))
    width = offsets[a != 0].max()
    assert width <= max(1, max(m, n) // 2)
    if 1 <= width < offsets.max():
        assert np.array_equal(a != 0, offsets <= width)
    else:
        assert a.all()  # too small a matrix to show its width


def is_low_rank(a, s):
    # beside the diagonal, the factors alone: a block has their rank, and there is always one
    h = min(a.shape) // 2
    if h >= 1:
        values = np.linalg.svd(a[:h, h:], compute_uv=False)
        assert values[0] > 0


def is_kronecker(a, s):
    m, n = a.shape
    p, q = largest_divisor(m), largest_divisor(n)
    rearranged = a.reshape(p, m // p, q, n // q).transpose(0, 2, 1, 3).reshape(p * q, -1)  # Van Loan
    values = np.linalg.svd(rearranged, compute_uv=False)
    assert values[0] > 0
    assert (values[1:] <= 1e-14 * values[0]).all()


def is_laplacian(a, s):
    assert np.array_equal(a, a.T)
    off = a - np.diag(np.diag(a))
    assert (off <= 0).all()
    assert np.abs(a.sum(axis=1)).max() <= 1e-15 * len(a) * np.abs(a).max()
    assert np.linalg.eigvalsh(a)[0] >= -1e-14 * len(a) * np.abs(a).max()


def is_orthogonal(a, s):
    gram = a.T @ a if a.shape[0] >= a.shape[1] else a @ a.T
    squares = [k * k for k in s]
    assert any(np.abs(gram / square - np.eye(len(gram))).max() <= 1e-14 * max(a.shape) for square in squares)


def is_conditioned(kappa):
    def check(a, s):
        sigma = np.linalg.svd(a, compute_uv=False)
        k = min(a.shape)
        if k > 1:
            assert sigma[0] / sigma[-1] == pytest.approx(kappa, rel=1e-8)
            assert sigma[1:] / sigma[:-1] == pytest.approx(kappa ** (-1 / (k - 1)), rel=1e-8)
        assert any(sigma[0] == pytest.approx(each, rel=1e-12) for each in s)

    return check


def is_block_diagonal(check):
    def checked(a, s):
        m, n = a.shape
        rows, cols = m - m // 2, n - n // 2
        assert not a[:rows, cols:].any()
        assert not a[rows:, :cols].any()
        for block in (a[:rows, :cols], a[rows:, cols:]):
            if block.size:
                check(block, s)

    return checked


def is_free(a, s):
    assert a.all()


def is_kronecker_sum(a, s):
    n = len(a)
    p = largest_divisor(n)
    q = n // p
    cells = a.reshape(p, q, p, q)
    within = cells[0, :, 0, :] - cells[0, 0, 0, 0] * np.eye(q)  # C up to a multiple of I
    rest = cells[:, 0, :, 0]
    rebuilt = np.kron(rest, np.eye(q)) + np.kron(np.eye(p), within)
    assert np.abs(rebuilt - a).max() <= 1e-14 * np.abs(a).max()


def is_of_chosen_rank(a, s):
    most = max(math.floor(math.sqrt(each)) for each in s)
    assert np.array_equal(a, np.rint(a))
    assert np.abs(a).max() <= min(a.shape) * max(1, most) ** 2


def is_covariance(a, s):
    assert np.array_equal(a, a.T)
    assert np.linalg.eigvalsh(a)[0] >= 0.1 * min(s) * (1 - 1e-12)


def is_linear_model(a, s):
    m, n = a.shape
    if m > n > 1:  # examples enough to find the weights, up to the noise
        weights = np.linalg.lstsq(a[:, :-1], a[:, -1])[0]
        off = a[:, -1] - a[:, :-1] @ weights
        assert np.linalg.norm(off) < 0.6 * max(s) * math.sqrt(m)


def is_masked(a, s):
    m, n = a.shape
    rows, cols = (a != 0).all(axis=1), (a != 0).all(axis=0)
    assert rows.any()
    assert cols.any()
    rank = np.linalg.matrix_rank(a[np.ix_(rows, cols)], tol=1e-9 * np.abs(a).max())
    assert rank <= max(1, min(m, n) // 2)


def is_whole_numbers(a, s):
    assert np.array_equal(a, np.rint(a))
    assert a.min() >= 0
    assert a.max() <= max(s) - 1


def is_kronecker_of_circulants(a, s):
    is_kronecker(a, s)
    p = largest_divisor(len(a))
    q = len(a) // p
    for block in a.reshape(p, q, p, q).transpose(0, 2, 1, 3).reshape(-1, q, q):
        for i in range(1, q):
            np.testing.assert_allclose(block[i], np.roll(block[i - 1], 1), rtol=1e-14)


def is_toeplitz_up_to_low_rank(a, s):
    k = min(a.shape)
    differences = a[1:, 1:] - a[:-1, :-1]  # the Toeplitz part cancels; the ranks of the rest add up
    if differences.size:
        values = np.linalg.svd(differences, compute_uv=False)
        assert (values > 1e-12 * max(1e-300, values[0])).sum() <= 2 * max(1, k // 2)


def is_nonnegative(a, s):
    assert (a >= 0).all()
    assert a.max() > 0


def is_anything(a, s):
    assert np.isfinite(a).all()


CHECKS = {
    "block_diagonal": is_block_diagonal(is_free),
    "block_diagonal:condition-5": is_block_diagonal(is_conditioned(5.0)),
    "block_diagonal:toeplitz": is_block_diagonal(is_toeplitz),
    "chosen_rank": is_of_chosen_rank,
    "covariance": is_covariance,
    "kronecker:circulant": is_kronecker_of_circulants,
    "kronecker_sum": is_kronecker_sum,
    "kronecker_sum:banded": is_kronecker_sum,
    "linear_model": is_linear_model,
    "low_rank:block_diagonal:laplacian": is_anything,
    "low_rank:toeplitz": is_toeplitz_up_to_low_rank,
    "masked": is_masked,
    "nonnegative": is_nonnegative,
    "whole_numbers": is_whole_numbers,
    "banded": is_banded,
    "circulant": is_circulant,
    "kronecker": is_kronecker,
    "laplacian": is_laplacian,
    "low_rank": is_low_rank,
    "orthogonal": is_orthogonal,
    "toeplitz": is_toeplitz,
} | {name: is_conditioned(float(name.split("-")[1])) for name in [*CONDITIONED, "condition-1000000"]}

PAIRS = [(s, o) for s in ALL for o in OPERATIONS_TRIED if takes(s, o)]


def test_every_structure_has_a_property_that_defines_it():
    assert set(ALL) <= set(CHECKS)


@pytest.mark.parametrize("coefficients", ["uniform", "gaussian"])
@pytest.mark.parametrize(("structure", "operation"), PAIRS)
def test_matrices_have_their_structure_at_every_dimension(structure, operation, coefficients):
    for dim in DIMS.get(structure, ANY_DIM):
        fields = {"operation": operation, "dim": dim, "structure": structure, "coefficients": coefficients}
        for a in structured(8, **fields):
            assert a.shape == (dim, dim)
            CHECKS[structure](a, [10])
            if OPERATIONS[operation].symmetric:
                assert np.array_equal(a, a.T)
                assert structure not in CONDITIONED or np.linalg.eigvalsh(a)[0] > 0


@pytest.mark.parametrize(("structure", "operation"), PAIRS)
def test_matrices_have_their_structure_in_every_range_of_dimensions_and_scales(structure, operation):
    for dim in RANGES.get(structure, ANY_RANGE):
        low, *high = map(int, dim.split("-"))
        shapes = set()
        fields = {"operation": operation, "dim": dim, "structure": structure, "scale": "2-4"}
        for a in structured(120, **fields):  # of up to seven sizes, none of which is missed
            shapes.add(a.shape)
            CHECKS[structure](a, [2, 3, 4])
            if OPERATIONS[operation].symmetric:
                assert np.array_equal(a, a.T)
        assert shapes == {(n, n) for n in range(low, (high or [low])[0] + 1)}


@pytest.mark.parametrize(
    ("structure", "operation"),
    [(s, o) for s, o in PAIRS if s not in SQUARE and not OPERATIONS[o].square],
)
def test_rectangles_have_their_structure(structure, operation):
    for dim, cols in RECTANGLES.get(structure, ANY_RECTANGLE):
        fields = {"operation": operation, "dim": dim, "cols": cols, "structure": structure}
        for a in structured(12, scale=3, **fields):
            CHECKS[structure](a, [3])


@pytest.mark.parametrize("structure", ALL)
@pytest.mark.parametrize("operation", ["add", "matmul"])
def test_both_operands_are_structured_and_drawn_apart(structure, operation):
    fields = {"operation": operation, "dim": 4, "structure": structure}
    for matrix, target in zip(*samples(20, **fields), strict=True):
        a, b = np.split(matrix, 2, axis=1)
        assert structure == "chosen_rank" or not np.array_equal(a, b)  # which may both be 0
        expected = a + b if operation == "add" else np.einsum("ki,kj->ij", a, b)
        assert target == pytest.approx(expected, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize(
    ("structure", "fields"),
    [
        (structure, fields)
        for structure in ALL
        for fields in [{"dim": 9}, {"dim": 9, "cols": 4}, {"dim": 9, "cols": 1}, {"dim": 1}]
        if "cols" not in fields or structure not in SQUARE
    ],
)
@pytest.mark.parametrize("coefficients", ["uniform", "gaussian"])
def test_the_vector_of_matvec_has_no_structure(structure, fields, coefficients):
    spec = {"operation": "matvec", "structure": structure, "coefficients": coefficients, **fields}
    vectors = [matrix[:, -1] for matrix in samples(300, **spec)[0]]
    law = {"uniform": scipy.stats.uniform(-10, 20), "gaussian": scipy.stats.norm(0, 10 / math.sqrt(3))}
    assert follows(vectors, law[coefficients])


@pytest.mark.parametrize("structure", ALL)
def test_no_entry_of_input_or_target_is_a_negative_zero(structure):
    for operation in ("transpose", "eigenvalues", "eigenvectors", "svd"):
        for dim in (1, 4):
            if takes(structure, operation):
                for column in samples(100, operation=operation, dim=dim, structure=structure):
                    assert not any((np.signbit(a) & (a == 0)).any() for a in column)


@pytest.mark.parametrize("structure", [name for name in ALL if name not in NO_SCALE])
@pytest.mark.parametrize("scale", [1e-100, 0.5, 1e100])
def test_structured_samples_differ_and_have_the_magnitude_of_their_scale(structure, scale):
    matrices = structured(50, operation="transpose", dim=4, structure=structure, scale=scale)
    assert len({(a + 0.0).tobytes() for a in matrices}) == 50
    largest = max(np.abs(a).max() for a in matrices)
    assert scale / 4 < largest < 5 * scale


@pytest.mark.parametrize(("structure", "operation"), PAIRS)
def test_a_row_has_words_for_the_matrices_of_every_dimension_in_the_range(structure, operation):
    for dim in RANGES.get(structure, ANY_RANGE):
        spec = StreamSpec(operation=operation, dim=dim, structure=structure, noise=0.1)
        layout = row_layout(spec)
        for n in range(spec.dim.low, spec.dim.high + 1):
            fixed = row_layout(StreamSpec(operation=operation, dim=n, structure=structure, noise=0.1))
            assert layout.noise - layout.coefficients >= fixed.noise - fixed.coefficients
            assert layout.words - layout.noise >= math.prod(OPERATIONS[operation].input_shape(n, n))


# --- laws; seeds are fixed, bounds are 5 standard errors or a chance of 1e-6


@pytest.mark.parametrize("operation", ["transpose", "eigenvalues"])
@pytest.mark.parametrize("structure", ["toeplitz", "circulant", "banded", "nonnegative"])
@pytest.mark.parametrize("coefficients", ["uniform", "gaussian"])
def test_free_entries_have_the_law_of_the_coefficients(structure, operation, coefficients):
    fields = {"operation": operation, "dim": 5, "scale": 3, "coefficients": coefficients}
    matrices = np.array(structured(2000, structure=structure, **fields))
    free = matrices[:, 0, :2] if operation == "eigenvalues" else matrices[:, [0, 0, 1], [0, 1, 0]]
    if structure == "nonnegative":  # without their signs
        law = (
            scipy.stats.uniform(0, 3) if coefficients == "uniform" else scipy.stats.halfnorm(0, math.sqrt(3))
        )
    else:
        law = scipy.stats.uniform(-3, 6) if coefficients == "uniform" else scipy.stats.norm(0, math.sqrt(3))
    assert follows(free, law)
    correlations = np.corrcoef(free, rowvar=False)[np.triu_indices(free.shape[1], 1)]
    assert np.abs(correlations).max() < 5 / math.sqrt(2000)


@pytest.mark.parametrize("operation", ["transpose", "eigenvalues"])
def test_half_widths_of_bands_are_as_likely_each_up_to_half_the_dimension(operation):
    matrices = structured(3000, operation=operation, dim=9, structure="banded")
    offsets = np.abs(np.subtract.outer(range(9), range(9)))
    widths = [int(offsets[a != 0].max()) for a in matrices]
    assert set(widths) == {1, 2, 3, 4}
    assert as_likely([widths.count(b) for b in (1, 2, 3, 4)], 1 / 4)


@pytest.mark.parametrize(
    "fields",
    [
        {"operation": "transpose", "dim": 8},
        {"operation": "transpose", "dim": 8, "cols": 12, "coefficients": "gaussian"},
        {"operation": "transpose", "dim": 13, "cols": 9},
        {"operation": "eigenvalues", "dim": 9},
    ],
)
def test_ranks_beside_the_diagonal_are_as_likely_each_up_to_half_the_dimension(fields):
    ranks = []
    for a in structured(3000, structure="low_rank", **fields):
        values = np.linalg.svd(a[:4, 4:], compute_uv=False)  # no diagonal entry: rank r of the factors
        ranks.append(int((values > 1e-12 * values[0]).sum()))
    assert set(ranks) == {1, 2, 3, 4}
    assert as_likely([ranks.count(r) for r in (1, 2, 3, 4)], 1 / 4)


@pytest.mark.parametrize("coefficients", ["uniform", "gaussian"])
@pytest.mark.parametrize("structure", ["low_rank", "kronecker"])
def test_products_of_factors_have_the_deviation_of_their_factors(structure, coefficients):
    fields = {"operation": "transpose", "dim": 6, "scale": 3, "coefficients": coefficients}
    matrices = np.array(structured(4000, structure=structure, **fields))
    entries = matrices[:, 0, 5]  # Var = s²/9: a product of two at scale √s, or a mean of r such
    assert entries.mean() == pytest.approx(0, abs=5 * entries.std() / math.sqrt(4000))
    error = math.sqrt((scipy.stats.kurtosis(entries) + 2) / (4 * 4000))
    assert entries.std() == pytest.approx(1, rel=5 * error)
    if structure == "low_rank":  # and the diagonal, an entry at scale s more: s²/9 + s²/3
        entries = matrices[:, 2, 2]
        error = math.sqrt((scipy.stats.kurtosis(entries) + 2) / (4 * 4000))
        assert entries.std() == pytest.approx(2, rel=5 * error)


@pytest.mark.parametrize("coefficients", ["uniform", "gaussian"])
def test_graphs_have_every_number_of_edges_as_likely_and_weights_of_the_coefficients(coefficients):
    fields = {"operation": "eigenvalues", "dim": 4, "scale": 3, "coefficients": coefficients}
    matrices = np.array(structured(7000, structure="laplacian", **fields))
    weights = -matrices[:, *np.tril_indices(4, -1)]
    edges = (weights > 0).sum(axis=1)
    assert set(edges) == {1, 2, 3, 4, 5, 6}
    assert as_likely([int((edges == k).sum()) for k in range(1, 7)], 1 / 6)
    for k in range(1, 7):  # each pair of nodes is one of k edges in k graphs of 6
        pairs = (weights[edges == k] > 0).sum(axis=0)
        assert all(
            abs(pair - p) <= 5 * math.sqrt(p * (1 - k / 6)) for pair in pairs for p in [pairs.sum() / 6]
        )
    law = scipy.stats.uniform(0, 3) if coefficients == "uniform" else scipy.stats.halfnorm(0, math.sqrt(3))
    assert follows(weights[weights > 0], law)
    for k in (1, 3, 6):
        assert follows(weights[edges == k][weights[edges == k] > 0], law)


@pytest.mark.parametrize("operation", ["transpose", "eigenvalues"])
@pytest.mark.parametrize("structure", ["none", *NAMED, *CONDITIONED])
def test_inputs_repeat_only_where_a_matrix_of_one_entry_has_no_free_one(structure, operation):
    if not takes(structure, operation):
        return
    for dim in DIMS.get(structure, ANY_DIM):
        spec = StreamSpec(operation=operation, dim=dim, structure=structure)
        drawn = [
            generate(spec, 0, split, 0, 500).column("input").to_numpy_ndarray() for split in ("train", "test")
        ]
        different = len(np.unique(np.concatenate(drawn).reshape(1000, -1), axis=0))
        if structure in NO_SCALE or (dim == 1 and structure == "linear_model"):
            assert different < 1000 or dim > 1  # whole numbers up to 10, or a y without x
        elif dim == 1 and structure in ("laplacian", "orthogonal", *CONDITIONED):
            assert different <= 2  # 0, or ±s
        else:
            assert different == 1000


@pytest.mark.parametrize("n", [1, 2, 5])
@pytest.mark.parametrize("coefficients", ["uniform", "gaussian"])
def test_orthogonal_matrices_are_haar_distributed(n, coefficients):
    count = 4000
    fields = {"operation": "transpose", "dim": n, "scale": 7, "coefficients": coefficients}
    q = np.array(structured(count, structure="orthogonal", **fields)) / 7
    traces = np.trace(q, axis1=1, axis2=2)
    assert abs(traces.mean()) < 5 / math.sqrt(count)
    squares = traces**2
    assert abs(squares.mean() - 1) <= 5 * squares.std() / math.sqrt(count) + 1e-14
    signs = np.linalg.det(q) > 0
    assert as_likely([int(signs.sum()), int((~signs).sum())], 1 / 2)
    if n > 1:  # each entry is a coordinate of a uniform point on the sphere
        squared = scipy.stats.beta(1 / 2, (n - 1) / 2)
        for i, j in ((0, 0), (0, n - 1), (n - 1, 0), (n - 1, n - 1)):
            assert follows(q[:, i, j] ** 2, squared)
            assert as_likely([int((q[:, i, j] > 0).sum()), int((q[:, i, j] < 0).sum())], 1 / 2)


@pytest.mark.parametrize("fields", [{"dim": 2, "cols": 4}, {"dim": 4, "cols": 2}])
def test_orthogonal_rectangles_are_haar_distributed(fields):
    q = np.array(structured(4000, operation="transpose", structure="orthogonal", **fields)) / 10
    for place in ((0, 0), (-1, -1), (0, -1)):
        assert follows(q[:, *place] ** 2, scipy.stats.beta(1 / 2, 3 / 2))


def test_one_of_several_structures_is_drawn_for_each_sample_by_its_weight():
    fields = {"operation": "transpose", "dim": "2-3", "structure": "orthogonal:3,whole_numbers"}
    matrices = structured(3000, **fields)
    whole = [np.array_equal(a, np.rint(a)) for a in matrices]
    assert abs(whole.count(False) - 3000 * 3 / 4) < 5 * math.sqrt(3000 * 3 / 16)
    for a, is_whole in zip(matrices, whole, strict=True):
        CHECKS["whole_numbers" if is_whole else "orthogonal"](a, [10])


def test_free_matrices_among_several_structures_have_the_spectrum():
    fields = {"operation": "eigenvalues", "dim": 4, "structure": "condition-1,none", "spectrum": "positive"}
    matrices = np.array(structured(2000, **fields))
    multiples = np.isclose(matrices, matrices[:, :1, :1] * np.eye(4)).all(axis=(1, 2))
    assert as_likely([multiples.sum(), (~multiples).sum()], 1 / 2)
    assert (np.linalg.eigvalsh(matrices) > 0).all()


@pytest.mark.parametrize("structure", ["orthogonal", "condition-30"])
def test_scale_ranges_are_drawn_per_matrix_each_as_likely(structure):
    matrices = structured(3000, operation="transpose", dim=3, scale="2-4", structure=structure)
    scales = [round(float(np.linalg.norm(a, 2)), 9) for a in matrices]
    assert set(scales) == {2, 3, 4}
    assert as_likely([scales.count(s) for s in (2, 3, 4)], 1 / 3)


@pytest.mark.parametrize("operation", ["transpose", "eigenvalues"])
def test_conditioned_matrices_turn_every_way(operation):
    matrices = np.array(structured(3000, operation=operation, dim=3, scale=1, structure="condition-1000000"))
    u, _, vt = np.linalg.svd(matrices)
    for vectors in (u[:, :, 0], vt[:, 0]):
        for coordinate in vectors.T:
            assert follows(coordinate**2, scipy.stats.beta(1 / 2, 1))
    aligned = np.einsum("bi,bi->b", u[:, :, 0], vt[:, 0])
    if operation == "eigenvalues":
        assert aligned == pytest.approx(1, abs=1e-9)
    else:
        assert follows(aligned**2, scipy.stats.beta(1 / 2, 1))


@pytest.mark.parametrize("kappa", ["1", "1.5", "100", "12345.678", "1e6"])
@pytest.mark.parametrize("fields", [{"dim": 2}, {"dim": 7}, {"dim": 3, "cols": 6}, {"dim": 6, "cols": 3}])
def test_condition_numbers_are_exact(kappa, fields):
    for operation in ["svd"] if "cols" in fields else ["svd", "eigenvectors"]:
        for a in structured(10, operation=operation, structure=f"condition-{kappa}", **fields):
            is_conditioned(float(kappa))(a, [10])


# --- what is refused


@pytest.mark.parametrize(
    ("fields", "field", "reasons"),
    [
        ({"operation": "eigenvalues", "structure": "orthogonal"}, "structure", ["eigenvalues", "symmetric"]),
        (
            {"operation": "svd,symmetric_inverse", "structure": "orthogonal"},
            "structure",
            ["symmetric_inverse", "not symmetric"],
        ),
        ({"operation": "inverse", "structure": "laplacian"}, "structure", ["inverse", "singular"]),
        ({"operation": "symmetric_inverse", "structure": "laplacian"}, "structure", ["inverse", "singular"]),
        ({"operation": "add,inverse", "structure": "laplacian"}, "structure", ["inverse", "singular"]),
        ({"cols": 3, "structure": "circulant"}, "structure", ["square", "cols"]),
        ({"cols": 4, "structure": "laplacian"}, "structure", ["square", "cols"]),
        ({"dim": 5, "structure": "kronecker"}, "structure", ["5 is prime"]),
        ({"dim": "8-12", "structure": "kronecker"}, "structure", ["11 is prime"]),
        ({"dim": 4, "cols": "1-2", "structure": "kronecker"}, "structure", ["2 is prime"]),
        (
            {"operation": "eigenvalues", "spectrum": "laplace", "structure": "toeplitz"},
            "spectrum",
            ["structure", "toeplitz", "eigenvalues"],
        ),
        (
            {"operation": "add,eigenvalues", "spectrum": "laplace", "structure": "condition-10"},
            "spectrum",
            ["structure", "condition-10"],
        ),
        *(
            ({"structure": value}, "structure", [*STRUCTURES, "condition-"])
            for value in ["hankel", "", "Toeplitz", "banded,hankel", "condition", None, 5, [["banded"]], {}]
        ),
        *(
            ({"structure": value}, "structure", ["condition-", "1 to 1e+12"])
            for value in [
                "condition-0.5",
                "condition-nan",
                "condition-",
                "condition-inf",
                "condition--5",
                "condition-0",
                "condition-1e13",
                "condition-ten",
                "condition-1_0",
            ]
        ),
    ],
)
def test_a_structure_that_does_not_fit_is_refused_with_field_value_and_reason(fields, field, reasons):
    with pytest.raises(ValidationError) as refused:
        StreamSpec(**({"operation": "add", "dim": 4} | fields))
    [problem] = explain(refused.value.errors(), StreamSpec)
    assert problem.field == field
    assert problem.value == fields[field]
    for reason in reasons:
        assert reason in problem.message


def test_a_kronecker_product_needs_no_prime_but_one_may_stand_in_no_range():
    assert StreamSpec(operation="add", dim="8-10", cols=1, structure="kronecker").cols.low == 1
    for prime in (2, 3, 5, 7, 11, 13, 4093):
        with pytest.raises(ValidationError, match=f"{prime} is prime"):
            StreamSpec(operation="add", dim=prime, structure="kronecker")
