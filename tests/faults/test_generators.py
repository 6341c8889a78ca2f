"""A generator that answers badly: beside a good one, now and then, and alone. Samples are the same to the
last bit, or there is one sentence."""

import functools
import logging
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from matstream.generator_service import numerics
from matstream.generator_service.stream import generate
from matstream.shared.spec import StreamSpec
from matstream.trainer.client import Client, StreamError, stream
from tests import commands
from tests.faults.proxy import (
    MISBEHAVIOURS,
    answering,
    computed_elsewhere,
    every_third,
    misbehaving,
    reset,
    unreachable,
)
from tests.faults.runs import RUN, TINY, difference, outcome, said, start

SPEC = StreamSpec(operation="eigenvalues", dim=3)
ANSWERED_LATE = ("a byte every 2 s", "100 KB/s", "accepts, and is silent", "stops in the middle")
TOO_LARGE = (
    "2 GiB of metadata, endless",
    "a batch of 2^40 bytes, endless",
    "500 with an endless body",
    "an endless head",
    "503 with 3 MB of gzip that are 3 GB",
)
TOLD_TO_WAIT = tuple(name for name in MISBEHAVIOURS if "Retry-After" in name)
BUSY = (*(name for name in MISBEHAVIOURS if name[:3] in ("408", "429", "502", "503")), "reset")

# one of each kind, where the others go the same way
DAILY = (
    "302 to elsewhere",
    "200 that is HTML",
    "a flipped bit",
    "cut within a batch",
    "502 with JSON 100,000 deep",
    "503 that claims gzip and is not",
    "reset",
    "an endless head",
)


def long_but_for(everyday: Collection[str]) -> list[object]:
    """The names of all misbehaviours as parameters, of which those not named are too long for every day."""
    return [
        name if name in everyday else pytest.param(name, marks=pytest.mark.long) for name in MISBEHAVIOURS
    ]


def streamed(urls: str | list[str], count: int, **how: object) -> Iterator[pa.RecordBatch]:
    return stream(urls, SPEC, 0, "train", 0, count, **({"request_samples": 100} | how))


@pytest.fixture(scope="module")
def made(rows) -> Callable[[int], list[str]]:
    """The first so many samples, as `rows` of them, made without any generator."""
    return functools.cache(lambda count: rows([generate(SPEC, 0, "train", 0, count)]))


@pytest.mark.parametrize("name", long_but_for((*DAILY, "a byte every 2 s", "429, Retry-After of a day")))
def test_one_of_two_generators_that_answers_badly_costs_seconds_and_no_sample(server, made, rows, note, name):
    # at 100 KB/s a request of 20,000 samples takes 22 s
    count, request = (60_000, 20_000) if name == "100 KB/s" else (6_000, 100)
    with misbehaving(server, MISBEHAVIOURS[name]) as bad:
        begun = time.monotonic()
        with Client([bad.url, server]) as client:
            client.replicas.expect(
                numerics.fingerprint()
            )  # else the first answer decides whose samples are taken
            received = list(client.stream(SPEC, 0, "train", 0, count, request_samples=request))
        seconds = time.monotonic() - begun
        asked = bad.misbehaved
    assert rows(received) == made(count)
    assert asked > 0
    assert seconds < 20
    if request == 100:  # half of 60 requests, if it were not remembered
        assert asked <= 15
    note(f"{name}: one of two generators", times=asked, outcome="identical", seconds=seconds)


@pytest.mark.parametrize("name", long_but_for(DAILY))
def test_a_single_generator_may_answer_every_third_request_badly(server, made, rows, note, name):
    count = 300 if name in (*ANSWERED_LATE, *TOLD_TO_WAIT) else 600
    with misbehaving(server, MISBEHAVIOURS[name], every_third) as bad:
        begun = time.monotonic()
        received = list(streamed(bad.url, count))
        seconds = time.monotonic() - begun
        asked = bad.misbehaved
    assert rows(received) == made(count)
    assert asked > 0
    note(f"{name}: every third answer", times=asked, outcome="identical", seconds=seconds)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.long) if name in ANSWERED_LATE else name
        for name in MISBEHAVIOURS
        if name not in ("another fingerprint", "100 KB/s")  # alone, these are generators like others
    ],
)
def test_a_generator_that_always_answers_badly_is_one_sentence(server, note, name):
    with misbehaving(server, MISBEHAVIOURS[name]) as bad:
        begun = time.monotonic()
        with pytest.raises(StreamError) as refused:
            list(streamed(bad.url, 300, patience=1.0))
        seconds = time.monotonic() - begun
    sentence = str(refused.value)
    assert bad.url in sentence
    assert "\n" not in sentence
    assert len(sentence) < 600
    if name not in ANSWERED_LATE:
        assert seconds < 15
    if name not in (*ANSWERED_LATE, *BUSY):
        assert bad.misbehaved <= 6  # three in a row, of each of two connections
    note(f"{name}: always", times=bad.misbehaved, outcome="refused", seconds=seconds)


@pytest.mark.parametrize("connections", [pytest.param(1, marks=pytest.mark.long), 4])
def test_a_spell_of_wrong_answers_is_waited_for_of_a_generator_that_answered_rightly(server, connections):
    with misbehaving(server, answering(404, b"x"), lambda number: 8 <= number < 16) as other:
        batches = stream(other.url, SPEC, 0, "train", 0, 3000, request_samples=100, connections=connections)
        assert sum(batch.num_rows for batch in batches) == 3000
    assert other.misbehaved == 8


@pytest.mark.long
def test_a_slow_generator_that_is_alone_is_read_to_the_end(server, made, rows, note):
    with misbehaving(server, MISBEHAVIOURS["100 KB/s"]) as slow:
        begun = time.monotonic()
        assert rows(streamed(slow.url, 40_000, request_samples=20_000)) == made(40_000)
        note("100 KB/s: alone", times=2, outcome="identical", seconds=time.monotonic() - begun)


@pytest.mark.parametrize("where", ["nothing listens there", "its name is unknown"])
def test_a_generator_that_is_not_there_costs_seconds_and_no_sample(server, made, rows, note, where):
    with unreachable() as nobody:
        url = nobody if where == "nothing listens there" else "http://generator.invalid:8000"
        begun = time.monotonic()
        assert rows(streamed([url, server], 3_000)) == made(3_000)
        seconds = time.monotonic() - begun
        assert seconds < 20
        note(f"{where}: one of two generators", times=1, outcome="identical", seconds=seconds)
        with pytest.raises(StreamError, match=url) as refused:
            list(streamed(url, 100, patience=1.0))
        assert "\n" not in str(refused.value)


def away(seconds: float) -> Callable[[int], bool]:
    """Whether a generator is away when it is asked: for so long after its fifth request."""
    since: list[float] = []

    def is_away(number: int) -> bool:
        if number == 5:
            since.append(time.monotonic())
        return number >= 5 and time.monotonic() - since[0] < seconds

    return is_away


def test_a_generator_that_comes_back_within_the_patience_is_waited_for_in_few_lines(
    server, made, rows, note, caplog
):
    with misbehaving(server, reset, away(8)) as generator, caplog.at_level(logging.INFO, "matstream.trainer"):
        begun = time.monotonic()
        assert rows(streamed(generator.url, 3_000, patience=60.0)) == made(3_000)
        seconds = time.monotonic() - begun
    assert 8 < seconds < 15
    # when it begins, after 1, 2, 4 and 8 seconds, when it goes on
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("matstream.trainer")]
    assert 2 <= len(lines) <= 7, lines
    note("away for 8 s: the only generator", times=1, outcome="identical", seconds=seconds - 8)


def test_a_generator_that_stays_away_longer_than_the_patience_is_one_sentence(server):
    with misbehaving(server, reset, away(30)) as generator:
        begun = time.monotonic()
        with pytest.raises(StreamError, match=generator.url):
            list(streamed(generator.url, 3_000, patience=2.0))
        assert 2 <= time.monotonic() - begun < 8


# the most memory that a client has had, more than it has after a good stream, in KiB
_MEASURE = """
import re, resource, sys
from pathlib import Path
from matstream.shared.spec import StreamSpec
from matstream.trainer import client

def most():  # not ru_maxrss, which counts what the parent had
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

def read(url, **how):
    for _ in client.stream(url, StreamSpec(operation="eigenvalues", dim=3), 0, "train", 0, 65_536, **how):
        pass

resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
good, bad = sys.argv[1:]
read(good)
before = most()
try:
    read(bad, connections=1, patience=1.0)
except client.StreamError as error:
    print(most() - before, error)
"""


@pytest.mark.parametrize("name", TOO_LARGE)
def test_no_answer_takes_more_memory_than_was_asked_for(server, note, name):
    root = Path(__file__).parents[2]
    with misbehaving(server, MISBEHAVIOURS[name]) as hostile:
        begun = time.monotonic()
        command = [sys.executable, "-c", _MEASURE, server, hostile.url]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=root)
        seconds = time.monotonic() - begun
    assert done.returncode == 0, done.stderr
    grown, sentence = done.stdout.split(" ", 1)
    assert hostile.url in sentence
    assert int(grown) < 64 << 10
    outcome = f"refused, in {max(1, int(grown) >> 10)} MiB"
    note(f"{name}: memory", times=hostile.misbehaved, outcome=outcome, seconds=seconds)


def result_of(folder: Path) -> dict[str, Any]:
    return outcome(folder / RUN)["result.json"]


def test_a_run_goes_on_with_the_generator_whose_numerics_it_began_with(server, undisturbed, tmp_path, note):
    begun = time.monotonic()
    # the first request, whose numerics the run keeps to, is answered by the good one
    with misbehaving(server, computed_elsewhere, lambda number: number > 0) as other:
        status = start(tmp_path, "--generator", server, "--generator", other.url).wait()
    seconds = time.monotonic() - begun
    assert status == 0, said(tmp_path)
    assert difference(tmp_path, undisturbed) == []
    [only] = result_of(tmp_path)["fingerprints"]
    assert only["start"] == 0
    note("a run, one generator of other numerics", times=1, outcome="identical", seconds=seconds)


def test_a_run_is_resumed_with_the_generator_whose_numerics_it_began_with(server, tmp_path):
    assert start(tmp_path, "--generator", server, training__time_limit=1e-9).wait() == 1
    with misbehaving(server, computed_elsewhere) as other:
        status = start(tmp_path, "--resume", "--generator", other.url, "--generator", server).wait()
    assert status == 0, said(tmp_path)


def test_a_run_that_may_mix_numerics_records_each_of_them(server, tmp_path, note):
    begun = time.monotonic()
    # the first five requests are answered elsewhere: the one at the start, and 4 times 64 samples
    with misbehaving(server, computed_elsewhere, lambda number: number < 5) as changing:
        status = start(tmp_path, "--generator", changing.url, fetch__numerics="any").wait()
    seconds = time.monotonic() - begun
    assert status == 0, said(tmp_path)
    first, second = result_of(tmp_path)["fingerprints"]
    assert first == {"fingerprint": "another machine", "start": 0}
    assert second["fingerprint"] not in ("", "another machine")
    assert second["start"] == 256
    note("other numerics from the middle on, allowed", times=1, outcome="recorded", seconds=seconds)


def test_a_run_is_resumed_under_other_numerics_only_if_that_is_asked_for(server, tmp_path, note):
    with misbehaving(server, computed_elsewhere) as other:
        assert start(tmp_path, "--generator", other.url, training__time_limit=1e-9).wait() != 0
    assert "time limit" in said(tmp_path)
    begun = time.monotonic()
    assert start(tmp_path, "--resume", "--generator", server).wait() == 1
    seconds = time.monotonic() - begun
    sentence = said(tmp_path).splitlines()[-1]
    assert "another machine" in sentence
    assert "fetch.numerics" in sentence
    note("resumed under other numerics", times=1, outcome="refused", seconds=seconds)
    assert start(tmp_path, "--resume", "--generator", server, fetch__numerics="any").wait() == 0
    assert [part["start"] for part in result_of(tmp_path)["fingerprints"]] == [0, 32]


def test_a_run_whose_patience_ends_is_resumed_to_the_same(server, undisturbed, tmp_path, note):
    with misbehaving(server, reset, lambda number: number > 8) as leaving:
        assert start(tmp_path, "--generator", leaving.url, fetch__patience=1).wait() == 1
    sentence = said(tmp_path).splitlines()[-1]
    assert leaving.url in sentence
    assert "--resume" in sentence
    begun = time.monotonic()
    assert start(tmp_path, "--resume", "--generator", server).wait() == 0
    seconds = time.monotonic() - begun
    assert "Traceback" not in said(tmp_path)
    assert difference(tmp_path, undisturbed) == []
    note("the only generator stays away, then --resume", times=1, outcome="identical", seconds=seconds)


@pytest.mark.long
def test_a_process_whose_stream_fails_ends_with_its_own_status(server, tmp_path, note):
    begun = time.monotonic()
    with misbehaving(server, MISBEHAVIOURS["cut within a batch"], lambda number: number > 3) as failing:
        for name in ("a", "b", "c", "d", "e", "f"):
            arguments = ("train", "quickstart", "--run", name, "--generator", failing.url)
            status, _, err = commands.finish(
                commands.started(tmp_path, *arguments, **TINY, fetch__connections=4)
            )
            assert status == 1, err
            assert "Traceback" not in err
    seconds = time.monotonic() - begun
    note("a stream that fails, the end of the process", times=6, outcome="status 1", seconds=seconds)


@pytest.mark.parametrize(
    "end", [pytest.param("sys.exit(3)", marks=pytest.mark.long), "os.fork() or sys.exit(0); sys.exit(3)"]
)
def test_a_process_that_leaves_a_stream_unread_ends_at_once(server, end):
    """Not aborted while samples arrive, nor waiting for a thread that has ended before."""
    code = f"""if True:
        import os, sys
        from matstream.shared.spec import StreamSpec
        from matstream.trainer.client import stream
        spec = StreamSpec(operation="eigenvalues", dim=10)
        samples = stream(sys.argv[1], spec, 0, "train", 0, 10**6, request_samples=20_000, connections=8)
        next(samples)
        {end}
    """
    for _ in range(2):
        root = Path(__file__).parents[2]
        done = subprocess.run([sys.executable, "-c", code, server], cwd=root, timeout=30, capture_output=True)
        assert (done.returncode, done.stderr) == (3, b"")
