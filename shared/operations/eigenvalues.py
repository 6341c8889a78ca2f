"""The eigenvalues λ of a symmetric matrix, the largest first.

*Linear algebra with transformers* (Charton 2021, arXiv 2112.01898), section 4.4.
"""

import numpy as np

from matstream.shared import failure_studies
from matstream.shared.linear_algebra import iterations
from matstream.shared.linear_algebra.lapack import solve
from matstream.shared.linear_algebra.norms import nonzero, square_norm
from matstream.shared.linear_algebra.rounding import clear, rounding
from matstream.shared.operation import Answers, Floats, Histogram, Method, Operation, Part, cubic


def _eigenvalues(inputs: Floats) -> Answers:
    """λ (B, n, 1), descending, of symmetric A (B, n, n) (LAPACK syevd).

    Residual: the larger of |Σλ−tr A| / (n‖A‖_F) and |Σλ²−‖A‖²_F| / ‖A‖²_F; 0 for A = 0.
    """
    n = inputs.shape[1]
    (ascending,) = solve(lambda a: (np.linalg.eigvalsh(a),), inputs, [(n,)])
    values = ascending[:, ::-1] + 0.0  # no −0
    clear(values, rounding(values))
    square = square_norm(inputs)
    trace = np.abs(values.sum(axis=1) - np.trace(inputs, axis1=1, axis2=2)) / (n * np.sqrt(nonzero(square)))
    squares = np.abs(np.square(values).sum(axis=1) - square) / nonzero(square)
    return Answers(values[:, :, None], np.maximum(trace, squares))


OPERATION = Operation(
    group="spectra",
    input_form="symmetric A (n×n)",
    target_form="λ, descending (n×1)",
    parts=lambda m, n: (Part("λ", n, 1),),
    needs="symmetric",
    target=_eigenvalues,
    residual_bound=1e-12,
    cost=cubic(45),
    magnitudes=lambda usual, largest, m, n: (usual, n * largest),
    study=failure_studies.ranked,
    histogram=Histogram("eigenvalues", "eigenvalue"),
    methods=(
        Method("QR iteration", lambda a, steps: iterations.qr_iteration(a, steps)[0][:, :, None]),
        Method("Jacobi sweeps", lambda a, steps: iterations.jacobi(a, steps)[0][:, :, None]),
    ),
)
