"""Specs of every operation, whatever its own rules ask for."""

from typing import Any

from matstream.shared.operations import OPERATIONS

# the operations that take matrices of any law and shape, square ones at least
OF_ANY_MATRIX = sorted(
    name
    for name, operation in OPERATIONS.items()
    if operation.structures in ((), ("none",)) and not operation.positive and not operation.spare_rows
)


def fields_of(operation: str, m: int, n: int | None = None) -> dict[str, Any]:
    """The fields of a spec of an operation on m×n matrices, or what is nearest to these that it takes."""
    found = OPERATIONS[operation]
    cols = m if n is None else n
    if found.spare_rows is not None:
        m = max(m, 1 + found.spare_rows)
        cols = min(cols, m - found.spare_rows)
    fields = {"operation": operation, "dim": m}
    return fields if found.square or (n is None and cols == m) else {**fields, "cols": cols}
