"""What the service refuses to compute, decided before anything is allocated."""

from collections.abc import Callable

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from generator_service.ensembles import row_layout
from generator_service.stream import default_batch_rows
from shared.errors import Problem, RefusedError
from shared.spec import StreamSpec

# operation -> (m, n) -> estimated floating-point operations a sample, drawing aside
_WORK: dict[str, Callable[[int, int], float]] = {
    "add": lambda m, n: m * n,
    "eigenvalues": lambda m, n: 4 / 3 * n**3,
    "eigenvectors": lambda m, n: 9 * n**3,
    "inverse": lambda m, n: 2 * n**3,
    "matmul": lambda m, n: 2 * m * n * n,
    "matvec": lambda m, n: 2 * m * n,
    "singular_values": lambda m, n: 8 / 3 * m * n * min(m, n),
    "svd": lambda m, n: 20 * m * n * min(m, n),
    "symmetric_inverse": lambda m, n: 2 * n**3,
    "transpose": lambda m, n: m * n,
}
_WORK_PER_WORD = 10  # drawing a uniform, shaping it, sending it


class Limits(BaseSettings):
    """The limits of a service, each settable as MATSTREAM_<NAME> in the environment."""

    model_config = SettingsConfigDict(env_prefix="MATSTREAM_", frozen=True)

    max_dim: int = Field(128, ge=1, description="largest dimension of an operand")
    max_count: int = Field(10_000_000, ge=1, description="most samples a request")
    max_work: float = Field(1e13, gt=0, description="most estimated floating-point operations a request")
    max_batch_bytes: int = Field(64 << 20, ge=1 << 20, description="most bytes of input and target a batch")


def check_limits(limits: Limits, spec: StreamSpec, count: int, batch_rows: int | None) -> int:
    """The rows a batch is to have. Raises RefusedError, naming the field, for a request over a limit."""
    _, (m, n) = spec.extreme_dims()
    for field, dim in (("dim", m), ("cols", n)):
        _at_most(field, dim, limits.max_dim, "on this service")
    _at_most("count", count, limits.max_count, "a request on this service: ask for ranges")
    affordable = int(limits.max_work / estimated_work(spec))
    _at_most("count", count, affordable, f"a request at dim={m}, for the work it makes: ask for ranges")
    most_rows = max(1, limits.max_batch_bytes // (8 * row_layout(spec).words))
    if batch_rows is not None:
        _at_most("batch_rows", batch_rows, most_rows, f"at dim={m}")
    return min(batch_rows or default_batch_rows(spec), count)


def _at_most(field: str, value: int, most: int, where: str) -> None:
    if value > most:
        raise RefusedError([Problem(field, value, f"must be at most {most} {where}")])


def estimated_work(spec: StreamSpec) -> float:
    """Estimated floating-point operations for one sample, at the largest dimensions the spec allows."""
    _, (m, n) = spec.extreme_dims()
    return max(_WORK[name](m, n) for name in spec.operation) + _WORK_PER_WORD * row_layout(spec).words
