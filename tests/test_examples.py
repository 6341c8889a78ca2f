"""Every file of examples/ does what it says."""

import json
import re
from pathlib import Path

import httpx
import numpy as np
from playwright.sync_api import expect

from tests.browsers import chromium, needs_browser
from tests.commands import finish, forked, python

EXAMPLES = Path(__file__).parents[1] / "examples"


def sampled(folder: Path, example: str, operation: str, *arguments: str) -> list[dict]:
    """Samples of an example, as the command line prints them."""
    status, out, err = finish(
        forked(
            folder,
            *("sample", operation, "--problems", str(EXAMPLES / example), "--format", "json", "-n", "20"),
            *arguments,
        )
    )
    assert status == 0, err
    return json.loads(out)["samples"]


def test_gcd(tmp_path):
    for one in sampled(
        tmp_path, "gcd.py", "gcd", "--dim", "1", "--cols", "2", "--structure", "whole_numbers"
    ):
        [[a, b]] = one["input"]
        assert a == int(a) >= 1
        assert one["target"] == [[np.gcd(int(a), int(b))]]
        assert one["residual"] is None


def test_modular(tmp_path):
    arguments = ("--dim", "1", "--cols", "2", "--structure", "residues")
    for one in sampled(tmp_path, "modular.py", "sum_modulo_97", *arguments):
        [[a, b]] = one["input"]
        assert one["target"] == [[(a + b) % 97]]


def test_my_ensemble(tmp_path):
    for operation in ("eigenvalues", "transpose"):
        arguments = ("--dim", "4", "--structure", "checkerboard")
        for one in sampled(tmp_path, "my_ensemble.py", operation, *arguments):
            matrix = np.array(one["input"])
            assert not matrix[1::2, ::2].any()
            assert matrix[::2, ::2].all()


def test_my_model(monkeypatch, capsys):
    code = (EXAMPLES / "my_model.py").read_text().replace("SAMPLES = 200_000", "SAMPLES = 2_000")
    exec(compile(code, "my_model.py", "exec"), {"__name__": "__main__"})
    assert "right within 5%" in capsys.readouterr().out


USE = """
import json, sys
import numpy as np
import matstream
model = matstream.load(sys.argv[1])
matrices = np.random.default_rng(5).uniform(-10, 10, (50, 2, 2))
checked = model.check(matrices)
np.testing.assert_allclose(checked.exact[:, 0, 0], np.linalg.det(matrices))
print(json.dumps([model.predict(matrices).ravel().tolist(), list(model.input_shape), model.symmetric]))
"""


def use(folder: Path, model: str) -> list:
    """What a program finds of a trained model: its predictions, its input shape, its symmetry."""
    done = python(folder, "-c", USE, model)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@needs_browser
def test_determinant_goes_all_the_way_from_one_file(start_server, tmp_path, monkeypatch):
    """Served, shown, trained, resumed, evaluated, reported, exported and loaded, without any other edit."""
    file = EXAMPLES / "determinant.py"
    assert len(file.read_text().splitlines()) <= 15
    server = start_server(MATSTREAM_PROBLEMS=str(file)).url

    answer = httpx.get(f"{server}/v1/samples?operation=determinant&dim=3&count=9", trust_env=False).json()
    for one in answer["samples"]:
        np.testing.assert_allclose(one["target"], [[np.linalg.det(one["input"])]])
        assert one["residual"] is None
    with chromium() as browser:
        page = browser.new_page(base_url=server)
        page.goto("/?operation=determinant&dim=2")
        expect(page.locator("#operation-hint")).to_contain_text("det A")
        expect(page.locator(".sample").first).to_contain_text("no residual is measured")

    def run(command: str, *arguments: str) -> tuple[str, str]:
        status, out, err = finish(forked(tmp_path, command, *arguments))
        assert status == 0, err
        return out, err

    few = [
        *("--stream.operation", "determinant", "--stream.dim", "2", "--training.samples", "20000"),
        *("--training.validate_every", "10000", "--evaluation.test_samples", "500"),
        *("--evaluation.validation_samples", "200", "--training.checkpoint_every", "5000"),
    ]
    served = ("--generator", server, "--problems", str(file))
    stopped = finish(forked(tmp_path, "train", "quickstart", *served, *few, "--training.time_limit", "0.05"))
    assert stopped[0] != 0
    assert "--resume" in stopped[2]
    assert (tmp_path / "runs/quickstart/problems/determinant.py").read_bytes() == file.read_bytes()
    # from here on the run's own copy is what is used
    out, _ = run("train", "quickstart", "--resume", "--generator", server, *few)
    assert "accuracy" in out
    result = json.loads((tmp_path / "runs/quickstart/result.json").read_text())
    assert result["samples_seen"] == 20_000
    out, _ = run("evaluate", "runs/quickstart", "--samples", "300", "--generator", server)
    assert re.search(r"300\b.*determinant|determinant.*300\b", out, re.DOTALL)
    run("report", "runs/quickstart")
    assert "determinant" in (tmp_path / "runs/quickstart/report.html").read_text()
    found = use(tmp_path, "runs/quickstart")
    assert found[1:] == [[2, 2], False]
    (tmp_path / "runs/quickstart/model").rename(tmp_path / "exported")
    assert use(tmp_path, "exported") == found
