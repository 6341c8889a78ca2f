import json
import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import matstream
from matstream.generator_service.stream import generate
from matstream.shared.errors import UserError
from matstream.shared.operations import OPERATIONS
from matstream.shared.spec import StreamSpec
from matstream.shared.wire import flat, from_batch
from matstream.trainer.model.inference import solver_of
from matstream.trainer.model.transformer import build
from matstream.trainer.recipes.reading import read_recipe, write_recipe
from matstream.trainer.runs import checkpoints, weights
from matstream.trainer.runs.export import export
from matstream.trainer.runs.folder import WEIGHTS
from matstream.trainer.runs.initial_weights import start_from
from matstream.trainer.runs.kept_recipe import recipe_of
from matstream.trainer.runs.pretrained import Pretrained
from matstream.trainer.scoring.answers import answers
from tests.trainer.checksums import sign

ROOT = Path(__file__).parents[3]
EIGENVALUES = StreamSpec(operation="eigenvalues", dim=3)


def matrices(count: int) -> np.ndarray:
    return from_batch(generate(EIGENVALUES, 0, "test", 0, count)).input


@pytest.mark.parametrize("part", ["", "model"])
def test_a_run_and_its_export_predict_what_evaluation_predicts(mixed_run, client, part):
    pretrained = matstream.load(mixed_run / part)
    (expected,) = answers(pretrained.solver, client, EIGENVALUES, 0, "test", 30, 30)
    found = pretrained.predict(matrices(30), operation="eigenvalues")
    np.testing.assert_array_equal(found, expected.predictions)
    np.testing.assert_array_equal(pretrained.predict(matrices(30)[4], operation="eigenvalues"), found[4])


def test_many_matrices_are_predicted_as_few_are(mixed_run, monkeypatch):
    pretrained = matstream.load(str(mixed_run))
    whole = pretrained.predict(matrices(50), "eigenvalues")
    monkeypatch.setattr("matstream.trainer.runs.pretrained.BATCH", 7)
    np.testing.assert_array_equal(pretrained.predict(matrices(50), "eigenvalues"), whole)
    assert pretrained.predict(np.empty((0, 3, 3)), "eigenvalues").shape == (0, 3, 1)


@pytest.mark.parametrize(
    ("shape", "operation", "said"),
    [
        ((2, 4, 4), "eigenvalues", r"\(4, 4\): this model reads inputs of shape \(2, 2\), \(3, 3\)$"),
        ((2, 3, 3), None, "operation=None: must be one of eigenvalues, transpose"),
        ((2, 3, 3), "svd", "operation='svd': must be one of eigenvalues, transpose"),
        ((9,), "eigenvalues", "must be"),
    ],
)
def test_what_the_model_was_not_made_for_is_refused(mixed_run, shape, operation, said):
    with pytest.raises(ValueError, match=said):
        matstream.load(mixed_run).predict(np.ones(shape), operation)


@pytest.mark.parametrize("value", [np.nan, -np.inf, -1e200])
def test_an_entry_that_cannot_be_read_is_named(mixed_run, value):
    unreadable = np.ones((3, 2, 2))
    unreadable[1, 0, 1] = value
    with pytest.raises(ValueError, match=rf"matrices\[1, 0, 1\]={re.escape(f'{value:g}')}: must be"):
        matstream.load(mixed_run).predict(unreadable, "transpose")


@pytest.mark.parametrize(
    ("matrices", "said"),
    [
        (np.ones((2, 2), complex), "complex128: must be real numbers"),
        (np.ones((2, 2), bool), "bool: must be real numbers"),
        (np.zeros((2, 2), "M8[s]"), "datetime64.*: must be real numbers"),
        ([["1", "2"], ["3", "4"]], "<U1: must be real numbers"),
        ([[1, 2], [3]], "matrices are not an array: "),
    ],
)
def test_what_is_no_array_of_real_numbers_is_refused(mixed_run, matrices, said):
    with pytest.raises(ValueError, match=said):
        matstream.load(mixed_run).predict(matrices, "transpose")


def test_an_exported_model_says_what_it_is_and_how_well_it_does(mixed_run):
    card = (mixed_run / "model/README.md").read_text()
    result = json.loads((mixed_run / "result.json").read_text())
    assert f"| 5.0% | {result['accuracy']['0.05']:.2%} |" in card
    assert "eigenvalues,transpose of dimension 2-3" in card
    assert set(os.listdir(mixed_run / "model")) == {
        *("README.md", "SHA256SUMS", "config.json", "model.safetensors")
    }


class _Payload:
    def __reduce__(self) -> tuple:
        return os.mkdir, ("pickled",)


def test_weights_from_elsewhere_run_no_code_and_are_refused_by_name(mixed_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(mixed_run / "model", tmp_path / "model")
    torch.save({"weights": _Payload()}, tmp_path / "model/model.safetensors")
    sign(tmp_path / "model")
    with pytest.raises(UserError, match=r"model\.safetensors cannot be read"):
        matstream.load("model")
    assert not (tmp_path / "pickled").exists()


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "SHA256SUMS"])
def test_no_bit_of_a_model_can_change_unseen(mixed_run, tmp_path, name):
    shutil.copytree(mixed_run / "model", tmp_path / "model")
    path = tmp_path / "model" / name
    content = path.read_bytes()
    for place in range(0, len(content), 1 + len(content) // 20):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(UserError, match="is damaged"):
            matstream.load(tmp_path / "model")


def test_a_model_without_checksums_is_refused_with_how_to_vouch_for_it(mixed_run, tmp_path):
    shutil.copytree(mixed_run / "model", tmp_path / "model")
    (tmp_path / "model/SHA256SUMS").unlink()
    with pytest.raises(UserError, match=r"no SHA256SUMS beside it .* write one there by sha256sum"):
        matstream.load(tmp_path / "model")
    with (tmp_path / "model/SHA256SUMS").open("w") as sums:
        command = ["sha256sum", "config.json", "model.safetensors"]
        subprocess.run(command, cwd=tmp_path / "model", stdout=sums, check=True)
    matstream.load(tmp_path / "model")


def test_a_card_may_be_edited(mixed_run, tmp_path):
    shutil.copytree(mixed_run / "model", tmp_path / "model")
    (tmp_path / "model/README.md").write_text("mine")
    matstream.load(tmp_path / "model")


def test_a_finished_run_whose_recipe_was_changed_is_refused_by_what_differs(mixed_run, tmp_path):
    shutil.copytree(mixed_run, tmp_path / "run")
    recipe = tmp_path / "run/recipe.toml"
    recipe.write_text(recipe.read_text().replace("\nheads = 2\n", "\nheads = 4\n"))
    with pytest.raises(UserError, match=r"run/recipe\.toml: model\.heads=4: must be 2, as in .*run/model$"):
        matstream.load(tmp_path / "run")


def test_an_edited_card_is_kept_and_another_written_anew(mixed_run, tmp_path):
    shutil.copytree(mixed_run, tmp_path / "run")
    recipe, result = recipe_of(mixed_run), json.loads((mixed_run / "result.json").read_text())
    for _ in range(2):
        card = export(tmp_path / "run", recipe, result | {"samples_seen": 4711}) / "README.md"
        assert "4,711 random problems" in card.read_text()
        result["invalid"] += 1
    card.write_text("mine")
    for _ in range(2):
        export(tmp_path / "run", recipe, result)
        assert card.read_text() == "mine"
        matstream.load(tmp_path / "run/model")


@pytest.mark.parametrize(
    "given",
    [
        lambda found: torch.tensor(found, requires_grad=True),
        lambda found: torch.tensor(found, requires_grad=True) * 1,
        lambda found: torch.nn.Parameter(torch.tensor(found)),
        lambda found: torch.tensor(found).to(torch.bfloat16),
        lambda found: np.ma.masked_invalid(found),
        lambda found: found.tolist(),
    ],
)
def test_tensors_of_any_kind_are_predicted_as_their_values_are(mixed_run, given):
    pretrained = matstream.load(mixed_run)
    found = np.array([[[1.5, 2.0], [-3.0, 0.25]]])
    np.testing.assert_array_equal(
        pretrained.predict(given(found), "transpose"), pretrained.predict(found, "transpose")
    )


@pytest.mark.parametrize("together", [np.ma.stack, list])
def test_a_masked_entry_is_refused_by_its_place(mixed_run, together):
    masked = np.ma.masked_equal([[1.0, 2.0], [3.0, 4.0]], 3.0)
    with pytest.raises(ValueError, match=r"matrices\[0, 1, 0\] is masked: must be a number"):
        matstream.load(mixed_run).predict(together([masked, masked]), "transpose")


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"recipe": {"stream": 3}}'])
def test_a_damaged_configuration_is_refused_by_name(mixed_run, tmp_path, content):
    shutil.copytree(mixed_run / "model", tmp_path / "model")
    (tmp_path / "model/config.json").write_text(content)
    sign(tmp_path / "model")
    with pytest.raises(UserError, match=r"config\.json"):
        matstream.load(tmp_path / "model")


def test_a_model_without_its_configuration_is_refused_by_its_name(mixed_run, tmp_path):
    shutil.copytree(mixed_run / "model", tmp_path / "model")
    (tmp_path / "model/config.json").unlink()
    with pytest.raises(UserError, match=r"model holds a model without its config\.json"):
        matstream.load(tmp_path / "model")


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(UserError, match="holds no run"):
        matstream.load(tmp_path)


def smaller_and_larger(**larger: object) -> list:
    """The recipe of `mixed_run`'s model, and one for larger matrices."""
    changes = ({"dim": "2-3"}, {"dim": "2-5"} | larger)
    return [
        read_recipe(
            {
                "stream": {"operation": "eigenvalues,transpose"} | stream,
                "model": {"width": 16, "heads": 2},
                "training": {"samples": 1},
            },
            {},
        )
        for stream in changes
    ]


def test_a_larger_model_starts_from_the_weights_of_a_smaller_one(mixed_run):
    trained = matstream.load(mixed_run).solver.model
    recipe = smaller_and_larger()[1]
    larger, fresh = build(recipe), build(recipe)
    start_from(str(mixed_run), recipe, larger)
    for (name, theirs), mine, new in zip(
        trained.named_parameters(), larger.parameters(), fresh.parameters(), strict=True
    ):
        assert torch.equal(mine[: len(theirs)], theirs), name
        assert torch.equal(mine[len(theirs) :], new[len(theirs) :]), name
    assert any(len(a) < len(b) for a, b in zip(trained.parameters(), larger.parameters(), strict=True))


def test_a_model_started_from_another_answers_small_problems_as_that_one_did(mixed_run):
    trained = matstream.load(mixed_run)
    _, recipe = smaller_and_larger()
    larger = build(recipe)
    start_from(str(mixed_run), recipe, larger)
    read, write = recipe.input_tokens(), recipe.target_tokens()
    solver = type(trained.solver)(larger, read, write)
    task = next(n for n, task in enumerate(read.tasks) if (task.operation, task.n) == ("eigenvalues", 3))
    inputs = matrices(20)
    ids = solver.solve(read.encode(flat(inputs), np.full(20, task)), task)
    np.testing.assert_array_equal(write.decode(ids, task), trained.predict(inputs, "eigenvalues"))


def test_a_model_started_from_one_of_another_scale_reads_numbers_as_that_one_does(tmp_path):
    trained = matstream.load("transpose")
    theirs = trained.recipe
    document = tomllib.loads(write_recipe(theirs)) | {"stream": {"operation": "transpose", "dim": "2-5"}}
    recipe = read_recipe(document, {})
    model = build(recipe)
    assert model.unit != trained.solver.model.unit
    start_from("transpose", recipe, model)
    kept, loaded = checkpoints.save_best(tmp_path, 64, model), build(recipe)
    weights.load(kept / WEIGHTS, loaded, "")
    inputs = matrices(20)
    for started in (model, loaded):
        answers = Pretrained(recipe, solver_of(recipe, started)).predict(inputs)
        np.testing.assert_array_equal(answers, trained.predict(inputs))


def test_a_model_outlives_an_operation_that_is_added(mixed_run, monkeypatch):
    before = matstream.load(mixed_run).predict(matrices(20), "eigenvalues")
    for name in ("aaa", "zzz"):
        monkeypatch.setitem(OPERATIONS, name, OPERATIONS["transpose"])
    np.testing.assert_array_equal(matstream.load(mixed_run).predict(matrices(20), "eigenvalues"), before)


def test_a_model_of_format_1_answers_as_it_did():
    """A run of matstream 0.2, in which the vocabulary had words of all operations, and its answers there."""
    model = matstream.load(ROOT / "tests/data/model-of-format-1")
    inputs = np.array([[[1.5, -2.0], [-2.0, 3.0]], [[4.0, 0.5], [0.5, -7.0]]])
    values = [[[4e79], [-2e18]], [[4e79], [-2.7e18]]]
    transposes = [[[2.4e-47, -3.8e38], [-3.8e-17, -3.8e-17]], [[4.4e80, -3.8e-17], [-3.8e-17, -3.8e-17]]]
    np.testing.assert_allclose(model.predict(inputs, "eigenvalues"), values)
    np.testing.assert_allclose(model.predict(inputs, "transpose"), transposes)


def test_weights_of_a_format_to_come_are_refused(mixed_run, tmp_path):
    shutil.copytree(mixed_run / "model", tmp_path / "model")
    path = tmp_path / "model/model.safetensors"
    save_file(load_file(path), path, {"format": "99"})
    sign(path.parent)
    with pytest.raises(UserError, match="is of format 99, which a later matstream writes"):
        matstream.load(tmp_path / "model")


def test_a_model_started_from_another_knows_the_operations_of_that_one_among_others(mixed_run):
    """Their words stand at other ids, after those of operations that come before them."""
    trained = matstream.load(mixed_run)
    for operation in ("add,eigenvalues,transpose", "eigenvalues,matvec,svd,transpose"):
        recipe = smaller_and_larger(operation=operation)[1]
        model = build(recipe)
        start_from(str(mixed_run), recipe, model)
        read, write = recipe.input_tokens(), recipe.target_tokens()
        solver = type(trained.solver)(model, read, write)
        for number, task in enumerate(read.tasks):
            if task in trained.solver.read.tasks and task.m == 3:
                ids = solver.solve(read.encode(flat(matrices(20)), np.full(20, number)), number)
                expected = trained.predict(matrices(20), task.operation)
                np.testing.assert_array_equal(write.decode(ids, number), expected)


@pytest.mark.parametrize(
    ("section", "key", "value", "must"),
    [
        ("model", "width", 32, "16"),
        ("model", "encoder_layers", 2, "1"),
        ("model", "paper", True, "False"),
        ("tokens", "input", "B1999", "'P10'"),
        ("tokens", "output_digits", 2, "3"),
        ("tokens", "output_form", "sequential", "'factored'"),
    ],
)
def test_a_model_made_otherwise_is_not_started_from(mixed_run, section, key, value, must):
    document = smaller_and_larger()[1].model_dump(mode="json", exclude_none=True)
    recipe = read_recipe(document, {section: {key: value}})
    with pytest.raises(UserError, match=rf"{section}\.{key}={value!r}: must be {must}, as in "):
        start_from(str(mixed_run), recipe, build(recipe))


def test_weights_of_another_model_in_a_run_are_refused_by_their_file(mixed_run, tmp_path):
    shutil.copytree(mixed_run, tmp_path / "run")
    path = checkpoints.best_weights(tmp_path / "run")
    save_file({"odd": torch.zeros(3)}, path)
    sign(path.parent)
    recipe = smaller_and_larger()[1]
    with pytest.raises(UserError, match=re.escape(f"{path} holds the weights of another model")):
        start_from(str(tmp_path / "run"), recipe, build(recipe))
    with pytest.raises(UserError, match="holds no run"):
        start_from(str(tmp_path), recipe, build(recipe))
