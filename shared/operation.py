"""What an operation is: everything that the program knows about one problem of linear algebra.

Each of our own has a page in shared/operations. m and n are the rows and columns of the first operand, B is
the batch. Only `target` and the shapes are needed; all else has a default that fits any function.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from matstream.shared import failure_studies

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Shape = tuple[int, int]


class Operand(NamedTuple):
    """A matrix of the input, or a vector, which has one column and no structure."""

    rows: int
    cols: int
    vector: bool = False


class Part(NamedTuple):
    """A matrix of the target: the values, say, above the vectors. Parts stand below one another."""

    name: str
    rows: int
    cols: int


class Answers(NamedTuple):
    """Targets (B, p, q), and for each a residual (B,): how far it is from being the answer, 0 if exact."""

    targets: Floats
    residuals: Floats


class Deviation(NamedTuple):
    """What a prediction's error is measured on: the error matrix Δ, its reference R, by which Δ is measured
    as a whole, and the scale of each entry, all (B, …)."""

    delta: Floats
    reference: Floats
    entry_scale: Floats


class Histogram(NamedTuple):
    """What the page in the browser counts of the targets, and the law that it draws over that (laws.js)."""

    what: str = "entries"
    law: str | None = None
    first_row: bool = False  # whether only the first row of a target is counted


ENTRIES = Histogram()


def one_matrix(m: int, n: int) -> tuple[Operand, ...]:
    """The operands of an operation on one matrix."""
    return (Operand(m, n),)


def difference(inputs: Floats, targets: Floats, predictions: Floats) -> Deviation:
    """Δ = P−T and R = T."""
    return Deviation(predictions - targets, targets, targets)


def linear(nanoseconds: float) -> Callable[[int, int], float]:
    """The cost of work that grows with m·n."""
    return lambda m, n: nanoseconds * m * n


def cubic(nanoseconds: float) -> Callable[[int, int], float]:
    """The cost of LAPACK's work: as measured from 8×8 to 128×128 it grows with m·n, and only later with
    m·n·k, k = min(m, n)."""
    return lambda m, n: nanoseconds * m * n * (1 + min(m, n) / 256)


@dataclass(frozen=True, kw_only=True)
class Operation:
    """An operation. Functions of batches keep the batch axis first, so that a sample has the same bits in any
    batch; those of (inputs, targets, predictions) take (B, m, w), (B, p, q) and (B, p, q)."""

    # what it reads and writes
    input_form: str
    target_form: str
    operands: Callable[[int, int], tuple[Operand, ...]] = one_matrix  # side by side in the input
    parts: Callable[[int, int], tuple[Part, ...]]
    needs: Literal["general", "square", "symmetric"] = (
        "general"  # square: no `cols`; symmetric: with a spectrum
    )
    invertible: bool = False  # whether its inputs must be: structures that are always singular are refused

    # how it is computed, and how sure one is of it
    target: Callable[[Floats], Answers]
    residual_bound: float | None = None  # a sample above it is drawn again; None: the residual is not known
    not_unique: tuple[str, ...] = ()  # structures whose matrices may have several answers
    unique: Callable[[Floats, Floats], Bools] | None = None  # (inputs, targets) -> (B,); None: always
    cost: Callable[[int, int], float]  # nanoseconds of one core for a sample, drawing it aside

    # how large answers get: (usual size of an entry, largest, m, n) of the input -> both of the target
    magnitudes: Callable[[float, float, int, int], tuple[float, float]]

    # how predictions are scored, and studied where they fail
    deviation: Callable[[Floats, Floats, Floats], Deviation] = difference
    beyond: Callable[[Floats, Floats, Floats], Floats] | None = None  # (B,), what `deviation` does not see
    study: Callable[[Floats, Floats, Floats, Floats], dict[str, Any]] = failure_studies.entries

    histogram: Histogram = ENTRIES

    @property
    def square(self) -> bool:
        return self.needs != "general"

    @property
    def symmetric(self) -> bool:
        return self.needs == "symmetric"

    def input_shape(self, m: int, n: int) -> Shape:
        """The shape of the whole input."""
        operands = self.operands(m, n)
        return operands[0].rows, sum(operand.cols for operand in operands)

    def target_shape(self, m: int, n: int) -> Shape:
        """The shape of the whole target."""
        parts = self.parts(m, n)
        return sum(part.rows for part in parts), parts[0].cols

    def accepts(self, answers: Answers) -> Bools:
        """Whether each answer is as sure as it must be, (B,): the others are drawn again."""
        if self.residual_bound is None:
            return np.asarray(np.isfinite(answers.targets).all(axis=(1, 2)))
        return np.asarray(answers.residuals <= self.residual_bound)

    def has_one_answer(self, inputs: Floats, targets: Floats) -> Bools:
        """Whether each target (B, p, q) is the only one that its input (B, m, w) has, as (B,)."""
        if self.unique is None:
            return np.ones(len(targets), dtype=np.bool_)
        return self.unique(inputs, targets)
