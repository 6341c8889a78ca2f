"""Runs whose stream changes with the samples seen."""

import json
import re
import signal
import tomllib
from pathlib import Path

import pytest

from matstream.shared.errors import RefusedError
from matstream.trainer.recipes.reading import load_recipe, read_recipe, write_recipe
from matstream.trainer.recipes.recipe import Recipe
from matstream.trainer.runs import checkpoints
from tests.commands import finish, forked

DOCUMENT = """
extends = "quickstart"

[stream]
operation = "eigenvalues"
dim = "2-3"

[[curriculum]]
samples = 1000
dim = 2
scale = 1

[[curriculum]]
samples = 900
operation = "trace"
spectrum = "semicircle"
seed = 5
"""
TINY = {
    "model__width": 16,
    "model__heads": 2,
    "training__samples": 3200,
    "training__batch_size": 64,
    "training__log_every": 64,
    "training__validate_every": 3200,
    "training__checkpoint_every": 320,
    "evaluation__validation_samples": 20,
    "evaluation__test_samples": 50,
}


@pytest.fixture
def recipe_file(tmp_path) -> Path:
    (tmp_path / "stages.toml").write_text(DOCUMENT)
    return tmp_path / "stages.toml"


def read(document: dict) -> Recipe:
    return read_recipe(
        {"stream": {"operation": "add", "dim": 2}, "training": {"samples": 100}} | document, {}
    )


def test_each_sample_has_the_index_of_the_training_in_the_stream_of_its_stage(recipe_file):
    _, recipe = load_recipe(str(recipe_file), {"training": {"samples": 3200}})
    found = [(a.stream.fields(), a.start, a.stop) for a in recipe.segments()]
    assert found == [
        ({"operation": "eigenvalues", "dim": 2, "scale": 1}, 0, 1000),
        ({"operation": "trace", "dim": "2-3", "seed": 5}, 1000, 1900),
        ({"operation": "eigenvalues", "dim": "2-3"}, 1900, 3200),
    ]
    operations = {task.operation for task in recipe.input_tokens().tasks}
    assert operations == {"eigenvalues", "trace"}
    assert recipe.input_tokens().tasks[:2] == tuple(sorted(recipe.input_tokens().tasks)[:2])


def test_a_training_that_is_shorter_than_its_stages_ends_within_them(recipe_file):
    _, recipe = load_recipe(str(recipe_file), {"training": {"samples": 1100}})
    assert [(a.start, a.stop) for a in recipe.segments()] == [(0, 1000), (1000, 1100)]


def test_a_recipe_with_stages_is_written_and_read_as_it_is(recipe_file):
    _, recipe = load_recipe(str(recipe_file), {"training": {"samples": 3200}})
    written = write_recipe(recipe)
    assert tomllib.loads(written)["curriculum"] == tomllib.loads(DOCUMENT)["curriculum"]
    assert read_recipe(tomllib.loads(written), {}).segments() == recipe.segments()
    assert "curriculum" not in write_recipe(read({}))


def test_a_recipe_that_extends_another_may_have_stages_of_its_own(recipe_file, tmp_path):
    (tmp_path / "none.toml").write_text('extends = "stages.toml"\ncurriculum = []\n')
    assert load_recipe(str(tmp_path / "none.toml"), {})[1].curriculum == ()
    (tmp_path / "same.toml").write_text('extends = "stages.toml"\n[training]\nsamples = 5000\n')
    assert len(load_recipe(str(tmp_path / "same.toml"), {})[1].curriculum) == 2


@pytest.mark.parametrize(
    ("stage", "sentence"),
    [
        ({"dim": 2}, "curriculum.0.samples: is required"),
        ({"samples": 0}, "curriculum.0.samples=0: input should be greater than or equal to 1"),
        ({"samples": 9, "dim": "5-3"}, "curriculum.0.dim='5-3': must be a whole number from 1 to 4096"),
        ({"samples": 9, "width": 3}, "curriculum.0.width=3: is not a known name"),
        (
            {"samples": 9, "operation": "rank", "structure": "banded"},
            "curriculum.0.structure='banded': is not for",
        ),
        (
            {"samples": 9, "scale": 1e99, "operation": "transformed_product,matmul"},
            "tokens.output='P1000': cannot hold",
        ),
    ],
)
def test_a_stage_that_cannot_be_is_refused_with_its_number_and_field(stage, sentence):
    with pytest.raises(RefusedError, match=re.escape(sentence)):
        read({"curriculum": [stage]})


def losses(folder: Path) -> dict[int, float]:
    lines = (folder / "runs/stages/metrics.jsonl").read_text().splitlines()
    return {record["samples"]: record["loss"] for record in map(json.loads, lines) if "loss" in record}


def test_a_run_in_stages_resumes_exactly(tmp_path, recipe_file, server):
    """Whether it is stopped within a stage, or after it."""
    undisturbed = tmp_path / "undisturbed"
    undisturbed.mkdir()
    status, _, err = finish(forked(undisturbed, "train", str(recipe_file), "--generator", server, **TINY))
    assert status == 0, err
    assert len(losses(undisturbed)) == 50

    kept = tmp_path / "runs/stages/checkpoints"
    for number in (signal.SIGKILL, signal.SIGTERM):
        seen = checkpoints.latest(kept)
        resume = [] if seen is None else ["--resume"]
        process = forked(tmp_path, "train", str(recipe_file), *resume, "--generator", server, **TINY)
        while checkpoints.latest(kept) in (None, seen):
            assert process.poll() is None, finish(process)
        process.send_signal(number)
        finish(process)
    status, _, err = finish(
        forked(tmp_path, "train", str(recipe_file), "--resume", "--generator", server, **TINY)
    )
    assert status == 0, err
    assert losses(tmp_path) == losses(undisturbed)

    assert finish(forked(tmp_path, "report", "runs/stages"))[0] == 0
    report = (tmp_path / "runs/stages/report.html").read_text()
    assert (
        "/v1/stream?dim=2-3&amp;operation=trace&amp;seed=5&amp;split=train&amp;start=1000&amp;count=900"
        in report
    )
    assert "that is scored" not in err  # as it would be for a training that is over before its stages
    changed = recipe_file.read_text().replace("samples = 900", "samples = 800")
    recipe_file.write_text(changed)
    status, _, err = finish(
        forked(tmp_path, "train", str(recipe_file), "--resume", "--generator", server, **TINY)
    )
    assert status == 1
    assert "curriculum: the run to resume was begun with another" in err


def test_a_training_without_a_sample_of_the_stream_that_is_scored_says_so(tmp_path, recipe_file, server):
    short = TINY | {"training__samples": 1900}
    status, _, err = finish(forked(tmp_path, "train", str(recipe_file), "--generator", server, **short))
    assert status == 0, err
    assert "training.samples=1,900: the stages of [[curriculum]] last 1,900 samples, so that none" in err
