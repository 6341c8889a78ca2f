"""The tasks of a stream. A task is one operation at one size."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from matstream.shared.operation import Operation, Shape
from matstream.shared.spec import StreamSpec
from matstream.shared.wire import Samples, flat

Part = TypeVar("Part")


@dataclass(frozen=True, order=True)
class Task:
    """One operation at one size: m and n are the rows and columns of its first operand."""

    operation: str
    m: int
    n: int
    definition: Operation = field(compare=False, repr=False)

    @property
    def dimension(self) -> str:
        """Its size in short."""
        return str(self.m) if self.m == self.n else f"{self.m}x{self.n}"

    @property
    def input_shape(self) -> Shape:
        return self.definition.input_shape(self.m, self.n)

    @property
    def target_shape(self) -> Shape:
        return self.definition.target_shape(self.m, self.n)


def by_kind(parts: Iterable[tuple[Task, Part]]) -> dict[str, dict[str, list[Part]]]:
    """What belongs to tasks, by `by_operation` and `by_dimension`; each only if there are several."""
    given = list(parts)
    found: dict[str, dict[str, list[Part]]] = {}
    for kind in ("operation", "dimension"):
        groups: dict[str, list[Part]] = {}
        for task, part in given:
            groups.setdefault(getattr(task, kind), []).append(part)
        if len(groups) > 1:
            found[f"by_{kind}"] = groups
    return found


def tasks_of(spec: StreamSpec) -> tuple[Task, ...]:
    """Every task that a spec may draw."""
    rows = range(spec.dim.low, spec.dim.high + 1)
    if spec.cols is None:
        dims = [(n, n) for n in rows]
    else:
        dims = [(m, n) for m in rows for n in range(spec.cols.low, spec.cols.high + 1)]
    return tuple(Task(name, m, n, operation) for name, operation in spec.operations.items() for m, n in dims)


def tasks_of_samples(samples: Samples, operations: Sequence[str], tasks: Sequence[Task]) -> NDArray[np.int64]:
    """The position in `tasks` of each of B samples, (B,); `operations` are those of their stream.

    Raises KeyError for a sample whose task is not among them.
    """
    count = len(samples.index)
    which = np.zeros(count, np.int64) if samples.operation is None else samples.operation.astype(np.int64)
    described = np.column_stack([which, flat(samples.input).shapes])
    groups, group = np.unique(described, axis=0, return_inverse=True)
    place = {(task.operation, *task.input_shape): number for number, task in enumerate(tasks)}
    found = [place[operations[operation], rows, cols] for operation, rows, cols in groups.tolist()]
    return np.array(found, dtype=np.int64)[group.reshape(-1)]
