"""Functions that users mark as operations and structures: what is refused, what is checked of each call."""

import numpy as np
import pytest

import matstream
from matstream.generator_service.stream import generate
from matstream.shared import decorators
from matstream.shared.errors import RefusedError, UserError
from matstream.shared.spec import StreamSpec
from matstream.shared.wire import from_batch


@pytest.fixture(autouse=True)
def forgotten(problems_forgotten) -> None:
    """What the tests mark here is unknown after them."""


def mark(function, **how):
    """Mark a function of (B, m, n) as the operation `mine`."""
    matstream.operation(name="mine", **({"target": lambda m, n: (m, n)} | how))(function)


def drawn(count=50, **fields):
    return from_batch(generate(StreamSpec(**{"operation": "mine", "dim": 2} | fields), 0, "train", 0, count))


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda a: np.sqrt(a.astype(complex)), "answers of type complex128: must be real numbers"),
        (lambda a: a > 0, "answers of type bool: must be real numbers"),
        (lambda a: a.astype(str), "answers of type <U32: must be real numbers"),
        (lambda a: np.ma.masked_less(a, 0), r"answers\[.*\] is masked: must be a number"),
        (lambda a: a.sort() or a, "raised ValueError: sort array is read-only"),
        (lambda a: np.multiply(a, 2, out=a), "raised ValueError: output array is read-only"),
        (lambda a: a[:, :1], r"returned targets of shape \(1, 2\) for m=2, n=2: must be \(2, 2\), as its"),
        (lambda a: None, "answers of type object: must be real numbers"),
    ],
)
def test_answers_that_are_no_real_numbers_or_of_another_shape_are_refused(function, said):
    with pytest.raises(UserError, match=f"^operation='mine': {said}"):
        mark(function)


def test_inputs_stay_as_they_were_drawn():
    """Also where a function returns its very argument."""
    mark(lambda a: a)
    batch = drawn()
    assert not np.shares_memory(batch.input, batch.target)


def test_a_target_that_is_not_finite_is_drawn_again_whatever_its_residual():
    mark(
        lambda a: np.where(a[:, :1, :1] > 0, a, np.nan),
        residual=lambda a, t: np.zeros(len(a)),
        residual_bound=1e-12,
    )
    batch = drawn()
    assert np.isfinite(batch.target).all()
    assert batch.attempt.any()
    assert (batch.residual == 0).all()


def test_targets_and_matrices_have_no_negative_zero():
    mark(lambda a: np.where(a > 0, a, -0.0))
    matstream.structure(words=lambda m, n: m * n, name="minus")(
        lambda u, m, n: np.where(u > 0.5, u, -0.0).reshape(-1, m, n)
    )
    for matrices in (drawn().target, drawn(operation="transpose", structure="minus").input):
        assert not np.signbit(matrices[matrices == 0]).any()
        assert (matrices == 0).any()


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"residual": lambda a, t: np.zeros((len(a), 3))}, r"its `residual` returned .* \(7, 3\)"),
        ({"residual": lambda a, t: np.zeros((len(a), 1))}, r"its `residual` returned .* \(7, 1\)"),
        ({"residual": lambda a, t: 1 // 0}, "raised ZeroDivisionError: integer division or modulo by zero"),
        ({"residual_bound": 1e-9}, "residual_bound=1e-09: must be a number from 0 on, and needs `residual`"),
        ({"residual": lambda a, t: np.zeros(len(a)), "residual_bound": -1}, "residual_bound=-1: must be a"),
        ({"residual": lambda a, t: np.zeros(len(a)), "residual_bound": np.nan}, "residual_bound=nan: must"),
    ],
)
def test_a_residual_that_cannot_be_compared_is_refused(how, said):
    with pytest.raises(UserError, match=f"^operation='mine': {said}"):
        mark(lambda a: a, **how)


def test_a_shape_that_is_wrong_only_at_some_size_is_one_sentence_there():
    mark(lambda a: a[:, :4, :4])
    assert drawn(dim=4).target.shape == (50, 4, 4)
    with pytest.raises(
        RefusedError, match=r"^operation='mine': returned targets of shape \(4, 4\) for m=5, n=5"
    ):
        drawn(dim=5)


def even(a):
    if a.shape[1] % 2:
        raise ValueError("only for an even number of rows")
    return a


def test_a_function_may_take_only_some_sizes():
    mark(even)
    assert drawn(dim=6).target.shape == (50, 6, 6)
    with pytest.raises(
        RefusedError, match=r"^operation='mine': raised ValueError: only for an even number of rows$"
    ):
        drawn(dim=5)


def test_a_function_that_takes_no_size_is_refused_with_its_first_error():
    with pytest.raises(
        UserError, match=r"^operation='mine': raised NameError: name 'nowhere' is not defined"
    ):
        mark(lambda a: nowhere)  # noqa: F821


def test_a_service_refuses_what_a_function_does_not_take(start_server, tmp_path):
    """As it does any other request that cannot be met: with a sentence, before anything is sent."""
    import httpx

    code = (
        "import matstream\n"
        "@matstream.operation(target=lambda m, n: (m, n))\n"
        "def picky(a):\n"
        "    assert a.shape[1] != 5, 'not five'\n"
        "    return a\n"
    )
    (tmp_path / "picky.py").write_text(code)
    url = start_server(MATSTREAM_PROBLEMS=str(tmp_path / "picky.py")).url
    for route in ("samples", "stream"):
        answer = httpx.get(f"{url}/v1/{route}?operation=picky&dim=5&count=1")
        assert answer.status_code == 422, answer.text
        assert answer.headers["content-type"].startswith("application/problem+json")
        assert "operation='picky': raised AssertionError: not five" in answer.text


def test_a_slow_function_is_tried_with_few_samples(monkeypatch):
    monkeypatch.setattr(decorators, "_SLOW", 0.0)
    seen = []
    mark(lambda a: seen.append(len(a)) or a)
    assert max(seen) < 10


def test_what_is_marked_again_in_a_program_replaces_what_was_there():
    """As a cell of a notebook that is run again does; a spec keeps what it meant."""
    mark(lambda a: a)
    before = StreamSpec(operation="mine", dim=2)
    mark(lambda a: 2 * a)
    now = StreamSpec(operation="mine", dim=2)
    first, second = (from_batch(generate(spec, 0, "train", 0, 5)) for spec in (before, now))
    np.testing.assert_array_equal(first.target, first.input)
    np.testing.assert_array_equal(second.target, 2 * first.target)
    assert before != now


def test_an_operation_and_a_structure_may_have_one_name():
    mark(lambda a: a)
    matstream.structure(words=lambda m, n: m * n, name="mine")(lambda u, m, n: u.reshape(-1, m, n))
    batch = drawn(structure="mine")
    assert batch.input.max() < 1
    np.testing.assert_array_equal(batch.input, batch.target)


def test_an_operation_may_take_only_positive_definite_matrices_or_whole_numbers():
    """A sample for which it returns nothing finite is drawn again."""
    mark(np.linalg.cholesky, square=True, symmetric=True)
    assert drawn(dim=3, spectrum="positive").target.shape == (50, 3, 3)
    table = np.full(100, np.nan)
    table[1:10] = np.arange(9)
    mark(lambda a: table[np.clip(a[:, :1, :1].astype(int), 0, 99)], target=lambda m, n: (1, 1))
    assert drawn(scale=9).attempt.any()


def test_an_operation_is_tried_on_the_structures_of_its_file(tmp_path):
    (tmp_path / "digits.py").write_text(
        "import numpy as np\nimport matstream\n"
        "@matstream.structure(words=lambda m, n: m * n)\n"
        "def digits(u, m, n):\n    return 20 + np.floor(3 * u).reshape(-1, m, n)\n"
        "@matstream.operation(target=lambda m, n: (m, n))\n"
        "def looked_up(a):\n"
        "    return np.vectorize({20: 1.0, 21: 2.0, 22: 5.0}.__getitem__)(a.astype(int))\n"
    )
    matstream.read_problems(tmp_path / "digits.py")
    batch = drawn(operation="looked_up", structure="digits")
    assert set(batch.target.ravel()) == {1, 2, 5}


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"target": lambda m, n: (m / 2, n)}, r"its `target` returned \(1\.0, 2\) for m=2, n=2: must be 2"),
        ({"target": lambda m, n: 1 // 0}, "its `target` raised ZeroDivisionError"),
        ({"target": (1, 1)}, "its `target` raised TypeError"),
        (
            {"operands": lambda m, n: (m, n)},
            "its `operands` returned 2 for m=2, n=2: must be 2 whole numbers",
        ),
        (
            {"operands": lambda m, n: [(m, n), (m + 1, n)]},
            "its `operands` returned .*: must be of one number",
        ),
        (
            {"operands": lambda m, n: [(n, n), (n, n)], "symmetric": True},
            "its `operands` returned .*: must be one of a symmetric operation",
        ),
        ({"deviation": lambda i, t, p: p - t}, r"its `deviation` must return a Deviation of three arrays"),
        ({"deviation": lambda i, t: 1}, r"its `deviation` raised TypeError"),
    ],
)
def test_what_is_wrong_beside_the_function_is_one_sentence_too(how, said):
    with pytest.raises(UserError, match=rf"^operation='mine': {said}"):
        mark(lambda a: a, **how)


def test_a_function_that_writes_to_its_inputs_by_another_library_is_refused():
    torch = pytest.importorskip("torch")
    with pytest.raises(UserError, match=r"^operation='mine': wrote to its inputs: must not"):
        mark(lambda a: torch.from_numpy(a).abs_().numpy())


def test_a_vector_beside_a_matrix_has_no_structure_and_has_a_scale():
    mark(
        lambda a: np.linalg.solve(a[:, :, :-1], a[:, :, -1:]),
        square=True,
        target=lambda m, n: (n, 1),
        operands=lambda m, n: ((n, n), (n, 1)),
    )
    assert drawn(structure="circulant", dim=3).input.shape == (50, 3, 4)
    matstream.structure(words=lambda m, n: m * n, name="tiny")(
        lambda u, m, n: 1e-3 * (1 + u).reshape(-1, m, n)
    )
    batch = drawn(operation="matvec", structure="tiny", scale=5, dim=3)
    assert np.abs(batch.input[:, :, :3]).max() < 0.01
    assert 1 < np.abs(batch.input[:, :, 3]).max() <= 5
