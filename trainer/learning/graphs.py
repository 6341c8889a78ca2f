"""Steps of training as CUDA graphs.

A step of a small model is a thousand kernels of a few microseconds each, and to ask the GPU for one takes
longer than to compute it. So a step is recorded once for each shape of a batch, and asked for as a whole.
"""

from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from matstream.trainer.learning.loader import Batch

Step = Callable[..., Tensor]  # of a batch and some numbers, to figures of it

_UNRECORDED = 10  # steps of each shape that are not: what is allocated at first use must be there
_MOST = 32  # graphs that are kept, each with its memory; steps of further shapes are not recorded


class Graphs:
    """A step that changes tensors on a GPU, which this runs as CUDA graphs.

    What it computes must depend on nothing but tensors, its arguments and the shape of the batch. It may fail
    only in the first steps of a shape.
    """

    def __init__(self, step: Step) -> None:
        self._step = step
        self._steps: Counter[tuple[torch.Size, ...]] = Counter()
        self._recorded: dict[tuple[torch.Size, ...], _Recorded] = {}
        self._memory = torch.cuda.graph_pool_handle()  # shared by all graphs, since one at a time is run

    def __call__(self, batch: Batch, *numbers: float) -> Tensor:
        shape = tuple(ids.shape for ids in batch)
        self._steps[shape] += 1
        if shape not in self._recorded:
            if self._steps[shape] <= _UNRECORDED or len(self._recorded) == _MOST:
                return self._step(batch, *numbers)
            self._recorded[shape] = self._record(batch, len(numbers))
        recorded = self._recorded[shape]
        for kept, new in zip(recorded.batch, batch, strict=True):
            kept.copy_(new)
        for kept, number in zip(recorded.numbers, numbers, strict=True):
            kept.fill_(number)
        recorded.graph.replay()
        return recorded.figures.clone()

    def _record(self, batch: Batch, count: int) -> "_Recorded":
        kept = Batch(*(ids.clone() for ids in batch))
        numbers = [torch.zeros((), device=batch.inputs.device) for _ in range(count)]
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._memory):
            figures = self._step(kept, *numbers)
        return _Recorded(graph, kept, numbers, figures)


class _Recorded(NamedTuple):
    """A step's graph, where it reads its arguments, and where it leaves its figures."""

    graph: torch.cuda.CUDAGraph
    batch: Batch
    numbers: list[Tensor]
    figures: Tensor
