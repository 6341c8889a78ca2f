"""Every operation that comes with matstream can be trained on."""

import json

import numpy as np
import pytest

from matstream.shared.operations import OPERATIONS
from matstream.trainer.learning.train import train, validate
from matstream.trainer.runs.pretrained import best_of
from matstream.trainer.runs.run import begun, prepare
from tests.specs import fields_of

WHOLE = {"input": "Z10", "output": "Z10", "input_digits": 1, "output_digits": 2}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_an_operation_is_trained_for_a_few_steps_and_scored(operation, client, tmp_path):
    whole = operation in ("gcd", "integer_product")
    run = prepare(
        "quickstart",
        name="few",
        runs=tmp_path,
        resume=False,
        overwrite=False,
        overrides={
            "stream": fields_of(operation, 3, 2) | {"scale": 2 if operation == "matrix_exponential" else 10},
            "tokens": WHOLE if whole else {},
            "model": {"width": 16, "heads": 2},
            "training": {
                "samples": 384,
                "batch_size": 32,
                "log_every": 32,
                "warmup": 64,
                "precision": "fp32",
            },
            "evaluation": {"validation_samples": 20, "test_samples": 40},
        },
    )
    with begun(run, client, resume=False):
        trained = train(run, client)
    assert trained.position.samples == 384
    records = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    losses = [record["loss"] for record in records if "loss" in record]
    assert np.mean(losses[-4:]) < np.mean(losses[:4])
    [found] = validate(run, best_of(run.folder, run.recipe).solver, client, "test")
    assert found.predictions.shape == (
        40,
        *OPERATIONS[operation].target_shape(3, 2 if not OPERATIONS[operation].square else 3),
    )
    assert found.ceiling[:, 0].mean() > 0.8  # the exact answer, rounded to its words, is right
