"""f(A)·B of two matrices, where f(a) = log(1 + |a|) is applied to each entry.

*Sketching Transformed Matrices with Applications to Natural Language Processing* (Liang et al., arXiv
2002.09812).
"""

import math

import numpy as np

from matstream.shared.operation import Answers, Floats, Operand, Operation, Part, cubic
from matstream.shared.operations.matmul import product


def _transformed_product(inputs: Floats) -> Answers:
    """f(A)B (B, m, n) of [A B] (B, m, m+n), A (m×m) and B (m×n). Residual: that of `matmul`."""
    m = inputs.shape[1]
    return product(np.log1p(np.abs(inputs[:, :, :m])).swapaxes(1, 2), inputs[:, :, m:])


OPERATION = Operation(
    group="sums and products",
    input_form="[A B] (m×(m+n)), A (m×m)",
    target_form="log(1+|A|)·B (m×n)",
    operands=lambda m, n: (Operand(m, m), Operand(m, n)),
    parts=lambda m, n: (Part("log(1+|A|)·B", m, n),),
    target=_transformed_product,
    residual_bound=1e-12,
    cost=cubic(35),
    magnitudes=lambda usual, largest, m, n: (
        math.log1p(usual) * usual,
        m * math.log1p(largest) * largest * (1 + 1e-12),  # which whole numbers reach, up to rounding
    ),
)
