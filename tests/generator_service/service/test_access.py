"""Keys, rates and slots, on real sockets."""

import os
import socket
import time
from urllib.parse import urlsplit

import httpx
import pytest

from tests.commands import finish, forked

SAMPLE = "/v1/samples?operation=add&dim=2"
STREAM = "/v1/stream?operation=eigenvalues&dim=5&count=10000000"
KEYS = {"MATSTREAM_API_KEYS": "first-secret, second-secret"}


def client(server, key=None):
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    return httpx.Client(base_url=server.url, headers=headers, trust_env=False, timeout=10)


def log_of(server):
    server.stderr.seek(0)
    return server.stderr.read()


def hanging(server, path=STREAM):
    """A connection on which a stream has begun that nobody reads on."""
    address = urlsplit(server.url)
    connection = socket.create_connection((address.hostname, address.port), timeout=10)
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {address.netloc}\r\n\r\n".encode())
    assert connection.recv(1000).startswith(b"HTTP/1.1 200")
    return connection


def test_with_keys_only_those_who_have_one_are_let_in(start_server):
    server = start_server(embedded=False, **KEYS)
    for key in (None, b"wrong", b"first-secret,second-secret", b"x" * 20_000, "schlüssel".encode()):
        with client(server) as http:
            authorization = {} if key is None else {"Authorization": b"Bearer " + key}
            for path in (SAMPLE, "/v1/stream?operation=add&dim=2&count=1", "/v1/catalog", "/metrics"):
                answer = http.get(path, headers=authorization)
                assert answer.status_code == 401
                assert answer.headers["www-authenticate"] == "Bearer"
                assert answer.headers["content-type"] == "application/problem+json"
                assert "Authorization: Bearer KEY" in answer.json()["detail"]
            for path in ("/healthz", "/readyz", "/version", "/docs"):
                assert http.get(path, headers=authorization).status_code == 200
    for key in (b"first-secret", b"second-secret"):
        with client(server) as http:
            authorization = {"Authorization": b"Bearer " + key}
            assert http.get(SAMPLE, headers=authorization).status_code == 200
            answer = http.get("/v1/stream?operation=add&dim=2&count=1", headers=authorization)
            assert answer.headers["cache-control"] == "no-cache, private"
    assert "secret" not in log_of(server)


def test_keys_may_stand_on_lines_of_their_own(start_server):
    server = start_server(MATSTREAM_API_KEYS="\n first-secret \r\nsecond-secret,\n\n")
    for key, status in (("first-secret", 200), ("second-secret", 200), ("third-secret", 401)):
        with client(server, key) as http:
            assert http.get(SAMPLE).status_code == status


def test_a_key_in_the_query_is_refused_even_beside_the_header(start_server):
    server = start_server(**KEYS)
    with client(server, "first-secret") as http:
        for parameter in ("api_key=second-secret", "seed=first-secret", "first-secret"):
            answer = http.get(f"{SAMPLE}&{parameter}")
            assert answer.status_code == 422
            assert "API key" in answer.json()["detail"]
            assert "secret" not in answer.text


def test_headers_too_long_to_hold_are_refused_and_harm_nobody(start_server):
    server = start_server(embedded=False, **KEYS)
    with client(server, "x" * 65_536) as http:
        assert 400 <= http.get(SAMPLE).status_code < 500
    with client(server, "first-secret") as http:
        assert http.get(SAMPLE).status_code == 200


@pytest.mark.parametrize("workers", [1, 2])
def test_a_key_that_has_used_up_its_rate_waits_and_others_do_not(start_server, workers):
    server = start_server(embedded=False, workers=workers, **KEYS, MATSTREAM_RATE="5/minute")
    with client(server, "first-secret") as http:
        answers = [http.get("/v1/catalog", headers={"Connection": "close"}) for _ in range(7)]
    assert [answer.status_code for answer in answers] == [200] * 5 + [429] * 2
    assert 50 <= int(answers[-1].headers["retry-after"]) <= 60
    assert "5/minute" in answers[-1].json()["detail"]
    with client(server, "second-secret") as http:
        assert http.get(SAMPLE).status_code == 200


def test_the_time_to_retry_after_is_enough_and_no_longer_than_needed(start_server):
    server = start_server(**KEYS, MATSTREAM_RATE="3/second")
    with client(server, "first-secret") as http:
        answers = [http.get("/v1/catalog") for _ in range(4)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
        time.sleep(int(answers[-1].headers["retry-after"]))
        assert http.get("/v1/catalog").status_code == 200


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({"MATSTREAM_API_KEYS": " , "}, "MATSTREAM_API_KEYS"),
        *[
            ({"MATSTREAM_API_KEYS": keys}, "MATSTREAM_API_KEYS: must be keys of plain letters")
            for keys in (
                "good,first secret",
                "first\tsecret",
                "secret\x7f",
                "sécret",
                os.fsdecode(b"secret\xff"),
            )
        ],
        ({"MATSTREAM_RATE": "5/minute"}, "set MATSTREAM_API_KEYS too"),
        (KEYS | {"MATSTREAM_RATE": "often"}, "MATSTREAM_RATE='often': must be a number per second"),
        (KEYS | {"MATSTREAM_RATE": "٣/minute"}, "MATSTREAM_RATE"),
        ({"MATSTREAM_MAX_STREAMS": "0"}, "MAX_STREAMS='0': must be a whole number from 1 to 1000000"),
        ({"MATSTREAM_MAX_DIM": "abc"}, "MATSTREAM_MAX_DIM='abc': must be a whole number from 1 to 4096"),
        (
            {"MATSTREAM_MAX_SECONDS": "inf"},
            "MAX_SECONDS='inf': must be a number from 1e-06 to 1e+12",
        ),
    ],
)
def test_a_setting_that_makes_no_sense_is_one_sentence(tmp_path, monkeypatch, environment, named):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    status, _, err = finish(forked(tmp_path, "serve", "--port", "0"))
    assert status == 1
    assert len(err.splitlines()) == 1
    assert named in err
    assert "secret" not in err


def test_half_a_request_holds_a_connection_for_seconds_only(start_server):
    server = start_server()
    address = urlsplit(server.url)
    halves = [socket.create_connection((address.hostname, address.port), timeout=20) for _ in range(50)]
    for half in halves:
        half.sendall(b"GET /healthz HTTP/1.1\r\nHo")
    streaming = hanging(server)
    begun = time.monotonic()
    assert [half.recv(100) for half in halves] == [b""] * 50
    assert 5 < time.monotonic() - begun < 15
    streaming.settimeout(5)
    assert len(streaming.recv(1000)) == 1000  # a stream may take longer
    streaming.close()


def test_when_all_slots_are_taken_streams_are_asked_to_come_again(start_server):
    server = start_server(MATSTREAM_MAX_STREAMS="2")
    waiting = [hanging(server) for _ in range(2)]
    with client(server) as http:
        for path in (SAMPLE, STREAM):
            answer = http.get(path)
            assert answer.status_code == 503
            assert int(answer.headers["retry-after"]) >= 1
        for path in ("/healthz", "/readyz", "/version", "/v1/catalog", "/metrics"):
            asked = time.monotonic()
            assert http.get(path).status_code == 200
            assert time.monotonic() - asked < 0.5
        assert http.head(STREAM).status_code == 200
        assert http.get(STREAM, headers={"If-None-Match": "*"}).status_code == 304
        assert http.get("/v1/stream?operation=add&dim=0&count=1").status_code == 422
        for connection in waiting:
            connection.close()
        deadline = time.monotonic() + 5
        while http.get(SAMPLE).status_code == 503:
            assert time.monotonic() < deadline
        assert "matstream_open_streams 0.0" in http.get("/metrics").text


def test_a_slot_is_given_back_however_a_request_ends(start_server):
    server = start_server(MATSTREAM_MAX_STREAMS="1")
    with client(server) as http:
        for path, status in (
            (SAMPLE, 200),
            (SAMPLE + "&scale=1e100&encoding=P1000", 200),
            ("/v1/stream?operation=add&dim=2&count=1&max_abs=1e-9", 422),
            ("/v1/samples?operation=add&dim=2&max_abs=1e-9", 422),
            ("/v1/stream?operation=add&dim=2&count=1000", 200),
        ):
            assert http.get(path).status_code == status


@pytest.mark.parametrize("allowed", [None, "https://example.org"])
def test_pages_of_other_sites_read_only_where_that_is_allowed(start_server, allowed):
    server = start_server(**({} if allowed is None else {"MATSTREAM_CORS_ORIGINS": allowed}))
    with client(server) as http:
        for origin in ("https://example.org", "https://other.org"):
            answer = http.get(SAMPLE, headers={"Origin": origin})
            assert answer.headers.get("access-control-allow-origin") == (
                origin if origin == allowed else None
            )
