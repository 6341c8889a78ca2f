"""Where a trained model fails, per operation: the study of *What is my math transformer doing?*
(arXiv 2211.00170), carried to the other operations."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Study = dict[str, Any]

TOLERANCES = (0.005, 0.01, 0.02, 0.05, 0.1)
RIGHT = 0.05  # the tolerance that parts right samples from wrong ones
PERCENTILES = (2, 50, 98)


def analyse(operation: str, inputs: Floats, targets: Floats, predictions: Floats, l1: Floats) -> Study:
    """Study the errors on samples of one operation and one shape: `inputs` (B, m, w), `targets` and
    `predictions` (B, p, q), NaN where a prediction is invalid, and their published error `l1` (B,).

    A sample is right within τ where 0 ≤ l1 < τ, and "right" alone means within 5%. Shares lie in 0..1 and
    count an invalid prediction as wrong; percentiles, medians, thresholds and correlations leave it out. A
    single number is within τ where |P−T| < τ(|T| + 1e-12). What cannot be measured, and what is infinite, is
    None, so that the result is JSON:

    - every operation: `operation`, `samples`, `invalid`, `right` by tolerance;
    - eigenvectors: `values` and `vectors`; svd: `values`, `U` and `V`. In `values`, `within_1pct` is the
      share of samples whose predicted row of values has an l1 relative error Σ|P−T| / Σ|T| below 1%, as
      scoring measures it, and `by_rank` tells of single values. Of the predicted vectors,
      `unit_norm_within_1pct` is the share with |‖v‖−1| < 0.01 and `neighbours_orthogonal_within_1pct` the
      share of pairs v, w side by side with |v·w| < 0.01 ‖v‖‖w‖, a vector of zeros being orthogonal to none.
      `condition` is the condition number of the matrix of predicted vectors: percentiles over the `right` and
      over the `wrong` samples, and the `accuracy` of the best rule "right where it is below `threshold`", the
      share of valid samples that the rule tells rightly (None unless there are both kinds);
    - eigenvalues, singular_values: `by_rank`, lists by place in the target, which has the largest first;
    - singular_values, inverse, symmetric_inverse: `by_condition`, ten parts of equal size by the condition
      number of the input, each with its `samples`, its smallest and largest `condition`, its share `right`
      and its `median_l1`; for the inverses also `rank_correlation`, Spearman's, of l1 and that number;
    - transpose, add, matvec, matmul: `entries`, the share of single entries that are right, and
      `wrong_per_wrong_sample`, the mean number of entries not within 5%, of `per_sample`, in a wrong one.

    Raises ValueError for an unknown operation or shapes that do not fit.
    """
    if operation not in _STUDIES:
        raise ValueError(f"operation={operation!r}: must be one of {', '.join(_STUDIES)}")
    inputs, targets, predictions, l1 = (np.asarray(a, np.float64) for a in (inputs, targets, predictions, l1))
    batch = len(targets)
    if inputs.ndim != 3 or targets.ndim != 3 or targets.shape != predictions.shape:
        raise ValueError(
            f"inputs {inputs.shape}, targets {targets.shape}, predictions {predictions.shape}: "
            "must be batches of matrices, predictions shaped as targets"
        )
    if len(inputs) != batch or l1.shape != (batch,):
        raise ValueError(f"inputs {inputs.shape}, l1 {l1.shape}: must be as many as targets, {batch}")
    # a prediction may be absurdly large: what overflows is not within any tolerance
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        invalid = np.isnan(predictions).any(axis=(1, 2))
        predictions = np.where(invalid.reshape(batch, 1, 1), np.nan, predictions)
        # an error without a reference (-1) and one that overflowed to NaN are both as wrong as can be
        error = np.where(invalid, np.nan, np.where(l1 >= 0, l1, np.inf))
        return {
            "operation": operation,
            "samples": batch,
            "invalid": int(invalid.sum()),
            "right": {f"{tau:g}": _share(error < tau) for tau in TOLERANCES},
            **_STUDIES[operation](inputs, targets, predictions, error),
        }


# The studies of single operations. They take (inputs, targets, predictions, error): an invalid prediction is
# all NaN; `error` (B,) is its l1 made ready: NaN where invalid, otherwise ≥ 0 or infinite.


def _eigenvectors(inputs: Floats, targets: Floats, predictions: Floats, error: Floats) -> Study:
    return {
        "values": _values(targets[:, 0], predictions[:, 0]),
        "vectors": _vectors(predictions[:, 1:], error),
    }


def _svd(inputs: Floats, targets: Floats, predictions: Floats, error: Floats) -> Study:
    m = inputs.shape[1]
    return {
        "values": _values(targets[:, 0], predictions[:, 0]),
        "U": _vectors(predictions[:, 1 : 1 + m], error),
        "V": _vectors(predictions[:, 1 + m :], error),
    }


def _eigenvalues(inputs: Floats, targets: Floats, predictions: Floats, error: Floats) -> Study:
    return {"by_rank": _by_rank(targets[:, :, 0], predictions[:, :, 0])}


def _singular_values(inputs: Floats, targets: Floats, predictions: Floats, error: Floats) -> Study:
    return {
        "by_rank": _by_rank(targets[:, :, 0], predictions[:, :, 0]),
        "by_condition": _by_condition(_condition(inputs), error),
    }


def _inverse(inputs: Floats, targets: Floats, predictions: Floats, error: Floats) -> Study:
    condition, valid = _condition(inputs), ~np.isnan(error)
    return {
        "by_condition": _by_condition(condition, error),
        "rank_correlation": _rank_correlation(condition[valid], error[valid]),
    }


def _entries(inputs: Floats, targets: Floats, predictions: Floats, error: Floats) -> Study:
    right = _within(predictions - targets, targets, RIGHT)
    wrong_entries = (~right).sum(axis=(1, 2))[error >= RIGHT]
    return {
        "entries": {
            "per_sample": targets.shape[1] * targets.shape[2],
            "within_1pct": _share(_within(predictions - targets, targets, 0.01)),
            "within_5pct": _share(right),
            "wrong_per_wrong_sample": _number(wrong_entries.mean()) if len(wrong_entries) else None,
        }
    }


_STUDIES: dict[str, Callable[[Floats, Floats, Floats, Floats], Study]] = {
    "add": _entries,
    "eigenvalues": _eigenvalues,
    "eigenvectors": _eigenvectors,
    "inverse": _inverse,
    "matmul": _entries,
    "matvec": _entries,
    "singular_values": _singular_values,
    "svd": _svd,
    "symmetric_inverse": _inverse,
    "transpose": _entries,
}


def _values(true: Floats, predicted: Floats) -> Study:
    """Rows of λ or σ, (B, k): right as a row, as scoring has it, and one by one."""
    size, off = np.abs(true).sum(axis=1), np.abs(predicted - true).sum(axis=1)
    return {"within_1pct": _share(_within(off, size, 0.01)), "by_rank": _by_rank(true, predicted)}


def _by_rank(true: Floats, predicted: Floats) -> Study:
    """Single λ or σ, (B, k), by their place in the target, which has the largest first."""
    delta = predicted - true
    relative = np.abs(delta) / (np.abs(true) + 1e-12)
    valid = ~np.isnan(predicted).any(axis=1)
    return {
        "within_1pct": [_share(column) for column in _within(delta, true, 0.01).T],
        "within_5pct": [_share(column) for column in _within(delta, true, 0.05).T],
        "median_relative_error": [_median(column) for column in relative[valid].T],
    }


def _vectors(columns: Floats, error: Floats) -> Study:
    """Predicted vectors, the columns of (B, n, k): norms, angles between neighbours, condition number."""
    norms = np.sqrt((columns**2).sum(axis=1))
    # for their angles vectors are scaled, so that no product over- or underflows
    scaled = columns / np.abs(columns).max(axis=1, keepdims=True)
    lengths = np.sqrt((scaled**2).sum(axis=1))
    dots = (scaled[:, :, :-1] * scaled[:, :, 1:]).sum(axis=1)
    condition, right, wrong = _condition(columns), error < RIGHT, error >= RIGHT
    return {
        "unit_norm_within_1pct": _share(np.abs(norms - 1) < 0.01),
        "neighbours_orthogonal_within_1pct": _share(np.abs(dots) < 0.01 * lengths[:, :-1] * lengths[:, 1:]),
        "condition": {
            "right": _percentiles(condition[right]),
            "wrong": _percentiles(condition[wrong]),
            **_separation(condition[right | wrong], right[right | wrong]),
        },
    }


def _condition(matrices: Floats) -> Floats:
    """The condition numbers (B,) of (B, n, k) in the 2-norm: the largest singular value by the smallest,
    infinite where rounding cannot tell that from zero or an entry is not finite."""
    peak = np.abs(matrices).max(axis=(1, 2), keepdims=True)
    # LAPACK raises or hangs on what is not finite, and its singular values overflow near the largest floats:
    # it is given matrices with entries up to 1, and zeros in place of the others
    scaled = np.where(np.isfinite(peak) & (peak > 0), matrices / peak, 0)
    sigma = np.linalg.svd(scaled, compute_uv=False)
    largest, smallest = sigma[:, 0], sigma[:, -1]
    rounding = np.finfo(np.float64).eps * max(
        matrices.shape[1:]
    )  # relative, as numpy.linalg.matrix_rank has it
    return np.where(smallest > rounding * largest, largest / smallest, np.inf)


def _separation(condition: Floats, right: Bools) -> Study:
    """The best rule "right where condition < threshold" and the share of samples, (B,), it tells rightly.

    The threshold is the smallest condition number that the rule calls wrong.
    """
    if right.all() or not right.any():
        return {"threshold": None, "accuracy": None}
    order = np.argsort(condition)
    thresholds = np.append(condition[order], np.inf)
    # the rule that calls the k smallest right tells right ones among these and wrong ones among the others
    gained = np.cumsum(np.where(right[order], 1, -1))
    told = (~right).sum() + np.insert(gained, 0, 0)
    # equal condition numbers cannot be parted
    possible = np.insert(thresholds[:-1] < thresholds[1:], 0, True)
    best = int(np.argmax(np.where(possible, told, -1)))
    return {"threshold": _number(thresholds[best]), "accuracy": _number(told[best] / len(right))}


def _by_condition(condition: Floats, error: Floats) -> list[Study]:
    """Ten parts of equal size, to one sample; of fewer than ten samples the last parts are empty."""
    parts = np.array_split(np.argsort(condition, kind="stable"), 10)
    return [
        {
            "samples": len(part),
            "condition": [_number(condition[i]) for i in part[[0, -1]]] if len(part) else [None, None],
            "right": _share(error[part] < RIGHT),
            "median_l1": _median(error[part][~np.isnan(error[part])]),
        }
        for part in parts
    ]


def _rank_correlation(x: Floats, y: Floats) -> float | None:
    """Spearman's: the correlation of the ranks of x and y, (B,), equal values having their mean rank."""
    a, b = _centred_ranks(x), _centred_ranks(y)
    spread = np.sqrt((a @ a) * (b @ b))
    return _number(float(a @ b / spread)) if spread > 0 else None


def _centred_ranks(values: Floats) -> Floats:
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    # twice a mean rank is a whole number, so its mean, len + 1, comes off without rounding
    twice = 2 * np.cumsum(counts) - counts + 1
    return (twice[place] - (len(values) + 1)).astype(np.float64)


def _within(delta: Floats, reference: Floats, tolerance: float) -> Bools:
    # as scoring's `fraction_within_1pct`: a zero is right where it is met exactly
    return np.abs(delta) < tolerance * (np.abs(reference) + 1e-12)


def _share(mask: Bools) -> float | None:
    return float(mask.mean()) if mask.size else None


def _median(values: Floats) -> float | None:
    return _number(float(np.median(values))) if len(values) else None


def _percentiles(values: Floats) -> dict[str, float | None]:
    # each is one of the values: between a finite and an infinite one there is nothing to interpolate
    return {
        str(q): _number(float(np.percentile(values, q, method="inverted_cdf"))) if len(values) else None
        for q in PERCENTILES
    }


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
