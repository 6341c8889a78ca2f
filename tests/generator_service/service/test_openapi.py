"""The OpenAPI document: it says what the service does, and reads offline."""

import itertools
import re
from collections.abc import Iterator

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

from matstream.shared.spec import SampleRange, StreamSpec
from matstream.shared.wire import MEDIA_TYPE
from tests.services import serving

SMALL = {"MATSTREAM_MAX_COUNT": "1000", "MATSTREAM_MAX_DIM": "20"}  # what is generated may ask for gigabytes
POSITIVE, NEGATIVE = schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE
FIXED = ["/v1/catalog", "/healthz", "/readyz", "/version", "/metrics"]  # routes without parameters


@pytest.fixture(scope="module")
def limited() -> Iterator[str]:
    """The URL of a service that makes small answers only."""
    with serving(**SMALL) as service:
        yield service.url


@pytest.mark.parametrize(
    ("path", "mode"),
    [
        *itertools.product(["/v1/stream", "/v1/samples", "/v1/score"], [POSITIVE, NEGATIVE]),
        *((path, POSITIVE) for path in FIXED),
    ],
)
def test_the_service_does_what_its_document_says(limited, path, mode):
    document = schemathesis.openapi.from_url(f"{limited}/openapi.json")
    operation = document[path]["POST" if path == "/v1/score" else "GET"]

    @settings(max_examples=80 if path.startswith("/v1/s") else 5, suppress_health_check=list(HealthCheck))
    @given(operation.as_strategy(generation_mode=mode))
    def check(case):
        # a schema cannot say which fields fit together, nor the limits: what it allows may be refused
        case.call_and_validate(excluded_checks=[positive_data_acceptance], timeout=30)

    check()


def test_a_service_with_keys_does_what_its_document_says(start_server):
    server = start_server(**SMALL, MATSTREAM_API_KEYS="a-key")
    document = schemathesis.openapi.from_url(f"{server.url}/openapi.json")
    for path in ("/v1/samples", *FIXED):

        @settings(max_examples=10, suppress_health_check=list(HealthCheck))
        @given(document[path]["GET"].as_strategy())
        def check(case):
            case.call_and_validate(
                excluded_checks=[positive_data_acceptance],
                timeout=30,
                headers={"Authorization": "Bearer a-key"},
            )

        check()


def test_every_parameter_is_described(server):
    document = httpx.get(f"{server}/openapi.json", trust_env=False).json()
    for path in ("/v1/stream", "/v1/samples"):
        parameters = document["paths"][path]["get"]["parameters"]
        assert {*StreamSpec.model_fields, *SampleRange.model_fields} < {one["name"] for one in parameters}
        for parameter in parameters:
            assert parameter["description"]
            assert "example" in parameter or "default" in parameter["schema"], parameter["name"]
    answers = document["paths"]["/v1/stream"]["get"]["responses"]
    assert list(answers["200"]["content"]) == [MEDIA_TYPE]
    assert {"304", "401", "422", "429", "503"} < set(answers)
    assert all(one["description"] for path in document["paths"].values() for one in path.values())
    [posted] = [path["post"] for path in document["paths"].values() if "post" in path]
    assert set(posted["requestBody"]["content"]) == {"application/json", "text/csv", MEDIA_TYPE}


def test_the_documentation_loads_nothing_from_elsewhere(server):
    with httpx.Client(base_url=server, trust_env=False) as client:
        page = client.get("/docs").text
        loaded = re.findall(r'(?:src|href)="([^"]+)"', page)
        assert len(loaded) == 3
        for address in loaded:
            assert address.startswith("static/")  # so that they hold behind a proxy's path prefix
            assert client.get(address).status_code == 200
        assert "url: 'openapi.json'" in page
