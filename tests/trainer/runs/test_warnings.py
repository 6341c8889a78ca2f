"""What a model warns of in its inputs. Weights do not matter: those of these models are not trained."""

import warnings
from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest

from matstream.generator_service.stream import generate
from matstream.shared.spec import StreamSpec
from matstream.shared.wire import flat, from_batch
from matstream.trainer.model.inference import solver_of
from matstream.trainer.model.transformer import build
from matstream.trainer.recipes.reading import read_recipe
from matstream.trainer.runs.pretrained import Pretrained


def model_of(*stages: dict, samples: int = 100_000, **stream: object) -> Pretrained:
    document = {
        "stream": stream,
        "model": {"width": 8, "heads": 1, "parallel": True},
        "training": {"samples": samples},
        "curriculum": [{"samples": 1000} | stage for stage in stages],
    }
    recipe = read_recipe(document, {})
    return Pretrained(recipe, solver_of(recipe, build(recipe)))


def warned_of(model: Pretrained, matrices: object, operation: str | None = None) -> list[str]:
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        model.predict(matrices, operation)
    assert all(warning.filename == __file__ for warning in found)  # it points to who asked
    return [str(warning.message) for warning in found]


UNIFORM = {"operation": "transpose", "dim": 2}
ORDINARY = np.array([[[1.0, -2.0], [3.0, 4.0]], [[5.0, 6.0], [-7.0, 8.0]]])


def changed(place: tuple[int, ...], value: float) -> np.ndarray:
    matrices = ORDINARY.copy()
    matrices[place] = value
    return matrices


def test_ordinary_entries_are_not_warned_of():
    model = model_of(**UNIFORM)
    assert warned_of(model, ORDINARY) == []
    assert warned_of(model, np.empty((0, 2, 2))) == []


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0.0, "matrices[0, 1, 0]=0: it was trained on entries of magnitude 1e-05 to 10"),
        (-0.0, "matrices[0, 1, 0]=-0: it was trained on entries of magnitude 1e-05 to 10"),
        (1e-9, "matrices[0, 1, 0]=1e-09: it was trained on entries of magnitude 1e-05 to 10"),
        (-11.0, "matrices[0, 1, 0]=-11: it was trained on entries of magnitude 1e-05 to 10"),
    ],
)
def test_an_entry_unlike_all_that_were_seen_is_named(value, said):
    model = model_of(**UNIFORM, samples=250_000)  # a million entries
    assert warned_of(model, changed((0, 1, 0), value)) == [said]
    assert warned_of(model, changed((0, 1, 0), value)[0]) == [said.replace("0, 1, 0", "1, 0")]


def test_each_kind_is_warned_of_once_and_its_first_entry_is_named():
    model = model_of(operation="eigenvalues", dim=2)
    matrices = np.array([[[1.0, 2], [2, 1]], [[0, 50], [3, 60]], [[0, 1], [2, 0]]])
    found = warned_of(model, matrices)
    assert [message.partition(":")[0] for message in found] == [
        "matrices[1, 0, 1]=50",
        "matrices[1, 0, 0]=0",
        "matrices[1, 0, 1]=50",
    ]
    assert "symmetric" in found[2]


def test_check_warns_as_predict_does_and_once():
    model = model_of(operation="eigenvalues", dim=2)
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        checked = model.check(np.eye(2))
    assert [str(warning.message) for warning in found] == warned_of(model, np.eye(2))
    assert len(found) == 1
    assert found[0].filename == __file__
    assert checked.exact.tolist() == [[[1.0], [1.0]]]


@pytest.mark.parametrize(
    ("stages", "stream"),
    [
        ((), {"coefficients": "sparse"}),
        ((), {"coefficients": "uniform:9,integers"}),
        ((), {"structure": "banded", "dim": 3}),
        ((), {"structure": "block_diagonal:toeplitz"}),
        (({"structure": "banded"},), {}),
        (({"coefficients": "integers"},), {}),
    ],
)
def test_zeros_that_a_stream_draws_are_not_warned_of(stages, stream):
    model = model_of(*stages, **UNIFORM | stream)
    n = model.recipe.stream.dim.low
    assert warned_of(model, np.eye(n)) == []
    assert len(warned_of(model, np.full((n, n), 1e-12))) == 1


@pytest.mark.parametrize("stream", [{"noise": 0.1, "coefficients": "sparse"}, {"structure": "low_rank"}])
def test_zeros_that_no_stream_draws_are_warned_of(stream):
    assert len(warned_of(model_of(**UNIFORM | stream), np.eye(2))) == 1


def test_a_range_of_magnitudes_is_that_of_all_streams():
    model = model_of({"scale": 0.001}, {"coefficients": "log_uniform", "scale": "10-100"}, **UNIFORM)
    assert warned_of(model, changed((1, 1, 1), 99.0)) == []
    assert warned_of(model, changed((1, 1, 1), 1e-9)) == []
    assert len(warned_of(model, changed((1, 1, 1), 101.0))) == 1


def test_symmetry_is_that_of_the_operation_that_is_asked_for():
    model = model_of(operation="eigenvalues,transpose", dim=2)
    assert warned_of(model, ORDINARY, "transpose") == []
    [said] = warned_of(model, ORDINARY, "eigenvalues")
    assert said.startswith("matrices[0, 0, 1]=-2: it was trained on symmetric matrices")
    assert warned_of(model_of(operation="eigenvalues", dim=2, noise=0.1), ORDINARY) == []


def test_a_vector_beside_a_symmetric_matrix_is_no_part_of_it():
    model = model_of(operation="potentials", dim=2)
    assert warned_of(model, np.array([[1.0, -1.0, 3.0], [-1.0, 1.0, 5.0]])) == []
    [said] = warned_of(model, np.array([[1.0, -1.0, 3.0], [-2.0, 1.0, 5.0]]))
    assert said.startswith("matrices[0, 1]=-1: ")


@pytest.mark.parametrize(
    ("stages", "stream"),
    [
        ((), {}),
        ((), {"coefficients": "gaussian", "scale": "1-100"}),
        ((), {"coefficients": "integers:2,sparse,log_uniform,uniform"}),
        ((), {"coefficients": "log_uniform"}),
        ((), {"noise": 0.05, "structure": "banded"}),
        ((), {"noise": 1e-3, "coefficients": "integers"}),
        ((), {"operation": "eigenvalues", "spectrum": "laplace,positive,marchenko_pastur"}),
        ((), {"operation": "eigenvalues", "coefficients": "sparse", "spectrum": "positive,uniform"}),
        ((), {"operation": "eigenvalues", "structure": "condition-1"}),
        ((), {"operation": "eigenvalues", "structure": "laplacian", "coefficients": "log_uniform"}),
        ((), {"operation": "eigenvalues", "noise": 0.2}),
        ((), {"operation": "potentials", "dim": 3}),
        ((), {"operation": "regression", "dim": 4, "cols": 3}),
        ((), {"operation": "completion", "dim": 3}),
        ((), {"structure": "kronecker:condition-3", "dim": 4}),
        ((), {"structure": "low_rank", "dim": 4}),
        ((), {"structure": "low_rank:banded", "coefficients": "integers", "dim": 4}),
        ((), {"structure": "orthogonal", "dim": 3}),
        (({"structure": "whole_numbers"}, {"scale": 1}), {"scale": "1-10"}),
        ((), {"operation": "add,matvec", "dim": "1-3", "cols": "1-2"}),
    ],
)
def test_a_models_own_stream_is_not_warned_of(stages, stream):
    spec = StreamSpec(**UNIFORM | stream)
    model = model_of(*stages, **UNIFORM | stream)
    found = flat(from_batch(generate(spec, 0, "test", 0, 10_000)).input)
    of_shape = defaultdict(list)
    ends = found.shapes.prod(axis=1).cumsum()[:-1]
    for entries, shape in zip(np.split(found.entries, ends), found.shapes, strict=True):
        of_shape[tuple(shape.tolist())].append(entries.reshape(shape))
    for shape, inputs in of_shape.items():
        for name in {task.operation for task in model.solver.read.tasks if task.input_shape == shape}:
            assert warned_of(model, np.array(inputs), name) == []


def after_its_test(sizes: tuple[float, float], **stream: object) -> Pretrained:
    return replace(model_of(**stream), sizes=sizes)


def test_matrices_that_are_smaller_or_larger_than_where_a_model_does_well_are_warned_of():
    model = after_its_test((1.5, 20.0), **UNIFORM | {"coefficients": "sparse"})
    well = np.array([[[0.0, 0.0], [0.0, 0.0]], [[0.1, 20.0], [0.0, 0.0]], [[1.5, 0.0], [0.0, 0.0]]])
    assert warned_of(model, well) == []
    assert not model.unlike(well).any()
    others = np.array([*well, [[1.4, 1.0], [0.0, -0.1]], [[0.0, 0.0], [0.0, -21.0]]])
    assert model.unlike(others).tolist() == [False, False, False, True, True]
    does_well = "the model does well where the largest is of magnitude 1.5 to 20"
    assert warned_of(model, others) == [f"matrices[3] with a largest entry of 1.4: {does_well}"]
    assert warned_of(model, others[4]) == [f"matrices with a largest entry of 21: {does_well}"]


def test_inputs_may_be_unlike_for_several_reasons():
    model = after_its_test((1.0, 10.0), operation="eigenvalues", dim=2)
    ordinary, unsymmetric, large = [[2.0, 1], [1, 3]], [[2.0, 1], [4, 3]], [[2.0, 1], [1, 30]]
    matrices = np.array([ordinary, unsymmetric, large, np.eye(2)])
    assert model.unlike(matrices).tolist() == [False, True, True, True]
    assert model.unlike(large).tolist() == [True]
    with pytest.raises(ValueError, match=r"matrices of shape \(2,\): must be \(B, rows, cols\) or"):
        model.unlike([1.0, 2.0])


def test_what_has_no_answer_has_neither_an_exact_one_nor_an_error():
    model = model_of(operation="inverse,eigenvalues,cholesky", dim=2)
    cases = {
        "inverse": [[[1.0, 2], [2, 4]], [[0, 0], [0, 0]], [[1, 2], [3, 4]]],
        "eigenvalues": [[[0.0, -1], [1, 0]], [[1, 2], [3, 4]], [[1, 2], [2, 4]]],
        "cholesky": [[[1.0, 2], [2, 1]], [[-1, 0], [0, 1]], [[2, 1], [1, 2]]],
    }
    for operation, matrices in cases.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            checked = model.check(matrices, operation)
        has_answer = ~np.isnan(checked.exact).any(axis=(1, 2))
        assert has_answer.tolist() == [False, False, True]
        assert (~np.isnan(checked.errors)).tolist() == [False, False, True]


def test_the_error_of_an_answer_that_is_0_is_0_or_infinite():
    model = model_of(operation="matmul", dim=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        checked = model.check(np.hstack([np.eye(2), np.zeros((2, 2))]))
    assert checked.exact.tolist() == [[[0, 0], [0, 0]]]
    assert checked.errors.tolist() == [0.0 if (checked.predictions == 0).all() else np.inf]


def test_no_inputs_are_checked_as_none():
    checked = model_of(operation="inverse", dim=2).check(np.empty((0, 2, 2)))
    assert [len(part) for part in checked] == [0, 0, 0]
