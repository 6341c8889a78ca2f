"""The frozen test sets: for each operation, three streams whose first test samples anyone may answer.

A set is an address, the first SAMPLES samples of the test split of seed 0, and so a URL of any generator. The
hash of its inputs says whether a generator draws the same problems; it is of their first six digits, so that
it does not depend on the processor. docs/benchmark.md lists the sets with their hashes and with scores.
"""

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple
from urllib.parse import urlencode

import pyarrow as pa

from matstream.shared.encodings import by_name
from matstream.shared.operations import OPERATIONS
from matstream.shared.spec import SampleRange, StreamSpec
from matstream.shared.wire import flat, from_batch

SAMPLES = 10_000
RANGE = SampleRange(seed=0, split="test", start=0, count=SAMPLES)

_USUAL: list[dict[str, Any]] = [{"dim": 2}, {"dim": 5}, {"dim": 10}]
_TALL: list[dict[str, Any]] = [{"dim": 3, "cols": 2}, {"dim": 8, "cols": 5}, {"dim": 15, "cols": 10}]
_GRAPHS: list[dict[str, Any]] = [{"dim": 3}, {"dim": 5}, {"dim": 10}]
_WHOLE: list[dict[str, Any]] = [{"dim": 1, "scale": scale} for scale in (100, 1000, 10_000)]
_SIZES: dict[str, list[dict[str, Any]]] = {
    "effective_resistance": _GRAPHS,
    "gcd": _WHOLE,
    "heat_kernel": [graph | {"scale": 1} for graph in _GRAPHS],
    "integer_product": _WHOLE,
    "least_squares": _TALL,
    "matrix_exponential": [matrix | {"scale": 2} for matrix in _USUAL],
    "potentials": _GRAPHS,
    "pseudo_inverse": _TALL,
    "rank": _GRAPHS,
    "regression": [{"dim": 4, "cols": 2}, {"dim": 11, "cols": 6}, {"dim": 21, "cols": 11}],
}


class BenchmarkSet(NamedTuple):
    """A frozen test set."""

    name: str
    spec: StreamSpec

    @property
    def query(self) -> str:
        """Its address, as the query of a URL."""
        fields = self.spec.fields() | {"split": RANGE.split, "count": RANGE.count}
        return urlencode(fields, safe=",:")


def benchmark_sets() -> Iterator[BenchmarkSet]:
    """All sets, operation by operation, small ones first."""
    for operation in OPERATIONS:
        for fields in _SIZES.get(operation, _USUAL):
            spec = StreamSpec.model_validate({"operation": operation, **fields})
            size = "-".join(str(fields[key]) for key in ("dim", "cols", "scale") if key in fields)
            yield BenchmarkSet(f"{operation}-{size}", spec)


def hash_of_inputs(batches: Iterable[pa.RecordBatch]) -> str:
    """The hash of the inputs of samples, 16 hex digits: of their shapes and of their entries to six
    digits."""
    of_shapes, of_entries, encoding = hashlib.sha256(), hashlib.sha256(), by_name("P1000", 6)
    for batch in batches:
        entries, shapes = flat(from_batch(batch).input)
        of_shapes.update(shapes.astype("<i4").tobytes())
        of_entries.update(encoding.encode(entries).astype("<i2").tobytes())
    return hashlib.sha256(of_shapes.digest() + of_entries.digest()).hexdigest()[:16]
