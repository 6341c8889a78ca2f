import re
import tomllib
from pathlib import Path

import numpy as np
import pytest

from matstream.generator_service.stream import generate
from matstream.shared import problems
from matstream.shared.errors import RefusedError, UserError
from matstream.shared.operations import OPERATIONS
from matstream.shared.spec import StreamSpec
from matstream.shared.wire import flat, from_batch
from matstream.trainer.recipes.reading import RECIPES, load_recipe, read_recipe, recipe_names, write_recipe
from matstream.trainer.runs.kept_recipe import recipe_of
from matstream.trainer.tokens.magnitudes import of_inputs, of_targets

EXAMPLES = Path(__file__).parents[3] / "examples"
DOCUMENT = {"stream": {"operation": "transpose", "dim": 3}, "training": {"samples": 1000}}


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_that_comes_with_matstream_is_valid(name):
    run_name, recipe = load_recipe(name, {})
    assert run_name == name.replace("/", "-")
    assert (RECIPES / f"{name}.toml").read_text().startswith("# ")
    recipe.input_tokens(), recipe.target_tokens()


def test_a_recipe_written_out_is_the_same_recipe():
    recipe = read_recipe(DOCUMENT, {"training": {"time-limit": "60"}, "stream": {"scale": "2.5"}})
    assert read_recipe(tomllib.loads(write_recipe(recipe)), {}) == recipe


def test_overrides_replace_values_and_keep_the_others():
    recipe = read_recipe(DOCUMENT, {"training": {"batch-size": "32"}, "model": {"width": "64"}})
    assert (recipe.training.batch_size, recipe.training.samples, recipe.model.width) == (32, 1000, 64)


def test_a_recipe_may_be_a_file(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("[stream]\noperation = 'add'\ndim = '2'\n[training]\nsamples = 64\n")
    name, recipe = load_recipe(str(path), {})
    assert name == "mine"
    assert recipe.stream.operation == ("add",)


def test_a_recipe_extends_another_key_by_key(tmp_path):
    (tmp_path / "deeper").mkdir()
    base, mine = tmp_path / "base.toml", tmp_path / "deeper/mine.toml"
    base.write_text('extends = "base/published"\n[stream]\noperation = "add"\ndim = 4\n[model]\nwidth = 64\n')
    mine.write_text('extends = "../base.toml"\n[stream]\ndim = 2\n[training]\nsamples = 64\n')
    name, recipe = load_recipe(str(mine), {"model": {"heads": 4}})
    assert name == "mine"
    assert (recipe.stream.operation, recipe.stream.fields()["dim"]) == (("add",), 2)
    assert (recipe.model.paper, recipe.model.width, recipe.model.heads) == (True, 64, 4)
    assert read_recipe(tomllib.loads(write_recipe(recipe)), {}) == recipe  # with nothing of `extends` in it
    base.write_text('extends = "small/eigenvalues"\n[stream]\noperation = "add"\n')
    assert load_recipe(str(mine), {})[1].model.parallel


@pytest.mark.parametrize(
    ("extends", "wrong"),
    [
        (
            "'paper/nothing'",
            "extends='paper/nothing': must be one of base/full, base/laws, base/pub.*, or a .toml file",
        ),
        ("3", "extends=3: must be one of"),
        ("'none.toml'", "extends='none.toml': there is no file"),
        ("'mine.toml'", "extends='mine.toml': must not be a recipe that extends this one"),
        ("'other.toml'", "extends='other.toml': extends='mine.toml': must not be a recipe that extends this"),
    ],
)
def test_what_a_recipe_cannot_extend_is_said(tmp_path, extends, wrong):
    (tmp_path / "mine.toml").write_text(f"extends = {extends}\n[training]\nsamples = 64\n")
    (tmp_path / "other.toml").write_text("extends = 'mine.toml'\n")
    with pytest.raises(UserError, match=wrong):
        load_recipe(str(tmp_path / "mine.toml"), {})


def test_a_base_is_no_recipe():
    with pytest.raises(UserError, match="recipe 'base/published': must be one of few-shot"):
        load_recipe("base/published", {})


@pytest.mark.parametrize(
    ("section", "key", "value", "allowed"),
    [
        ("stream", "operation", "transposition", "must be one or several of add"),
        ("stream", "dim", "1-4000", "tasks of up to .* numbers"),
        ("stream", "size", 3, "known are operation, dim"),
        ("stream", "seed", -1, "from 0 to"),
        ("tokens", "input", "P2000", "one of P10, P1000"),
        ("tokens", "input_digits", 10, "must be from 2 to 9 for P10"),
        ("tokens", "output_digits", 1, "must be from 2 to 9 for P10"),
        ("tokens", "output_form", "parallel", "'factored' or 'sequential'"),
        ("model", "width", "wide", "valid integer"),
        ("model", "heads", 7, "must divide model.width=128"),
        ("model", "decoder_heads", 7, "must divide the decoder's width 128"),
        ("model", "paper", "perhaps", "valid boolean"),
        ("training", "near", 0.06, r"less than or equal to 0\.05"),
        ("training", "near", float("nan"), "finite"),
        ("training", "gradient_clip", float("inf"), "finite"),
        ("training", "accumulate", 65, "at most training.batch_size=64"),
        ("training", "optimizer", "sgd", "'adamw' or 'muon'"),
        ("training", "schedule", "step", "'constant', 'cosine' or 'linear'"),
        ("training", "average", -1, "greater than or equal to 0"),
        ("evaluation", "constrained", 2, "valid boolean"),
        ("training", "learning_rate", 0, "greater than 0"),
        ("training", "learning_rate", float("nan"), "finite|greater"),
        ("training", "lr", 1e-3, "known are samples, batch_size"),
        ("optimiser", "name", "adam", "known are stream, curriculum, tokens"),
    ],
)
def test_a_bad_value_is_refused_naming_the_key_and_what_is_allowed(section, key, value, allowed):
    with pytest.raises(UserError, match=allowed) as raised:
        read_recipe(DOCUMENT, {section: {key: value}})
    assert (key if section != "optimiser" else section) in str(raised.value)


def test_answers_written_word_by_word_cannot_be_written_at_once():
    with pytest.raises(UserError, match=r"model\.parallel=True: must be False with tokens\.output_form="):
        read_recipe(DOCUMENT, {"model": {"parallel": True}, "tokens": {"output_form": "sequential"}})


def test_what_is_missing_is_named():
    with pytest.raises(UserError, match=r"training\.samples: is required"):
        read_recipe({"stream": DOCUMENT["stream"], "training": {}}, {})


@pytest.mark.parametrize("document", [{"stream": 3}, {"stream": {"dim": 3}, "training": 5}])
def test_a_section_that_is_no_table_is_refused(document):
    for overrides in ({}, {"stream": {"dim": 4}}):
        with pytest.raises(UserError, match=r"must be a section of keys and values|is required"):
            read_recipe(document, overrides)


@pytest.mark.parametrize("name", ["mine.toml", "mine.TOML"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_a_recipe_is_read_as_any_editor_writes_it(tmp_path, name, mark):
    expected = read_recipe(DOCUMENT, {})
    (tmp_path / name).write_bytes(mark + write_recipe(expected).encode())
    assert load_recipe(str(tmp_path / name), {}) == ("mine", expected)
    (tmp_path / "recipe.toml").write_bytes(mark + write_recipe(expected).encode())
    assert recipe_of(tmp_path) == expected


def test_an_unknown_recipe_is_refused_with_the_known_ones():
    with pytest.raises(UserError, match=r"must be one of .*paper/add, .*quickstart, small/add"):
        load_recipe("nonsense", {})


def test_unknown_keys_of_two_sections_are_each_offered_their_own():
    with pytest.raises(RefusedError) as refused:
        load_recipe("quickstart", {"model": {"widht": 4}, "training": {"sampels": 4}})
    width, samples = refused.value.problems
    assert "model.widht=4: is not a known name; known are width, heads" in str(width)
    assert "training.sampels=4: is not a known name; known are samples, batch_size" in str(samples)


def test_a_file_that_is_not_text_is_refused(tmp_path):
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="is not TOML"):
        load_recipe(str(tmp_path / "bytes.toml"), {})


def test_a_file_that_is_not_toml_is_refused(tmp_path):
    path = tmp_path / "broken.toml"
    path.write_text("[stream\n")
    with pytest.raises(UserError, match="not TOML"):
        load_recipe(str(path), {})


@pytest.mark.parametrize(
    ("stream", "tokens", "said"),
    [
        (
            {"scale": 1e9},
            {"output": "FP15"},
            r"tokens\.output='FP15': cannot hold the stream's targets, up to 1e\+09",
        ),
        (
            {"scale": 1e9},
            {"input": "FP15"},
            r"tokens\.input='FP15': cannot hold the stream's inputs, up to 1e\+09",
        ),
        ({"scale": 1e-9}, {"output": "FP15"}, r"usually near 1e-09: it loses digits below 1e-07"),
        ({"operation": "matmul", "scale": 1e60}, {}, r"tokens\.output='P1000': cannot hold .* up to 3e\+120"),
        ({"operation": "inverse", "scale": 1e9}, {"output": "FP15"}, r"usually near 1e-09"),
        ({"operation": "eigenvalues", "scale": 4e8}, {"output": "FP15"}, r"up to 1\.2e\+09"),
        (
            {"operation": "transpose"},
            {"output": "FP15", "output_digits": 2},
            r"output_digits=2: must be 3 for FP15",
        ),
    ],
)
def test_an_encoding_that_cannot_hold_the_stream_is_refused(stream, tokens, said):
    document = {**DOCUMENT, "stream": DOCUMENT["stream"] | stream, "tokens": tokens}
    with pytest.raises(UserError, match=said):
        read_recipe(document, {})


def test_what_an_encoding_can_hold_is_accepted():
    for stream in (
        {"scale": 9e8},
        {"scale": 1e9, "max_abs": 1e8},
        {"operation": "eigenvalues", "scale": 3e8},
    ):
        document = {**DOCUMENT, "stream": DOCUMENT["stream"] | stream, "tokens": {"output": "FP15"}}
        read_recipe(document, {})


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"coefficients": "gaussian", "scale": "1-100", "noise": 0.5},
        {"spectrum": ["abs_laplace", "marchenko_pastur"]},
        {"structure": "condition-50"},
        {"coefficients": "integers", "scale": 2},
        {"coefficients": "integers", "scale": 1, "spectrum": ["abs_laplace", "positive"]},
        {"coefficients": "integers", "scale": 1, "structure": "kronecker_sum:toeplitz", "dim": 4},
        {"coefficients": "sparse"},
        {"coefficients": "log_uniform"},
    ],
)
def test_bounds_hold_for_what_a_stream_makes(operation, fields):
    try:
        spec = StreamSpec(operation=operation, **{"dim": "2-4"} | fields)
    except ValueError:  # it does not take such matrices
        return
    samples = from_batch(generate(spec, 0, "train", 0, 5000))
    for column, bounds in ((samples.input, of_inputs(spec)), (samples.target, of_targets(spec))):
        entries = np.abs(flat(column).entries)
        assert entries.max() <= bounds.largest
        assert np.quantile(entries, 0.99) > bounds.usual / 10


@pytest.mark.parametrize(
    ("file", "structure", "operation", "largest"),
    [
        ("modular", "residues", "sum_modulo_97", 96),
        ("my_ensemble", "checkerboard", "add", 10),
    ],
)
def test_bounds_hold_for_structures_of_ones_own(problems_forgotten, file, structure, operation, largest):
    """Whatever the scale, on which they do not depend."""
    problems.read_problems(EXAMPLES / f"{file}.py")
    spec = StreamSpec(operation=operation, dim=3, structure=structure)
    assert of_inputs(spec).largest == pytest.approx(largest)
    samples = from_batch(generate(spec, 0, "train", 0, 5000))
    assert np.abs(samples.input).max() <= of_inputs(spec).largest
    assert np.abs(samples.target).max() <= of_targets(spec).largest


SYMMETRIC = {"operation": "eigenvalues", "dim": 3}


@pytest.mark.parametrize(
    ("stream", "tokens", "model", "wrong"),
    [
        (
            SYMMETRIC,
            {},
            {"relations": True, "paper": True},
            "model.relations=True: must be False with model.pa",
        ),
        (
            SYMMETRIC,
            {"input_form": "sequential"},
            {"values": True},
            "model.values=True: must be False with tok",
        ),
        (
            SYMMETRIC,
            {"output_form": "sequential"},
            {"relations": True},
            "model.relations=True: must be False",
        ),
    ],
)
def test_what_a_matrix_is_read_by_must_be_there(stream, tokens, model, wrong):
    document = {"stream": stream, "tokens": tokens, "model": model, "training": {"samples": 1000}}
    with pytest.raises(RefusedError, match=re.escape(wrong)):
        read_recipe(document, {})


@pytest.mark.parametrize("written", ["curriculum = 3", "curriculum = [3]", "[curriculum]\nsamples = 3"])
def test_a_curriculum_that_is_not_tables_is_refused_in_one_sentence(tmp_path, written):
    path = tmp_path / "own.toml"
    base = 'extends = "small/add"\n'
    path.write_text(base + written)
    with pytest.raises(RefusedError) as refused:
        load_recipe(str(path), {})
    [problem] = refused.value.problems
    assert problem.field == "curriculum"
    assert problem.message.endswith("must be tables, each of which begins with [[curriculum]]")
