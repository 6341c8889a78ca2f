import threading

import numpy as np
import pytest
import torch

from matstream.generator_service.stream import generate
from matstream.shared.encodings import by_name
from matstream.shared.tasks import tasks_of
from matstream.shared.wire import from_batch
from matstream.trainer.client import Client, StreamError
from matstream.trainer.learning.loader import Loader, StoppedError
from matstream.trainer.recipes.recipe import Segment, StreamSection
from matstream.trainer.tokens.tokens import NOTHING, Tokens, encode

STREAM = StreamSection(operation="add", dim=2)
SPEC = STREAM.spec()
READ = Tokens(by_name("P1000"), "factored", "input", tasks_of(SPEC), in_grid=True)
WRITE = Tokens(by_name("P1000"), "sequential", "target", tasks_of(SPEC), in_grid=False)
GO_ON = threading.Event()


def _loader(client: Client, position: int = 0, end: int = 10_000, **fetch: int) -> Loader:
    return Loader(client, [Segment(STREAM, 0, end)], "train", position, READ, WRITE, **fetch)


def padded(ids: torch.Tensor, shape: tuple[int, ...]) -> np.ndarray:
    """Ids of a batch as long as the longest sequence of all tasks."""
    full = np.full((len(ids), *shape), NOTHING)
    full[:, : ids.shape[1]] = ids
    return full


@pytest.mark.parametrize("fetch", [{}, {"connections": 3, "request_samples": 70}])
def test_steps_of_any_size_take_the_samples_in_order(client, fetch):
    loader = _loader(client, position=5, **fetch)
    taken = [loader.take(count, GO_ON) for count in (1, 64, 300, 635)]
    loader.close()
    expected = from_batch(generate(SPEC, 0, "train", 5, 1000))
    for column, ids in enumerate(encode(expected, SPEC.operation, READ, WRITE)):
        np.testing.assert_array_equal(torch.cat([batch[column] for batch in taken]).numpy(), ids)
    assert loader.position == 1005


def test_the_position_counts_samples_taken_not_fetched(client):
    loader = _loader(client)
    loader.take(10, GO_ON)
    loader.close()
    assert loader.position == 10


def test_the_last_samples_of_a_range_are_given_out(client):
    loader = _loader(client, end=130)
    assert [len(loader.take(n, GO_ON).inputs) for n in (64, 64, 2)] == [64, 64, 2]


def test_what_ends_the_stream_reaches_the_one_who_waits():
    with (
        Client("http://127.0.0.1:9", patience=0.2) as client,
        pytest.raises(StreamError, match=r"127\.0\.0\.1:9"),
    ):
        _loader(client).take(1, GO_ON)


def test_a_wait_is_given_up_when_training_is_to_stop():
    stop = threading.Event()
    threading.Timer(0.3, stop.set).start()
    with Client("http://127.0.0.1:9") as client:
        loader = _loader(client)
        with pytest.raises(StoppedError):
            loader.take(1, stop)
        loader.close()


def test_only_so_much_is_made_ahead(client):
    loader = _loader(client, end=10_000_000)
    loader.take(1, GO_ON)
    made = threading.active_count()
    loader.close()
    assert threading.active_count() < made


def test_segments_of_several_streams_follow_one_another_sample_by_sample(client):
    other = StreamSection(operation="transpose", dim=2, seed=7)
    tasks = tasks_of(SPEC) + tasks_of(other.spec())
    read, write = (
        Tokens(by_name("P1000"), "factored", side, tasks, in_grid=True) for side in ("input", "target")
    )
    segments = [Segment(other, 0, 100), Segment(STREAM, 100, 250)]
    expected = [
        encode(
            from_batch(generate(stream.spec(), stream.seed, "train", start, stop - start)),
            stream.operation,
            read,
            write,
        )
        for stream, start, stop in segments
    ]
    for position in (0, 37, 99, 100, 180):
        loader = Loader(client, segments, "train", position, read, write)
        taken = [loader.take(count, GO_ON) for count in (1, 30, 250 - position - 31)]
        loader.close()
        for part, wanted in enumerate(zip(*expected, strict=True)):
            whole = np.concatenate(wanted)
            batches = [batch[part] for batch in taken]
            found = np.concatenate([padded(ids, whole.shape[1:]) if ids.ndim > 1 else ids for ids in batches])
            np.testing.assert_array_equal(found, whole[position:])
        first = 0 if position >= 100 else -1  # the task of the batch that was taken first
        assert [ids.shape[1] for ids in taken[0][:2]] == [side.lengths[first] for side in (read, write)]
