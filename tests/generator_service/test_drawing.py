"""Streams are what they were when tests/data/streams.json was written, to the last bit.

Whoever means to change a sample raises DRAWING (matstream.generator_service.numerics), and writes the file
anew: `.venv/bin/python tests/generator_service/test_drawing.py`.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from matstream.generator_service.numerics import numerics
from matstream.generator_service.stream import generate
from matstream.shared.operations import OPERATIONS
from matstream.shared.spec import StreamSpec

FILE = Path(__file__).parents[1] / "data/streams.json"
TEN = (
    *("add", "eigenvalues", "eigenvectors", "inverse", "matmul", "matvec", "singular_values", "svd"),
    *("symmetric_inverse", "transpose"),
)
STRUCTURES = (
    *("toeplitz", "circulant", "banded", "low_rank", "kronecker", "laplacian", "orthogonal"),
    *("condition-100", "condition-1"),
)
SPECTRA = "abs_laplace,gaussian,laplace,marchenko_pastur,positive,semicircle,uniform"


def cases() -> Iterator[tuple[dict[str, Any], int]]:
    """The fields of specs, and how many samples of each."""
    for name in TEN:
        operation = OPERATIONS[name]
        of = {"operation": name}
        yield of | {"dim": 5}, 300
        yield of | {"dim": 1}, 20
        yield of | {"dim": "2-6"}, 200
        yield of | {"dim": 24}, 12
        if not operation.square:
            yield of | {"dim": "2-4", "cols": "1-5"}, 200
        mixed = {"coefficients": "gaussian", "scale": "1-100", "noise": 0.1, "max_abs": 500}
        yield of | {"dim": 4} | mixed, 100
        for structure in STRUCTURES:
            fields = of | {"dim": 4, "structure": structure}
            try:
                StreamSpec(**fields)
            except ValueError:  # no such matrices for this operation
                continue
            yield fields, 60
        if operation.symmetric:
            yield of | {"dim": 4, "spectrum": SPECTRA}, 200
    yield {"operation": ",".join(TEN), "dim": "2-4"}, 500
    yield {"operation": "add,svd,transpose", "dim": "1-3", "cols": "2-4"}, 300


def drawn(fields: dict[str, Any], count: int) -> str:
    """A hash of all values of a stream's samples."""
    digest = hashlib.sha256()
    for column in generate(StreamSpec(**fields), 7, "train", 11, count).columns:
        digest.update(repr(getattr(column, "storage", column).to_pylist()).encode())
    return digest.hexdigest()[:32]


def surroundings() -> dict[str, Any]:
    """What bits depend on beside matstream itself."""
    return {name: value for name, value in numerics().items() if name != "matstream"}


KEPT = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {"numerics": {}, "streams": {}}


@pytest.mark.parametrize(("fields", "count"), list(cases()))
def test_samples_are_what_they_were(fields, count):
    exact = {"add", "transpose"} >= {fields["operation"]} and fields.keys() == {"operation", "dim"}
    if KEPT["numerics"] != surroundings() and not exact:
        pytest.skip("LAPACK, its processor or a library is another than where the file was written")
    assert drawn(fields, count) == KEPT["streams"][json.dumps(fields, sort_keys=True)]


if __name__ == "__main__":
    kept = {json.dumps(fields, sort_keys=True): drawn(fields, count) for fields, count in cases()}
    written = json.dumps({"numerics": surroundings(), "streams": kept}, indent=1)
    FILE.write_text(written + "\n", encoding="utf-8")
