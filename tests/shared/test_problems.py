"""Problems of the user's own: what is read, and what is refused in one sentence."""

import pickle
import textwrap
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import matstream
from matstream.generator_service.stream import generate
from matstream.shared import problems
from matstream.shared.errors import UserError
from matstream.shared.spec import StreamSpec
from matstream.shared.wire import from_batch
from matstream.trainer.client import stream
from matstream.trainer.client.embedded import generators

GOOD = """
@matstream.operation(target=lambda m, n: (1, 1), square=True)
def mine(a):
    return np.trace(a, axis1=1, axis2=2)[:, None, None]
"""


@pytest.fixture
def read(tmp_path, problems_forgotten) -> Callable[..., None]:
    """Read a file of this code."""

    def read(code: str, name: str = "mine.py") -> None:
        (tmp_path / name).write_text(f"import numpy as np\nimport matstream\n{textwrap.dedent(code)}")
        problems.read_problems(tmp_path / name)

    return read


def test_an_operation_of_ones_own_is_streamed_and_says_which_file_it_is_of(read):
    read(GOOD)
    spec = StreamSpec(operation="mine", dim=3)
    batch = generate(spec, 0, "train", 0, 50)
    columns = from_batch(batch)
    np.testing.assert_allclose(columns.target[:, 0, 0], np.einsum("bii->b", columns.input))
    assert np.isnan(columns.residual).all()
    assert spec.definitions.hash.encode() in b"".join(batch.schema.metadata.values())
    assert StreamSpec(operation="svd", dim=3).definitions.hash is None


def test_a_residual_of_ones_own_is_kept_and_redraws_what_is_over_its_bound(read):
    read("""
        @matstream.operation(
            target=lambda m, n: (m, n), residual=lambda a, t: np.abs(a).max(axis=(1, 2)), residual_bound=9.5
        )
        def own_copy(a):
            return a
    """)
    columns = from_batch(generate(StreamSpec(operation="own_copy", dim=2), 0, "train", 0, 200))
    assert columns.residual.max() <= 9.5
    assert columns.attempt.any()


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("x = 1", "it marks no operation and no structure"),
        ("x = nowhere", "NameError: name 'nowhere' is not defined"),
        ("def f(:", "SyntaxError: invalid syntax"),
        (GOOD.replace("mine", "svd"), "operation='svd': exists already: choose another name"),
        (GOOD + GOOD, "operation mine: exists already, in the same file: choose another name"),
        (GOOD.replace("mine", "Trace"), "operation='Trace': must be named by small letters"),
        (GOOD.replace("[:, None, None]", ""), r"operation='mine': returned an array of shape \(7,\)"),
        (
            GOOD.replace("(1, 1)", "(2, 1)"),
            r"operation='mine': returned targets of shape \(1, 1\) for m=2, n=2: must be \(2, 1\)",
        ),
        (GOOD.replace("np.trace(", "np.tracee("), "operation='mine': raised AttributeError"),
        (GOOD.replace("return ", "return np.nan * "), "operation='mine': returned no finite number"),
        (
            GOOD.replace("return ", "return len(a) * "),
            "operation='mine': returned another result for the same",
        ),
    ],
)
def test_what_cannot_be_used_is_one_sentence_and_nothing_of_it_stays(read, code, said):
    known = problems.known()
    with pytest.raises(UserError, match=rf"^problem file .*mine\.py: {said}") as refused:
        read(code)
    assert len(str(refused.value).splitlines()) == 1
    assert problems.known() == known


def test_what_a_problem_file_prints_does_not_stand_among_samples(read, capsys):
    read(GOOD + "\nprint('hello')\n")
    assert capsys.readouterr() == ("", "hello\n")


def test_a_structure_of_ones_own_is_drawn_at_every_size_whatever_it_takes(read):
    read("""
        @matstream.structure(words=lambda m, n: 12 // m)
        def shrinking(u, m, n):
            return np.broadcast_to(u.sum(axis=1)[:, None, None], (len(u), m, n))
    """)
    columns = from_batch(
        generate(StreamSpec(operation="transpose", dim="1-4", structure="shrinking"), 0, "train", 0, 50)
    )
    assert columns.input.entries.max() > 4  # of twelve uniforms, where m is 1


@pytest.mark.parametrize(("field", "value"), [("coefficients", "gaussian"), ("scale", 3), ("scale", "1-9")])
def test_what_has_no_effect_on_a_structure_of_ones_own_is_refused(read, field, value):
    read("""
        @matstream.structure(words=lambda m, n: m * n)
        def rows(u, m, n):
            return u.reshape(-1, m, n)
    """)
    fields = {"operation": "transpose", "dim": 2, "structure": "rows"}
    with pytest.raises(ValueError, match=f"{field}.*has no effect with structure='rows': leave it out"):
        StreamSpec(**fields, **{field: value})
    assert StreamSpec(**fields, scale=3, noise=0.1)  # whose size it sets


def test_a_structure_of_ones_own_cannot_take_the_name_of_one_of_ours(read):
    with pytest.raises(UserError, match="structure='toeplitz': exists already: choose another name"):
        read("""
            @matstream.structure(words=lambda m, n: m * n)
            def toeplitz(u, m, n):
                return u.reshape(-1, m, n)
        """)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("u", r"returned an array of shape \(7, 4\) for m=2, n=2: must be \(7, 2, 2\)"),
        ("u.reshape(-1, m, n) / 0", "returned numbers that are not finite"),
        ("u.reshape(-1, m, n) - u.mean()", "returned another result for the same sample in another batch"),
        ("nowhere", "raised NameError: name 'nowhere' is not defined"),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_a_structure_that_cannot_be_used_is_refused(read, body, said):
    with pytest.raises(UserError, match=rf"^problem file .*mine\.py: structure='rows': {said}"):
        read(f"""
            @matstream.structure(words=lambda m, n: m * n)
            def rows(u, m, n):
                return {body}
        """)
    assert "rows" not in problems.structures()


def test_a_file_is_kept_as_it_was_when_it_was_read(read, tmp_path):
    """A run that replaces itself removes its own copy before it writes one."""
    read(GOOD)
    content = (tmp_path / "mine.py").read_bytes()
    (tmp_path / "mine.py").unlink()
    definitions = StreamSpec(operation="mine", dim=2).definitions
    assert [source.file.content for source in definitions.sources] == [content]


@pytest.mark.parametrize("place", ["nowhere.py", "no.such.module", "matstream_is_no_such"])
def test_a_file_that_is_not_there_is_named(place):
    with pytest.raises(UserError, match=f"problem file {place}: "):
        problems.read_problems(place)


def test_an_edited_file_is_read_again_and_specs_keep_what_they_meant(read):
    """Both versions are at work in one process."""
    read(GOOD)
    before = StreamSpec(operation="mine", dim=3)
    read(GOOD.replace("return ", "return 2 * "))
    now = StreamSpec(operation="mine", dim=3)
    first, second = (from_batch(generate(spec, 0, "train", 0, 9)).target for spec in (before, now))
    np.testing.assert_array_equal(2 * first, second)
    assert before.definitions.hash != now.definitions.hash
    read(GOOD)
    assert StreamSpec(operation="mine", dim=3) == before


def test_two_files_that_are_read_together_must_not_define_one_name(tmp_path, problems_forgotten):
    header = "import numpy as np\nimport matstream\n"
    for name, code in (("a.py", GOOD), ("b.py", GOOD.replace("return ", "return 2 * "))):
        (tmp_path / name).write_text(header + code)
    places = tmp_path / "a.py", tmp_path / "b.py"
    with pytest.raises(
        UserError, match=r"^operation mine: is defined by .*a\.py and by .*b\.py: must be by one"
    ):
        problems.read_problems(*places)
    for place in places:  # but the later one wins
        problems.read_problems(place)
    assert b"2 * np.trace" in StreamSpec(operation="mine", dim=2).definitions.sources[0].file.content


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("raise SystemExit", "SystemExit"),
        ("from . import helper", "it imports from its own package: must be one file, which works alone"),
        ("import helper", "it imports helper, a file beside it: must be one file, which works alone"),
        ("def f():\n    from helper import x", "it imports helper, a file beside it"),
    ],
)
def test_a_file_that_ends_the_program_or_needs_another_is_refused(read, tmp_path, monkeypatch, code, said):
    (tmp_path / "helper.py").write_text("x = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match=rf"^problem file .*mine\.py: {said}"):
        read(f"{code}\n{GOOD}")


def test_a_package_that_fails_is_one_sentence(tmp_path, monkeypatch):
    (tmp_path / "failing").mkdir()
    (tmp_path / "failing/__init__.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    for place in ("failing.problems", "__main__", "sys"):
        with pytest.raises(UserError, match=f"^problem file {place}: must be a Python file"):
            problems.read_problems(place)


def test_a_file_may_try_its_problems_itself(read, tmp_path, monkeypatch):
    monkeypatch.setenv(problems.VARIABLE, str(tmp_path / "mine.py"))
    read(GOOD + "\nassert matstream.sample('mine', dim=2, count=3).targets.shape == (3, 1, 1)\n")
    assert matstream.sample("mine", dim=2).operations == ["mine"]


def test_files_of_the_environment_are_known_wherever_a_name_is_looked_up(
    tmp_path, monkeypatch, problems_forgotten
):
    (tmp_path / "mine.py").write_text("import numpy as np\nimport matstream\n" + GOOD)
    monkeypatch.setenv(problems.VARIABLE, str(tmp_path / "mine.py"))
    ones = np.ones((3, 1, 1))
    assert matstream.score("mine", ones, ones, ones).accuracy["0.05"] == 1
    assert matstream.StreamSpec(operation="mine", dim=2).definitions.hash


def test_a_spec_brings_its_file_into_another_process(read, tmp_path, monkeypatch):
    """As a worker of a DataLoader that is spawned needs it, whatever has become of the file meanwhile."""
    read(GOOD)
    spec = StreamSpec(operation="mine", dim=2)
    there = pickle.dumps(spec)
    (tmp_path / "mine.py").write_text("edited since")
    monkeypatch.setattr(problems, "_known", problems.Definitions())
    monkeypatch.setattr(problems, "_by_digest", {})
    found = pickle.loads(there)
    assert found.definitions.hash == spec.definitions.hash
    np.testing.assert_array_equal(*(from_batch(generate(s, 0, "train", 0, 9)).target for s in (found, spec)))
    assert "mine" not in problems.operations()


def test_a_mixture_of_files_stays_what_it_was_in_another_process(read, tmp_path, monkeypatch):
    """Both files define one of its names, and the order of their hashes must not decide."""
    rows = """
        @matstream.structure(words=lambda m, n: m * n)
        def rows(u, m, n):
            return u.reshape(-1, m, n)
    """
    hashes = set()
    for factor in range(2, 6):
        read(GOOD + textwrap.dedent(rows), name="both.py")
        read(GOOD.replace("return ", f"return {factor} * "))
        spec = StreamSpec(operation="mine", dim=2, structure="rows")
        found = pickle.loads(pickle.dumps(spec))
        with generators(None, spec.definitions.sources) as urls:
            [served] = stream(urls, spec, 0, "train", 0, 9)
        expected = from_batch(generate(spec, 0, "train", 0, 9)).target
        np.testing.assert_array_equal(from_batch(generate(found, 0, "train", 0, 9)).target, expected)
        np.testing.assert_array_equal(from_batch(served).target, expected)
        hashes.add(spec.definitions.hash)
    assert len(hashes) == 4


def test_files_may_be_read_by_several_threads(tmp_path, problems_forgotten):
    for i in range(8):
        code = GOOD.replace("mine", f"mine_{i}") + "import time\ntime.sleep(0.05)\n"
        (tmp_path / f"{i}.py").write_text("import numpy as np\nimport matstream\n" + code)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda i: problems.read_problems(tmp_path / f"{i}.py"), range(8)))
    found = problems.known().by_name
    assert {found[f"operation mine_{i}"].path.name for i in range(8)} == {f"{i}.py" for i in range(8)}


def test_of_a_file_of_the_environment_that_fails_nothing_is_kept(tmp_path, monkeypatch, problems_forgotten):
    """Even if it tries its problems before it fails."""
    code = GOOD + "matstream.sample('mine', dim=2)\nassert False, 'no'\n"
    (tmp_path / "mine.py").write_text("import numpy as np\nimport matstream\n" + code)
    monkeypatch.setenv(problems.VARIABLE, str(tmp_path / "mine.py"))
    for _ in range(2):
        with pytest.raises(UserError, match=r"mine\.py: AssertionError: no \(line 8\)"):
            StreamSpec(operation="mine", dim=2)


def test_a_generator_of_ones_own_reads_the_file_as_it_was(read, tmp_path):
    """Not as it is when the generator starts, or starts again; and whatever its name."""
    read(GOOD, name="a:b.py")
    spec = StreamSpec(operation="mine", dim=2)
    (tmp_path / "a:b.py").unlink()
    with generators(None, spec.definitions.sources) as urls:
        [found] = stream(urls, spec, 0, "train", 0, 9)
    expected = generate(spec, 0, "train", 0, 9)
    np.testing.assert_array_equal(from_batch(found).target, from_batch(expected).target)


def test_files_of_the_environment_are_read_once(read, tmp_path, monkeypatch):
    read(GOOD)
    copy = tmp_path / "copy.py"
    copy.write_bytes(Path(tmp_path / "mine.py").read_bytes())
    monkeypatch.setenv(problems.VARIABLE, f"{tmp_path / 'mine.py'}:{copy}")
    assert len(StreamSpec(operation="mine", dim=2).definitions.sources) == 1


def test_two_sides_with_different_files_refuse_each_other(read, start_server, here, tmp_path):
    """In one sentence, since either would call other answers by the same name."""
    there, mine = tmp_path / "there.py", tmp_path / "mine.py"
    header = "import numpy as np\nimport matstream\n"
    there.write_text(header + GOOD.replace("mine", "other_trace"))
    mine.write_text(header + GOOD.replace("mine", "other_trace").replace("return ", "return 2 * "))
    server = start_server(MATSTREAM_PROBLEMS=str(there)).url
    code = "sample", "other_trace", "--dim", "2", "--generator", server, "--problems", str(mine)
    status, _, err = here(*code)
    assert status == 1
    assert len(err.splitlines()) == 1
    assert "both sides must be given the same file" in err


def test_a_kept_file_may_define_a_name_that_has_become_built_in(problems_forgotten, tmp_path):
    file = tmp_path / "older.py"
    file.write_text(
        "import matstream\n"
        "@matstream.operation(target=lambda m, n: (1, 1))\n"
        "def determinant(a):\n    return a[:, :1, :1] + 1\n"
        "@matstream.structure(words=lambda m, n: m * n)\n"
        "def whole_numbers(u, m, n):\n    return u.reshape(-1, m, n)\n"
    )
    with pytest.raises(UserError, match="operation='determinant': exists already"):
        problems.read_problems(file)
    kept = problems.definitions_of(problems.File(file, file.read_bytes()), "kept", kept=True)
    with problems.meaning(kept):
        spec = StreamSpec(operation="determinant", dim=2, structure="whole_numbers")
    batch = generate(spec, 0, "train", 0, 5)
    inputs, targets = (batch.column(name).to_numpy_ndarray() for name in ("input", "target"))
    assert 0 < inputs.max() < 1
    np.testing.assert_array_equal(targets, inputs[:, :1, :1] + 1)
    assert "problems" in repr(batch.schema.metadata)
