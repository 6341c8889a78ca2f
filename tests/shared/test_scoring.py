import json
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.operations import OPERATIONS
from shared.scoring import accuracy, accuracy_strict, score

GOLDEN = [
    case
    for case in map(
        json.loads, (Path(__file__).parents[1] / "data" / "metrics.jsonl").read_text().splitlines()
    )
    if case["operation"] in OPERATIONS
]
DIFFERENCES = ["add", "eigenvalues", "transpose"]


def one(operation, target, prediction):
    """The scores of one prediction, as floats."""
    target, prediction = (np.array([matrix], dtype=float) for matrix in (target, prediction))
    return [float(error[0]) for error in score(operation, np.zeros((1, 2, 2)), target, prediction)]


def as_matrix(rows):
    return np.array(rows, dtype=float).reshape(len(rows), -1)


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: case["operation"])
def test_scores_are_those_of_the_published_code(case):
    matrices = [as_matrix(case[name])[None] for name in ("input", "target", "prediction")]
    scores = score(case["operation"], *matrices)
    for name in ("max", "l1", "l2_squared", "fraction_within_1pct"):
        assert getattr(scores, name)[0] == pytest.approx(case[name], rel=1e-12, abs=1e-15), name


def test_every_operation_has_published_scores_to_agree_with():
    assert {case["operation"] for case in GOLDEN} == set(OPERATIONS)


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
    assert accuracy_strict(scores) == expected


def test_accuracy_counts_l1_errors_below_each_tolerance():
    targets = np.full((5, 1, 1), 1000.0)
    predictions = targets + np.array([4.9, 9.9, 19.9, 49.9, 50.0])[:, None, None]
    scores = score("add", np.zeros((5, 1, 2)), targets, predictions)
    expected = {"0.05": 0.8, "0.02": 0.6, "0.01": 0.4, "0.005": 0.2}
    assert accuracy_strict(scores) == expected
    assert accuracy(scores, np.zeros(5, dtype=bool)) == expected


def test_equal_words_are_right_whatever_the_error_except_strictly():
    targets = np.array([[[1.0]], [[0.0]], [[1.0]], [[1.0]]])
    predictions = np.array([[[2.0]], [[5.0]], [[np.nan]], [[2.0]]])
    scores = score("add", np.zeros((4, 1, 2)), targets, predictions)
    same_words = np.array([True, True, True, False])
    assert set(accuracy(scores, same_words).values()) == {0.75}
    assert set(accuracy_strict(scores).values()) == {0.0}


def test_a_negative_score_is_never_accurate():
    scores = score("add", np.zeros((1, 1, 2)), np.zeros((1, 1, 1)), np.ones((1, 1, 1)))
    assert scores.l1[0] == -1
    assert set(accuracy_strict(scores).values()) == {0.0}


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
    with pytest.raises(ValueError, match=r"'sum'.*add, eigenvalues, transpose"):
        score("sum", *np.zeros((3, 1, 2, 2)))


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
