"""The heat kernel e^(−L) of a graph: how heat has spread over it after a time of 1.

L is the Laplacian of a random weighted graph; its scale is the time. *Graph Transformers Dream of Electric
Flow* (Cheng et al., arXiv 2410.16699). At the usual scale of 10 heat has nearly spread: 1 or less shows more.
"""

import numpy as np

from matstream.shared.linear_algebra import iterations
from matstream.shared.linear_algebra.functions import of_symmetric
from matstream.shared.linear_algebra.graphs import is_laplacian
from matstream.shared.operation import Answers, Floats, Method, Operation, Part, cubic


def _heat_kernel(inputs: Floats) -> Answers:
    """e^(−L) (B, n, n) of Laplacians L (B, n, n) (LAPACK syevd).

    Residual: the larger of that of the matrix exponential, and of how far its rows are from adding up to 1.
    NaN where L is no Laplacian.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        targets, _, error = of_symmetric(lambda values: np.exp(-values), inputs)
        rows = np.abs(targets.sum(axis=2) - 1).max(axis=1)
    return Answers(targets, np.where(is_laplacian(inputs), np.maximum(error, rows), np.nan))


OPERATION = Operation(
    group="graphs",
    input_form="Laplacian L (n×n)",
    target_form="e^(−L) (n×n)",
    parts=lambda m, n: (Part("e^(−L)", n, n),),
    needs="symmetric",
    structures=("laplacian",),
    target=_heat_kernel,
    residual_bound=1e-10,
    cost=cubic(135),
    magnitudes=lambda usual, largest, m, n: (0.1, 1.1),
    methods=(Method("Taylor series", lambda laplacians, k: iterations.taylor_series(-laplacians, k)),),
)
