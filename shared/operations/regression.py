"""Regression in context: examples (x, y) of a linear model and a query x, of which y is asked for.

Each row of the input is an example, y in its last column; the last row is the query, whose y is hidden and
sent as 0 (structure `linear_model`). The weights w of the model are drawn anew for each sample, and the
examples have noise, so that no method is always right. The answer is the y of the query without noise.
*Transformers Learn In-Context by Gradient Descent* (von Oswald et al., arXiv 2212.07677).
"""

import numpy as np

from matstream.shared.linear_algebra.norms import nonzero
from matstream.shared.operation import Answers, Floats, Method, Operation, Part, linear

NOISE = 0.05  # the deviation of the noise of an example, divided by that of its y


def _answer(inputs: Floats) -> Answers:
    """y (B, 1, 1) of the query of a whole table (B, m, n), exact."""
    return Answers(inputs[:, -1:, -1:].copy(), np.zeros(len(inputs)))


def _shown(inputs: Floats) -> Floats:
    """The table without the y of the query."""
    shown = inputs.copy()
    shown[:, -1, -1] = 0.0
    return shown


def _parts(inputs: Floats) -> tuple[Floats, Floats, Floats]:
    """Examples x (B, m−1, n−1), scaled by 1/√(n−1) as in the model, their y (B, m−1, 1), and the query."""
    x = inputs[:, :, :-1] / np.sqrt(max(1, inputs.shape[2] - 1))
    return x[:, :-1], inputs[:, :-1, -1:], x[:, -1:]


def _gradient_descent(inputs: Floats, steps: int) -> Floats:
    """So many steps from w = 0, all of one length, which is the same for all samples: that with which the
    last example, taken for a query, is answered best. (As von Oswald et al. do it.)"""
    x, y, query = _parts(inputs)

    def answer(x: Floats, y: Floats, query: Floats, length: float) -> Floats:
        w = np.zeros((len(x), x.shape[2], 1))
        for _ in range(steps):
            w = w + length * (x.swapaxes(1, 2) @ (y - x @ w))
        return query @ w

    usual = 1 / nonzero(np.square(x).sum(axis=(1, 2)).mean())
    lengths = usual * np.geomspace(0.05, 20, 60)
    with np.errstate(over="ignore", invalid="ignore"):  # too long a step diverges
        errors = [
            np.square(answer(x[:, :-1], y[:, :-1], x[:, -1:], length) - y[:, -1:]).mean()
            for length in lengths
        ]
    return answer(x, y, query, lengths[np.nanargmin(errors)])


def _ridge(inputs: Floats, steps: int) -> Floats:
    """Ridge regression with the variance of the noise, for weights of variance 1: if these are normal, the
    mean of what is asked for, given the examples."""
    x, y, query = _parts(inputs)
    features = x.shape[2]
    noise = NOISE**2 * nonzero(np.mean(np.square(x), axis=(1, 2), keepdims=True)) * features
    gram = x.swapaxes(1, 2) @ x + noise * np.eye(features)
    return query @ np.linalg.solve(gram, x.swapaxes(1, 2) @ y)


def _least_squares(inputs: Floats, steps: int) -> Floats:
    """That of the smallest weights, if there are several."""
    x, y, query = _parts(inputs)
    return query @ (np.linalg.pinv(x) @ y)


OPERATION = Operation(
    group="learning in context",
    input_form="rows (x, y), the last one (x, 0) (m×n)",
    target_form="the y of the last row (1×1)",
    parts=lambda m, n: (Part("y", 1, 1),),
    structures=("linear_model",),
    least=2,
    shown=_shown,
    target=_answer,
    residual_bound=0.0,
    cost=linear(3),
    magnitudes=lambda usual, largest, m, n: (usual, largest),
    methods=(
        Method("gradient descent", _gradient_descent),
        Method("ridge regression", _ridge, (0,)),
        Method("least squares", _least_squares, (0,)),
    ),
)
