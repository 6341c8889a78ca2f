"""A⁻¹, the inverse of a square matrix.

*Linear algebra with transformers* (Charton 2021, arXiv 2112.01898), section 4.6.
"""

import numpy as np

from matstream.shared import failure_studies
from matstream.shared.linear_algebra import iterations
from matstream.shared.linear_algebra.lapack import inverses
from matstream.shared.linear_algebra.norms import largest
from matstream.shared.operation import Answers, Deviation, Floats, Method, Operation, Part, cubic

# The published bound of the residual: it refuses condition numbers from about 1e5 on, and inverses whose
# entries are much larger than LARGEST / scale.
BOUND = 1e-10
LARGEST = 1e8


def _inverse(inputs: Floats) -> Answers:
    """A⁻¹ (B, n, n) of A (B, n, n) (LAPACK gesv). Residual: max|A·A⁻¹−I|."""
    n = inputs.shape[1]
    targets = inverses(inputs)
    targets += 0.0  # no −0
    return Answers(targets, largest(inputs @ targets - np.eye(n)))


def _deviation(inputs: Floats, targets: Floats, predictions: Floats) -> Deviation:
    """Δ = M·P−I and R = I, whose largest entry is 1 and whose sum of entries is n."""
    identity = np.broadcast_to(np.eye(inputs.shape[1]), inputs.shape)
    return Deviation(inputs @ predictions - identity, identity, np.ones_like(inputs))


def _study(inputs: Floats, targets: Floats, predictions: Floats, error: Floats) -> failure_studies.Study:
    condition, valid = failure_studies.condition_numbers(inputs), ~np.isnan(error)
    return {
        "by_condition": failure_studies.by_condition(condition, error),
        "rank_correlation": failure_studies.rank_correlation(condition[valid], error[valid]),
    }


OPERATION = Operation(
    group="inverses and solves",
    input_form="A (n×n)",
    target_form="A⁻¹ (n×n)",
    parts=lambda m, n: (Part("A⁻¹", n, n),),
    needs="square",
    invertible=True,
    target=_inverse,
    residual_bound=BOUND,
    cost=cubic(42),
    magnitudes=lambda usual, largest, m, n: (1 / largest, LARGEST / usual),
    deviation=_deviation,
    study=_study,
    methods=(Method("Newton–Schulz", iterations.newton_schulz),),
)
