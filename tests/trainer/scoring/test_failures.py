import json
import math

import numpy as np
import pytest
from scipy import stats

from matstream.shared import scoring
from matstream.shared.operations import OPERATIONS
from matstream.trainer.scoring import failures

# nothing may warn, however odd the predictions
pytestmark = pytest.mark.filterwarnings("error")

RNG = np.random.default_rng


def _analyse(operation, inputs, targets, predictions, l1=None):
    """The study, which must be JSON, with scoring's own error unless another is given."""
    if l1 is None:
        l1 = scoring.score(operation, inputs, targets, predictions).l1
    study = failures.analyse(operation, inputs, targets, predictions, np.asarray(l1, dtype=float))
    assert json.loads(json.dumps(study, allow_nan=False)) == study
    return study


def _eigenvectors(batch, n):
    """Symmetric matrices of known eigenvalues 2n..n+1, and the targets."""
    q = np.linalg.qr(RNG(1).normal(size=(batch, n, n))).Q
    values = np.broadcast_to(np.arange(2.0 * n, n, -1), (batch, n))
    return (q * values[:, None]) @ q.swapaxes(1, 2), np.concatenate([values[:, None], q], axis=1)


def _svd(batch, m, n):
    k = min(m, n)
    u, v = (np.linalg.qr(RNG(seed).normal(size=(batch, rows, k))).Q for seed, rows in ((1, m), (2, n)))
    values = np.broadcast_to(np.arange(2.0 * k, k, -1), (batch, k))
    return (u * values[:, None]) @ v.swapaxes(1, 2), np.concatenate([values[:, None], u, v], axis=1)


def _of_condition(conditions):
    """Matrices 3×3 of these condition numbers, and their inverses, from their singular values."""
    u, v = (np.linalg.qr(RNG(seed).normal(size=(len(conditions), 3, 3))).Q for seed in (1, 2))
    sigma = np.asarray(conditions)[:, None] ** [1, 0.5, 0]
    return (u * sigma[:, None]) @ v.swapaxes(1, 2), (v / sigma[:, None]) @ u.swapaxes(1, 2)


def _problem(operation, batch, m=3, n=3):
    """Inputs and exact targets; what the target means matters to eigenvectors, svd and inverses alone."""
    if operation == "eigenvectors":
        return _eigenvectors(batch, n)
    if operation == "svd":
        return _svd(batch, m, n)
    if "inverse" in operation:
        return _of_condition(np.linspace(2, 20, batch))
    entry, rng = OPERATIONS[operation], RNG(3)
    return (
        rng.uniform(1, 2, size=(batch, *entry.input_shape(m, n))),
        rng.uniform(1, 2, size=(batch, *entry.target_shape(m, n))),
    )


# --- every operation


@pytest.mark.parametrize("operation", OPERATIONS)
def test_exact_predictions_are_right_at_every_tolerance(operation):
    inputs, targets = _problem(operation, 20)
    study = _analyse(operation, inputs, targets, targets)
    assert (study["samples"], study["invalid"]) == (20, 0)
    assert study["right"] == dict.fromkeys(("0.005", "0.01", "0.02", "0.05", "0.1"), 1.0)


def test_right_is_nonnegative_and_below_the_tolerance():
    inputs, targets = _problem("transpose", 8)
    l1 = [0.0, 0.005, 0.015, 0.03, 0.07, 0.1, -1.0, np.nan]
    study = _analyse("transpose", inputs, targets, targets, l1)
    assert study["right"] == {"0.005": 1 / 8, "0.01": 2 / 8, "0.02": 3 / 8, "0.05": 4 / 8, "0.1": 5 / 8}
    assert study["invalid"] == 0


@pytest.mark.parametrize("operation", OPERATIONS)
def test_invalid_predictions_are_counted_and_wrong(operation):
    inputs, targets = _problem(operation, 4)
    predictions = targets.copy()
    predictions[0] = np.nan
    predictions[2, -1, -1] = np.nan
    study = _analyse(operation, inputs, targets, predictions, [np.nan, 0, 0, 0])
    assert study["invalid"] == 2
    assert study["right"]["0.05"] == 0.5


@pytest.mark.parametrize("invalid", [False, True])
@pytest.mark.parametrize("batch", [0, 1])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_one_sample_or_none_is_enough(operation, batch, invalid):
    inputs, targets = _problem(operation, batch)
    study = _analyse(operation, inputs, targets, np.full_like(targets, np.nan) if invalid else targets)
    assert study["right"]["0.01"] == (None if batch == 0 else 1 - invalid)


@pytest.mark.parametrize("size", [1e102, -1e250, 1e308, np.inf])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_absurdly_large_predictions_are_wrong_not_invalid(operation, size):
    inputs, targets = _problem(operation, 12)
    predictions = targets.copy()
    predictions[:6] = size * RNG(4).uniform(0.1, 1, size=targets[:6].shape)
    study = _analyse(operation, inputs, targets, predictions)
    assert study["invalid"] == 0
    assert study["right"]["0.1"] == 0.5


def test_what_does_not_fit_is_refused():
    inputs, targets = _problem("transpose", 2)
    l1 = np.zeros(2)
    with pytest.raises(ValueError, match="operation='cube'"):
        failures.analyse("cube", inputs, targets, targets, l1)
    for wrong in (
        (inputs[:, 0], targets, targets, l1),
        (inputs[:1], targets, targets, l1),
        (inputs, targets, targets[:, :2], l1),
        (inputs, targets, targets, l1[:1]),
    ):
        with pytest.raises(ValueError, match="must be"):
            failures.analyse("transpose", *wrong)


# --- eigenvectors and svd


def test_exact_eigenvectors_are_orthonormal_of_condition_number_one():
    inputs, targets = _eigenvectors(30, 4)
    study = _analyse("eigenvectors", inputs, targets, targets)
    assert study["values"]["within_1pct"] == 1
    assert study["values"]["by_rank"]["within_1pct"] == [1] * 4
    vectors = study["vectors"]
    assert vectors["unit_norm_within_1pct"] == vectors["neighbours_orthogonal_within_1pct"] == 1
    assert vectors["condition"]["right"] == pytest.approx({"2": 1, "50": 1, "98": 1})
    assert vectors["condition"]["wrong"] == {"2": None, "50": None, "98": None}
    assert vectors["condition"]["threshold"] is vectors["condition"]["accuracy"] is None


def test_a_halved_vector_is_not_of_unit_norm_but_orthogonal():
    inputs, targets = _eigenvectors(10, 5)
    predictions = targets.copy()
    predictions[:, 1:, 2] /= 2
    vectors = _analyse("eigenvectors", inputs, targets, predictions)["vectors"]
    assert vectors["unit_norm_within_1pct"] == pytest.approx(4 / 5)
    assert vectors["neighbours_orthogonal_within_1pct"] == 1
    assert vectors["condition"]["wrong"] == pytest.approx({"2": 2, "50": 2, "98": 2})
    assert vectors["condition"]["threshold"] is vectors["condition"]["accuracy"] is None  # none is right


@pytest.mark.parametrize(("length", "share"), [(0.989, 2 / 3), (0.991, 1), (1.009, 1), (1.011, 2 / 3)])
def test_a_norm_may_be_one_percent_off(length, share):
    inputs, targets = _eigenvectors(2, 3)
    predictions = targets.copy()
    predictions[:, 1:, 0] *= length
    vectors = _analyse("eigenvectors", inputs, targets, predictions)["vectors"]
    assert vectors["unit_norm_within_1pct"] == pytest.approx(share)


@pytest.mark.parametrize(("sine", "share"), [(0.2, 2 / 3), (-0.2, 2 / 3), (0.011, 2 / 3), (0.009, 1)])
def test_a_vector_turned_towards_its_neighbour_is_orthogonal_to_the_other_alone(sine, share):
    inputs, targets = _eigenvectors(6, 4)
    predictions = targets.copy()
    predictions[:, 1:, 1] = math.sqrt(1 - sine**2) * targets[:, 1:, 1] + sine * targets[:, 1:, 0]
    predictions[:, 1:] *= 1e-3  # the angle does not know the length
    vectors = _analyse("eigenvectors", inputs, targets, predictions)["vectors"]
    assert vectors["neighbours_orthogonal_within_1pct"] == pytest.approx(share)
    # two unit vectors of dot product s have the Gram matrix [[1, s], [s, 1]], of eigenvalues 1 ± s
    expected = math.sqrt((1 + abs(sine)) / (1 - abs(sine)))
    assert vectors["condition"]["wrong"]["50"] == pytest.approx(expected)


@pytest.mark.parametrize("size", [1e-200, 1e200, 1.7e308])
def test_angles_and_condition_numbers_do_not_know_the_size(size):
    inputs, targets = _eigenvectors(6, 3)
    predictions = targets.copy()
    predictions[:, 1:, 1] = 0.8 * targets[:, 1:, 1] + 0.6 * targets[:, 1:, 0]
    predictions[:, 1:] *= size
    vectors = _analyse("eigenvectors", inputs, targets, predictions)["vectors"]
    assert vectors["unit_norm_within_1pct"] == 0
    assert vectors["neighbours_orthogonal_within_1pct"] == 0.5
    assert vectors["condition"]["wrong"]["50"] == pytest.approx(2)  # sqrt(1.6 / 0.4)


def test_a_zero_output_has_no_directions():
    inputs, targets = _eigenvectors(3, 3)
    study = _analyse("eigenvectors", inputs, targets, np.zeros_like(targets))
    assert study["right"]["0.005"] == 1  # the published error is fooled; the study is not
    assert study["values"]["within_1pct"] == 0
    assert study["vectors"]["unit_norm_within_1pct"] == 0
    assert study["vectors"]["neighbours_orthogonal_within_1pct"] == 0
    assert study["vectors"]["condition"]["right"] == {"2": None, "50": None, "98": None}


def test_a_singular_matrix_of_vectors_is_beyond_every_condition_number():
    inputs, targets = _eigenvectors(10, 3)
    predictions = targets.copy()
    predictions[0] = 0
    condition = _analyse("eigenvectors", inputs, targets, predictions)["vectors"]["condition"]
    assert condition["right"] == {"2": pytest.approx(1), "50": pytest.approx(1), "98": None}


def test_a_matrix_that_is_singular_but_for_rounding_is_beyond_every_condition_number():
    inputs = np.array([[[0.1, 0.2, 0.3], [0.4, 0.5, 0.6], [0.7, 0.8, 0.9]]])  # σ₃ is 8e-17, or 0, as rounded
    targets = np.linalg.svd(inputs, compute_uv=False)[:, :, None]
    [part, *_] = _analyse("singular_values", inputs, targets, targets)["by_condition"]
    assert part["condition"] == [None, None]


def test_no_part_of_an_invalid_prediction_is_right():
    inputs, targets = _eigenvectors(2, 3)
    predictions = targets.copy()
    predictions[0, -1, -1] = np.nan
    study = _analyse("eigenvectors", inputs, targets, predictions, [np.nan, 0])
    assert study["values"]["within_1pct"] == study["vectors"]["unit_norm_within_1pct"] == 0.5


def test_a_row_of_eigenvalues_is_judged_whole_and_one_by_one():
    inputs, targets = _eigenvectors(4, 3)  # eigenvalues 6, 5, 4: 1% of their sum is 0.15
    predictions = targets.copy()
    predictions[0, 0, 2] += 0.14  # off by 3.5% alone, by 0.93% in the row
    predictions[1, 0, 0] -= 0.16  # off by 2.7% alone, by 1.07% in the row
    predictions[2] = np.nan
    values = _analyse("eigenvectors", inputs, targets, predictions)["values"]
    assert values["within_1pct"] == 2 / 4
    assert values["by_rank"]["within_1pct"] == [2 / 4, 3 / 4, 2 / 4]


def test_one_vector_has_no_neighbours():
    inputs, targets = _eigenvectors(2, 1)
    vectors = _analyse("eigenvectors", inputs, targets, targets)["vectors"]
    assert vectors["neighbours_orthogonal_within_1pct"] is None
    assert vectors["unit_norm_within_1pct"] == 1


def _of_vector_condition(conditions):
    """Predictions 2×2 whose vectors are the axes, the first stretched to the condition number."""
    predictions = np.zeros((len(conditions), 3, 2))
    predictions[:, 1, 0], predictions[:, 2, 1] = conditions, 1
    return predictions


def test_condition_numbers_of_right_and_wrong_ones_are_ranked_apart():
    conditions = RNG(5).permutation(np.arange(1.0, 201))
    predictions = _of_vector_condition(conditions)
    predictions[7] = np.nan
    error = np.where(conditions % 2 == 0, 0.04, 0.06)
    inputs, targets = _eigenvectors(200, 2)
    condition = _analyse("eigenvectors", inputs, targets, predictions, error)["vectors"]["condition"]
    for name, odd in (("right", 0), ("wrong", 1)):
        group = sorted(c for i, c in enumerate(conditions) if c % 2 == odd and i != 7)
        expected = {str(q): group[math.ceil(q / 100 * len(group)) - 1] for q in (2, 50, 98)}
        assert condition[name] == pytest.approx(expected)


def test_a_condition_number_that_parts_right_from_wrong_is_found():
    conditions = np.array([1.01, 1.2, 1.02, 3, 1.03, 1.5])
    inputs, targets = _eigenvectors(6, 2)
    l1 = np.where(conditions < 1.1, 0.0, 1.0)
    vectors = _analyse("eigenvectors", inputs, targets, _of_vector_condition(conditions), l1)["vectors"]
    assert vectors["condition"]["accuracy"] == 1
    assert vectors["condition"]["threshold"] == pytest.approx(1.2)


@pytest.mark.parametrize("seed", range(30))
def test_no_threshold_parts_better_than_the_best(seed):
    rng = RNG(seed)
    batch = int(rng.integers(2, 12))
    conditions = rng.integers(1, 6, size=batch).astype(float)  # with ties
    right = rng.random(batch) < 0.5
    right[:2] = True, False
    predictions = _of_vector_condition(conditions)
    predictions[conditions == 5, 2, 1] = 0  # singular: infinite
    predictions = np.concatenate([predictions, np.full((1, 3, 2), np.nan)])
    inputs, targets = _eigenvectors(batch + 1, 2)
    l1 = np.append(np.where(right, 0.0, 1.0), np.nan)
    found = _analyse("eigenvectors", inputs, targets, predictions, l1)["vectors"]["condition"]
    conditions[conditions == 5] = np.inf
    shares = {t: np.mean((conditions < t) == right) for t in (0.5, 1.5, 2.5, 3.5, 4.5)}
    assert found["accuracy"] == pytest.approx(max(shares.values()))
    threshold = np.inf if found["threshold"] is None else found["threshold"] - 1e-9
    assert np.mean((conditions < threshold) == right) == pytest.approx(found["accuracy"])


@pytest.mark.parametrize(("m", "n"), [(4, 4), (5, 3), (3, 5)])
def test_left_and_right_singular_vectors_are_told_apart(m, n):
    inputs, targets = _svd(8, m, n)
    exact = _analyse("svd", inputs, targets, targets)
    for side in ("U", "V"):
        assert exact[side]["unit_norm_within_1pct"] == exact[side]["neighbours_orthogonal_within_1pct"] == 1
        assert exact[side]["condition"]["right"] == pytest.approx({"2": 1, "50": 1, "98": 1})
    k = min(m, n)
    predictions = targets.copy()
    predictions[:, 0, 0] *= 1.5
    predictions[:, 1 : 1 + m, 0] *= 4  # U: stretched
    predictions[:, 1 + m :, k - 1] = 0.8 * targets[:, 1 + m :, k - 1] + 0.6 * targets[:, 1 + m :, k - 2]
    study = _analyse("svd", inputs, targets, predictions)
    assert study["values"]["within_1pct"] == 0
    assert study["values"]["by_rank"]["within_1pct"] == [0] + [1] * (k - 1)
    assert study["U"]["unit_norm_within_1pct"] == pytest.approx((k - 1) / k)
    assert study["U"]["neighbours_orthogonal_within_1pct"] == 1
    assert study["U"]["condition"]["wrong"]["50"] == pytest.approx(4)
    assert study["V"]["unit_norm_within_1pct"] == 1
    assert study["V"]["neighbours_orthogonal_within_1pct"] == pytest.approx((k - 2) / (k - 1))
    assert study["V"]["condition"]["wrong"]["50"] == pytest.approx(2)  # sqrt(1.6 / 0.4)


# --- eigenvalues and singular values


@pytest.mark.parametrize("operation", ["eigenvalues", "singular_values"])
def test_values_are_judged_by_rank(operation):
    inputs, _ = _problem(operation, 5)
    targets = np.broadcast_to(np.array([[8.0], [4.0], [-2.0]]), (5, 3, 1))
    off = np.array([[0.005, 0, 0.02], [-0.02, 0.005, 0.04], [0.06, 0, 0.1], [0.3, 0, 1], [0, 0, 0]])
    predictions = targets * (1 + off[:, :, None])
    predictions[4] = np.nan
    study = _analyse(operation, inputs, targets, predictions)["by_rank"]
    assert study["within_1pct"] == [1 / 5, 4 / 5, 0]
    assert study["within_5pct"] == [2 / 5, 4 / 5, 2 / 5]
    assert study["median_relative_error"] == pytest.approx([0.04, 0, 0.07])


def test_a_value_of_zero_is_right_where_it_is_met():
    inputs, targets = _problem("eigenvalues", 2)
    targets[:, 2] = 0
    predictions = targets.copy()
    predictions[1, 2] = 1e-9
    assert _analyse("eigenvalues", inputs, targets, predictions)["by_rank"]["within_5pct"] == [1, 1, 0.5]


# --- condition numbers of inputs


@pytest.mark.parametrize("operation", ["inverse", "symmetric_inverse", "singular_values"])
def test_tenths_follow_the_condition_number_of_the_input(operation):
    conditions = RNG(6).permutation(np.arange(2.0, 52))
    inputs, targets = _of_condition(conditions)
    if operation == "singular_values":
        targets = targets[:, :, :1]
    l1 = conditions / 600  # 0.05 at 30
    predictions = targets.copy()
    gone = conditions == 11
    predictions[gone] = l1[gone] = np.nan
    parts = _analyse(operation, inputs, targets, predictions, l1)["by_condition"]
    assert [part["samples"] for part in parts] == [5] * 10
    for i, part in enumerate(parts):
        low = 2 + 5 * i
        assert part["condition"] == pytest.approx([low, low + 4])
        assert part["right"] == pytest.approx(sum(c < 30 and c != 11 for c in range(low, low + 5)) / 5)
    medians = [part["median_l1"] for part in parts]
    assert medians[0] == pytest.approx(4 / 600)
    assert medians[1] == pytest.approx(9 / 600 - 0.5 / 600)  # of 7, 8, 9, 10: without 11
    assert medians[9] == pytest.approx(49 / 600)


def test_the_condition_number_of_a_rectangle_is_of_its_shorter_side():
    inputs, _ = _svd(3, 2, 5)  # singular values 4, 3
    targets = np.ones((3, 2, 1))
    parts = _analyse("singular_values", inputs, targets, targets)["by_condition"]
    assert [part["samples"] for part in parts] == [1] * 3 + [0] * 7
    assert parts[2]["condition"] == pytest.approx([4 / 3, 4 / 3])
    assert parts[3] == {"samples": 0, "condition": [None, None], "right": None, "median_l1": None}


def test_a_singular_input_has_the_last_place_and_no_number():
    inputs, targets = _of_condition([2.0, 3, 4])
    inputs[0] = 0
    parts = _analyse("inverse", inputs, targets, targets, [0, 0.5, np.inf])["by_condition"]
    assert parts[0]["condition"] == pytest.approx([3, 3])
    assert parts[2]["condition"] == [None, None]
    assert [part["median_l1"] for part in parts[:3]] == [0.5, None, 0]


@pytest.mark.parametrize("operation", ["inverse", "symmetric_inverse"])
def test_noise_that_grows_with_the_condition_number_correlates_with_it(operation):
    conditions = np.geomspace(2, 1e4, 200)
    inputs, targets = _of_condition(conditions)
    noise = RNG(7).normal(size=targets.shape) * 1e-6
    growing = _analyse(operation, inputs, targets, targets + noise * conditions[:, None, None])
    level = _analyse(
        operation, inputs, targets, targets + noise / np.linalg.norm(inputs, axis=(1, 2))[:, None, None]
    )
    assert growing["rank_correlation"] > 0.9
    assert abs(level["rank_correlation"]) < 0.3


def test_rank_correlation_is_spearmans_with_ties_and_without_invalid_ones():
    rng = RNG(8)
    conditions = rng.uniform(2, 50, size=60)
    inputs, targets = _of_condition(conditions)
    l1 = np.abs(np.round(conditions / 50 + rng.normal(size=60), 1))  # with ties
    predictions = targets.copy()
    predictions[::7] = np.nan
    valid = np.arange(60) % 7 != 0
    expected = stats.spearmanr(conditions[valid], l1[valid]).statistic
    study = _analyse("inverse", inputs, targets, predictions, np.where(valid, l1, np.nan))
    assert study["rank_correlation"] == pytest.approx(expected)
    overflowed = _analyse("inverse", inputs, targets, predictions, np.where(valid & (l1 < 1), l1, np.nan))
    largest = stats.spearmanr(conditions[valid], np.where(l1 < 1, l1, 1e9)[valid]).statistic
    assert overflowed["rank_correlation"] == pytest.approx(largest)


def test_what_does_not_vary_has_no_rank_correlation():
    inputs, targets = _of_condition([2.0, 3, 4])
    assert _analyse("inverse", inputs, targets, targets, [0.1] * 3)["rank_correlation"] is None
    assert _analyse("inverse", inputs[:1], targets[:1], targets[:1])["rank_correlation"] is None


# --- single entries


@pytest.mark.parametrize("operation", ["transpose", "add", "matvec", "matmul"])
def test_wrong_entries_are_counted_in_wrong_samples(operation):
    inputs, _ = _problem(operation, 5, m=4, n=4)
    targets = np.full((5, *OPERATIONS[operation].target_shape(4, 4)), 2.0)
    p = targets.shape[1] * targets.shape[2]
    predictions = targets.copy()
    predictions[0, 0, 0] = 2.0 * 1.015  # near: within 5% and not 1%
    predictions[1, 0, 0] = 2.0 * (1 + p)  # one entry wrong, so the sample is
    predictions[2] = 20.0  # all wrong
    predictions[3] = np.nan
    study = _analyse(operation, inputs, targets, predictions)
    assert study["right"]["0.05"] == 2 / 5
    entries = study["entries"]
    assert entries["per_sample"] == p
    assert entries["within_1pct"] == pytest.approx((3 * p - 2) / (5 * p))
    assert entries["within_5pct"] == pytest.approx((3 * p - 1) / (5 * p))
    assert entries["wrong_per_wrong_sample"] == pytest.approx((1 + p) / 2)


def test_without_wrong_samples_no_wrong_entries_are_counted():
    inputs, targets = _problem("add", 3)
    predictions = targets.copy()
    predictions[0] = np.nan
    predictions[1, 0, 0] *= 1.1  # a wrong entry in a right sample
    assert _analyse("add", inputs, targets, predictions)["right"]["0.05"] == pytest.approx(2 / 3)
    assert _analyse("add", inputs, targets, predictions)["entries"]["wrong_per_wrong_sample"] is None
