"""Arrays -> encoded tensors, made ahead of the model by a thread, in batches of any size."""

import queue
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import NamedTuple

import torch
from torch import Tensor

from matstream.shared.fields import Mixture
from matstream.shared.wire import from_batch, provenance
from matstream.trainer.client import Client, Streamed
from matstream.trainer.recipes.recipe import Segment
from matstream.trainer.tokens.tokens import Tokens, encode

AHEAD = 8  # record batches encoded and waiting


class Batch(NamedTuple):
    """Consecutive samples as token ids."""

    inputs: Tensor  # (B, L, slots)
    targets: Tensor  # (B, T, slots)
    tasks: Tensor  # (B,)


class StoppedError(Exception):
    """The wait for samples was given up because training is to stop."""


class Loader:
    """The samples of consecutive segments of streams, of a split, from `position` on, in order, as ids.

    `take(n)` gives the next n whatever the sizes they were fetched in; `position` counts the samples
    taken, not those fetched, so a loader that starts at a saved position goes on exactly.
    """

    def __init__(
        self,
        client: Client,
        segments: Sequence[Segment],
        split: str,
        position: int,
        input_tokens: Tokens,
        target_tokens: Tokens,
        *,
        connections: int = 1,
        request_samples: int | None = None,
    ) -> None:
        self.position = position
        self.end = segments[-1].stop
        self.waited = 0.0  # seconds that take() spent waiting for samples
        self.fingerprints: list[tuple[str, int]] = []  # each with the first sample that has it
        self._tokens = input_tokens, target_tokens
        self._ready: queue.Queue[Batch | BaseException] = queue.Queue(AHEAD)
        self._block = Batch(*[torch.empty(0)] * 3)  # what is left of the last batch taken from the queue
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None
        to_come = [segment for segment in segments if position < segment.stop]
        if not to_come:
            return

        def streamed() -> Iterator[tuple[Mixture, Streamed]]:
            for stream, start, stop in to_come:
                first = max(start, position)
                yield (
                    stream.operation,
                    client.stream(
                        stream.spec(),
                        stream.seed,
                        split,
                        first,
                        stop - first,
                        connections=connections,
                        request_samples=request_samples,
                        cancelled=self._closed,
                    ),
                )

        self._thread = threading.Thread(target=self._encode_ahead, args=(streamed(),), daemon=True)
        self._thread.start()

    def take(self, count: int, stop: threading.Event) -> Batch:
        """The next `count` samples, padded to the longest sequence that a task among them may have.

        Raises StoppedError if `stop` is set while waiting, and the error that ended the stream if it failed.
        """
        assert self.position + count <= self.end
        pieces = []
        missing = count
        while missing:
            if not len(self._block.inputs):
                self._block = self._wait(stop)
            pieces.append(Batch(*(ids[:missing] for ids in self._block)))
            self._block = Batch(*(ids[missing:] for ids in self._block))
            missing -= len(pieces[-1].inputs)
        self.position += count
        taken = pieces[0] if len(pieces) == 1 else Batch(*map(torch.cat, zip(*pieces, strict=True)))
        tasks = set(taken.tasks.tolist())
        read, write = (max(tokens.lengths[task] for task in tasks) for tokens in self._tokens)
        return Batch(taken.inputs[:, :read], taken.targets[:, :write], taken.tasks)

    def close(self) -> None:
        """Stop fetching, and wait until nothing is under way: a process that ends in the middle may abort."""
        self._closed.set()
        if self._thread is not None:
            self._thread.join()

    def _wait(self, stop: threading.Event) -> Batch:
        started = time.perf_counter()
        try:
            while not stop.is_set():
                try:
                    item = self._ready.get(timeout=0.1)
                except queue.Empty:
                    continue
                if isinstance(item, BaseException):
                    raise item
                return item
        finally:
            self.waited += time.perf_counter() - started
        raise StoppedError

    def _encode_ahead(self, streams: Iterator[tuple[Mixture, Streamed]]) -> None:
        try:
            for operations, batches in streams:
                with closing(batches):
                    for batch in batches:
                        samples = from_batch(batch)
                        fingerprint = provenance(batch.schema)["fingerprint"]
                        if fingerprint not in dict(self.fingerprints):
                            self.fingerprints.append((fingerprint, int(samples.index[0])))
                        encoded = encode(samples, operations, *self._tokens)
                        if not self._put(Batch(*map(torch.from_numpy, encoded))):
                            return
        except BaseException as error:
            self._put(error)

    def _put(self, item: Batch | BaseException) -> bool:
        """Wait for room in the queue; False if the loader was closed meanwhile."""
        while not self._closed.is_set():
            try:
                self._ready.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False


def on_device(batches: Iterator[Batch], device: torch.device) -> Iterator[Batch]:
    """The same batches on a device. To a GPU each is copied from pinned memory, on a CUDA stream of its own,
    while the GPU is still busy with the one before it."""
    if device.type != "cuda":
        yield from batches
        return
    copying = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    for batch in batches:
        with torch.cuda.stream(copying):
            copied = Batch(*(ids.pin_memory().to(device, non_blocking=True) for ids in batch))
        using = torch.cuda.current_stream(device)
        using.wait_stream(copying)
        for ids in copied:
            ids.record_stream(using)
        yield copied
