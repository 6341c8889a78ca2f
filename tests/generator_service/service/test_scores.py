"""POST /v1/score: anyone's predictions, by their address."""

import gzip
import io
import re
import socket
import struct
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import httpx
import numpy as np
import pyarrow as pa
import pytest

import matstream
from matstream.shared.wire import MEDIA_TYPE

FIVE = {"operation": "eigenvalues", "dim": "5"}
MIXED = {"operation": "eigenvalues,transpose", "dim": "2-3", "coefficients": "gaussian"}


@pytest.fixture(scope="session")
def client(server):
    with httpx.Client(base_url=server, trust_env=False, timeout=30) as opened:
        yield opened


def targets_of(spec, count, **address):
    return matstream.sample(**spec, count=count, split="test", **address).targets


def as_csv(matrices):
    text = io.StringIO()
    np.savetxt(text, np.reshape(matrices, (len(matrices), -1)), delimiter=",", fmt="%.17g")
    return text.getvalue().encode()


def as_arrow(matrices):
    column = pa.array([np.ravel(matrix) for matrix in matrices], pa.list_(pa.float64()))
    table = pa.table({"prediction": column})
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=7)
    return sink.getvalue()


def post(client, spec, content, media_type):
    return client.post("/v1/score", params=spec, content=content, headers={"Content-Type": media_type})


def problem(answer, status=422):
    assert answer.status_code == status, answer.text
    [error] = answer.json()["errors"]
    return error["field"], error["message"]


@pytest.mark.parametrize(("seed", "start"), [(0, 0), (7, 123456)])
def test_json_csv_and_arrow_are_scored_alike_and_as_the_library_does(client, seed, start):
    targets = targets_of(FIVE, 200, seed=seed, start=start)
    predictions = targets * (1 + np.linspace(0, 0.1, 200))[:, None, None]
    where = FIVE | {"seed": seed, "start": start}
    answers = [
        post(client, where, as_csv(predictions), "text/csv"),
        post(client, where, as_arrow(predictions), MEDIA_TYPE),
        client.post("/v1/score", params=where, json=predictions.tolist()),
        client.post("/v1/score", json={**where, "predictions": predictions.tolist()}),
        client.post("/v1/score", params=where, json={"predictions": predictions.tolist()}),
    ]
    found = [answer.json() for answer in answers]
    assert all(answer.status_code == 200 for answer in answers), answers[0].text
    assert all(each == found[0] for each in found)
    assert found[0]["accuracy"] == pytest.approx({"0.05": 0.5, "0.02": 0.2, "0.01": 0.1, "0.005": 0.05})
    assert found[0]["spec"] == {"operation": "eigenvalues", "dim": 5}
    assert (found[0]["seed"], found[0]["split"], found[0]["start"], found[0]["count"]) == (
        seed,
        "test",
        start,
        200,
    )
    own = matstream.score("eigenvalues", predictions=predictions, dim=5, seed=seed, start=start)
    assert own.accuracy == found[0]["accuracy"]
    assert own.accuracy_strict == found[0]["accuracy_strict"]
    assert own.ceiling == found[0]["ceiling"]
    assert np.median(own.errors) == pytest.approx(found[0]["median_error"])
    assert 0 < found[0]["largest_residual"] <= 1e-12


def test_kinds_are_told_apart_where_shapes_vary(client):
    targets = targets_of(MIXED, 300)
    operations = matstream.sample(**MIXED, count=300, split="test").operations
    predictions = [
        2 * target if operation == "transpose" else target
        for target, operation in zip(targets, operations, strict=True)
    ]
    found = client.post("/v1/score", params=MIXED, json=[each.tolist() for each in predictions]).json()
    assert found["by_operation"]["eigenvalues"]["accuracy"]["0.005"] == 1
    assert found["by_operation"]["transpose"]["accuracy"]["0.05"] == 0
    assert found["by_operation"]["transpose"]["test_samples"] == operations.count("transpose")
    assert set(found["by_dimension"]) == {"2", "3"}
    assert found["accuracy"]["0.05"] == operations.count("eigenvalues") / 300
    assert post(client, MIXED, as_arrow(predictions), MEDIA_TYPE).json() == found
    own = matstream.score(predictions=predictions, **MIXED)
    assert own.by_operation == found["by_operation"]
    assert own.by_dimension == found["by_dimension"]


def test_what_is_no_number_is_invalid_and_wrong(client):
    targets = targets_of(FIVE, 10)
    rows = as_csv(targets).decode().splitlines()
    rows[3] = ",,,,"
    rows[4] = rows[4].rpartition(",")[0] + ",nan"
    found = post(client, FIVE, "\n".join(rows).encode(), "text/csv").json()
    nested = targets.tolist()
    nested[3], nested[4][4] = [[None]] * 5, [None]
    assert client.post("/v1/score", params=FIVE, json=nested).json() == found
    assert found["invalid"] == 2
    assert found["accuracy"]["0.05"] == 0.8


def test_vectors_that_only_fit_each_other_are_not_right_strictly(client):
    spec = {"operation": "eigenvectors", "dim": "3"}
    found = client.post("/v1/score", params=spec, json=np.zeros((50, 4, 3)).tolist()).json()
    assert found["accuracy"]["0.05"] == 1  # the published error of zeros
    assert found["accuracy_strict"]["0.05"] == 0


def test_the_ceiling_is_that_of_the_encoding(client):
    spec = {"operation": "integer_product", "dim": "1", "scale": "1000"}
    predictions = targets_of(spec, 100).tolist()
    three = client.post("/v1/score", params=spec, json=predictions).json()
    all_digits = client.post("/v1/score", params=spec | {"encoding": "Z10"}, json=predictions).json()
    assert three["ceiling"]["0.05"] < 0.2
    assert all_digits["ceiling"]["0.05"] == three["accuracy"]["0.05"] == 1
    assert (
        client.post("/v1/score", params=FIVE | {"encoding": "Z10"}, json=targets_of(FIVE, 3).tolist()).json()[
            "ceiling"
        ]
        is None
    )


@pytest.mark.parametrize(
    ("params", "content", "media_type", "field", "reason"),
    [
        (FIVE, b"[[1, 2]]", "application/json", "predictions", "has 2 numbers: must have 5, those of a 5×1"),
        (FIVE, b"[[1,2,3,4,5],[1]]", "application/json", "predictions", "sample 1 has 1 numbers"),
        (FIVE, b"[]", "application/json", "predictions", "must be a list of matrices"),
        (FIVE, b"{}", "application/json", "predictions", "must be a list of matrices"),
        (FIVE, b"7", "application/json", "predictions", "must be a list of matrices"),
        (FIVE, b"[[1, 2", "application/json", "predictions", "are not JSON"),
        (FIVE, b"[" * 100_000, "application/json", "predictions", "are not JSON"),
        (FIVE, b'[["one"]]', "application/json", "predictions", "must be matrices"),
        (FIVE, b'[[1e999, {"a": 1}]]', "application/json", "predictions", "must be matrices"),
        (FIVE, b"[[1" + b"0" * 9000 + b"]]", "application/json", "predictions", "has 1 numbers: must have 5"),
        (FIVE, b"[[true, {}]]", "application/json", "predictions", "must be matrices"),
        (FIVE, b"[null]", "application/json", "predictions", "has 0 numbers in 0 rows: must have 5"),
        (FIVE, b"[[[1,2,3,4,5]]]", "application/json", "predictions", "has 5 numbers in 1 rows: must"),
        (FIVE, b"[[[1,2],[3]]]", "application/json", "predictions", "rows of number 0 differ in length"),
        (FIVE | {"start": str(2**63 - 1)}, b"[[1]]", "application/json", "start", "start + count must be at"),
        (FIVE, b"2020-01-01,2,3,4,5", "text/csv", "predictions", "invalid value '2020-01-01'"),
        (FIVE, b"\xff\xfe", "application/json", "predictions", "are not JSON"),
        (FIVE, b"1,2,3,4,x", "text/csv", "predictions", "are not CSV of numbers"),
        (FIVE, b"1,2,3,4,5\n1", "text/csv", "predictions", "sample 1 has 1 numbers: must have 5"),
        (FIVE, b"", "text/csv", "predictions", "are not CSV of numbers"),
        (FIVE, b"1,2,3", "text/csv", "predictions", "sample 0 has 3 numbers"),
        (FIVE, b"nothing", MEDIA_TYPE, "predictions", "are no Arrow stream"),
        (FIVE, b"<xml>", "application/xml", "predictions", "must be application/json, text/csv or"),
        (FIVE | {"dim": "0"}, b"[[1]]", "application/json", "dim", "must be a whole number"),
        (FIVE | {"dim": "500"}, b"[[1]]", "application/json", "dim", "must be at most 128"),
        (FIVE | {"split": "train"}, b"[[1]]", "application/json", "split", "is not a known name"),
        (FIVE | {"encoding": "P2"}, b"[[1]]", "application/json", "encoding", "must be one of P10"),
        (FIVE, b'{"dim": 5, "predictions": [[1]]}', "application/json", "dim", "is in the body too"),
        ({}, b'{"operation": "add", "dim": "x", "predictions": [[1]]}', "application/json", "dim", "must be"),
    ],
)
def test_what_cannot_be_scored_is_refused_with_its_field(client, params, content, media_type, field, reason):
    named, message = problem(post(client, params, content, media_type))
    assert named == field
    assert reason in message


def written(column, **options):
    table = pa.table({"prediction": column})
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table)
    return sink.getvalue()


NOTHING = pa.nulls(10**9)


@pytest.mark.parametrize(
    ("column", "options", "reason"),
    [
        (pa.array([1.0]), {}, "its type is double"),
        (pa.array([["a"]]), {}, "its type is list<item: string>"),
        (pa.array([{"data": 1}]), {}, "its type is int64"),
        (pa.array([{"rows": [1]}]), {}, "its type is struct<rows"),
        (pa.DictionaryArray.from_arrays(pa.array([0]), pa.array([[1.0]])), {}, "its type is dictionary"),
        # a few bytes that would become gigabytes
        (pa.array([[0.0] * 10**6]), {"compression": "zstd"}, "a message is compressed"),
        (
            pa.ListArray.from_arrays(pa.array([0, 10**9], pa.int32()), NOTHING),
            {},
            "its type is list<item: null>",
        ),
        (pa.FixedSizeListArray.from_arrays(NOTHING, 5), {}, "a value takes no bytes"),
    ],
)
def test_an_arrow_stream_needs_a_column_of_lists_of_numbers(client, column, options, reason):
    field, message = problem(post(client, FIVE, written(column, **options), MEDIA_TYPE))
    assert field == "predictions"
    assert "are no Arrow stream with a column `prediction` of lists of numbers" in message
    assert reason in message


def test_an_arrow_stream_whose_lists_lie_beyond_its_bytes_is_refused(client):
    content = written(pa.array([[1.0] * 5] * 2))
    offsets = struct.pack("<3i", 0, 5, 10)
    assert content.count(offsets) == 1
    field, message = problem(
        post(client, FIVE, content.replace(offsets, struct.pack("<3i", 0, 5, 10**9)), MEDIA_TYPE)
    )
    assert (field, "are no Arrow stream" in message) == ("predictions", True)


def test_rows_of_entries_are_read_like_entries(client):
    spec = {"operation": "transpose", "dim": "3", "cols": "2"}
    targets = targets_of(spec, 7)
    rows = post(client, spec, written(pa.array(targets.tolist())), MEDIA_TYPE).json()
    assert rows["accuracy"]["0.05"] == 1
    assert rows == client.post("/v1/score", params=spec, json=targets.tolist()).json()
    assert rows == client.post("/v1/score", params=spec, json=targets.reshape(7, 6).tolist()).json()


PEAK = """
import resource, sys
from matstream.generator_service.service.bodies import JSON_MEMORY, TABLE_MEMORY, parsed

part, kind = sys.argv[1].encode(), sys.argv[2]
json = kind == "application/json"
content = part * (2**22 // len(part))
content = b"[" + content[:-1] + b"]" if json else content
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
parsed(content, kind)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
assert peak * 1024 < (JSON_MEMORY if json else TABLE_MEMORY) * len(content), peak * 1024 / len(content)
"""


@pytest.mark.parametrize(
    ("part", "kind"),
    [
        ("[],", "application/json"),
        ("[1],[],", "application/json"),
        ("[[1.5]],", "application/json"),
        ("1\n", "text/csv"),
        ("1,", "text/csv"),
        (",", "text/csv"),
    ],
)
def test_a_body_is_read_in_the_memory_that_is_set_aside_for_it(part, kind):
    subprocess.run([sys.executable, "-c", PEAK, part, kind], check=True)


def test_who_stalls_in_the_middle_of_a_body_makes_room_for_others(start_server):
    server = start_server(MATSTREAM_MAX_STREAMS="1")
    address = urlsplit(server.url)
    head = b"POST /v1/score?operation=eigenvalues&dim=5 HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"
    with socket.create_connection((address.hostname, address.port)) as connection:
        connection.sendall(head + b"[[1")
        body, begun = targets_of(FIVE, 2).tolist(), time.monotonic()
        answers = []
        while not answers or (answers[-1] != 200 and time.monotonic() < begun + 30):
            time.sleep(0.2)
            answer = httpx.post(f"{server.url}/v1/score", params=FIVE, json=body, trust_env=False, timeout=30)
            answers.append(answer.status_code)
        assert (answers[0], answers[-1]) == (503, 200)
        connection.settimeout(10)
        assert connection.recv(1000).startswith(b"HTTP/1.1 503")


def test_a_body_over_the_limit_is_refused_whether_its_length_is_told_or_not(start_server):
    url = start_server(MATSTREAM_MAX_BODY_BYTES="2000").url
    with httpx.Client(base_url=url, trust_env=False) as client:
        small = [[[float(i)] for i in range(5)]] * 10
        assert client.post("/v1/score", params=FIVE, json=small).status_code == 200
        field, message = problem(client.post("/v1/score", params=FIVE, json=small * 100))
        assert (field, message) == (
            "predictions",
            "predictions: are more than 2000 bytes: must be at most that in one request; send them in parts, "
            "by start",
        )
        untold = (b"x" * 900 for _ in range(5))  # sent in chunks
        assert problem(client.post("/v1/score", params=FIVE, content=untold))[0] == "predictions"


def test_a_compressed_body_is_refused(client):
    content = gzip.compress(b"[[1, 2, 3, 4, 5]]")
    answer = client.post("/v1/score", params=FIVE, content=content, headers={"Content-Encoding": "gzip"})
    assert problem(answer)[1] == "predictions: have Content-Encoding 'gzip': must not be compressed"


def test_an_arrow_stream_of_no_predictions_is_refused(client):
    for content in (written(pa.array([], pa.list_(pa.float64()))), written(pa.array([[1.0]]))[:-60]):
        assert problem(post(client, FIVE, content, MEDIA_TYPE))[0] == "predictions"


def test_numbers_that_float64_does_not_hold_are_rounded(client):
    spec = {"operation": "trace", "dim": "2"}
    for content, kind in (
        (b"[[9007199254740993]]", "application/json"),
        (b"9007199254740993", "text/csv"),
        (written(pa.array([[2**53 + 1]])), MEDIA_TYPE),
    ):
        assert post(client, spec, content, kind).json()["accuracy"]["0.05"] == 0


def test_an_empty_line_is_a_prediction_that_is_missing(client):
    spec = {"operation": "trace", "dim": "2"}
    first, _, third = targets_of(spec, 3).reshape(-1).tolist()
    found = post(client, spec, f"{first!r}\r\n\r\n{third!r}\r\n".encode(), "text/csv").json()
    assert (found["invalid"], found["test_samples"]) == (1, 3)
    assert found["accuracy"]["0.005"] == pytest.approx(2 / 3)


def test_scoring_ends_with_the_service(start_server):
    server = start_server()
    spec = {"operation": "determinant", "dim": "100"}
    content, kind = b"0\n" * 500_000, {"Content-Type": "text/csv"}
    refused = httpx.post(
        f"{server.url}/v1/score", params=spec, content=content, headers=kind, trust_env=False
    )
    field, message = problem(refused)
    assert (field, "per request at dim=100, to limit its work" in message) == ("count", True)
    most = int(re.search("at most ([0-9]+)", message)[1])
    with ThreadPoolExecutor() as pool:
        asked = pool.submit(
            httpx.post,
            f"{server.url}/v1/score",
            params=spec,
            content=b"0\n" * most,
            headers=kind,
            timeout=60,
            trust_env=False,
        )
        time.sleep(2)
        begun = time.monotonic()
        server.process.terminate()
        assert server.process.wait(20) == 0
        assert time.monotonic() - begun < 6
        assert isinstance(asked.exception() or asked.result(), httpx.HTTPError | httpx.Response)


def test_the_work_of_scoring_is_bounded_as_that_of_a_stream(start_server):
    url = start_server(MATSTREAM_MAX_COUNT="20").url
    with httpx.Client(base_url=url, trust_env=False) as client:
        answer = client.post("/v1/score", params=FIVE, json=np.zeros((21, 5, 1)).tolist())
        assert problem(answer) == (
            "count",
            "count=21: must be at most 20 per request on this service: ask for several ranges",
        )


def test_only_who_has_a_key_is_answered(start_server):
    url = start_server(MATSTREAM_API_KEYS="a-key").url
    with httpx.Client(base_url=url, trust_env=False) as client:
        body = targets_of(FIVE, 2).tolist()
        assert client.post("/v1/score", params=FIVE, json=body).status_code == 401
        headers = {"Authorization": "Bearer a-key"}
        assert client.post("/v1/score", params=FIVE, json=body, headers=headers).status_code == 200


def test_other_methods_are_refused(client):
    answer = client.get("/v1/score", params=FIVE)
    assert answer.status_code == 405
    assert answer.headers["allow"] == "POST"
    assert "it answers POST" in answer.json()["detail"]
    assert client.post("/v1/stream", params=FIVE).headers["allow"] == "GET, HEAD"


def test_a_client_that_leaves_in_the_middle_of_its_body_holds_nothing(start_server):
    server = start_server(MATSTREAM_MAX_STREAMS="1")
    host, port = server.url.removeprefix("http://").split(":")
    head = b"POST /v1/score?operation=eigenvalues&dim=5 HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(head + b"[[1")
        time.sleep(0.5)
    deadline = time.monotonic() + 10
    body = targets_of(FIVE, 2).tolist()
    while True:
        answer = httpx.post(f"{server.url}/v1/score", params=FIVE, json=body, trust_env=False)
        if answer.status_code == 200 or time.monotonic() > deadline:
            break
        time.sleep(0.1)
    assert answer.status_code == 200
