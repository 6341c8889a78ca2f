"""The query parameters of each route: a spec, a range of its samples, and how to send them."""

from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, WithJsonSchema
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from matstream.generator_service.samples_json import MAX_JSON_SAMPLES
from matstream.generator_service.service import refusals
from matstream.shared.encodings import ENCODINGS
from matstream.shared.errors import Problem, RefusedError, explain
from matstream.shared.fields import MAX_INDEX, Index, whole
from matstream.shared.spec import SampleRange, StreamSpec

MAX_BATCH_ROWS = 65536
MAX_QUERY_BYTES = 4096  # several times what all parameters together can need


Query = TypeVar("Query", bound=BaseModel)


def _known_encoding(name: str) -> str:
    if name not in ENCODINGS:
        raise ValueError(f"must be one of {', '.join(ENCODINGS)}")
    return name


_encoding_schema = WithJsonSchema({"type": "string", "enum": list(ENCODINGS)})


class NoQuery(BaseModel):
    """The query of a route that has no parameters."""

    model_config = ConfigDict(extra="forbid")


class StreamQuery(SampleRange, StreamSpec):
    """GET /v1/stream."""

    batch_rows: Annotated[int, *whole(1, MAX_BATCH_ROWS)] | None = Field(
        None, description="Samples a record batch; by default about 2 MiB of them.", examples=[1000]
    )


class SamplesQuery(SampleRange, StreamSpec):
    """GET /v1/samples."""

    count: Annotated[int, *whole(1, MAX_JSON_SAMPLES)] = Field(1, description="How many samples.")
    encoding: Annotated[str, AfterValidator(_known_encoding), _encoding_schema] | None = Field(
        None, description="Also write each matrix in the words of this encoding.", examples=["P1000"]
    )


class ScoreQuery(StreamSpec):
    """POST /v1/score."""

    seed: Index = Field(0, description="The seed of the stream whose test split is answered.")
    start: Index = Field(0, description="Index of the first sample that is answered, in the test split.")
    encoding: Annotated[str, AfterValidator(_known_encoding), _encoding_schema] = Field(
        "P1000", description="The encoding whose rounding sets the ceiling."
    )

    def samples(self, count: int) -> SampleRange:
        """The samples that are answered. Raises RefusedError if there are not so many."""
        if self.start + count > MAX_INDEX:
            allowed = f"start + count must be at most {MAX_INDEX}, and there are {count} predictions"
            raise RefusedError([Problem("start", self.start, allowed)])
        return SampleRange(seed=self.seed, split="test", start=self.start, count=count)


PARAMETERS = {*StreamQuery.model_fields, *SamplesQuery.model_fields, *ScoreQuery.model_fields}


def refuse_long_queries(app: ASGIApp) -> ASGIApp:
    """Wrap an app so that a query of more than MAX_QUERY_BYTES is refused before anything reads it."""

    async def bounded(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (size := len(scope["query_string"])) > MAX_QUERY_BYTES:
            detail = f"the query has {size} bytes: must have at most {MAX_QUERY_BYTES}"
            answer = await refusals.on_http_error(Request(scope), HTTPException(414, detail))
            return await answer(scope, receive, send)
        return await app(scope, receive, send)

    return bounded


def read_query(model: type[Query], request: Request, beside: Mapping[str, Any] | None = None) -> Query:
    """Read the query parameters of a request, and others that stand `beside` them in its body.

    Raises RefusedError naming each parameter that is unknown, repeated or not valid; the values of unknown
    ones are left out, since they may be secrets.
    """
    given = request.query_params
    repeated = [name for name, count in Counter(name for name, _ in given.multi_items()).items() if count > 1]
    if repeated:
        allowed = "must be given once (several values: separated by commas)"
        raise RefusedError(
            [_known(model, Problem(name, ", ".join(given.getlist(name)), allowed)) for name in repeated]
        )
    others = beside or {}
    twice = sorted(others.keys() & given.keys())
    if twice:
        raise RefusedError(
            [Problem(name, given[name], "is in the body too: must be given once") for name in twice]
        )
    try:
        return model.model_validate({**given, **others})
    except ValidationError as error:
        raise RefusedError([_known(model, problem) for problem in explain(error.errors(), model)]) from None


def _known(model: type[BaseModel], problem: Problem) -> Problem:
    return problem if problem.field in model.model_fields else problem._replace(value=None)


def openapi_parameters(model: type[BaseModel]) -> dict[str, Any]:
    """The query parameters of a model as OpenAPI writes them."""
    document = model.model_json_schema()
    return {
        "parameters": [
            _openapi_parameter(name, schema, required=name in document["required"])
            for name, schema in document["properties"].items()
        ]
    }


def _openapi_parameter(name: str, described: dict[str, Any], *, required: bool) -> dict[str, Any]:
    # an optional field is `anyOf` its schema and null, but a query cannot contain null
    schema = described | described.get("anyOf", [{}])[0]
    kept = {
        key: value
        for key, value in schema.items()
        if key not in ("anyOf", "description", "examples", "title")
    }
    if kept.get("default", ...) is None:
        del kept["default"]
    parameter = {"name": name, "in": "query", "required": required, "description": schema["description"]}
    if "examples" in schema:
        parameter["example"] = schema["examples"][0]
    return parameter | {"schema": kept}
