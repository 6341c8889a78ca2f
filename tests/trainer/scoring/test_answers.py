import threading
from types import SimpleNamespace

import numpy as np
import pytest
import zarr

from matstream.shared.encodings import by_name
from matstream.shared.scoring import score
from matstream.shared.spec import StreamSpec
from matstream.shared.tasks import tasks_of
from matstream.shared.wire import flat
from matstream.trainer.client import Client
from matstream.trainer.learning.loader import StoppedError
from matstream.trainer.model.inference import Solver
from matstream.trainer.report.cases import first_case
from matstream.trainer.scoring.answers import answers, save, sizes_done_well, summaries
from matstream.trainer.tokens.tokens import Ids, Tokens

SPEC = StreamSpec(operation="add,transpose", dim="1-3")
INVERSE = StreamSpec(operation="inverse", dim=5)


class Calculator(Solver):
    """Answers from the words of the input by arithmetic, as exactly as words can say."""

    def __init__(self, spec: StreamSpec, off: float = 1.0, mute: str = "") -> None:
        p1000 = by_name("P1000")
        read, write = (Tokens(p1000, "factored", side, tasks_of(spec), True) for side in ("input", "target"))
        super().__init__(None, read, write)
        object.__setattr__(self, "off", off)
        object.__setattr__(self, "mute", mute)

    def solve(self, input_ids: Ids, task: int) -> Ids:
        matrices = self.read.decode(input_ids, task)
        operation, n = self.read.tasks[task].operation, self.read.tasks[task].n
        answer = {
            "add": lambda: matrices[:, :, :n] + matrices[:, :, n:],
            "transpose": lambda: matrices.swapaxes(1, 2),
            "inverse": lambda: np.linalg.inv(matrices),
        }[operation]()
        ids = self.write.encode(flat(np.ascontiguousarray(answer * self.off)), np.full(len(answer), task))
        if operation == self.mute:
            ids[:] = self.write.mark
        return ids[:, : self.write.lengths[task]]

    def loss(self, input_ids: Ids, target_ids: Ids, task: int) -> float:
        return 2.0 * (target_ids[..., 0] >= 0).sum()


def summary(client: Client, spec: StreamSpec, solver: Solver, count: int = 900) -> dict:
    return summaries(answers(solver, client, spec, 0, "test", count, 100))


def test_right_answers_are_right_in_every_kind(client):
    found = summary(client, SPEC, Calculator(SPEC))
    assert found["by_operation"]["transpose"]["accuracy"]["0.005"] == 1
    assert found["by_operation"]["add"]["accuracy"]["0.05"] > 0.99  # but for sums that almost vanish
    assert found["ceiling"]["0.01"] == 1
    assert found["invalid"] == 0
    assert found["loss"] == pytest.approx(2)
    assert set(found["by_operation"]) == {"add", "transpose"}
    assert set(found["by_dimension"]) == {"1", "2", "3"}
    for groups in (found["by_operation"], found["by_dimension"]):
        assert sum(group["test_samples"] for group in groups.values()) == 900


def test_answers_off_by_3_percent_are_right_at_5_and_wrong_at_2(client):
    accuracy = summary(client, SPEC, Calculator(SPEC, off=1.03))["accuracy"]
    assert accuracy["0.05"] > 0.99  # but for a sum that almost vanishes
    assert accuracy["0.02"] < 0.01


def test_outputs_that_are_no_matrices_are_wrong_and_counted(client):
    found = summary(client, SPEC, Calculator(SPEC, mute="add"))
    assert found["by_operation"]["add"]["accuracy"]["0.05"] == 0
    assert found["invalid"] == found["by_operation"]["add"]["test_samples"] > 300
    assert found["by_operation"]["transpose"]["accuracy"]["0.05"] == 1


def test_the_ceiling_of_inverses_is_that_of_three_digits(client):
    found = summary(client, INVERSE, Calculator(INVERSE), 4000)
    measured = {"0.05": 0.920, "0.02": 0.856, "0.01": 0.650, "0.005": 0.270}  # see docs/LOG.md, "The ceiling"
    for tolerance, share in measured.items():
        assert found["ceiling"][tolerance] == pytest.approx(share, abs=0.03)


def test_errors_are_measured_on_what_the_words_say_and_on_what_they_stand_for(client):
    (found,) = answers(Calculator(INVERSE, off=1.01), client, INVERSE, 0, "test", 300, 128)
    rounded = by_name("P1000").round
    expected = score("inverse", rounded(found.inputs), rounded(found.targets), found.predictions).l1
    np.testing.assert_array_equal(found.errors, expected)
    exact = score("inverse", found.inputs, found.targets, found.predictions).l1
    np.testing.assert_array_equal(found.unrounded[:, 0], exact < 0.05)


def test_an_evaluation_is_given_up_when_it_is_cancelled(client):
    cancelled = threading.Event()

    def cancel(_: int) -> None:
        cancelled.set()

    with pytest.raises(StoppedError):
        answers(Calculator(SPEC), client, SPEC, 0, "test", 900, 50, cancelled=cancelled, done=cancel)


def test_an_evaluation_is_kept_with_named_dimensions_in_the_order_of_the_stream(client, tmp_path):
    xarray = pytest.importorskip("xarray")
    found = answers(Calculator(SPEC, mute="add"), client, SPEC, 0, "test", 200, 64)
    save(found, tmp_path / "evaluation.zarr", SPEC)
    kept = xarray.open_zarr(tmp_path / "evaluation.zarr", consolidated=False)
    assert kept["inputs"].dims == ("sample", "input_row", "input_column")
    assert kept["predictions"].dims == kept["targets"].dims == ("sample", "target_row", "target_column")
    assert kept["inputs"].shape == (200, 3, 6)
    assert kept["index"].values.tolist() == list(range(200))
    names = np.array(kept.attrs["operations"].split(","))[kept["operation"].values]
    assert (np.isnan(kept["errors"].values) == (names == "add")).all()
    for i in range(200):
        rows, cols = int(kept["rows"][i]), int(kept["columns"][i])
        matrix = kept["inputs"].values[i]
        assert not np.isnan(matrix[:rows, :cols]).any()
        assert np.isnan(matrix).sum() == 18 - rows * cols
        if names[i] == "transpose":
            target = kept["targets"].values[
                i, : int(kept["target_rows"][i]), : int(kept["target_columns"][i])
            ]
            np.testing.assert_array_equal(target, matrix[:rows, :cols].T)
    spec = zarr.open_group(tmp_path / "evaluation.zarr", mode="r").attrs["spec"]
    assert StreamSpec.model_validate_json(spec) == SPEC


@pytest.mark.parametrize("other", [2, 9])
def test_an_evaluation_is_kept_in_one_format_whatever_others_are_written_in(client, tmp_path, other):
    found = answers(Calculator(SPEC), client, SPEC, 0, "test", 20, 64)
    with zarr.config.set(default_zarr_format=other):
        save(found, tmp_path / "evaluation.zarr", SPEC)
        assert first_case(tmp_path)[0] == SPEC
    kept = zarr.open_group(tmp_path / "evaluation.zarr", mode="r", zarr_format=3)
    assert kept["inputs"].metadata.dimension_names == ("sample", "input_row", "input_column")


def test_an_evaluation_takes_nothing_over_from_the_one_before_it(client, tmp_path):
    """Zarr writes no file for an array of zeros: those of right answers, or of one operation."""
    off = answers(Calculator(SPEC, off=1.2), client, SPEC, 0, "test", 60, 60)
    transposes = StreamSpec(operation="transpose", dim=2)
    right = answers(Calculator(transposes), client, transposes, 0, "test", 20, 20)
    save(off, tmp_path / "evaluation.zarr", SPEC)
    (tmp_path / "evaluation.zarr/notes").write_text("theirs")
    save(right, tmp_path / "evaluation.zarr", transposes)
    group = zarr.open_group(tmp_path / "evaluation.zarr", mode="r")
    assert group["errors"][:].tolist() == right[0].errors.tolist() == [0] * 20
    assert group["operation"][:].tolist() == [0] * 20
    assert (tmp_path / "evaluation.zarr/notes").read_text() == "theirs"


def test_an_evaluation_that_xarray_opened_is_written_as_netcdf(client, tmp_path):
    xarray = pytest.importorskip("xarray")
    save(answers(Calculator(SPEC), client, SPEC, 0, "test", 20, 64), tmp_path / "evaluation.zarr", SPEC)
    opened = xarray.open_zarr(tmp_path / "evaluation.zarr", consolidated=False)
    opened.to_netcdf(tmp_path / "evaluation.nc")
    written = xarray.open_dataset(tmp_path / "evaluation.nc")
    assert written.attrs == {"spec": SPEC.canonical(), "operations": "add,transpose"}
    np.testing.assert_array_equal(written["predictions"], opened["predictions"])


def sized(sizes: np.ndarray, good: np.ndarray) -> list[float] | None:
    inputs = np.zeros((len(sizes), 2, 2))
    inputs[:, 1, 0] = -sizes
    return sizes_done_well([SimpleNamespace(inputs=inputs, right=good[:, None])])


def test_where_a_model_does_well_reaches_from_the_middle_to_the_sizes_that_it_gets_wrong():
    sizes = np.arange(10_000.0)
    well = sized(sizes, np.ones(10_000, dtype=bool))
    assert well == pytest.approx([50 / 1.1, 9950 * 1.1], rel=0.03)
    wrong = (sizes > 1) & (sizes < 1000) | (sizes >= 9000)
    assert sized(sizes, ~wrong) == pytest.approx([1000 / 1.1, 9000 * 1.1], rel=0.01)


def test_where_a_model_does_well_is_nowhere_known_if_all_inputs_are_0():
    assert sized(np.zeros(100), np.ones(100, dtype=bool)) is None


@pytest.mark.parametrize("count", [1, 20, 120])
def test_where_a_model_does_well_takes_all_of_few_samples(count):
    sizes = np.arange(1.0, count + 1)
    low, high = sized(sizes, np.ones(count, dtype=bool))
    assert low < 2
    assert high > count
