import json
import socket
from urllib.parse import urlsplit

import httpx


def requests_logged(server):
    server.stderr.seek(0)
    lines = [json.loads(line) for line in server.stderr.read().splitlines()]
    return [line for line in lines if "request_id" in line]


def asked(server, line, headers=""):
    """What the service answers to a request, its line and headers as they go over the wire."""
    address = urlsplit(server.url)
    with socket.create_connection((address.hostname, address.port), timeout=10) as connection:
        connection.sendall(f"{line} HTTP/1.1\r\nHost: h\r\n{headers}Connection: close\r\n\r\n".encode())
        return b"".join(iter(lambda: connection.recv(1 << 16), b"")).decode()


def test_every_request_is_a_line_of_json_with_an_id_the_client_sees(start_server):
    server = start_server(embedded=False)
    with httpx.Client(base_url=server.url, trust_env=False) as client:
        answers = [
            client.get("/v1/stream?operation=add&dim=2&count=10", headers={"X-Request-ID": "mine.1"}),
            client.get("/v1/samples?operation=add&dim=0"),
            client.get("/no%0Awhere", headers={"X-Request-ID": "not an id"}),
        ]
        client.get("/healthz")  # asked all the time, and not logged
    lines = requests_logged(server)
    assert [line["request_id"] for line in lines] == [answer.headers["x-request-id"] for answer in answers]
    assert lines[0]["request_id"] == "mine.1"
    assert len(lines[2]["request_id"]) == 32
    assert [line["status"] for line in lines] == [200, 422, 404]
    assert lines[0]["bytes"] == len(answers[0].content)
    assert lines[0]["target"] == "/v1/stream?operation=add&dim=2&count=10"
    assert lines[2]["target"] == "/no%0Awhere"
    assert all(line["seconds"] >= 0 and line["timestamp"] and line["level"] == "INFO" for line in lines)


def test_a_stream_whose_reader_leaves_is_logged_as_broken_off(start_server):
    server = start_server(embedded=False)
    with (
        httpx.Client(base_url=server.url, trust_env=False) as client,
        client.stream("GET", "/v1/stream?operation=add&dim=2&count=10000000") as answer,
    ):
        next(answer.iter_raw())
    server.process.terminate()
    server.process.wait(10)
    [line] = requests_logged(server)
    assert line["message"].startswith("broken off")


def test_neither_keys_nor_unknown_parameters_are_logged(start_server):
    server = start_server(embedded=False, MATSTREAM_API_KEYS="alice+secret==,bob/secret")
    header = {"Authorization": "Bearer alice+secret=="}
    with httpx.Client(base_url=server.url, trust_env=False) as client:
        sample = "/v1/samples?operation=add&dim=2"
        for address in (
            *(
                f"{sample}&{name}=alice%2Bsecret=="
                for name in ("api_key", "key", "token", "Authorization", "seed")
            ),
            f"{sample}&token=another-secret",
            f"{sample}&alice+secret==",
            "/v1/alice%2Bsecret%3D%3D",
        ):
            for headers in ({}, header):
                answer = client.get(address, headers=headers)
                assert answer.status_code in (401, 404, 422)
                if "/v1/samples" in address:
                    assert "secret" not in answer.text
        assert client.get(sample, headers=header).status_code == 200
    server.stderr.seek(0)
    log = server.stderr.read()
    assert "secret" not in log
    assert "/v1/samples?***" in log
    assert f"{sample}&***" in log


def test_a_key_within_anything_of_a_request_is_neither_logged_nor_told_back(start_server):
    server = start_server(embedded=False, MATSTREAM_API_KEYS="bob,alice-key")
    logged = []
    for line, header, target in (
        ("GET /v1/samples?operation=alice-key,svd&dim=2", "", "/v1/samples?***"),
        ("GET /v1/samples?operation=Bearer%20alice-key&dim=2", "", "/v1/samples?***"),
        ("GET /v1/samples?operation=add&dim=2;%61lice-key", "", "/v1/samples?***"),
        ("GET /version?my-alice-key", "", "/version?***"),
        ("GET /v1/samples/alice-key%20", "", "***"),
        ("GET /v1/x%61lice-key", "", "***"),
        ("GET http://alice-key@h/no", "", "/no"),
        ("alice-key /v1/samples", "", "/v1/samples"),
        ("GET /no", "X-Request-ID: alice-key\r\n", "/no"),
        ("GET /no", "X-Forwarded-For: alice-key\r\n", "/no"),
    ):
        for authorization in ("", "Authorization: Bearer bob\r\n"):
            answer = asked(server, line, header + authorization)
            assert answer.startswith("HTTP/1.1 4")
            assert "alice-key" not in answer
            logged.append(target)
    httpx.get(f"{server.url}/healthz", trust_env=False)  # behind which all before it is logged
    assert [line["target"] for line in requests_logged(server)] == logged
    server.stderr.seek(0)
    assert "alice-key" not in server.stderr.read()


def test_a_body_that_is_no_http_is_answered_and_leaves_no_traceback(start_server):
    server = start_server(embedded=False)
    answer = asked(server, "POST /v1/samples", "Transfer-Encoding: chunked\r\n\r\nzz\r\n")
    assert answer.startswith("HTTP/1.1 4")
    httpx.get(f"{server.url}/healthz", trust_env=False)
    server.stderr.seek(0)
    assert "Traceback" not in server.stderr.read()


def test_the_usual_parameters_of_a_service_with_keys_are_logged(start_server):
    server = start_server(embedded=False, MATSTREAM_API_KEYS="alice-key")
    target = "/v1/samples?operation=add%2Csvd&dim=2-3"
    httpx.get(server.url + target, trust_env=False)
    httpx.get(f"{server.url}/healthz", trust_env=False)
    assert [line["target"] for line in requests_logged(server)] == [target]


def test_an_address_longer_than_any_of_ours_is_logged_in_short(start_server):
    server = start_server(embedded=False)
    with httpx.Client(base_url=server.url, trust_env=False) as client:
        client.get("/v1/samples?" + "x" * 60_000)
        client.get("/x" * 30_000)
        client.get("/healthz")  # behind which all before it is logged
    assert [line["target"] for line in requests_logged(server)] == ["/v1/samples?…", "…"]


def test_a_target_with_scheme_and_host_is_answered_and_logged_as_one_without(start_server):
    server = start_server(embedded=False)
    for target in ("/v1/samples?operation=add&dim=2", "/no%20where", "/?dim=2", "/"):
        for before in ("", "http://h", "HTTPS://name:password@h:8000"):
            absolute = before + (target.removeprefix("/") if target == "/" and before else target)
            assert asked(server, f"GET {absolute}")[9:12] == ("404" if "where" in target else "200")
        httpx.get(f"{server.url}/healthz", trust_env=False)
        assert [line["target"] for line in requests_logged(server)][-3:] == [target] * 3
