from contextlib import suppress

import pytest

from matstream.generator_service.service.limits import Limits, check_samples, check_stream, estimated_seconds
from matstream.generator_service.stream import batches
from matstream.shared.errors import RefusedError
from matstream.shared.fields import SPECTRA
from matstream.shared.operations import OPERATIONS
from matstream.shared.spec import SampleRange, StreamSpec
from matstream.shared.structures import STRUCTURES
from tests.specs import fields_of


def refusal(limits, spec, count, batch_rows=None):
    with pytest.raises(RefusedError) as refused:
        check_stream(limits, spec, count, batch_rows)
    [problem] = refused.value.problems
    return problem


def specs(dim, **fields):
    """A spec for every operation, structure and spectrum, where they fit together."""
    structured = [{"structure": structure} for structure in (*STRUCTURES, "condition-10")]
    for operation in OPERATIONS:
        if operation == "matrix_exponential":  # overflows where matrices are large
            continue
        for kind in [*structured, *({"spectrum": spectrum} for spectrum in SPECTRA)]:
            with suppress(ValueError):
                yield StreamSpec(operation=operation, dim=dim, **kind, **fields)


@pytest.mark.parametrize("name", OPERATIONS)
def test_dim_64_and_a_million_samples_are_allowed_by_default(name):
    assert check_stream(Limits(), StreamSpec(**fields_of(name, 64)), 1_000_000, None) >= 1


@pytest.mark.parametrize(
    ("fields", "count", "field"),
    [
        ({"dim": 129}, 1, "dim"),
        ({"dim": "2-129"}, 1, "dim"),
        ({"dim": 4096}, 1, "dim"),
        ({"dim": 5, "cols": 129}, 1, "cols"),
        ({"dim": 5, "cols": "1-4096"}, 1, "cols"),
        ({"dim": 5}, 10_000_001, "count"),
        ({"dim": 5}, 2**63 - 1, "count"),
    ],
)
def test_what_is_over_a_limit_is_refused_with_its_field_named(fields, count, field):
    problem = refusal(Limits(), StreamSpec(operation="add", **fields), count)
    assert problem.field == field
    assert "at most" in problem.message


def test_the_work_of_a_request_is_bounded_at_the_largest_dimension():
    limits = Limits(max_seconds=1)
    for dim in (64, "2-64"):
        spec = StreamSpec(operation="add,eigenvalues", dim=dim)
        most = int(1 / estimated_seconds(spec))
        assert check_stream(limits, spec, most, None)
        problem = refusal(limits, spec, most + 1)
        assert problem.field == "count"
        assert str(most) in problem.message
        assert f"dim={dim}" in problem.message


def test_work_grows_with_everything_that_takes_longer():
    plain = {"operation": "eigenvalues", "dim": 10}
    for more in (
        {"dim": 11},
        {"dim": "2-20"},
        {"noise": 0.1},
        {"spectrum": "laplace"},
        {"structure": "condition-10"},
        {"operation": "eigenvectors"},
    ):
        assert estimated_seconds(StreamSpec(**(plain | more))) > estimated_seconds(StreamSpec(**plain))


@pytest.mark.parametrize("operation", ["inverse", "effective_resistance", "qr"])
def test_samples_that_are_often_drawn_again_count_for_longer(operation):
    plain = StreamSpec(operation=operation, dim=5)
    for law in ("integers", "sparse", "sparse,uniform"):
        assert estimated_seconds(StreamSpec(operation=operation, dim=5, coefficients=law)) > 3 * (
            estimated_seconds(plain)
        )
    of_any = {"operation": "transpose", "dim": 5}
    assert estimated_seconds(StreamSpec(**of_any, coefficients="sparse")) == estimated_seconds(
        StreamSpec(**of_any)
    )


@pytest.mark.parametrize("dim", [1, 4, 30, 128, "4-6"])
def test_no_batch_is_larger_or_takes_longer_than_is_allowed(dim):
    limits = Limits(max_batch_bytes=1 << 20)
    for spec in specs(dim):
        rows = check_stream(limits, spec, 10**5, None)
        [batch] = batches(spec, SampleRange(count=min(rows, 100)), rows)
        # beside the matrices each sample has an index, a residual, an attempt, and shapes if they vary
        size = batch.nbytes / batch.num_rows - 64
        assert rows == 1 or size * rows <= 1 << 20, spec
        assert rows == 1 or rows * estimated_seconds(spec) <= 0.1, spec


def test_rows_over_the_bytes_of_a_batch_are_refused():
    problem = refusal(Limits(max_batch_bytes=1 << 20), StreamSpec(operation="transpose", dim=64), 1000, 1000)
    assert problem.field == "batch_rows"
    assert "at most 16 " in problem.message


def test_samples_that_would_fill_a_page_without_end_are_refused():
    spec = StreamSpec(operation="svd", dim=100)
    check_samples(Limits(), spec, 6)
    with pytest.raises(RefusedError, match=r"count=7: must be at most 6 as JSON at dim=100: use /v1/stream"):
        check_samples(Limits(), spec, 7)


def test_a_batch_has_no_more_rows_than_are_asked_for():
    spec = StreamSpec(operation="transpose", dim=2)
    assert check_stream(Limits(), spec, 7, None) == 7
    assert check_stream(Limits(), spec, 7, 5) == 5
    assert check_stream(Limits(), spec, 7, 50) == 7


def test_limits_are_set_by_the_environment(monkeypatch):
    monkeypatch.setenv("MATSTREAM_MAX_DIM", "9")
    monkeypatch.setenv("MATSTREAM_MAX_COUNT", "1000")
    limits = Limits()
    assert (limits.max_dim, limits.max_count) == (9, 1000)
    assert refusal(limits, StreamSpec(operation="add", dim=10), 1).field == "dim"
    assert refusal(limits, StreamSpec(operation="add", dim=9), 1001).field == "count"


@pytest.mark.parametrize("value", ["0", "-1", "many"])
def test_a_limit_that_makes_no_sense_is_refused(monkeypatch, value):
    monkeypatch.setenv("MATSTREAM_MAX_COUNT", value)
    with pytest.raises(ValueError, match="max_count"):
        Limits()
