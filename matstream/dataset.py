"""A stream of problems as a torch dataset."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from matstream.samples import read_address, streamed_in_blocks
from matstream.shared.spec import SampleRange, StreamSpec

BLOCK = 4096  # about how many consecutive samples one worker serves: as many as make whole batches


class Dataset(IterableDataset[tuple[Tensor, Tensor]]):
    """Pairs (input, target) of tensors of float64, in the order of the stream; nothing is stored.

    >>> data = matstream.Dataset("eigenvalues", dim=5, count=10**6)
    >>> for inputs, targets in DataLoader(data, batch_size=64, num_workers=2):  # (64, 5, 5), (64, 5, 1)

    With `batch_size` it makes the batches itself, which is many times faster; use it with DataLoader(data,
    batch_size=None). The workers of a DataLoader share the samples in blocks of about BLOCK, so that each
    sample comes once, whatever the number of workers. An iteration begins with the first sample, or after
    `load_state_dict` where the saved `state_dict` had come to. torchdata's StatefulDataLoader saves and loads
    the state of every worker; with torch's own DataLoader this works for num_workers=0 only.

    The other arguments are those of `matstream.stream`. Raises ValueError naming the field, the value and
    what is allowed."""

    def __init__(
        self,
        operation: str | Sequence[str] | StreamSpec,
        *,
        count: int,
        seed: int = 0,
        split: str = "train",
        start: int = 0,
        batch_size: int | None = None,
        generator: str | Sequence[str] | None = None,
        **fields: Any,
    ) -> None:
        super().__init__()
        self._spec, self._samples = read_address(
            operation, fields, seed=seed, split=split, start=start, count=count
        )
        whole = isinstance(batch_size, int | np.integer) and not isinstance(batch_size, bool)
        if batch_size is not None and not (whole and batch_size >= 1):
            raise ValueError(f"batch_size={batch_size!r}: must be a whole number from 1 on, or None")
        varies = self._spec.input_shape() is None or self._spec.target_shape() is None
        if batch_size is not None and varies:
            raise ValueError(f"batch_size={batch_size}: must be None where the shapes of samples vary")
        self._batch_size = batch_size
        given = batch_size or 1  # samples given out at a time
        self._block = max(1, BLOCK // given) * given
        self._generator = generator
        self._served = 0  # samples of a worker's share that were given out
        self._share = 0, 1  # the number of that worker, and how many there were
        self._goes_on = False  # whether the next iteration starts after them

    def __len__(self) -> int:
        """The number of samples, or of the batches that it makes, of which the last may be smaller. Where a
        DataLoader makes them, its own length is an estimate: every worker may end with a smaller one."""
        return -(-self._samples.count // (self._batch_size or 1))

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        info = get_worker_info()
        share = (0, 1) if info is None else (info.id, info.num_workers)
        if self._goes_on and self._share != share:
            raise ValueError(
                f"worker {share[0]} of {share[1]} cannot go on from the state of worker {self._share[0]} of "
                f"{self._share[1]}: must be the same (num_workers=0 is worker 0 of 1)"
            )
        if not self._goes_on:
            self._served = 0
        self._goes_on = False
        self._share = share
        for inputs, targets, samples in self._cut(share):
            self._served += samples
            yield inputs, targets

    def state_dict(self) -> dict[str, Any]:
        """How far the iteration has come: numbers and texts, which JSON can hold."""
        worker, workers = self._share
        place = {"served": self._served, "worker": worker, "workers": workers, "block": self._block}
        return {**self._identity(), **place}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Let the next iteration go on from a state. Raises ValueError if the state is of another stream, or,
        with several workers, of another batch size."""
        for key, value in self._identity().items():
            if state.get(key) != value:
                raise ValueError(f"{key}={state.get(key)!r}: must be {value!r}, as in this dataset")
        if state["workers"] > 1 and state["block"] != self._block:
            raise ValueError(
                f"batch_size={self._batch_size}: with several workers, must be as it was when they stopped"
            )
        self._served, self._share = state["served"], (state["worker"], state["workers"])
        share = _blocks(self._share, self._samples, self._block, self._served)
        self._goes_on = next(share, None) is not None  # else another epoch begins

    def _identity(self) -> dict[str, Any]:
        about = {"spec": self._spec.canonical(), "problems": self._spec.definitions.hash}
        return {**about, **self._samples.model_dump()}

    def _cut(self, share: tuple[int, int]) -> Iterator[tuple[Tensor, Tensor, int]]:
        """The inputs and targets still to be served, as they are given out, and how many samples each
        holds."""
        blocks = _blocks(share, self._samples, self._block, self._served)
        found = streamed_in_blocks(self._spec, self._samples, blocks, self._generator)
        if self._batch_size is None:
            for samples in found:
                for pair in zip(samples.inputs, samples.targets, strict=True):
                    inputs, targets = map(torch.from_numpy, pair)
                    yield inputs, targets, 1
            return
        size = self._batch_size
        rest: tuple[Tensor, ...] = ()
        for samples in found:
            arrived = tuple(torch.from_numpy(part) for part in (samples.inputs, samples.targets))
            inputs, targets = map(torch.cat, zip(rest, arrived, strict=True)) if rest else arrived
            whole = len(inputs) // size * size
            for first in range(0, whole, size):
                yield inputs[first : first + size], targets[first : first + size], size
            rest = inputs[whole:], targets[whole:]
        if rest and len(rest[0]):
            yield rest[0], rest[1], len(rest[0])


def _blocks(share: tuple[int, int], samples: SampleRange, block: int, served: int) -> Iterator[SampleRange]:
    """The blocks of a worker's share, without the samples that it has served."""
    worker, workers = share
    end = samples.start + samples.count
    for start in range(samples.start + worker * block, end, workers * block):
        size = min(block, end - start)
        skipped = min(served, size)
        served -= skipped
        if skipped < size:
            yield samples.model_copy(update={"start": start + skipped, "count": size - skipped})
