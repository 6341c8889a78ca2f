import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import get_args
from urllib.parse import urlsplit

import duckdb
import httpx
import numpy as np
import polars as pl
import psutil
import pyarrow as pa
import pytest

from matstream.generator_service import numerics
from matstream.generator_service.stream import generate
from matstream.shared.encodings import ENCODINGS
from matstream.shared.fields import POSITIVE_SPECTRA, SPECTRA
from matstream.shared.operation import Group
from matstream.shared.operations import OPERATIONS
from matstream.shared.spec import SampleRange, StreamSpec
from matstream.shared.structures import STRUCTURES
from matstream.shared.wire import MEDIA_TYPE, read_stream
from tests.commands import finish, forked

ROOT = Path(__file__).parents[3]
END_MARK = b"\xff\xff\xff\xff\0\0\0\0"
FIXED = {"operation": "eigenvalues", "dim": "3"}
VARYING = {"operation": "add,transpose", "dim": "1-3", "cols": "1-2", "noise": "0.1", "scale": "1-5"}
ENDLESS = "/v1/stream?operation=eigenvalues&dim=5&count=10000000"

every_layout = pytest.mark.parametrize("spec", [FIXED, VARYING], ids=["fixed", "varying"])


@pytest.fixture(scope="session")
def client(server):
    with httpx.Client(base_url=server, trust_env=False, timeout=30) as opened:
        yield opened


def stream(client, spec, **params):
    answer = client.get("/v1/stream", params=spec | params)
    assert answer.status_code == 200, answer.text
    return answer


def without_proxies(url):
    return urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=30)


def problem_of(answer, status=422):
    """The problem document of an answer, checked for what RFC 9457 asks of it."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"].split(";")[0] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status
    assert problem["title"]
    assert problem["detail"]
    assert problem["type"]
    return problem


# --- streams


@every_layout
def test_a_stream_has_the_samples_of_its_address(client, rows, spec):
    samples = SampleRange(seed=3, split="valid", start=7, count=50)
    answer = stream(client, spec, **samples.model_dump(), batch_rows=16)
    assert answer.headers["content-type"] == MEDIA_TYPE
    got = list(read_stream(io.BytesIO(answer.content), StreamSpec(**spec), samples))
    assert [batch.num_rows for batch in got] == [16, 16, 16, 2]
    assert rows(got) == rows([generate(StreamSpec(**spec), 3, "valid", 7, 50)])


@every_layout
def test_two_servers_send_the_same_bytes(client, start_server, spec):
    path = f"/v1/stream?{httpx.QueryParams(spec | {'seed': 5, 'start': 2**60, 'count': 300})}"
    other = httpx.get(start_server().url + path, trust_env=False, timeout=30)
    mine = client.get(path)
    assert mine.status_code == other.status_code == 200
    assert mine.content == other.content
    assert mine.headers["etag"] == other.headers["etag"]


def test_parameters_left_out_have_their_defaults(client):
    short = stream(client, FIXED, count=5)
    named = {"seed": 0, "split": "train", "start": 0, "scale": "10.0", "noise": 0, "spectrum": "semicircle"}
    assert stream(client, FIXED, count=5, **named).content == short.content


def test_a_url_is_all_that_pyarrow_needs(server, rows):
    url = f"{server}/v1/stream?operation=eigenvalues&dim=5&count=1000"
    table = pa.ipc.open_stream(without_proxies(url)).read_all()
    assert rows(table.to_batches()) == rows(
        [generate(StreamSpec(operation="eigenvalues", dim=5), 0, "train", 0, 1000)]
    )


@every_layout
def test_polars_reads_a_stream(server, spec):
    url = f"{server}/v1/stream?{httpx.QueryParams(spec | {'count': 20})}"
    frame = pl.from_arrow(pa.ipc.open_stream(without_proxies(url)).read_all())
    direct = pl.read_ipc_stream(without_proxies(url).read())
    batch = generate(StreamSpec(**spec), 0, "train", 0, 20)
    for read in (frame, direct):
        assert read.columns == batch.schema.names
        assert read["index"].to_list() == list(range(20))
        assert read["residual"].to_list() == batch.column("residual").to_pylist()
        stored = [getattr(batch.column(name), "storage", batch.column(name)) for name in ("input", "target")]
        assert [read["input"].to_list(), read["target"].to_list()] == [
            column.to_pylist() for column in stored
        ]


@every_layout
def test_duckdb_reads_a_stream(server, spec):
    url = f"{server}/v1/stream?{httpx.QueryParams(spec | {'count': 20})}"
    table = pa.ipc.open_stream(without_proxies(url)).read_all()
    got = (
        duckdb.from_arrow(table)
        .query("samples", "SELECT index, residual, input, target FROM samples")
        .fetchall()
    )
    batch = generate(StreamSpec(**spec), 0, "train", 0, 20)
    assert [row[0] for row in got] == list(range(20))
    assert [row[1] for row in got] == batch.column("residual").to_pylist()
    for place, name in ((2, "input"), (3, "target")):
        stored = getattr(batch.column(name), "storage", batch.column(name)).to_pylist()
        entries = [matrix["data"] if isinstance(matrix, dict) else matrix for matrix in stored]
        assert [list(row[place]["data"] if spec is VARYING else row[place]) for row in got] == entries


@every_layout
def test_many_clients_at_once_get_what_each_would_alone(client, server, spec):
    def fetch(start):
        url = (
            f"{server}/v1/stream?{httpx.QueryParams(spec | {'start': start, 'count': 500, 'batch_rows': 50})}"
        )
        return httpx.get(url, trust_env=False, timeout=30).content

    starts = [0, 500, 1000, 0, 250, 10**15, 0, 500]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(fetch, starts))
    assert together == [
        stream(client, spec, start=start, count=500, batch_rows=50).content for start in starts
    ]


def test_a_failure_after_the_first_byte_breaks_the_connection(client):
    path = "/v1/stream?operation=transpose&dim=1&max_abs=0.5&count=10000&batch_rows=1"
    received = b""
    with client.stream("GET", path) as answer:
        assert answer.status_code == 200
        chunks = answer.iter_raw()
        with pytest.raises(httpx.RemoteProtocolError):  # noqa: PT012
            while True:
                received += next(chunks)
    assert received
    assert END_MARK not in received
    assert client.get("/healthz").status_code == 200


# --- HEAD, ETag


def test_head_has_the_headers_of_get_and_no_body(client):
    path = "/v1/stream?operation=add&dim=4&count=50"
    head, get = client.head(path), client.get(path)
    assert head.status_code == 200
    assert head.content == b""
    for name in ("etag", "cache-control", "content-type"):
        assert head.headers[name] == get.headers[name]
    assert get.headers["cache-control"] == "no-cache"


def test_head_computes_nothing(client):
    path = "/v1/stream?operation=eigenvalues&dim=128&count=1000&batch_rows=80"
    begun = time.monotonic()
    assert client.head(path).status_code == 200
    assert time.monotonic() - begun < 0.5


def test_head_refuses_what_get_refuses(client):
    answer = client.head("/v1/stream?operation=add&dim=0&count=1")
    assert answer.status_code == 422
    assert answer.content == b""


def test_what_is_known_is_not_sent_again(client):
    path = "/v1/stream?operation=add&dim=4&count=50"
    etag = client.get(path).headers["etag"]
    for known in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        answer = client.get(path, headers={"If-None-Match": known})
        assert (answer.status_code, answer.content) == (304, b"")
        assert answer.headers["etag"] == etag
    assert client.head(path, headers={"If-None-Match": etag}).status_code == 304
    assert client.get(path, headers={"If-None-Match": '"other"'}).status_code == 200


def test_what_differs_in_any_byte_has_another_etag(client):
    plain = {"operation": "add", "dim": "4", "count": "50", "batch_rows": "10"}
    others = [
        {},
        *({"seed": 1}, {"split": "test"}, {"start": 1}, {"count": 51}, {"batch_rows": 11}),
        *({"dim": 5}, {"cols": 4}, {"scale": 9}, {"noise": 1}, {"max_abs": 20}, {"operation": "transpose"}),
        {"coefficients": "gaussian"},
    ]
    etags = {client.head("/v1/stream", params=plain | other).headers["etag"] for other in others}
    assert len(etags) == len(others)


def test_two_ways_to_write_a_spec_have_one_etag(client):
    one = {"operation": "transpose,add", "dim": "4-4", "count": "50", "scale": "10.0"}
    other = {"count": "050", "operation": "add,transpose", "dim": "4", "seed": "0", "split": "train"}
    assert (
        client.head("/v1/stream", params=one).headers["etag"]
        == (client.head("/v1/stream", params=other).headers["etag"])
    )


# --- samples for people


@every_layout
def test_json_samples_are_those_of_the_stream(client, spec):
    answer = client.get("/v1/samples", params=spec | {"seed": 2, "split": "test", "start": 4, "count": 30})
    assert answer.headers["content-type"] == "application/json"
    document = answer.json()
    batch = generate(StreamSpec(**spec), 2, "test", 4, 30)
    columns = {name: batch.column(name) for name in batch.schema.names}
    assert document["spec"] == StreamSpec(**spec).fields()
    assert (document["seed"], document["split"]) == (2, "test")
    for i, sample in enumerate(document["samples"]):
        assert list(sample) == sorted(
            sample, key=["index", "operation", "input", "target", "residual", "attempt", "unique"].index
        )
        for name in ("input", "target"):
            stored = getattr(columns[name], "storage", columns[name])[i].as_py()
            entries = stored["data"] if isinstance(stored, dict) else stored
            shape = stored["shape"] if isinstance(stored, dict) else columns[name].type.shape
            assert sample[name] == np.reshape(entries, shape).tolist()
        for name in set(columns) - {"input", "target"}:
            assert sample[name] == columns[name][i].as_py()
    assert len(document["samples"]) == 30


def test_a_json_sample_says_whether_its_answer_is_the_only_one(client):
    marks = [
        {
            sample["unique"]
            for sample in client.get("/v1/samples", params=params | {"count": 50}).json()["samples"]
        }
        for params in (
            {"operation": "svd", "dim": 3},
            {"operation": "svd", "dim": 3, "structure": "orthogonal"},
            {"operation": "eigenvectors,eigenvalues", "dim": "3-4", "structure": "circulant"},
        )
    ]
    assert marks == [{True}, {False}, {True, False}]


def test_one_sample_is_sent_unless_more_are_asked_for(client):
    assert len(client.get("/v1/samples", params=FIXED).json()["samples"]) == 1
    assert len(client.get("/v1/samples", params=FIXED | {"count": 100}).json()["samples"]) == 100


def test_each_row_of_a_matrix_stands_on_a_line_of_its_own(client):
    answer = client.get("/v1/samples?operation=add&dim=3&cols=2&count=2")
    lines = [line.strip().rstrip(",") for line in answer.text.splitlines()]
    for sample in answer.json()["samples"]:
        for row in [*sample["input"], *sample["target"]]:
            assert any(
                json.loads(line) == row for line in lines if line.startswith("[") and line.endswith("]")
            )
    assert max(map(len, lines)) < 110


@every_layout
def test_words_are_those_of_each_number_rounded_to_three_digits(client, spec):
    document = client.get("/v1/samples", params=spec | {"count": 20, "encoding": "P1000"}).json()
    for sample in document["samples"]:
        for name in ("input", "target"):
            matrix = sample[name]
            expected = [f"V{len(matrix)}", f"V{len(matrix[0])}"]
            for number in (number for row in matrix for number in row):
                mantissa, exponent = f"{abs(number):.2e}".split("e")
                expected += ["-" if number < 0 else "+", mantissa.replace(".", ""), f"E{int(exponent) - 2}"]
            assert sample["words"][name] == " ".join(expected)


def test_a_number_an_encoding_cannot_write_is_refused(client):
    spec = {"operation": "add", "dim": 2, "scale": "1e100", "noise": "1e6"}
    assert client.get("/v1/samples", params=spec).status_code == 200
    assert (
        "cannot write" in problem_of(client.get("/v1/samples", params=spec | {"encoding": "P1000"}))["detail"]
    )


def test_a_large_json_answer_keeps_nobody_waiting(server):
    slow = threading.Thread(
        target=httpx.get,
        args=(f"{server}/v1/samples?operation=add&dim=128&count=4&encoding=P1000",),
        kwargs={"trust_env": False, "timeout": 60},
    )
    waits = []
    with httpx.Client(base_url=server, trust_env=False, timeout=60) as other:
        other.get("/healthz")
        begun = time.monotonic()
        slow.start()
        while slow.is_alive():
            asked = time.monotonic()
            assert other.get("/healthz").status_code == 200
            waits.append(time.monotonic() - asked)
            time.sleep(0.02)
    assert max(waits) < (time.monotonic() - begun) / 2


# --- what is refused


@pytest.mark.parametrize("accept", ["", "garbage", "text/html", "application/json;q=2;;", "*/*," * 500])
def test_any_accept_header_gets_an_ordinary_answer(client, accept):
    answer = client.get("/v1/stream", params=FIXED | {"count": 2}, headers={"Accept": accept})
    assert answer.headers["content-type"] == MEDIA_TYPE


@pytest.mark.parametrize("length", [60_000, 65_536, 200_000])
def test_long_headers_are_answered_or_refused_and_harm_nobody(client, length):
    answer = client.get("/v1/catalog", headers={"X-Long": "x" * length})
    assert answer.status_code in (200, 400, 431)
    assert client.get("/v1/catalog").status_code == 200


REFUSED = [
    *[
        ("dim", value)
        for value in ["0", "-1", "1000000000", "5-3", "1e3", "5.0", "", " 5", "0x5", "%35", "five"]
    ],
    *[("dim", value) for value in ["129", "2-129", "4096", "4097", "1-2-3", "9" * 400]],
    *[("cols", value) for value in ["0", "129", "5-3", "", "two"]],
    *[
        ("count", value)
        for value in ["0", "-1", str(2**63 - 1), str(2**63), "1e3", "", "1.0", "9" * 400, "\0"]
    ],
    *[("seed", value) for value in ["-1", str(2**63), "1.5", "", "one"]],
    *[("start", value) for value in ["-1", str(2**63), ""]],
    *[("split", value) for value in ["", "Train", "dev", "train,test"]],
    *[
        (name, value)
        for name in ("scale", "noise", "max_abs")
        for value in ["nan", "NaN", "inf", "-inf", "1e308"]
    ],
    *[("scale", value) for value in ["0", "-1", "9-3", "", "ten", "1-2-3", "0-5"]],
    *[("noise", value) for value in ["-1", "", "1-2"]],
    *[("max_abs", value) for value in ["0", "-1", ""]],
    *[("operation", value) for value in ["", "sum", "Add", "add,sum", "add,", "*"]],
    *[("coefficients", value) for value in ["", "normal", "uniform,normal", "uniform:0"]],
    *[("spectrum", value) for value in ["", "flat"]],
    *[("dimension", "5"), ("Dim", "5"), ("rows", "5"), ("x" * 300, "1")],
]


@pytest.mark.parametrize(("field", "value"), REFUSED, ids=lambda value: ascii(value)[:24])
def test_a_bad_parameter_is_refused_with_its_name_value_and_what_is_allowed(client, field, value):
    params = {"operation": "add", "dim": "5", "count": "1"} | {field: value}
    problem = problem_of(client.get("/v1/stream", params=params))
    assert [error["field"] for error in problem["errors"]] == [field]
    [error] = problem["errors"]
    assert error["message"].startswith(field)
    assert problem["detail"] == error["message"]
    assert len(problem["detail"]) < 600
    assert "Traceback" not in problem["detail"]


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"batch_rows": "0"}, "batch_rows"),
        ({"batch_rows": "-1"}, "batch_rows"),
        ({"batch_rows": "1000000000"}, "batch_rows"),
        ({"batch_rows": "60000", "dim": "128"}, "batch_rows"),
        ({"operation": "eigenvalues", "cols": "5"}, "cols"),
        ({"operation": "add,eigenvalues", "cols": "4-6"}, "cols"),
        ({"start": str(2**63 - 2), "count": "2"}, "count"),
        ({"operation": "eigenvalues", "dim": "128", "count": "10000000"}, "count"),
        ({"encoding": "P1000"}, "encoding"),
        ({"coefficients": "integers", "scale": "0.5"}, "coefficients"),
        ({"operation": "completion", "coefficients": "sparse"}, "coefficients"),
        ({"operation": "solve", "structure": "block_diagonal", "coefficients": "sparse"}, "coefficients"),
    ],
)
def test_parameters_that_do_not_fit_together_are_refused_with_one_named(client, params, field):
    begun = time.monotonic()
    answer = client.get("/v1/stream", params={"operation": "add", "dim": "5", "count": "1"} | params)
    assert [error["field"] for error in problem_of(answer)["errors"]] == [field]
    assert time.monotonic() - begun < 1


@pytest.mark.parametrize("name", ["operation", "dim", "count"])
def test_a_parameter_that_is_missing_is_named(client, name):
    params = {"operation": "add", "dim": "5", "count": "1"}
    del params[name]
    [error] = problem_of(client.get("/v1/stream", params=params))["errors"]
    assert error == {"field": name, "message": f"{name}: is required"}


def test_everything_wrong_is_told_at_once(client):
    problem = problem_of(client.get("/v1/stream?dim=0&scale=nan&colour=red&seed=-1"))
    fields = [error["field"] for error in problem["errors"]]
    assert sorted(fields) == ["colour", "count", "dim", "operation", "scale", "seed"]
    assert all(error["message"] in problem["detail"] for error in problem["errors"])


def test_of_many_errors_some_are_told_and_the_others_counted(client):
    for query in ("&".join(f"p{i}=1" for i in range(500)), "&".join(f"p{i}=1&p{i}=2" for i in range(250))):
        answer = client.get(f"/v1/samples?operation=add&dim=2&{query}")
        problem = problem_of(answer)
        assert len(problem["errors"]) == 20
        assert re.search(r"; and \d{3} more$", problem["detail"])
        assert len(answer.content) < 20_000


@pytest.mark.parametrize(
    "path", ["/v1/stream", "/v1/samples", "/v1/catalog", "/version", "/healthz", "/nowhere"]
)
def test_a_query_longer_than_any_is_refused_before_it_is_read(client, path):
    problem = problem_of(client.get(f"{path}?dim={'9' * 5000}"), 414)
    assert "5004 bytes" in problem["detail"]
    assert "4096" in problem["detail"]


@pytest.mark.parametrize("path", ["/v1/stream?count=1&", "/v1/samples?"])
@pytest.mark.parametrize(
    "repeated", ["dim=5&dim=6", "dim=5&dim=5", "dim=5&seed=1&seed=1", "dim=5&operation=transpose"]
)
def test_a_repeated_parameter_is_refused(client, path, repeated):
    [error] = problem_of(client.get(f"{path}operation=add&{repeated}"))["errors"]
    assert error["field"] == (
        "operation" if "operation" in repeated else repeated.split("&")[-1].split("=")[0]
    )
    assert "once" in error["message"]


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"count": "0"}, "count"),
        ({"count": "101"}, "count"),
        ({"encoding": "P7"}, "encoding"),
        ({"encoding": ""}, "encoding"),
        ({"dim": "129"}, "dim"),
        ({"scale": "nan"}, "scale"),
        ({"batch_rows": "5"}, "batch_rows"),
        ({"start": str(2**63 - 1)}, "count"),
    ],
)
def test_bad_requests_for_json_samples_are_refused_likewise(client, params, field):
    answer = client.get("/v1/samples", params={"operation": "add", "dim": "5"} | params)
    assert [error["field"] for error in problem_of(answer)["errors"]] == [field]


@pytest.mark.parametrize("path", ["/v1/stream", "/v1/samples"])
def test_a_spec_that_cannot_be_drawn_is_refused(client, path):
    problem = problem_of(client.get(f"{path}?operation=add&dim=2&count=3&start=5&max_abs=1e-30"))
    assert "sample 5 " in problem["detail"]
    assert "max_abs=1e-30" in problem["detail"]


def test_limits_of_the_environment_hold(start_server):
    small = start_server(MATSTREAM_MAX_DIM="3", MATSTREAM_MAX_COUNT="10").url
    with httpx.Client(base_url=small, trust_env=False, timeout=30) as client:
        assert client.get("/v1/stream?operation=add&dim=3&count=10").status_code == 200
        for over, field in (("dim=4&count=1", "dim"), ("dim=3&count=11", "count")):
            [error] = problem_of(client.get(f"/v1/stream?operation=add&{over}"))["errors"]
            assert error["field"] == field
        assert client.get("/v1/catalog").json()["limits"]["max_dim"] == 3


@pytest.mark.parametrize(
    "path", ["/v1/streams", "/v2/stream", "/favicon.ico", "/v1/stream/extra", "/%2e%2e/etc/passwd"]
)
def test_an_unknown_path_is_a_problem_document(client, path):
    assert "/v1/" in problem_of(client.get(path), 404)["detail"]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
@pytest.mark.parametrize("path", ["/v1/stream?operation=add&dim=2&count=1", "/v1/samples", "/healthz"])
def test_another_method_is_a_problem_document_that_says_which_are_allowed(client, method, path):
    answer = client.request(method, path)
    problem_of(answer, 405)
    assert "GET" in answer.headers["allow"]


# --- about the service


def test_the_service_is_alive_and_ready(client):
    assert client.get("/healthz").status_code == 200
    assert client.get("/readyz").status_code == 200


def test_the_version_is_that_of_every_stream(client):
    version = client.get("/version").json()
    schema = pa.ipc.open_stream(stream(client, FIXED, count=1).content).schema
    assert schema.metadata[b"matstream.fingerprint"].decode() == version["fingerprint"]
    assert schema.metadata[b"matstream.wire_version"].decode() == version["wire_version"]
    assert version["fingerprint"] == numerics.fingerprint()
    assert version["numerics"]["numpy"] == np.__version__
    assert version["numerics"]["pyarrow"] == pa.__version__
    assert version["numerics"]["drawing"] == numerics.DRAWING
    assert all(library.endswith(" 1 thread") for library in version["numerics"]["blas"])


def test_the_catalog_lists_all_that_can_be_asked_for(client):
    catalog = client.get("/v1/catalog").json()
    assert set(catalog["operations"]) == set(OPERATIONS)
    assert sorted(catalog["operations"]["eigenvalues"]["spectra"]) == list(SPECTRA)
    assert catalog["operations"]["eigenvalues"]["spectra"][0] == "semicircle"
    assert catalog["operations"]["cholesky"]["spectra"] == list(POSITIVE_SPECTRA)
    assert catalog["operations"]["cholesky"]["structures"] == ["none", "covariance", "condition-100"]
    assert catalog["operations"]["potentials"]["structures"] == ["laplacian"]
    assert catalog["operations"]["rank"]["structures"][0] == "chosen_rank"
    assert catalog["operations"]["least_squares"]["fewer_cols"] == 1
    assert {each["group"] for each in catalog["operations"].values()} <= set(get_args(Group))
    assert all(len(each["about"]) > 20 for each in catalog["operations"].values())
    assert catalog["operations"]["add"]["spectra"] == []
    examples = ["condition-100", "block_diagonal:toeplitz"]
    assert catalog["operations"]["add"]["structures"][0] == "none"
    assert sorted(catalog["operations"]["add"]["structures"]) == sorted([*STRUCTURES, *examples])
    refused = {"orthogonal", "laplacian"}
    assert refused.isdisjoint(catalog["operations"]["symmetric_inverse"]["structures"])
    assert catalog["operations"]["svd"]["not_unique"] == list(OPERATIONS["svd"].not_unique)
    assert catalog["operations"]["singular_values"]["not_unique"] == []
    assert catalog["coefficients"] == ["uniform", "gaussian", "integers", "sparse", "log_uniform"]
    assert catalog["encodings"] == list(ENCODINGS)
    assert catalog["limits"]["max_dim"] >= 64
    assert catalog["limits"]["max_count"] >= 1_000_000
    whole = {"operation": "integer_product", "dim": 1}
    for name in catalog["encodings"]:
        spec = whole if name.startswith("Z") else FIXED
        assert client.get("/v1/samples", params=spec | {"encoding": name}).status_code == 200
    problem = problem_of(client.get("/v1/samples", params=FIXED | {"encoding": "Z10"}))
    assert "must be a whole number of at most 6 digits" in problem["detail"]


def test_openapi_lists_every_parameter_of_a_stream(client):
    parameters = client.get("/openapi.json").json()["paths"]["/v1/stream"]["get"]["parameters"]
    named = {parameter["name"]: parameter["required"] for parameter in parameters}
    assert set(named) == {*StreamSpec.model_fields, *SampleRange.model_fields, "batch_rows"}
    assert {name for name, required in named.items() if required} == {"operation", "dim", "count"}


# --- connections and signals


def connect(url, path=ENDLESS):
    """A bare connection on which a stream was asked for and the head of the answer read."""
    address = urlsplit(url)
    connection = socket.create_connection((address.hostname, address.port), timeout=10)
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {address.netloc}\r\n\r\n".encode())
    assert connection.recv(1000).startswith(b"HTTP/1.1 200")
    return connection


def log_of(server):
    server.stderr.seek(0)
    return server.stderr.read()


def test_clients_that_leave_mid_stream_harm_nobody_and_cost_nothing_more(start_server):
    server = start_server()
    for _ in range(10):
        connect(server.url).close()
    with httpx.Client(base_url=server.url, trust_env=False, timeout=30) as client:
        with client.stream("GET", ENDLESS) as answer:
            next(answer.iter_raw())
        assert client.get("/v1/stream", params=FIXED | {"count": 100}).status_code == 200
    time.sleep(0.3)
    busy = sum(psutil.Process(server.process.pid).cpu_times()[:2])
    time.sleep(0.5)
    assert sum(psutil.Process(server.process.pid).cpu_times()[:2]) - busy < 0.2
    assert "Traceback" not in log_of(server)


def test_a_client_that_does_not_read_is_not_computed_for(start_server):
    server = start_server()
    waiting = [connect(server.url) for _ in range(3)]
    time.sleep(1)
    process = psutil.Process(server.process.pid)
    busy, memory = sum(process.cpu_times()[:2]), process.memory_info().rss
    time.sleep(0.5)
    assert sum(process.cpu_times()[:2]) - busy < 0.2
    assert process.memory_info().rss - memory < 10 << 20
    assert httpx.get(f"{server.url}/healthz", trust_env=False).status_code == 200
    for connection in waiting:
        connection.close()


@pytest.mark.parametrize("asked", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("embedded", [True, False], ids=["embedded", "alone"])
def test_an_idle_server_that_is_asked_to_end_ends_with_status_0(start_server, asked, embedded):
    server = start_server(embedded, from_nothing=True)
    with httpx.Client(base_url=server.url, trust_env=False, timeout=30) as client:
        assert client.get("/readyz").status_code == 200
        server.process.send_signal(asked)
        assert server.process.wait(5) == 0
    assert "Traceback" not in log_of(server)
    assert "Fatal" not in log_of(server)


def test_a_server_ends_in_time_with_streams_complete_or_visibly_broken(start_server):
    server = start_server(embedded=False)
    deaf = [connect(server.url) for _ in range(2)]
    asked, ended = threading.Event(), threading.Event()

    def last_bytes(path, slow_until):
        last = b""
        with (
            httpx.Client(base_url=server.url, trust_env=False, timeout=30) as client,
            client.stream("GET", path) as answer,
        ):
            for chunk in answer.iter_raw():
                last = (last + chunk)[-8:]
                slow_until.wait(0.05)
        return last

    with ThreadPoolExecutor(2) as pool:
        endless = pool.submit(last_bytes, ENDLESS, ended)
        short = pool.submit(last_bytes, "/v1/stream?operation=eigenvalues&dim=5&count=100000", asked)
        time.sleep(0.5)
        assert not short.done()
        server.process.send_signal(signal.SIGTERM)
        begun = time.monotonic()
        asked.set()
        assert server.process.wait(10) == 0
        assert time.monotonic() - begun < 5
        ended.set()
        with pytest.raises(httpx.TransportError):
            endless.result()
        assert short.result() == END_MARK
    for connection in deaf:
        connection.close()


@pytest.mark.parametrize(
    "path",
    [
        "/v1/stream?operation=svd&dim=128&count=10000",
        "/v1/stream?operation=svd&dim=128&count=10000&structure=condition-10&batch_rows=20",
        "/v1/stream?operation=eigenvectors&dim=64&count=1000000&spectrum=laplace",
    ],
)
def test_a_server_that_makes_heavy_batches_for_many_ends_in_time(start_server, path):
    server = start_server(embedded=False)
    address = urlsplit(server.url)
    connections = [socket.create_connection((address.hostname, address.port), timeout=10) for _ in range(12)]
    for connection in connections:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {address.netloc}\r\n\r\n".encode())
    time.sleep(1)
    server.process.send_signal(signal.SIGTERM)
    begun = time.monotonic()
    assert server.process.wait(10) == 0
    assert time.monotonic() - begun < 5
    assert "Traceback" not in log_of(server)
    for connection in connections:
        connection.close()


def test_a_spec_that_cannot_be_drawn_is_refused_at_once_however_heavy(client):
    begun = time.monotonic()
    problem_of(client.get("/v1/stream?operation=svd&dim=128&count=10000&max_abs=1e-9"))
    assert time.monotonic() - begun < 5


def test_a_server_that_is_ending_accepts_nobody(start_server):
    server = start_server(embedded=False)
    with connect(server.url):
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        assert server.process.poll() is None
        with pytest.raises(httpx.TransportError):
            httpx.get(f"{server.url}/healthz", trust_env=False, timeout=2)


def test_an_embedded_server_ends_when_its_standard_input_closes(start_server):
    server = start_server(from_nothing=True)
    server.process.stdin.close()
    assert server.process.wait(5) == 0
    assert server.process.stdout.read() == ""


def test_the_url_is_announced_only_when_it_can_be_used():
    for _ in range(2):
        reading, writing = os.pipe()
        code = f"from matstream.generator_service.cli import serve; serve(port=0, embedded={writing})"
        with subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, cwd=ROOT, pass_fds=(writing,)
        ) as process:
            os.close(writing)
            with open(reading, encoding="ascii") as announced:
                url = urlsplit(announced.read().strip())
            socket.create_connection((url.hostname, url.port), timeout=5).close()
            process.send_signal(signal.SIGTERM)
            assert process.wait(5) == 0


@pytest.mark.parametrize(
    ("arguments", "environment", "named"),
    [
        (["--port", "PORT"], {}, "PORT"),
        (["--port", "70000"], {}, "70000"),
        (["--host", "203.0.113.1"], {}, "203.0.113.1"),
        (["--port", "0"], {"MATSTREAM_MAX_COUNT": "many"}, "many"),
    ],
    ids=["taken port", "no port", "host of another", "no limit"],
)
def test_a_service_that_cannot_start_says_why_in_one_sentence(
    server, tmp_path, monkeypatch, arguments, environment, named
):
    port = str(urlsplit(server).port)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    status, out, err = finish(forked(tmp_path, "serve", *(word.replace("PORT", port) for word in arguments)))
    assert status > 0
    assert len(err.strip().splitlines()) == 1
    assert named.replace("PORT", port) in err
    assert out == ""
