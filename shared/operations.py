"""The operations of *Linear algebra with transformers* (PAPER: arXiv 2112.01898): names, letters, shapes."""

from collections.abc import Callable
from dataclasses import dataclass

Shape = tuple[int, int]


@dataclass(frozen=True)
class Operation:
    """What an operation reads and writes.

    `input_shape` and `target_shape` map (m, n), the rows and columns of one operand, to the shape of
    the whole input (operands side by side) and of the target.
    """

    letter: str
    input_form: str
    target_form: str
    input_shape: Callable[[int, int], Shape]
    target_shape: Callable[[int, int], Shape]
    square: bool = False  # refuses `cols`
    symmetric: bool = False  # drawn with a `spectrum`; square too


OPERATIONS: dict[str, Operation] = {
    "add": Operation(
        "A",
        "[A B] (m×2n)",
        "A+B (m×n)",
        input_shape=lambda m, n: (m, 2 * n),
        target_shape=lambda m, n: (m, n),
    ),
    "eigenvalues": Operation(
        "E",
        "symmetric A (n×n)",
        "λ, descending (n×1)",
        input_shape=lambda m, n: (n, n),
        target_shape=lambda m, n: (n, 1),
        square=True,
        symmetric=True,
    ),
    "transpose": Operation(
        "T",
        "A (m×n)",
        "Aᵀ (n×m)",
        input_shape=lambda m, n: (m, n),
        target_shape=lambda m, n: (n, m),
    ),
}
