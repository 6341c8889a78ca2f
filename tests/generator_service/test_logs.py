import json

import httpx


def requests_logged(server):
    server.stderr.seek(0)
    lines = [json.loads(line) for line in server.stderr.read().splitlines()]
    return [line for line in lines if "request_id" in line]


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
