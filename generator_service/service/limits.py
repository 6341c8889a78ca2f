"""What the service refuses to compute, decided before anything is allocated."""

from typing import Annotated

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from matstream.generator_service.ensembles.draws import row_layout
from matstream.generator_service.stream import default_batch_rows, sample_bytes
from matstream.shared.errors import Problem, RefusedError
from matstream.shared.fields import MAX_DIM, MAX_INDEX, WITH_ZEROS, number, whole
from matstream.shared.operation import cubic
from matstream.shared.spec import StreamSpec
from matstream.shared.structures import condition_number, parts

# Nanoseconds of one core for drawing a sample, as measured (docs/LOG.md); what its answer takes is in the
# operation's module.
_QUICK_SPECTRA = {"semicircle", "marchenko_pastur"}  # the others take an eigendecomposition
_SPECTRUM = 85  # that decomposition and its product, over n·n
_ORTHOGONAL = 35  # a QR decomposition, over m·n
_CONDITION = 85  # two of them and a product
_WORD = 10  # drawing a uniform and shaping it
# Coefficients that may be 0 make many matrices singular, and leave many graphs unconnected. These are drawn
# again, 4 times as a rule at most, and twice as long is spent on a batch that LAPACK fails on.
_OFTEN_REFUSED = 6

SCORE_SECONDS = 60.0  # of work for the samples that a request's predictions are compared with
_BATCH_SECONDS = 0.1  # of work in a batch, for which the end of a stream or of the service may have to wait


class Limits(BaseSettings):
    """The limits of a service, each settable as MATSTREAM_<NAME> in the environment."""

    model_config = SettingsConfigDict(env_prefix="MATSTREAM_", frozen=True)

    max_dim: Annotated[int, *whole(1, MAX_DIM)] = Field(128, description="largest dimension of an operand")
    max_count: Annotated[int, *whole(1, MAX_INDEX)] = Field(10_000_000, description="most samples a request")
    max_seconds: Annotated[float, *number(1e-6, 1e12)] = Field(
        3600, description="most estimated seconds of one core a request"
    )
    max_batch_bytes: Annotated[int, *whole(1 << 20, 1 << 40)] = Field(
        64 << 20, description="most bytes of input and target a batch"
    )
    max_body_bytes: Annotated[int, *whole(1 << 10, 1 << 30)] = Field(
        16 << 20, description="most bytes of predictions in a request"
    )
    max_json_numbers: Annotated[int, *whole(1, 10**9)] = Field(
        200_000, description="most numbers in an answer of /v1/samples"
    )


def check_scores(limits: Limits, spec: StreamSpec, count: int) -> int:
    """As check_stream, for an answer that comes only once all samples are made: that its client has left is
    not noticed until then."""
    seconds = min(limits.max_seconds, SCORE_SECONDS)
    return check_stream(limits.model_copy(update={"max_seconds": seconds}), spec, count, None)


def check_stream(limits: Limits, spec: StreamSpec, count: int, batch_rows: int | None) -> int:
    """The rows that a batch will have. Raises RefusedError, naming the field, for a request over a limit."""
    _check_dims(limits, spec)
    _at_most("count", count, limits.max_count, "per request on this service: ask for several ranges")
    where = f"at dim={spec.fields()['dim']}"
    seconds = estimated_seconds(spec)
    affordable = int(limits.max_seconds / seconds)
    _at_most("count", count, affordable, f"per request {where}, to limit its work: ask for several ranges")
    in_memory = limits.max_batch_bytes // sample_bytes(spec, *spec.extreme_dims()[1])
    most_rows = max(1, min(in_memory, int(_BATCH_SECONDS / seconds)))
    if batch_rows is not None:
        _at_most("batch_rows", batch_rows, most_rows, where)
    return min(batch_rows or default_batch_rows(spec), most_rows, count)


def check_samples(limits: Limits, spec: StreamSpec, count: int) -> None:
    """Raises RefusedError, naming the field, for more samples than are written as JSON."""
    _check_dims(limits, spec)
    most = max(1, limits.max_json_numbers // spec.max_entries(*spec.extreme_dims()[1]))
    _at_most("count", count, most, f"as JSON at dim={spec.fields()['dim']}: use /v1/stream")


def estimated_seconds(spec: StreamSpec) -> float:
    """Estimated seconds of one core for one sample, at the largest dimensions the spec allows."""
    _, (m, n) = spec.extreme_dims()
    return 1e-9 * (_WORD * row_layout(spec).words + max(_work(spec, name, m, n) for name in spec.operation))


def _work(spec: StreamSpec, name: str, m: int, n: int) -> float:
    operation = spec.operations[name]
    made_of = [part for structure in spec.structure for part in parts(structure)]
    if any(condition_number(part) is not None for part in made_of):
        drawing = _CONDITION
    elif "orthogonal" in made_of:
        drawing = _ORTHOGONAL
    else:
        drawing = _SPECTRUM if operation.symmetric and not _QUICK_SPECTRA.issuperset(spec.spectrum) else 0
    drawn = sum(cubic(drawing)(a.rows, a.cols) for a in operation.operands(m, n) if not a.vector)
    refused = operation.invertible or operation.diagonalisable or "laplacian" in operation.structures
    often = refused and any(law in WITH_ZEROS for law in spec.coefficients)
    return (_OFTEN_REFUSED if often else 1) * (drawn + operation.cost(m, n))


def _check_dims(limits: Limits, spec: StreamSpec) -> None:
    for field, dims in (("dim", spec.dim), ("cols", spec.cols)):
        if dims is not None and dims.high > limits.max_dim:
            raise _over(field, spec.fields()[field], limits.max_dim, "on this service")


def _at_most(field: str, value: int, most: int, where: str) -> None:
    if value > most:
        raise _over(field, value, most, where)


def _over(field: str, value: object, most: int, where: str) -> RefusedError:
    return RefusedError([Problem(field, value, f"must be at most {most} {where}")])
