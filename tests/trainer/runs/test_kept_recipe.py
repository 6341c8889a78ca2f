"""The recipe and the problem files in a run's folder."""

import textwrap

import pytest

from matstream.shared import problems
from matstream.shared.errors import UserError
from matstream.trainer.recipes.reading import read_recipe, write_recipe
from matstream.trainer.runs.kept_recipe import keep_problems, recipe_of


def test_two_problem_files_of_one_name_are_both_kept(tmp_path, problems_forgotten):
    code = {
        "a": """
            @matstream.operation(target=lambda m, n: (m, n))
            def kept_copy(a):
                return a
        """,
        "b": """
            @matstream.structure(words=lambda m, n: m * n)
            def kept_rows(u, m, n):
                return u.reshape(-1, m, n)
        """,
    }
    for folder, text in code.items():
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "my problem.py").write_text("import matstream\n" + textwrap.dedent(text))
    problems.read_problems(*(tmp_path / folder / "my problem.py" for folder in code))
    document = {
        "stream": {"operation": "kept_copy", "dim": 2, "structure": "kept_rows"},
        "training": {"samples": 64},
    }
    recipe = read_recipe(document, {})
    keep_problems(recipe, tmp_path)
    (tmp_path / "recipe.toml").write_text(write_recipe(recipe))
    assert {path.name for path in (tmp_path / "problems").iterdir()} == {
        "my_problem.py",
        "my_problem-2.py",
        "SHA256SUMS",
    }
    problems._known = problems.Definitions()
    problems._by_digest.clear()
    kept = tmp_path / "problems/my_problem.py"
    content = kept.read_bytes()
    kept.write_bytes(content.replace(b"return a", b"return -a"))
    with pytest.raises(UserError, match=r"my_problem\.py cannot be read: it is damaged"):
        recipe_of(tmp_path)
    kept.write_bytes(content)
    again = recipe_of(tmp_path)
    assert again.model_dump() == recipe.model_dump()
    assert again.stream.definitions.hash == recipe.stream.definitions.hash
