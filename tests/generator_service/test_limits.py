import pytest

from generator_service.limits import Limits, check_limits, estimated_work
from generator_service.stream import generate
from shared.errors import RefusedError
from shared.operations import OPERATIONS
from shared.spec import StreamSpec


def refusal(limits, spec, count, batch_rows=None):
    with pytest.raises(RefusedError) as refused:
        check_limits(limits, spec, count, batch_rows)
    [problem] = refused.value.problems
    return problem


@pytest.mark.parametrize("name", OPERATIONS)
def test_dim_64_and_a_million_samples_are_allowed_by_default(name):
    assert check_limits(Limits(), StreamSpec(operation=name, dim=64), 1_000_000, None) >= 1


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
    limits = Limits(max_work=1e9)
    for dim in (64, "2-64"):
        spec = StreamSpec(operation="add,eigenvalues", dim=dim)
        most = int(1e9 / estimated_work(spec))
        assert check_limits(limits, spec, most, None)
        problem = refusal(limits, spec, most + 1)
        assert problem.field == "count"
        assert str(most) in problem.message


def test_work_grows_with_everything_that_takes_longer():
    plain = StreamSpec(operation="eigenvalues", dim=10)
    assert estimated_work(plain) >= 4 / 3 * 10**3
    for more in ({"dim": 11}, {"dim": "2-20"}, {"noise": 0.1}):
        assert estimated_work(
            StreamSpec(**({"operation": "eigenvalues", "dim": 10} | more))
        ) > estimated_work(plain)


def test_the_bytes_of_a_batch_are_bounded():
    limits = Limits(max_batch_bytes=1 << 20)
    spec = StreamSpec(operation="transpose", dim=64)
    problem = refusal(limits, spec, 1000, 1000)
    assert problem.field == "batch_rows"
    rows = check_limits(limits, spec, 1000, 32)
    assert rows == 32
    assert generate(spec, 0, "train", 0, rows).nbytes < 3 << 20


def test_a_batch_has_no_more_rows_than_are_asked_for():
    spec = StreamSpec(operation="transpose", dim=2)
    assert check_limits(Limits(), spec, 7, None) == 7
    assert check_limits(Limits(), spec, 7, 5) == 5
    assert check_limits(Limits(), spec, 7, 50) == 7


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
