"""Where a trained model fails: the study of *What is my math transformer doing?* (arXiv 2211.00170), carried
over to other operations. What is studied of an operation is in its module (shared/operations)."""

import numpy as np
from numpy.typing import NDArray

from matstream.shared.failure_studies import Study, share
from matstream.shared.operation import Operation
from matstream.shared.problems import operation_named

Floats = NDArray[np.float64]

TOLERANCES = (0.005, 0.01, 0.02, 0.05, 0.1)


def analyse(
    operation: str | Operation, inputs: Floats, targets: Floats, predictions: Floats, l1: Floats
) -> Study:
    """Study the errors on samples of one operation, or the one that has this name, and one shape: `inputs`
    (B, m, w), `targets` and `predictions` (B, p, q), NaN where a prediction is invalid, and their published
    error `l1` (B,).

    A sample is right within τ where 0 ≤ l1 < τ, and "right" alone means within 5%. Shares lie in 0..1 and
    count an invalid prediction as wrong; percentiles, medians, thresholds and correlations leave it out. A
    single number is within τ where |P−T| < τ(|T| + 1e-12). What cannot be measured, and what is infinite, is
    None, so that the result is JSON:

    - every operation: `samples`, `invalid`, `right` by tolerance;
    - eigenvectors: `values` and `vectors`; svd: `values`, `U` and `V`. In `values`, `within_1pct` is the
      share of samples whose predicted row of values has an l1 relative error Σ|P−T| / Σ|T| below 1%, as
      scoring measures it, and `by_rank` tells of single values. Of the predicted vectors,
      `unit_norm_within_1pct` is the share with |‖v‖−1| < 0.01 and `neighbours_orthogonal_within_1pct` the
      share of pairs v, w side by side with |v·w| < 0.01 ‖v‖‖w‖, a vector of zeros being orthogonal to none.
      `condition` is the condition number of the matrix of predicted vectors: percentiles over the `right` and
      over the `wrong` samples, and the `accuracy` of the best rule "right where it is below `threshold`", the
      share of valid samples that the rule classifies correctly (None unless there are both right and wrong
      ones);
    - eigenvalues, singular_values: `by_rank`, lists by rank in the target, the largest first;
    - singular_values, inverse, symmetric_inverse: `by_condition`, ten parts of equal size by the condition
      number of the input, each with its `samples`, its smallest and largest `condition`, its share `right`
      and its `median_l1`; for the inverses also `rank_correlation`, Spearman's, of l1 and that number;
    - every other operation: `entries`, the share of single entries that are right, and
      `wrong_per_wrong_sample`, the mean number of the `per_sample` entries of a wrong sample that are not
      within 5%.

    Raises ValueError for an unknown operation or shapes that do not fit.
    """
    if isinstance(operation, str):
        operation = operation_named(operation)
    inputs, targets, predictions, l1 = (np.asarray(a, np.float64) for a in (inputs, targets, predictions, l1))
    batch = len(targets)
    if inputs.ndim != 3 or targets.ndim != 3 or targets.shape != predictions.shape:
        raise ValueError(
            f"inputs {inputs.shape}, targets {targets.shape}, predictions {predictions.shape}: "
            "must be batches of matrices, predictions shaped as targets"
        )
    if len(inputs) != batch or l1.shape != (batch,):
        raise ValueError(f"inputs {inputs.shape}, l1 {l1.shape}: must be as many as targets, {batch}")
    # a prediction may be absurdly large: an error that overflows is not within any tolerance
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        invalid = np.isnan(predictions).any(axis=(1, 2))
        predictions = np.where(invalid.reshape(batch, 1, 1), np.nan, predictions)
        # an error without a reference (-1) and one that overflowed to NaN are both as wrong as can be
        error = np.where(invalid, np.nan, np.where(l1 >= 0, l1, np.inf))
        return {
            "samples": batch,
            "invalid": int(invalid.sum()),
            "right": {f"{tau:g}": share(error < tau) for tau in TOLERANCES},
            **operation.study(inputs, targets, predictions, error),
        }
