"""Steps of training as CUDA graphs.

A step of a small model is a thousand kernels of a few microseconds each, and to ask the GPU for one takes
longer than to compute it. So a step is recorded once for each shape of a batch, and asked for as a whole.
"""

from collections import Counter
from collections.abc import Callable

import torch
from torch import Tensor

from matstream.trainer.learning.loader import Batch

Step = Callable[
    [Batch, float | Tensor, float | Tensor], Tensor
]  # of a batch and two numbers, to figures of it

_UNRECORDED = 3  # steps of each shape that are not: what is allocated at first use must be there


class Graphs:
    """A step that changes tensors on a GPU, which this runs as CUDA graphs.

    What it computes must depend on nothing but tensors, its arguments and the shape of the batch. It may fail
    only in the first steps of a shape.
    """

    def __init__(self, step: Step) -> None:
        self._step = step
        self._steps: Counter[tuple[torch.Size, ...]] = Counter()
        self._recorded: dict[tuple[torch.Size, ...], tuple[torch.cuda.CUDAGraph, list[Tensor], Tensor]] = {}
        self._memory = torch.cuda.graph_pool_handle()  # shared by all graphs, since one at a time is run

    def __call__(self, batch: Batch, first: float, second: float) -> Tensor:
        shape = tuple(ids.shape for ids in batch)
        self._steps[shape] += 1
        if self._steps[shape] <= _UNRECORDED:
            return self._step(batch, first, second)
        if shape not in self._recorded:
            self._recorded[shape] = self._record(batch)
        graph, (*ids, first_kept, second_kept), figures = self._recorded[shape]
        for kept, new in zip(ids, batch, strict=True):
            kept.copy_(new)
        first_kept.fill_(first)
        second_kept.fill_(second)
        graph.replay()
        return figures.clone()

    def _record(self, batch: Batch) -> tuple[torch.cuda.CUDAGraph, list[Tensor], Tensor]:
        """The graph of a step, where it reads its arguments, and where it leaves its figures."""
        kept = Batch(*(ids.clone() for ids in batch))
        numbers = [torch.zeros((), device=batch.inputs.device) for _ in range(2)]
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._memory):
            figures = self._step(kept, *numbers)
        return graph, [*kept, *numbers], figures
