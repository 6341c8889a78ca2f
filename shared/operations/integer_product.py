"""The products of whole numbers, entry by entry.

At scale 10^d (structure `whole_numbers`) factors have up to d digits, and products up to 2d. Only the very
number is right. *Dissecting Multiplication in Transformers* (Qiu et al., arXiv 2407.15360).
"""

import numpy as np

from matstream.shared import failure_studies
from matstream.shared.linear_algebra.norms import largest
from matstream.shared.linear_algebra.whole_numbers import EXACT, are_whole
from matstream.shared.operation import Answers, Floats, Operand, Operation, Part, exact, linear


def _products(inputs: Floats) -> Answers:
    """A∘B (B, m, n) of [A B] (B, m, 2n), exact; NaN where an entry is no whole number, or a product is 2^53
    or more."""
    n = inputs.shape[2] // 2
    with np.errstate(over="ignore"):
        products = inputs[:, :, :n] * inputs[:, :, n:] + 0.0  # no −0
    exactly = are_whole(inputs) & (largest(products) < EXACT)
    return Answers(products, np.where(exactly, 0.0, np.nan))


OPERATION = Operation(
    group="integers",
    input_form="[A B] (m×2n), of whole numbers",
    target_form="A∘B, entry by entry (m×n)",
    operands=lambda m, n: (Operand(m, n), Operand(m, n)),
    parts=lambda m, n: (Part("A∘B", m, n),),
    structures=("whole_numbers",),
    target=_products,
    residual_bound=0.0,
    cost=linear(8),
    magnitudes=lambda usual, largest, m, n: (usual**2, largest**2),
    deviation=exact,
    study=failure_studies.digits,
)
