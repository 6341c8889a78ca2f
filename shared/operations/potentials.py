"""L⁺ψ, the potentials of the nodes of an electric network into which the currents ψ flow.

L is the Laplacian of a random weighted graph, whose weights are conductances. In each connected part of the
graph, the mean of ψ is taken off first, since as much current must leave as enters, and the potentials have
the mean 0. *Graph Transformers Dream of Electric Flow* (Cheng et al., arXiv 2410.16699).
"""

import numpy as np

from matstream.shared.linear_algebra import iterations
from matstream.shared.linear_algebra.graphs import connections, is_laplacian, made_invertible
from matstream.shared.linear_algebra.solving import solved
from matstream.shared.operation import Answers, Bools, Floats, Method, Operand, Operation, Part, cubic
from matstream.shared.operations.inverse import BOUND, LARGEST


def _potentials(inputs: Floats) -> Answers:
    """L⁺ψ (B, n, 1) of [L ψ] (B, n, n+1): the solution x of (L + μP)x = ψ − Pψ, where P takes means over
    connected parts (LAPACK gesv).

    Residual: that of `solve`; NaN where L is no Laplacian.
    """
    laplacians = inputs[:, :, :-1]
    connected = connections(laplacians)
    x, error = solved(made_invertible(laplacians, connected), _balanced(inputs[:, :, -1:], connected))
    return Answers(x, np.where(is_laplacian(laplacians), error, np.nan))


def _balanced(currents: Floats, connected: Bools) -> Floats:
    """ψ − Pψ (B, n, 1) of ψ, 0 for a node that is alone."""
    parts = connected.sum(axis=2, keepdims=True)
    return np.where(parts == 1, 0.0, currents - (connected / parts) @ currents)


def _conjugate_gradients(inputs: Floats, steps: int) -> Floats:
    laplacians = inputs[:, :, :-1]
    balanced = _balanced(inputs[:, :, -1:], connections(laplacians))
    return iterations.conjugate_gradients(laplacians, balanced, steps)


OPERATION = Operation(
    group="graphs",
    input_form="[L ψ] (n×(n+1)), L a Laplacian",
    target_form="L⁺ψ (n×1)",
    operands=lambda m, n: (Operand(n, n), Operand(n, 1, vector=True)),
    parts=lambda m, n: (Part("L⁺ψ", n, 1),),
    needs="symmetric",
    structures=("laplacian",),
    target=_potentials,
    residual_bound=BOUND,
    cost=cubic(90),
    magnitudes=lambda usual, largest, m, n: (usual / (n * largest), LARGEST),
    methods=(Method("conjugate gradients", _conjugate_gradients),),
)
