"""Where predictions fail: the parts from which an operation's module puts together its study of failures.

They are those of *What is my math transformer doing?* (arXiv 2211.00170), carried over to other operations.
An invalid prediction is all NaN, and counts as wrong in every share; percentiles, medians, thresholds and
correlations leave it out. `error` (B,) is the published error of each prediction, except that it is NaN where
the prediction is invalid, and otherwise ≥ 0 or infinite. A single number is within τ if
|P−T| < τ(|T| + 1e-12). What cannot be measured or is infinite is None, so that a study is JSON.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Study = dict[str, Any]

RIGHT = 0.05  # the tolerance that separates right samples from wrong ones
PERCENTILES = (2, 50, 98)


def entries(inputs: Floats, targets: Floats, predictions: Floats, error: Floats) -> Study:
    """`entries`: the shares of single entries that are right, and `wrong_per_wrong_sample`: the mean number
    of the `per_sample` entries of a wrong sample that are not within 5%."""
    right = _within(predictions - targets, targets, RIGHT)
    wrong_entries = (~right).sum(axis=(1, 2))[error >= RIGHT]
    return {
        "entries": {
            "per_sample": targets.shape[1] * targets.shape[2],
            "within_1pct": share(_within(predictions - targets, targets, 0.01)),
            "within_5pct": share(right),
            "wrong_per_wrong_sample": _number(wrong_entries.mean()) if len(wrong_entries) else None,
        }
    }


def digits(inputs: Floats, targets: Floats, predictions: Floats, error: Floats) -> Study:
    """`entries`, and `by_digit` of whole numbers: the shares of decimal digits that are right, the lowest
    first, among the numbers that have so many digits; a wrong sign makes all of a number's digits wrong."""
    true = np.abs(targets)
    count = len(str(int(true.max(initial=0.0))))
    same_sign = np.signbit(targets) == np.signbit(predictions)
    shares = []
    for place in range(count):
        unit = 10.0**place
        has = (true >= unit) | (place == 0)
        digit, found = ((np.abs(each) // unit) % 10 for each in (targets, predictions))
        shares.append(share(((digit == found) & same_sign)[has]))
    return {**entries(inputs, targets, predictions, error), "by_digit": shares}


def ranked(inputs: Floats, targets: Floats, predictions: Floats, error: Floats) -> Study:
    """`by_rank` of targets (B, k, 1) whose values are in descending order."""
    return {"by_rank": by_rank(targets[:, :, 0], predictions[:, :, 0])}


def values(true: Floats, predicted: Floats) -> Study:
    """Rows of λ or σ, (B, k): the share of rows within 1% in l1, as in scoring, and the values one by one."""
    size, off = np.abs(true).sum(axis=1), np.abs(predicted - true).sum(axis=1)
    return {"within_1pct": share(_within(off, size, 0.01)), "by_rank": by_rank(true, predicted)}


def by_rank(true: Floats, predicted: Floats) -> Study:
    """Single λ or σ, (B, k), by their rank in the target, the largest first."""
    delta = predicted - true
    relative = np.abs(delta) / (np.abs(true) + 1e-12)
    valid = ~np.isnan(predicted).any(axis=1)
    return {
        "within_1pct": [share(column) for column in _within(delta, true, 0.01).T],
        "within_5pct": [share(column) for column in _within(delta, true, 0.05).T],
        "median_relative_error": [_median(column) for column in relative[valid].T],
    }


def vectors(columns: Floats, error: Floats) -> Study:
    """Predicted vectors, the columns of (B, n, k): norms, angles between neighbours, condition number."""
    norms = np.sqrt((columns**2).sum(axis=1))
    # for their angles, vectors are scaled so that no product overflows or underflows
    scaled = columns / np.abs(columns).max(axis=1, keepdims=True)
    lengths = np.sqrt((scaled**2).sum(axis=1))
    dots = (scaled[:, :, :-1] * scaled[:, :, 1:]).sum(axis=1)
    condition, right, wrong = condition_numbers(columns), error < RIGHT, error >= RIGHT
    return {
        "unit_norm_within_1pct": share(np.abs(norms - 1) < 0.01),
        "neighbours_orthogonal_within_1pct": share(np.abs(dots) < 0.01 * lengths[:, :-1] * lengths[:, 1:]),
        "condition": {
            "right": _percentiles(condition[right]),
            "wrong": _percentiles(condition[wrong]),
            **_separation(condition[right | wrong], right[right | wrong]),
        },
    }


def condition_numbers(matrices: Floats) -> Floats:
    """The condition numbers (B,) of (B, n, k) in the 2-norm: the largest singular value divided by the
    smallest, infinite where rounding cannot tell the smallest from zero or an entry is not finite."""
    peak = np.abs(matrices).max(axis=(1, 2), keepdims=True)
    # LAPACK raises or hangs on entries that are not finite, and its singular values overflow near the largest
    # floats: matrices are scaled to entries up to 1, and those that cannot be are replaced by zeros
    scaled = np.where(np.isfinite(peak) & (peak > 0), matrices / peak, 0)
    sigma = np.linalg.svd(scaled, compute_uv=False)
    largest, smallest = sigma[:, 0], sigma[:, -1]
    rounding = np.finfo(np.float64).eps * max(matrices.shape[1:])  # relative, as in numpy.linalg.matrix_rank
    return np.where(smallest > rounding * largest, largest / smallest, np.inf)


def _separation(condition: Floats, right: Bools) -> Study:
    """The best rule of the form "right where condition < threshold", and the share of the samples (B,) that
    it classifies correctly.

    The threshold is the smallest condition number that the rule calls wrong.
    """
    if right.all() or not right.any():
        return {"threshold": None, "accuracy": None}
    order = np.argsort(condition)
    thresholds = np.append(condition[order], np.inf)
    # the rule that calls the k smallest right is correct for right ones among these, and wrong ones elsewhere
    gained = np.cumsum(np.where(right[order], 1, -1))
    told = (~right).sum() + np.insert(gained, 0, 0)
    # no threshold separates equal condition numbers
    possible = np.insert(thresholds[:-1] < thresholds[1:], 0, True)
    best = int(np.argmax(np.where(possible, told, -1)))
    return {"threshold": _number(thresholds[best]), "accuracy": _number(told[best] / len(right))}


def by_condition(condition: Floats, error: Floats) -> list[Study]:
    """Ten parts of the samples, by ascending condition number, whose sizes differ by one at most; with fewer
    than ten samples the last parts are empty."""
    parts = np.array_split(np.argsort(condition, kind="stable"), 10)
    return [
        {
            "samples": len(part),
            "condition": [_number(condition[i]) for i in part[[0, -1]]] if len(part) else [None, None],
            "right": share(error[part] < RIGHT),
            "median_l1": _median(error[part][~np.isnan(error[part])]),
        }
        for part in parts
    ]


def rank_correlation(x: Floats, y: Floats) -> float | None:
    """Spearman's correlation: that of the ranks of x and y, (B,), where equal values have their mean rank."""
    a, b = _centred_ranks(x), _centred_ranks(y)
    spread = np.sqrt((a @ a) * (b @ b))
    return _number(float(a @ b / spread)) if spread > 0 else None


def _centred_ranks(values: Floats) -> Floats:
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    # twice a mean rank is a whole number, so subtracting the mean of all of them, len + 1, is exact
    twice = 2 * np.cumsum(counts) - counts + 1
    return (twice[place] - (len(values) + 1)).astype(np.float64)


def _within(delta: Floats, reference: Floats, tolerance: float) -> Bools:
    # as in `fraction_within_1pct` of scoring: a zero must be met to within tolerance * 1e-12
    return np.abs(delta) < tolerance * (np.abs(reference) + 1e-12)


def share(mask: Bools) -> float | None:
    return float(mask.mean()) if mask.size else None


def _median(values: Floats) -> float | None:
    return _number(float(np.median(values))) if len(values) else None


def _percentiles(values: Floats) -> dict[str, float | None]:
    # each percentile is one of the values, since there is nothing between a finite and an infinite one
    return {
        str(q): _number(float(np.percentile(values, q, method="inverted_cdf"))) if len(values) else None
        for q in PERCENTILES
    }


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def off_values(true: Floats, predicted: Floats) -> Floats:
    """The relative l1 error (B,) of predicted λ or σ, (B, k); infinite where all predicted ones are zero."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        error = np.abs(predicted - true).sum(axis=1) / np.abs(true).sum(axis=1)
    return np.where(predicted.any(axis=1), error, np.inf)
