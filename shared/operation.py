"""What an operation is: everything that the program knows about one problem of linear algebra.

Each operation that comes with matstream has a module in shared/operations. m and n are the rows and columns
of the first operand, B is the number of samples in a batch. transpose.py there is the least that an operation
needs, inverse.py has nearly everything.
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
    """A matrix of the input, or a vector, which has one column and to which no structure applies."""

    rows: int
    cols: int
    vector: bool = False


class Part(NamedTuple):
    """A matrix of the target. Parts stand below one another, as the eigenvectors below the eigenvalues."""

    name: str
    rows: int
    cols: int


class Answers(NamedTuple):
    """Targets (B, p, q), and their residuals (B,): how far each target is from the answer, 0 if it is exact,
    NaN if nothing is known. Scaling an input leaves its residual as it is (divide by what has the same
    units), and the residual of A = 0 is 0: NaN is above any bound."""

    targets: Floats
    residuals: Floats


class Deviation(NamedTuple):
    """What a prediction's error is computed from, all (B, …): the error matrix Δ, the reference R to which Δ
    as a whole is compared, and the scale to which each entry of Δ is compared."""

    delta: Floats
    reference: Floats
    entry_scale: Floats


class Histogram(NamedTuple):
    """What the playground in the browser counts of the targets, and the law it draws over that (laws.js)."""

    what: str = "entries"
    law: str | None = None
    first_row: bool = False  # whether only the first row of a target is counted


class Method(NamedTuple):
    """A numerical method that answers inputs (B, m, w) by so many steps of it, (B, p, q), to compare a model
    with; one that has no steps gets 0 of them."""

    name: str
    answer: Callable[[Floats, int], Floats]
    steps: tuple[int, ...] = (1, 2, 4, 8)


ENTRIES = Histogram()

# the groups in which the playground shows operations
Group = Literal[
    "sums and products",
    "factorisations",
    "spectra",
    "inverses and solves",
    "graphs",
    "learning in context",
    "integers",
    "your own",
]


def one_matrix(m: int, n: int) -> tuple[Operand, ...]:
    """The operands of an operation on one matrix."""
    return (Operand(m, n),)


def difference(inputs: Floats, targets: Floats, predictions: Floats) -> Deviation:
    """Δ = P−T and R = T."""
    return Deviation(predictions - targets, targets, targets)


def exact(inputs: Floats, targets: Floats, predictions: Floats) -> Deviation:
    """A deviation that is 0 where an entry is met, infinite where it is not, and NaN where it is invalid."""
    delta = np.where(predictions == targets, 0.0, np.where(np.isnan(predictions), np.nan, np.inf))
    ones = np.ones_like(targets)
    return Deviation(delta, ones, ones)


def linear(nanoseconds: float) -> Callable[[int, int], float]:
    """The cost of work that grows with m·n."""
    return lambda m, n: nanoseconds * m * n


def cubic(nanoseconds: float) -> Callable[[int, int], float]:
    """The cost of LAPACK's work: as measured from 8×8 to 128×128, it grows with m·n, and only for larger
    matrices with m·n·k, k = min(m, n)."""
    return lambda m, n: nanoseconds * m * n * (1 + min(m, n) / 256)


@dataclass(frozen=True, kw_only=True)
class Operation:
    """An operation. Its functions of batches have the batch axis first, and give a sample the same bits in
    any batch; those of (inputs, targets, predictions) take (B, m, w), (B, p, q) and (B, p, q).

    `input_form`, `target_form`, `parts`, `target`, `cost` and `magnitudes` are required; the other fields
    have defaults that fit any function. An operation that comes with matstream also has residuals and a
    `residual_bound`. If nothing better is known, the residual compares the target with the same answer
    computed in a second way.
    """

    # what people read of it
    input_form: str
    target_form: str
    group: Group = "your own"
    about: str = ""  # the docstring of its module, or of a user's function

    # what it reads and writes
    operands: Callable[[int, int], tuple[Operand, ...]] = one_matrix  # side by side in the input
    parts: Callable[[int, int], tuple[Part, ...]]
    # square: a spec has no `cols`; symmetric: inputs are symmetric, and a spec may choose their `spectrum`;
    # positive: they also have no eigenvalue below 0
    needs: Literal["general", "square", "symmetric", "positive"] = "general"
    invertible: bool = False  # whether inputs must be invertible: always singular structures are refused
    diagonalisable: bool = False  # whether inputs must have a basis of eigenvectors
    spare_rows: int | None = None  # how many more rows than columns inputs have at least, if that matters
    least: int = 1  # rows and columns that inputs have at least
    hides: bool = False  # whether a 0 in the input means a hidden entry: no noise, no law that draws zeros
    # the structures that come with matstream and that inputs may have, the first by default; (): all
    structures: tuple[str, ...] = ()
    # what of inputs (B, m, w) is sent, if the target is computed from more than that
    shown: Callable[[Floats], Floats] | None = None

    # how it is computed, and how the result is checked
    target: Callable[[Floats], Answers]  # of inputs (B, m, w); targets contain no −0: adding 0.0 makes it 0
    # a sample whose residual is above it is drawn again: 0.0 if nothing is rounded, 1e-12 for rounding
    # errors alone, 1e-10 where ill-conditioned inputs raise them; None: residuals are NaN, and targets need
    # only be finite
    residual_bound: float | None = None
    not_unique: tuple[str, ...] = ()  # structures whose matrices may have several answers
    unique: Callable[[Floats, Floats], Bools] | None = None  # (inputs, targets) -> (B,); None: always
    # (m, n) -> nanoseconds of one core for a sample, without drawing it. Requests that would take too long
    # are refused by it: the time of `target` on a batch, within a factor of two, is good enough
    cost: Callable[[int, int], float]

    # how large answers get: (usual, largest, m, n) of the magnitudes of an input's entries -> those of a
    # target's. `usual` is rough, `largest` a bound that no entry exceeds; encodings that cannot hold both are
    # refused
    magnitudes: Callable[[float, float, int, int], tuple[float, float]]

    # how predictions are scored, and how their failures are studied
    deviation: Callable[[Floats, Floats, Floats], Deviation] = difference
    beyond: Callable[[Floats, Floats, Floats], Floats] | None = None  # (B,), unseen by `deviation`
    study: Callable[[Floats, Floats, Floats, Floats], dict[str, Any]] = failure_studies.entries
    methods: tuple[Method, ...] = ()  # that models are compared with

    histogram: Histogram = ENTRIES

    @property
    def square(self) -> bool:
        return self.needs != "general"

    @property
    def symmetric(self) -> bool:
        return self.needs in ("symmetric", "positive")

    @property
    def positive(self) -> bool:
        return self.needs == "positive"

    def input_shape(self, m: int, n: int) -> Shape:
        """The shape of the whole input."""
        operands = self.operands(m, n)
        return operands[0].rows, sum(operand.cols for operand in operands)

    def target_shape(self, m: int, n: int) -> Shape:
        """The shape of the whole target."""
        parts = self.parts(m, n)
        return sum(part.rows for part in parts), parts[0].cols

    def wrong_shape(self, targets: Floats, m: int, n: int) -> str | None:
        """What is wrong with the shape of targets for inputs of m and n, None if nothing is."""
        found, expected = targets.shape[1:], self.target_shape(m, n)
        if found == expected:
            return None
        return f"returned targets of shape {found} for m={m}, n={n}: must be {expected}, as its `target` says"

    def accepts(self, answers: Answers) -> Bools:
        """Whether each answer is exact enough, (B,); the samples of the others are drawn again."""
        if self.residual_bound is None:
            return np.asarray(np.isfinite(answers.targets).all(axis=(1, 2)))
        return np.asarray(answers.residuals <= self.residual_bound)

    def has_one_answer(self, inputs: Floats, targets: Floats) -> Bools:
        """Whether each target (B, p, q) is the only answer for its input (B, m, w), as (B,)."""
        if self.unique is None:
            return np.ones(len(targets), dtype=np.bool_)
        return self.unique(inputs, targets)
