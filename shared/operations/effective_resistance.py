"""The effective resistances between all nodes of a connected graph: R_ij = L⁺_ii + L⁺_jj − 2L⁺_ij.

L is the Laplacian of a random weighted graph, whose weights are conductances. *Graph Transformers Dream of
Electric Flow* (Cheng et al., arXiv 2410.16699); Klein & Randić, *Resistance distance*, 1993.
"""

import numpy as np

from matstream.shared.linear_algebra import iterations
from matstream.shared.linear_algebra.graphs import connections, is_laplacian, made_invertible
from matstream.shared.linear_algebra.lapack import inverses
from matstream.shared.linear_algebra.norms import largest
from matstream.shared.operation import Answers, Floats, Method, Operation, Part, cubic
from matstream.shared.operations.inverse import BOUND, LARGEST


def _resistances(inputs: Floats) -> Answers:
    """R (B, n, n) of Laplacians L (B, n, n) (LAPACK gesv).

    Residual: the larger of max|(L + μP)G − I|, where G is the computed inverse, and |Σ_edges wR − (n−1)| / n,
    which is 0 by Foster's theorem. NaN where L is no Laplacian, or its graph is not connected.
    """
    n = inputs.shape[1]
    connected = connections(inputs)
    invertible = made_invertible(inputs, connected)
    inverse = inverses(invertible)
    resistances = _of_inverse(inverse)
    # over ordered pairs, each edge counts twice, and the diagonal is 0
    foster = np.abs(-(inputs * resistances).sum(axis=(1, 2)) / 2 - (n - 1)) / n
    off = np.maximum(largest(invertible @ inverse - np.eye(n)), foster)
    has_answer = is_laplacian(inputs) & connected.all(axis=(1, 2))
    return Answers(resistances, np.where(has_answer, off, np.nan))


def _of_inverse(inverse: Floats) -> Floats:
    """R of L⁺, or of what differs from it by what the graph's parts have in common."""
    diagonal = np.diagonal(inverse, axis1=1, axis2=2)
    return diagonal[:, :, None] + diagonal[:, None] - (inverse + inverse.swapaxes(1, 2))


def _newton_schulz(inputs: Floats, steps: int) -> Floats:
    invertible = made_invertible(inputs, connections(inputs))
    return _of_inverse(iterations.newton_schulz(invertible, steps))


OPERATION = Operation(
    group="graphs",
    input_form="Laplacian L of a connected graph (n×n)",
    target_form="R_ij = L⁺_ii + L⁺_jj − 2L⁺_ij (n×n)",
    parts=lambda m, n: (Part("R", n, n),),
    needs="symmetric",
    structures=("laplacian",),
    target=_resistances,
    residual_bound=BOUND,
    cost=cubic(75),
    magnitudes=lambda usual, largest, m, n: (1 / (n * largest), LARGEST / usual),
    methods=(Method("Newton–Schulz", _newton_schulz),),
)
