"""The models that come with matstream, by their names."""

import shutil

import numpy as np
import pytest

import matstream
from matstream.shared.errors import UserError
from matstream.trainer.runs import shipped


@pytest.fixture
def models(mixed_run, tmp_path, monkeypatch):
    """A folder of models that come with matstream, with one, called `some`."""
    monkeypatch.setattr(shipped, "MODELS", tmp_path / "models")
    shutil.copytree(mixed_run / "model", tmp_path / "models/some")
    return tmp_path / "models"


def test_a_model_is_loaded_by_its_name(models, mixed_run):
    given = np.ones((3, 3))
    expected = matstream.load(mixed_run).predict(given, "transpose")
    np.testing.assert_array_equal(matstream.load("some").predict(given, "transpose"), expected)


def test_a_folder_goes_before_a_model_of_its_name(models, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "some").mkdir()
    with pytest.raises(UserError, match="some holds no run"):
        matstream.load("some")


def test_a_name_that_is_neither_is_refused_with_those_that_are(models, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"^there is no folder other; .* come with matstream are some$"):
        matstream.load("other")
