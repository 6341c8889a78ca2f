"""The whole pipeline in one module: an address in, Arrow record batches out. No HTTP in it."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from matstream.generator_service import numerics
from matstream.generator_service.ensembles.draws import Draws, draw, row_layout
from matstream.generator_service.variates import uniforms
from matstream.shared.errors import Problem, RefusedError
from matstream.shared.fields import WITH_ZEROS, plain
from matstream.shared.linear_algebra.lapack import of_full_rank
from matstream.shared.linear_algebra.norms import largest
from matstream.shared.operation import Answers
from matstream.shared.spec import SampleRange, StreamSpec, stream_key
from matstream.shared.wire import Matrices, Samples, schema, to_batch

MAX_ATTEMPTS = 100
BATCH_BYTES = 2 << 20  # of a batch by default: it stays in cache, and has fewer rows as matrices grow
MOST_ROWS = 8192  # of a batch by default

Floats = NDArray[np.float64]


class UndrawableError(RefusedError):
    """A spec whose samples are refused again and again, as by a `max_abs` that is too small."""


class Drawn(NamedTuple):
    """Accepted samples of one operation and shape; `rows` are their places in the batch."""

    rows: NDArray[np.intp]
    operation: str
    inputs: Floats
    targets: Floats
    residuals: Floats
    attempt: int


def generate(spec: StreamSpec, seed: int, split: str, start: int, count: int) -> pa.RecordBatch:
    """Samples [start, start+count) of a stream as one record batch.

    Raises ValueError for an address out of range, UndrawableError for a spec that cannot be drawn.
    """
    samples = SampleRange.model_validate({"seed": seed, "split": split, "start": start, "count": count})
    return next(batches(spec, samples, count))


def batches(spec: StreamSpec, samples: SampleRange, batch_rows: int) -> Iterator[pa.RecordBatch]:
    """The samples of a range in order, at most `batch_rows` a batch; memory does not grow with the count."""
    return (make() for make in makers(spec, samples, batch_rows))


def makers(spec: StreamSpec, samples: SampleRange, batch_rows: int) -> Iterator[Callable[[], pa.RecordBatch]]:
    """For each batch of a range, a function that makes it; threads may call them in parallel, since LAPACK
    releases the GIL."""
    stream_schema = schema(spec, samples, numerics.fingerprint())
    end = samples.start + samples.count

    def make(start: int) -> pa.RecordBatch:
        columns = _samples(spec, samples.seed, samples.split, start, min(batch_rows, end - start))
        return to_batch(columns, stream_schema, spec.operation)

    return (partial(make, start) for start in range(samples.start, end, batch_rows))


def default_batch_rows(spec: StreamSpec) -> int:
    """Rows that make a batch of about BATCH_BYTES at the middle of the spec's dimensions, or one row."""
    (low_m, low_n), (high_m, high_n) = spec.extreme_dims()
    middle = -(-(low_m + high_m) // 2), -(-(low_n + high_n) // 2)
    return max(1, min(MOST_ROWS, BATCH_BYTES // sample_bytes(spec, *middle)))


def sample_bytes(spec: StreamSpec, m: int, n: int) -> int:
    """The bytes of a sample's input and target at dimensions m and n, or of its uniforms: the larger."""
    return 8 * max(row_layout(spec).words, spec.max_entries(m, n))


def _samples(spec: StreamSpec, seed: int, split: str, start: int, count: int) -> Samples:
    words = row_layout(spec).words
    waiting = np.arange(count)  # places in the batch still without an accepted sample
    drawn: list[Drawn] = []
    for attempt in range(MAX_ATTEMPTS):
        # one span of the attempt's table, from the first waiting sample to the last
        first, last = int(waiting[0]), int(waiting[-1])
        key = stream_key(spec, seed, split, attempt)
        table = uniforms(key, start + first, last - first + 1, words)
        if len(waiting) < len(table):
            table = table[waiting - first]
        accepted, refused = _attempt(spec, table, waiting, attempt)
        drawn += accepted
        if not len(refused):
            return _assemble(spec, start, count, drawn)
        if len(refused) == count > 1:  # likely none can be drawn: the first alone shows it at little cost
            _samples(spec, seed, split, start, 1)
        waiting = refused
    raise UndrawableError([_blame(spec, seed, split, start + int(waiting[0]))])


def _attempt(
    spec: StreamSpec, table: Floats, waiting: NDArray[np.intp], attempt: int
) -> tuple[list[Drawn], NDArray[np.intp]]:
    """Draw a sample for each waiting place; return the accepted ones and the places refused."""
    accepted, refused = [], []
    for draws in draw(spec, table):
        operation = spec.operations[draws.operation]
        answers = operation.target(draws.exact)
        targets, residuals = answers
        if (wrong := operation.wrong_shape(targets, draws.m, draws.n)) is not None:  # a user's own
            raise RefusedError([Problem("operation", draws.operation, wrong)])
        good = _accepted(spec, draws, answers)
        if spec.max_abs is not None:
            good &= largest(draws.inputs) <= spec.max_abs
            good &= largest(targets) <= spec.max_abs
        rows, inputs = waiting[draws.rows], draws.inputs
        if not good.all():
            refused.append(rows[~good])
            rows, inputs, targets, residuals = rows[good], inputs[good], targets[good], residuals[good]
        accepted.append(Drawn(rows, draws.operation, inputs, targets, residuals, attempt))
    return accepted, np.sort(np.concatenate(refused)) if refused else waiting[:0]


def _accepted(spec: StreamSpec, draws: Draws, answers: Answers) -> NDArray[np.bool_]:
    """Whether each answer is exact enough, (B,). Where entries are whole or often 0, rounding may make one of
    a singular matrix look exact."""
    operation = spec.operations[draws.operation]
    good = operation.accepts(answers)
    if operation.invertible and not set(spec.coefficients).isdisjoint(WITH_ZEROS):
        cols = operation.operands(draws.m, draws.n)[0].cols
        good[good] = of_full_rank(draws.exact[good, :, :cols])
    return good


def _assemble(spec: StreamSpec, start: int, count: int, drawn: list[Drawn]) -> Samples:
    """Put accepted samples in the order of their indices."""
    operation = np.empty(count, dtype=np.int8) if len(spec.operation) > 1 else None
    residual, attempt = np.empty(count), np.empty(count, dtype=np.uint8)
    for group in drawn:
        residual[group.rows] = group.residuals
        attempt[group.rows] = group.attempt
        if operation is not None:
            operation[group.rows] = spec.operation.index(group.operation)
    return Samples(
        np.arange(start, start + count),
        _in_order(count, [(group.rows, group.inputs) for group in drawn], spec.input_shape() is not None),
        _in_order(count, [(group.rows, group.targets) for group in drawn], spec.target_shape() is not None),
        residual,
        attempt,
        operation,
    )


def _in_order(
    count: int, groups: list[tuple[NDArray[np.intp], Floats]], fixed_shape: bool
) -> Floats | Matrices:
    if fixed_shape:
        if len(groups) == 1:
            return groups[0][1]  # all of them, already in order: no copy
        ordered = np.empty((count, *groups[0][1].shape[1:]))
        for rows, matrices in groups:
            ordered[rows] = matrices
        return ordered
    shapes = np.empty((count, 2), dtype=np.int32)
    for rows, matrices in groups:
        shapes[rows] = matrices.shape[1:]
    ends = shapes.prod(axis=1).cumsum()
    if ends[-1] >= 2**31:
        raise ValueError(f"{ends[-1]} entries are too many for one batch: ask for fewer samples")
    entries = np.empty(ends[-1])
    for rows, matrices in groups:
        size = matrices.shape[1] * matrices.shape[2]
        entries[(ends[rows] - size)[:, None] + np.arange(size)] = matrices.reshape(-1, size)
    return Matrices(entries, shapes)


def _blame(spec: StreamSpec, seed: int, split: str, index: int) -> Problem:
    """The field because of which the last attempt at a sample was refused."""
    key = stream_key(spec, seed, split, MAX_ATTEMPTS - 1)
    [draws] = draw(spec, uniforms(key, index, 1, row_layout(spec).words))
    operation = spec.operations[draws.operation]
    if _accepted(spec, draws, operation.target(draws.exact)).all():
        refused = f"sample {index} was over it {MAX_ATTEMPTS} times"
        return Problem("max_abs", spec.max_abs, f"must be large enough to be met: {refused}")
    why = "a target that is not finite"
    if operation.residual_bound is not None:
        why = f"a residual over {operation.residual_bound:g}"
    refused = f"sample {index} was refused {MAX_ATTEMPTS} times, for {why}"
    if draws.structure != "none":
        whose = f"{draws.structure} " if len(spec.structure) > 1 else ""
        why = f"{whose}cannot be drawn for {draws.operation}: {refused}"
        return Problem("structure", plain(spec.structure), why)
    return Problem("operation", draws.operation, f"cannot be drawn: {refused}")
