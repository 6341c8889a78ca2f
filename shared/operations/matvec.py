"""Aᵀv of a matrix and a vector.

*Linear algebra with transformers* (Charton 2021, arXiv 2112.01898), section 4.3.
"""

from matstream.shared.operation import Answers, Floats, Histogram, Operand, Operation, Part, linear
from matstream.shared.operations.matmul import product


def _product(inputs: Floats) -> Answers:
    """Aᵀv of [A v] (B, m, n+1). Residual: that of `matmul`."""
    return product(inputs[:, :, :-1], inputs[:, :, -1:])


OPERATION = Operation(
    group="sums and products",
    input_form="[A v] (m×(n+1))",
    target_form="Aᵀv (n×1)",
    operands=lambda m, n: (Operand(m, n), Operand(m, 1, vector=True)),
    parts=lambda m, n: (Part("Aᵀv", n, 1),),
    target=_product,
    residual_bound=1e-12,
    cost=linear(15),
    magnitudes=lambda usual, largest, m, n: (usual**2, m * largest**2),
    histogram=Histogram("entries", "entry of a product with a vector"),
)
