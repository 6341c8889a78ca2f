"""The operations of *Linear algebra with transformers* (PAPER: arXiv 2112.01898): names, letters, shapes."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

Shape = tuple[int, int]


class Operand(NamedTuple):
    """A matrix of the input, or a vector, which has one column and no structure."""

    rows: int
    cols: int
    vector: bool = False


@dataclass(frozen=True)
class Operation:
    """What an operation reads and writes.

    `operands` and `target_shape` map (m, n), the rows and columns of the first operand, to all operands,
    which stand side by side in the input, and to the shape of the target.
    """

    letter: str
    input_form: str
    target_form: str
    operands: Callable[[int, int], tuple[Operand, ...]]
    target_shape: Callable[[int, int], Shape]
    square: bool = False  # refuses `cols`
    symmetric: bool = False  # drawn with a `spectrum`; square too

    def input_shape(self, m: int, n: int) -> Shape:
        """The shape of the whole input."""
        operands = self.operands(m, n)
        return operands[0].rows, sum(operand.cols for operand in operands)


OPERATIONS: dict[str, Operation] = {
    "add": Operation(
        "A",
        "[A B] (m×2n)",
        "A+B (m×n)",
        operands=lambda m, n: (Operand(m, n), Operand(m, n)),
        target_shape=lambda m, n: (m, n),
    ),
    "eigenvalues": Operation(
        "E",
        "symmetric A (n×n)",
        "λ, descending (n×1)",
        operands=lambda m, n: (Operand(n, n),),
        target_shape=lambda m, n: (n, 1),
        square=True,
        symmetric=True,
    ),
    "eigenvectors": Operation(
        "F",
        "symmetric A (n×n)",
        "row 0: λ, descending; rows 1..n: eigenvectors as columns ((n+1)×n)",
        operands=lambda m, n: (Operand(n, n),),
        target_shape=lambda m, n: (n + 1, n),
        square=True,
        symmetric=True,
    ),
    "inverse": Operation(
        "I",
        "A (n×n)",
        "A⁻¹ (n×n)",
        operands=lambda m, n: (Operand(n, n),),
        target_shape=lambda m, n: (n, n),
        square=True,
    ),
    "matmul": Operation(
        "M",
        "[A B] (m×2n)",
        "AᵀB (n×n)",
        operands=lambda m, n: (Operand(m, n), Operand(m, n)),
        target_shape=lambda m, n: (n, n),
    ),
    "matvec": Operation(
        "D",
        "[A v] (m×(n+1))",
        "Aᵀv (n×1)",
        operands=lambda m, n: (Operand(m, n), Operand(m, 1, vector=True)),
        target_shape=lambda m, n: (n, 1),
    ),
    "singular_values": Operation(
        "V",
        "A (m×n)",
        "σ, descending (k×1), k = min(m, n)",
        operands=lambda m, n: (Operand(m, n),),
        target_shape=lambda m, n: (min(m, n), 1),
    ),
    "svd": Operation(
        "U",
        "A (m×n)",
        "row 0: σ, descending; next m rows: U (m×k); next n rows: V (n×k), k = min(m, n)",
        operands=lambda m, n: (Operand(m, n),),
        target_shape=lambda m, n: (1 + m + n, min(m, n)),
    ),
    "symmetric_inverse": Operation(
        "S",
        "symmetric A (n×n)",
        "A⁻¹ (n×n)",
        operands=lambda m, n: (Operand(n, n),),
        target_shape=lambda m, n: (n, n),
        square=True,
        symmetric=True,
    ),
    "transpose": Operation(
        "T",
        "A (m×n)",
        "Aᵀ (n×m)",
        operands=lambda m, n: (Operand(m, n),),
        target_shape=lambda m, n: (n, m),
    ),
}
