"""What the README says to type works."""

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from matstream.commands import main
from matstream.shared.operations import OPERATIONS
from matstream.trainer.recipes.recipe import Recipe

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
TRAINING = (ROOT / "docs/training.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("code", BLOCKS)
def test_a_python_example_runs(code, server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if "runs/small-eigenvalues" in code:
        few = ["--training.samples", "256", "--evaluation.test_samples", "20"]
        main(["train", "small/eigenvalues", "--generator", server, *few])
    code = code.replace("http://127.0.0.1:8000", server).replace("10**6", "10**4").replace("40_000", "640")
    subprocess.run([sys.executable, "-c", code], check=True, timeout=180)


def test_every_file_it_links_to_exists():
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_every_key_of_a_recipe_is_explained():
    known = [
        f"{section}.{key}"
        for section, field in Recipe.model_fields.items()
        if section not in ("stream", "curriculum")
        for key in field.annotation.model_fields
    ]
    assert len(known) > 30
    assert [key for key in known if f"`{key}`" not in TRAINING] == []


def test_ci_runs_its_test_command():
    assert "make test " in README
    assert "\nmake test\n" in (ROOT / ".ci/run").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("module", "extra", "arguments"),
    [("torch", "trainer", ["train", "quickstart"]), ("fastapi", "generator", ["serve"])],
)
def test_a_missing_extra_is_a_sentence_with_the_command_that_brings_it(module, extra, arguments, tmp_path):
    code = (
        f"import sys; sys.modules[{module!r}] = None; from matstream.commands import main; main({arguments})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode != 0
    assert done.stderr == f"matstream: this command needs {module}: pip install 'matstream[{extra}]'\n"


def test_a_mistyped_command_needs_no_extra_to_be_told_so(tmp_path):
    code = "import sys; sys.modules |= dict.fromkeys(['fastapi', 'torch', 'uvicorn'])"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; from matstream.commands import main; main(['trian'])"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert 'Did you mean "train"?' in done.stderr
    assert "Traceback" not in done.stderr


def test_the_page_of_operations_is_what_the_program_says():
    written = runpy.run_path(str(ROOT / "bench/operations.py"))["page"]()
    assert (ROOT / "docs/operations.md").read_text(encoding="utf-8") == written
    assert all(f"`{name}`" in README for name in OPERATIONS)
