import tomllib

import pytest

from shared.errors import RefusedError, UserError
from trainer.recipe import load_recipe, read_recipe, recipe_names, write_recipe

DOCUMENT = {"stream": {"operation": "transpose", "dim": 3}, "training": {"samples": 1000}}


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_that_comes_with_matstream_is_valid(name):
    assert load_recipe(name, {})[0] == name


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


@pytest.mark.parametrize(
    ("section", "key", "value", "allowed"),
    [
        ("stream", "operation", "transposition", "must be one or several of add"),
        ("stream", "dim", "3-5", "must be fixed"),
        ("stream", "operation", "add,transpose", "must be one operation"),
        ("stream", "size", 3, "known are operation, dim"),
        ("stream", "seed", -1, "from 0 to"),
        ("tokens", "input", "P2000", "one of P10, P1000"),
        ("tokens", "output_form", "parallel", "'factored' or 'sequential'"),
        ("model", "width", "wide", "valid integer"),
        ("model", "heads", 7, "must divide model.width=128"),
        ("training", "learning_rate", 0, "greater than 0"),
        ("training", "learning_rate", float("nan"), "finite|greater"),
        ("training", "lr", 1e-3, "known are samples, batch_size"),
        ("optimiser", "name", "adam", "known are stream, tokens"),
    ],
)
def test_a_bad_value_is_refused_naming_the_key_and_what_is_allowed(section, key, value, allowed):
    with pytest.raises(UserError, match=allowed) as raised:
        read_recipe(DOCUMENT, {section: {key: value}})
    assert (key if section != "optimiser" else section) in str(raised.value)


def test_what_is_missing_is_named():
    with pytest.raises(UserError, match=r"training\.samples: is required"):
        read_recipe({"stream": DOCUMENT["stream"], "training": {}}, {})


@pytest.mark.parametrize("document", [{"stream": 3}, {"stream": {"dim": 3}, "training": 5}])
def test_a_section_that_is_no_table_is_refused(document):
    for overrides in ({}, {"stream": {"dim": 4}}):
        with pytest.raises(UserError, match=r"must be a section of keys and values|is required"):
            read_recipe(document, overrides)


def test_an_unknown_recipe_is_refused_with_the_known_ones():
    with pytest.raises(UserError, match="must be one of quickstart"):
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
