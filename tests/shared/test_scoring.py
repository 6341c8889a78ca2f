import json
import math
import warnings
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given
from hypothesis import strategies as st

from matstream.shared.operation import difference
from matstream.shared.operations import OPERATIONS
from matstream.shared.scoring import by_tolerance, right, right_strictly, score

GOLDEN = [
    case
    for case in map(
        json.loads, (Path(__file__).parents[1] / "data" / "metrics.jsonl").read_text().splitlines()
    )
    if case["operation"] in OPERATIONS
]
DIFFERENCES = [name for name, operation in OPERATIONS.items() if operation.deviation is difference]
PUBLISHED = [
    *("add", "eigenvalues", "eigenvectors", "inverse", "matmul", "matvec"),
    *("singular_values", "svd", "symmetric_inverse", "transpose"),
]
RIGHT = dict.fromkeys(("0.05", "0.02", "0.01", "0.005"), 1.0)
WRONG = dict.fromkeys(RIGHT, 0.0)


def one(operation, target, prediction):
    """The scores of one prediction, as floats."""
    target, prediction = (np.array([matrix], dtype=float) for matrix in (target, prediction))
    return [float(error[0]) for error in score(operation, np.zeros((1, 2, 2)), target, prediction)]


def as_matrix(rows):
    return np.array(rows, dtype=float).reshape(len(rows), -1)


def accuracy(scores, same_words):
    """The share of a batch that is right by the published rule."""
    return by_tolerance(right(scores, same_words).mean(axis=0))


def accuracy_strict(operation, scores, *matrices):
    """The share of a batch that is right strictly; inputs, targets, predictions."""
    return by_tolerance(right_strictly(operation, scores, *matrices).mean(axis=0))


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: case["operation"])
def test_scores_are_those_of_the_published_code(case):
    matrices = [as_matrix(case[name])[None] for name in ("input", "target", "prediction")]
    scores = score(case["operation"], *matrices)
    for name in ("max", "l1", "l2_squared", "fraction_within_1pct"):
        assert getattr(scores, name)[0] == pytest.approx(case[name], rel=1e-12, abs=1e-15), name


def test_there_are_published_scores_of_every_operation_of_the_paper():
    assert {case["operation"] for case in GOLDEN} == set(PUBLISHED)


def test_errors_are_relative_to_the_target():
    target, prediction = [[3.0, -1.0], [0.0, 4.0]], [[3.0, -1.5], [0.25, 4.03]]
    largest, l1, l2_squared, within = one("transpose", target, prediction)
    assert largest == pytest.approx(0.5 / 4)
    assert l1 == pytest.approx((0.5 + 0.25 + 0.03) / 8)
    assert l2_squared == pytest.approx((0.5**2 + 0.25**2 + 0.03**2) / 26)
    assert within == 0.5


@given(
    st.sampled_from(DIFFERENCES),
    st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6)), min_size=4, max_size=4),
)
def test_a_sample_scores_the_same_in_any_batch(operation, pairs):
    target, prediction = np.array(pairs).T.reshape(2, 1, 2, 2)
    other = np.ones((3, 2, 2))
    alone = score(operation, target, target, prediction)
    among = score(
        operation, *(np.concatenate([other, matrices, other]) for matrices in (target, target, prediction))
    )
    for error, errors in zip(alone, among, strict=True):
        assert error[0] == errors[3]


@pytest.mark.parametrize("operation", DIFFERENCES)
def test_the_target_itself_has_no_error(operation):
    assert one(operation, [[1.5], [-2.0]], [[1.5], [-2.0]]) == [0, 0, 0, 1]


@pytest.mark.parametrize("operation", DIFFERENCES)
def test_against_a_zero_target_only_zero_is_right(operation):
    assert one(operation, [[0], [0]], [[0], [0]]) == [0, 0, 0, 1]
    wrong = one(operation, [[0], [0]], [[0], [1e-30]])
    assert wrong[:2] == [-1, -1]
    assert wrong[2] == -1
    assert wrong[3] == 0


@pytest.mark.parametrize("target", [[[1.0], [2.0]], [[0.0], [0.0]]])
def test_a_prediction_that_is_no_matrix_is_wrong(target):
    targets = np.array([target] * 3)
    predictions = targets.copy()
    predictions[0] = np.nan
    predictions[1, 1] = np.nan
    scores = score("eigenvalues", targets, targets, predictions)
    assert all(np.isnan(error[:2]).all() for error in scores)
    expected = {tau: pytest.approx(1 / 3) for tau in ("0.05", "0.02", "0.01", "0.005")}
    assert accuracy(scores, np.zeros(3, dtype=bool)) == expected
    assert accuracy_strict("eigenvalues", scores, targets, targets, predictions) == expected


def test_accuracy_counts_l1_errors_below_each_tolerance():
    targets = np.full((5, 1, 1), 1000.0)
    predictions = targets + np.array([4.9, 9.9, 19.9, 49.9, 50.0])[:, None, None]
    inputs = np.zeros((5, 1, 2))
    scores = score("add", inputs, targets, predictions)
    expected = {"0.05": 0.8, "0.02": 0.6, "0.01": 0.4, "0.005": 0.2}
    assert accuracy_strict("add", scores, inputs, targets, predictions) == expected
    assert accuracy(scores, np.zeros(5, dtype=bool)) == expected


def test_equal_words_are_right_whatever_the_error_except_strictly():
    targets = np.array([[[1.0]], [[0.0]], [[1.0]], [[1.0]]])
    predictions = np.array([[[2.0]], [[5.0]], [[np.nan]], [[2.0]]])
    inputs = np.zeros((4, 1, 2))
    scores = score("add", inputs, targets, predictions)
    same_words = np.array([True, True, True, False])
    assert set(accuracy(scores, same_words).values()) == {0.75}
    assert accuracy_strict("add", scores, inputs, targets, predictions) == WRONG


def test_a_negative_score_is_never_accurate():
    matrices = np.zeros((1, 1, 2)), np.zeros((1, 1, 1)), np.ones((1, 1, 1))
    scores = score("add", *matrices)
    assert scores.l1[0] == -1
    assert accuracy_strict("add", scores, *matrices) == WRONG


@pytest.mark.parametrize("prediction", [1e200, -1e300, 1.7e308, np.inf])
def test_an_absurdly_large_prediction_is_wrong_without_a_warning(prediction):
    targets = np.ones((1, 2, 2))
    predictions = np.full((1, 2, 2), prediction)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scores = score("transpose", targets, targets, predictions)
        assert set(accuracy(scores, np.array([False])).values()) == {0.0}
    assert scores.l2_squared[0] == np.inf
    assert scores.fraction_within_1pct[0] == 0


def test_an_unknown_operation_is_refused_with_the_known_ones_named():
    with pytest.raises(ValueError, match="'sum'") as refused:
        score("sum", *np.zeros((3, 1, 2, 2)))
    assert str(refused.value).endswith("one of " + ", ".join(sorted(OPERATIONS)))


@pytest.mark.parametrize(
    ("inputs", "targets", "predictions"),
    [
        ((2, 2, 2), (2, 2, 1), (2, 1, 2)),
        ((2, 2, 2), (2, 2, 1), (2, 2)),
        ((2, 2, 2), (2, 2), (2, 2)),
        ((2, 2, 2), (3, 2, 1), (3, 2, 1)),
        ((3, 2, 2), (3, 2, 1), (2, 2, 1)),
    ],
)
def test_batches_that_do_not_fit_are_refused_with_their_shapes_named(inputs, targets, predictions):
    with pytest.raises(ValueError, match="predictions shaped as targets") as refused:
        score("eigenvalues", np.zeros(inputs), np.zeros(targets), np.zeros(predictions))
    assert str(targets) in str(refused.value)


# --- the strict rule, and operations whose error is measured on the input


def strictly(operation, *matrices):
    """The strict accuracy of a batch; inputs, targets, predictions."""
    return accuracy_strict(operation, score(operation, *matrices), *matrices)


def published(operation, *matrices):
    """The published accuracy of a batch in which no prediction has all the target's words."""
    return accuracy(score(operation, *matrices), np.zeros(len(matrices[0]), dtype=bool))


def problem(operation, shape=(4, 4), seed=0):
    """An ordinary input of a decomposition or inverse, with its exact answer, each a batch of one."""
    a = np.random.default_rng(seed).uniform(-10, 10, shape)
    if operation in ("eigenvectors", "symmetric_inverse"):
        a = a + a.T
    if operation == "eigenvectors":
        values, q = scipy.linalg.eigh(a, driver="ev")
        answer = np.vstack([values[::-1], q[:, ::-1]])
    elif operation == "svd":
        u, sigma, vt = scipy.linalg.svd(a, full_matrices=False, lapack_driver="gesvd")
        answer = np.vstack([sigma, u, vt.T])
    else:
        answer = scipy.linalg.lu_solve(scipy.linalg.lu_factor(a), np.eye(len(a)))
    return a[None], answer[None]


CHECKED_ON_THE_INPUT = ["eigenvectors", "inverse", "svd", "symmetric_inverse"]


@pytest.mark.parametrize("operation", CHECKED_ON_THE_INPUT)
def test_the_exact_answer_is_right_by_both_rules(operation):
    inputs, targets = problem(operation)
    assert score(operation, inputs, targets, targets).max[0] < 1e-12
    assert strictly(operation, inputs, targets, targets) == RIGHT
    assert published(operation, inputs, targets, targets) == RIGHT


@pytest.mark.parametrize("shape", [(2, 5), (5, 2), (1, 3), (3, 1), (1, 1)])
def test_the_exact_svd_of_a_matrix_of_any_shape_is_right(shape):
    inputs, targets = problem("svd", shape)
    assert strictly("svd", inputs, targets, targets) == RIGHT


@pytest.mark.parametrize(("operation", "shape"), [("eigenvectors", (4, 4)), ("svd", (4, 4)), ("svd", (2, 5))])
def test_the_other_sign_of_a_vector_is_as_right(operation, shape):
    inputs, targets = problem(operation, shape)
    predictions = targets.copy()
    predictions[:, 1:, 1] *= -1
    assert strictly(operation, inputs, targets, predictions) == RIGHT


@pytest.mark.parametrize(("operation", "shape"), [("eigenvectors", (3, 3)), ("svd", (3, 3)), ("svd", (3, 2))])
def test_zeros_deceive_the_published_rule_and_not_the_strict_one(operation, shape):
    inputs, targets = problem(operation, shape)
    zeros = np.zeros_like(targets)
    assert [error[0] for error in score(operation, inputs, targets, zeros)] == [0, 0, 0, 1]
    assert published(operation, inputs, targets, zeros) == RIGHT
    assert strictly(operation, inputs, targets, zeros) == WRONG


def congruence():
    """H is not orthonormal, yet HᵀMH = Λ: M = [[2, 1], [1, 3]], Λ = I, H = L⁻ᵀ of M = LLᵀ."""
    m = np.array([[2.0, 1], [1, 3]])
    low = np.array([[math.sqrt(2), 0], [1 / math.sqrt(2), math.sqrt(5 / 2)]])
    h = np.linalg.inv(low).T
    return m, h


def test_a_congruence_deceives_the_published_rule_and_not_the_strict_one():
    m, h = congruence()
    root = math.sqrt(5) / 2
    q = np.array([[1, 1], [0.5 + root, 0.5 - root]])
    exact = np.vstack([[2.5 + root, 2.5 - root], q / np.sqrt((q**2).sum(axis=0))])[None]
    predictions = np.vstack([[1, 1], h])[None]
    inputs = m[None]
    assert score("eigenvectors", inputs, exact, predictions).max[0] < 1e-15
    assert published("eigenvectors", inputs, exact, predictions) == RIGHT
    assert strictly("eigenvectors", inputs, exact, predictions) == WRONG
    assert strictly("eigenvectors", inputs, exact, exact) == RIGHT


def test_an_svd_that_only_fits_itself_is_wrong_strictly():
    m, h = congruence()
    sigma = np.linalg.svd(m, compute_uv=False)
    targets = np.vstack([sigma, *np.linalg.svd(m)[::2]])[None]
    predictions = np.vstack([[1, 1], h, h])[None]
    assert published("svd", m[None], targets, predictions) == RIGHT
    assert strictly("svd", m[None], targets, predictions) == WRONG


def test_true_values_with_vectors_that_are_not_orthonormal_are_wrong_strictly():
    inputs = np.diag([4.0, 1.0])[None]
    targets = np.vstack([[4, 1], np.eye(2)])[None]
    stretched = np.array([[[4, 1], [0, 0.5], [2, 0]]])  # columns (0, 2) and (½, 0): HᵀMH = diag(4, 1)
    assert published("eigenvectors", inputs, targets, stretched) == RIGHT
    assert strictly("eigenvectors", inputs, targets, stretched) == WRONG


@pytest.mark.parametrize(
    ("change", "expected"),
    [(1e-4, [1, 1, 1, 1]), (7e-3, [1, 1, 1, 0]), (0.015, [1, 1, 0, 0]), (0.03, [1, 0, 0, 0]), (0.1, [0] * 4)],
)
@pytest.mark.parametrize("operation", ["eigenvectors", "svd"])
def test_strictly_all_of_a_decomposition_must_be_within_the_tolerance(operation, change, expected):
    inputs = np.diag([3.0, 2.0, 1.0])[None]
    blocks = [np.eye(3)] * (1 if operation == "eigenvectors" else 2)
    targets = np.vstack([[3, 2, 1], *blocks])[None]
    values, vectors = targets.copy(), targets.copy()
    values[:, 0] *= 1 + change
    vectors[:, 1:4] *= math.sqrt(1 + change)  # UᵀU = (1+change)·I
    assert list(strictly(operation, inputs, targets, values).values()) == expected
    assert list(strictly(operation, inputs, targets, vectors).values()) == expected


@pytest.mark.parametrize("operation", ["eigenvectors", "svd"])
def test_decompositions_of_a_zero_matrix_are_never_right_strictly_and_raise_no_warning(operation):
    _, targets = problem(operation, (2, 2))
    inputs, targets = np.zeros((1, 2, 2)), targets.copy()
    targets[:, 0] = 0
    predictions = targets.copy()
    predictions[0, 0] = 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert strictly(operation, inputs, targets, targets) == WRONG
        assert strictly(operation, inputs, targets, predictions) == WRONG


@pytest.mark.parametrize("operation", sorted(OPERATIONS))
@pytest.mark.parametrize("value", [1e200, -1.7e308, np.inf, np.nan])
@pytest.mark.parametrize("everywhere", [True, False])
def test_overflow_and_nan_are_wrong_and_no_error(operation, value, everywhere):
    if operation in CHECKED_ON_THE_INPUT:
        inputs, targets = problem(operation, (3, 3))
    else:
        m, n = (3, 2) if OPERATIONS[operation].spare_rows else (3, 3)
        inputs = np.ones((1, *OPERATIONS[operation].input_shape(m, n)))
        targets = np.ones((1, *OPERATIONS[operation].target_shape(m, n)))
    inputs, targets = np.repeat(inputs, 2, axis=0), np.repeat(targets, 2, axis=0)
    predictions = targets.copy()
    predictions[0, slice(None) if everywhere else -1, slice(None) if everywhere else -1] = value
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        half = dict.fromkeys(RIGHT, 0.5)
        assert strictly(operation, inputs, targets, predictions) == half
        assert published(operation, inputs, targets, predictions) == half


@pytest.mark.parametrize("operation", CHECKED_ON_THE_INPUT)
def test_an_error_measured_on_the_input_is_the_same_in_any_batch(operation):
    pairs = [problem(operation, seed=seed) for seed in range(5)]
    inputs, targets = (np.concatenate(column) for column in zip(*pairs, strict=True))
    predictions = targets * np.linspace(1, 1.1, 5)[:, None, None]
    together = score(operation, inputs, targets, predictions)
    for i in range(5):
        alone = score(operation, inputs[i : i + 1], targets[i : i + 1], predictions[i : i + 1])
        assert [error[0] for error in alone] == [errors[i] for errors in together]


@pytest.mark.parametrize("operation", ["inverse", "symmetric_inverse"])
def test_the_error_of_an_inverse_is_that_of_its_product_with_the_input(operation):
    inputs = np.diag([2.0, 4.0])[None]
    predictions = np.array([[[0.5, 0.1], [0, 0.26]]])  # M·P − I = [[0, 0.2], [0, 0.04]]
    scores = score(operation, inputs, np.linalg.inv(inputs), predictions)
    assert [error[0] for error in scores] == pytest.approx([0.2, 0.24 / 2, (0.04 + 0.0016) / 2, 0.5])
    assert strictly(operation, inputs, np.linalg.inv(inputs), predictions) == WRONG


@pytest.mark.parametrize("masked", range(3))
def test_masked_entries_are_refused_by_their_place(masked):
    batches = [np.ones((2, 2, 2)) for _ in range(3)]
    batches[masked] = np.ma.masked_array(batches[masked], mask=False)
    score("transpose", *batches)
    batches[masked][1, 0, 1] = np.ma.masked
    name = ("inputs", "targets", "predictions")[masked]
    with pytest.raises(ValueError, match=rf"{name}\[1, 0, 1\] is masked: must be a number"):
        score("transpose", *batches)


def test_predictions_with_a_gradient_are_scored_as_their_values():
    torch = pytest.importorskip("torch")
    matrices = torch.ones(2, 2, 2, dtype=torch.bfloat16)
    predictions = torch.full((2, 2, 2), 1.5, requires_grad=True)
    np.testing.assert_array_equal(score("transpose", matrices, matrices, predictions).l1, 0.5)
