import numpy as np
import pytest

import matstream
from matstream.shared.operations import OPERATIONS
from matstream.shared.tasks import Task
from matstream.trainer.scoring import baselines as module
from matstream.trainer.scoring.answers import Answers
from matstream.trainer.scoring.baselines import baselines


def answered(operation, predictions=None, count=200, **fields) -> Answers:
    samples = matstream.sample(operation, count=count, **fields)
    inputs, targets = np.asarray(samples.inputs), np.asarray(samples.targets)
    given = targets if predictions is None else predictions(targets)
    flags = np.zeros((count, 4), dtype=bool)
    m, n = fields["dim"], fields.get("cols", fields["dim"])
    task = Task(operation, m, n, OPERATIONS[operation])
    return Answers(
        task,
        np.arange(count),
        inputs,
        targets,
        given,
        np.zeros(count),
        flags,
        flags,
        flags,
        flags,
        0.0,
        count,
    )


def by_method(records):
    return {(record["method"], record["steps"]): record for record in records}


def test_methods_stand_beside_the_model_with_their_steps():
    found = by_method(baselines([answered("solve", lambda targets: 1.02 * targets, dim=3)]))
    assert list(found) == [
        ("this model", 0),
        *(("conjugate gradients of AᵀA", k) for k in (1, 2, 4, 8)),
        *(("gradient descent", k) for k in (1, 2, 4, 8)),
        ("best constant answer", 0),
    ]
    model = found["this model", 0]
    assert (model["accuracy"]["0.05"], model["accuracy"]["0.01"]) == (1, 0)
    assert model["median_error"] == pytest.approx(0.02)
    assert model["relative_rmse"] == pytest.approx(0.02)
    shares = [found["conjugate gradients of AᵀA", k]["accuracy"]["0.05"] for k in (1, 2, 4, 8)]
    assert shares == sorted(shares)
    assert shares[-1] > 0.95
    assert found["best constant answer", 0]["accuracy"]["0.05"] < 0.1


def test_one_step_of_gradient_descent_is_worse_than_ridge_and_ridge_is_not_worse_than_least_squares():
    found = by_method(baselines([answered("regression", count=2000, dim=9, cols=3)]))
    error = {key: record["relative_rmse"] for key, record in found.items()}
    assert error["gradient descent", 1] > error["gradient descent", 8] > error["ridge regression", 0]
    assert error["ridge regression", 0] < error["least squares", 0]
    assert error["this model", 0] == 0


def test_the_best_constant_answer_of_divisors_is_1():
    samples = answered("gcd", count=1000, dim=1, scale=100)
    found = by_method(baselines([samples]))["best constant answer", 0]
    assert found["accuracy"]["0.05"] == (samples.targets == 1).mean()
    assert 0.5 < found["accuracy"]["0.05"] < 0.7


def test_an_answer_that_is_no_number_is_wrong_and_counts_as_0():
    nothing = by_method(baselines([answered("trace", lambda t: np.full_like(t, np.nan), dim=3)]))[
        "this model", 0
    ]
    assert nothing["accuracy"]["0.05"] == 0
    assert nothing["relative_rmse"] == 1
    assert nothing["median_error"] is None


def test_operations_and_sizes_are_put_together_by_operation(monkeypatch):
    monkeypatch.setattr(module, "SAMPLES", 50)
    parts = [answered("eigenvalues", dim=n) for n in (2, 3)] + [answered("trace", dim=2)]
    records = baselines(parts)
    assert [record["samples"] for record in records if record["method"] == "this model"] == [100, 50]
    assert {record["method"] for record in records if record["operation"] == "trace"} == {
        "this model",
        "best constant answer",
    }
