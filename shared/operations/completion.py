"""A whole matrix of low rank, of which some entries are hidden.

Hidden entries are 0 in the input (structure `masked`). At least as many rows and columns as the matrix has
rank are seen whole, and these determine it: A = CW⁺R, where C are those columns, R those rows, and W is where
they cross. (Goreinov, Tyrtyshnikov & Zamarashkin, *A theory of pseudoskeleton approximations*, 1997.)
"""

import numpy as np

from matstream.shared.linear_algebra.norms import largest, nonzero, square_norm
from matstream.shared.linear_algebra.pseudo_inverses import pseudo_inverses
from matstream.shared.operation import Answers, Floats, Operation, Part, cubic


def _completed(inputs: Floats) -> Answers:
    """A (B, m, n) of A with zeros for hidden entries (B, m, n) (LAPACK gesdd). Entries that are seen stay.

    Residual: the larger of max|(CW⁺R−A)_seen| / ‖A‖_F and the distance of C(W⁺R) from (CW⁺)R, relative to the
    same; infinite where rounding leaves the rank of W uncertain.
    """
    seen = inputs != 0
    columns, rows = inputs * seen.all(axis=1)[:, None], inputs * seen.all(axis=2)[:, :, None]
    crossing = columns * seen.all(axis=2)[:, :, None]
    pseudo, _, uncertain = pseudo_inverses(crossing)
    found = columns @ (pseudo @ rows)
    targets = np.where(seen, inputs, found) + 0.0  # no −0
    off = np.maximum(largest((columns @ pseudo) @ rows - found), largest(np.where(seen, found - inputs, 0.0)))
    return Answers(targets, np.maximum(off / nonzero(np.sqrt(square_norm(targets))), uncertain))


OPERATION = Operation(
    group="inverses and solves",
    input_form="A of low rank, 0 where it is hidden (m×n)",
    target_form="A (m×n)",
    parts=lambda m, n: (Part("A", m, n),),
    structures=("masked",),
    hides=True,
    target=_completed,
    residual_bound=1e-10,
    cost=cubic(180),
    magnitudes=lambda usual, largest, m, n: (usual, largest),
)
