"""The greatest common divisors of whole numbers, entry by entry; gcd(0, 0) = 0.

Only the very number is right. *Learning the greatest common divisor* (Charton, arXiv 2308.15594).
"""

import numpy as np

from matstream.shared import failure_studies
from matstream.shared.linear_algebra.norms import largest
from matstream.shared.linear_algebra.whole_numbers import EXACT, are_whole
from matstream.shared.operation import Answers, Floats, Method, Operand, Operation, Part, exact, linear


def _divisors(inputs: Floats) -> Answers:
    """gcd(A, B) (B, m, n) of [A B] (B, m, 2n), exact; NaN where an entry is no whole number under 2^53."""
    n = inputs.shape[2] // 2
    whole = are_whole(inputs) & (largest(inputs) < EXACT)
    numbers = np.where(whole[:, None, None], inputs, 0.0).astype(np.int64)
    divisors = np.gcd(numbers[:, :, :n], numbers[:, :, n:]).astype(np.float64)
    return Answers(divisors, np.where(whole, 0.0, np.nan))


def _euclid(inputs: Floats, steps: int) -> Floats:
    """The larger number left after so many divisions with remainder."""
    n = inputs.shape[2] // 2
    large, small = (
        np.maximum(inputs[:, :, :n], inputs[:, :, n:]),
        np.minimum(inputs[:, :, :n], inputs[:, :, n:]),
    )
    for _ in range(steps):
        rest = np.where(small == 0, 0.0, np.fmod(large, np.where(small == 0, 1.0, small)))
        large, small = np.where(small == 0, large, small), rest
    return large


OPERATION = Operation(
    group="integers",
    input_form="[A B] (m×2n), of whole numbers",
    target_form="gcd(A, B), entry by entry (m×n)",
    operands=lambda m, n: (Operand(m, n), Operand(m, n)),
    parts=lambda m, n: (Part("gcd(A, B)", m, n),),
    structures=("whole_numbers",),
    target=_divisors,
    residual_bound=0.0,
    cost=linear(50),
    magnitudes=lambda usual, largest, m, n: (1.0, largest),
    deviation=exact,
    study=failure_studies.digits,
    methods=(Method("steps of Euclid", _euclid),),
)
