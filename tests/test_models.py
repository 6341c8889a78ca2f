"""The models that come with matstream: right, or warned of, on what people type."""

import numpy as np
import pytest

import matstream
from bench.models import KINDS, SHIPPED, asked, suited
from matstream.shared.spec import StreamSpec
from matstream.shared.tasks import tasks_of
from matstream.trainer.runs.shipped import MODELS, model_names

MOST_BYTES = 25 << 20


def draw(kind):
    return lambda count, m, n: KINDS[kind](np.random.default_rng(3), count, m, n)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("operation", ["eigenvalues", "matmul", "inverse", "transpose"])
def test_matrices_that_people_type_suit_the_operation(operation, kind):
    [task] = tasks_of(StreamSpec(operation=operation, dim=3))
    found = suited(task, draw(kind), 200)
    assert found.shape[1:] == task.input_shape
    assert np.array_equal(found, np.round(found, 2))
    if operation == "eigenvalues":
        assert np.array_equal(found, found.swapaxes(1, 2))
    if operation == "inverse":
        assert (np.abs(np.linalg.det(found)) > 1e-7).all()
        assert len(found) == 0 if kind == "all entries 0" else len(found) > 50
    else:
        assert len(found) == 200


def test_all_models_together_are_small():
    sizes = [path.stat().st_size for path in MODELS.rglob("*") if path.is_file()]
    assert sum(sizes) <= MOST_BYTES


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", model_names())
def test_models_are_right_on_what_people_type_or_warn(name, kind):
    right, warned = asked(matstream.load(name), KINDS[kind])
    if (name, kind) == ("inverse", "all entries 0"):
        assert right is None  # they have none
    else:
        assert right + warned >= (0.85 if kind.startswith("decimals") else 0.9)


def test_a_model_comes_for_each_recipe_of_laws():
    assert set(model_names()) == set(SHIPPED)
