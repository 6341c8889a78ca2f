"""The library as a program uses it, in a folder with files called as our folders are."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import matstream
from matstream.generator_service.stream import generate
from matstream.shared.spec import StreamSpec
from matstream.shared.wire import from_batch
from tests.commands import python

DECOYS = ("shared", "trainer", "generator_service", "utils", "operations", "problems")


def run(folder: Path, code: str, **environment: str) -> str:
    """What a program prints, in a folder of decoys."""
    for name in DECOYS:
        (folder / f"{name}.py").write_text("raise SystemExit('imported')\n")
    done = python(folder, "-c", code, **environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_samples_are_those_of_the_stream():
    s = matstream.sample("eigenvalues", dim=5, count=1000, seed=3, start=7)
    expected = from_batch(generate(StreamSpec(operation="eigenvalues", dim=5), 3, "train", 7, 1000))
    assert s.inputs.shape == (1000, 5, 5)
    assert s.targets.shape == (1000, 5, 1)
    assert s.index.tolist() == list(range(7, 1007))
    np.testing.assert_array_equal(s.inputs, expected.input)
    np.testing.assert_array_equal(s.targets, expected.target)
    np.testing.assert_array_equal(s.residuals, expected.residual)
    assert set(s.operations) == {"eigenvalues"}
    assert len(s) == 1000


def test_samples_of_varying_shape_are_lists_of_matrices():
    s = matstream.sample(["svd", "transpose"], dim="2-4", cols="1-3", count=50)
    for matrix, target, operation in zip(s.inputs, s.targets, s.operations, strict=True):
        m, n = matrix.shape
        assert target.shape == ((n, m) if operation == "transpose" else (1 + m + n, min(m, n)))
    assert {matrix.shape for matrix in s.inputs} == {(m, n) for m in (2, 3, 4) for n in (1, 2, 3)}


def test_a_generator_streams_the_same_samples(server):
    here = list(matstream.stream("add,svd", dim="2-3", count=3000))
    there = list(matstream.stream("add,svd", dim="2-3", count=3000, generator=server))
    for name in ("inputs", "targets"):
        flat = [
            np.concatenate([matrix.ravel() for s in side for matrix in getattr(s, name)])
            for side in (here, there)
        ]
        np.testing.assert_array_equal(*flat)
    assert sum(map(len, here)) == 3000


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"dim": 0}, "dim=0: must be"),
        ({"dim": 2, "colour": "red"}, "colour='red': is not a known name"),
        ({"dim": 2, "count": 0}, "count=0: must be"),
        ({"dim": 2, "split": "tests"}, "split='tests': .* 'train', 'valid' or 'test'"),
    ],
)
def test_what_is_wrong_is_a_value_error_of_one_sentence(fields, said):
    with pytest.raises(ValueError, match=said):
        matstream.sample("add", **({"count": 1} | fields))


def test_exact_and_wrong_predictions_are_scored():
    s = matstream.sample("eigenvalues", dim=4, count=100, split="test")
    assert matstream.score("eigenvalues", s.inputs, s.targets, s.targets).accuracy["0.005"] == 1
    off = s.targets * np.where(np.arange(100) < 60, 1.03, 1.2)[:, None, None]
    off[0] = np.nan
    scores = matstream.score("eigenvalues", s.inputs, s.targets, off)
    assert scores.accuracy == scores.accuracy_strict == {"0.05": 0.59, "0.02": 0, "0.01": 0, "0.005": 0}
    assert scores.invalid == 1
    assert scores.errors[1] == pytest.approx(0.03)
    assert "59.00%" in scores._repr_html_()


def test_the_library_loads_what_it_needs_and_nothing_from_the_working_folder(tmp_path):
    loaded = "print('torch' in sys.modules, 'fastapi' in sys.modules)"
    assert run(tmp_path, f"import sys, matstream; {loaded}") == "False False\n"
    code = (
        f"import sys, matstream; s = matstream.sample('svd', dim=2); {loaded}; print(matstream.__version__)"
    )
    assert run(tmp_path, code).startswith("False False\n0.")


def test_samples_show_themselves_in_a_notebook():
    shown = matstream.sample("svd", dim=2, count=5)._repr_html_()
    assert shown.count("<tr><td>") > 3
    assert "and 2 more" in shown
    assert "…" in matstream.sample("transpose", dim=30)._repr_html_()


def pairs(found):
    """What a dataset or its loader gave out, as lists."""
    return [(inputs.tolist(), targets.tolist()) for inputs, targets in found]


@pytest.mark.parametrize("generator", [False, True])
@pytest.mark.parametrize("batch_size", [None, 300])
def test_a_dataset_gives_out_the_stream_and_goes_on_where_it_was(server, generator, batch_size):
    where = {"generator": server} if generator else {}

    def made():
        return matstream.Dataset("inverse", dim=3, count=5000, start=11, batch_size=batch_size, **where)

    s = matstream.sample("inverse", dim=3, count=5000, start=11)
    whole = list(made())
    for number, expected in enumerate((s.inputs, s.targets)):
        found = [pair[number] for pair in whole]
        together = torch.stack(found) if batch_size is None else torch.cat(found)
        np.testing.assert_array_equal(together.numpy(), expected)
    assert len(made()) == len(whole)
    before = made()
    iterator = iter(before)
    taken = [next(iterator) for _ in range(9)]
    state = json.loads(json.dumps(before.state_dict()))
    after = made()
    after.load_state_dict(state)
    assert pairs(taken) + pairs(after) == pairs(whole)
    assert len(list(after)) == len(whole)  # the next epoch is whole
    with pytest.raises(ValueError, match="seed=0: must be 1, as in this dataset"):
        matstream.Dataset("inverse", dim=3, count=5000, start=11, seed=1).load_state_dict(state)


@pytest.mark.parametrize("batch_size", [None, 64])
def test_the_workers_of_a_loader_give_out_every_sample_once(batch_size):
    data = matstream.Dataset("transpose", dim=2, count=20_001, batch_size=batch_size)
    next(iter(data))  # having looked at one changes nothing
    s = matstream.sample("transpose", dim=2, count=20_001)
    for workers in (0, 3):
        loader = DataLoader(
            data, batch_size=None, num_workers=workers, multiprocessing_context="fork" if workers else None
        )
        found = [inputs.reshape(-1, 4).clone().numpy() for inputs, _ in loader]
        given = np.concatenate(found)
        assert sorted(given.tolist()) == sorted(s.inputs.reshape(-1, 4).tolist())


@pytest.mark.parametrize("size", [0, -3, 2.5, "8", True])
def test_a_batch_size_that_is_no_whole_number_is_refused(size):
    with pytest.raises(ValueError, match=f"^batch_size={size!r}: must be a whole number from 1 on, or None"):
        matstream.Dataset("transpose", dim=2, count=9, batch_size=size)


def test_a_dataset_of_varying_shapes_makes_no_batches():
    found = list(matstream.Dataset("transpose", dim="2-3", cols=4, count=20))
    assert {(inputs.shape, targets.shape) for inputs, targets in found} == {
        ((2, 4), (4, 2)),
        ((3, 4), (4, 3)),
    }
    with pytest.raises(ValueError, match="batch_size=2: must be None where the shapes of samples vary"):
        matstream.Dataset("add", dim="2-4", count=9, batch_size=2)
