"""docs/RESULTS.md is what is made of docs/results/."""

import shutil
from pathlib import Path

import pytest

from bench.full_experiments import generalisation
from bench.full_page import in_short, results

DOCS = Path(__file__).parents[1] / "docs"


def test_the_page_and_its_pictures_are_made_again_without_training(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(DOCS / "results", "docs/results")
    assert results() == (DOCS / "RESULTS.md").read_text(encoding="utf-8")
    for picture in DOCS.glob("results*.png"):
        assert (tmp_path / "docs" / picture.name).stat().st_size > 10_000


def test_the_table_in_the_readme_is_that_of_the_results(monkeypatch):
    monkeypatch.chdir(DOCS.parent)
    assert in_short() in Path("README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("laplace", "semicircle", "said"),
    [(0.95, 0.1, "confirms"), (0.95, 0.92, "contradicts"), (0.5, 0.1, "contradicts")],
)
def test_the_sentence_about_generalisation_follows_the_figures(laplace, semicircle, said):
    sentence = generalisation({"laplace": laplace, "semicircle": semicircle, "uniform": 0.3})
    assert f"at least {laplace:.1%}" in sentence
    assert f"this {said} the paper's finding" in sentence
