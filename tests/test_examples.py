"""Every file of examples/ does what it says."""

import json
import re
from pathlib import Path

import httpx
import nbformat
import numpy as np
import scipy.fft
from nbclient import NotebookClient
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


def test_star_product(tmp_path):
    arguments = ("--dim", "2", "--cols", "3")
    transform = scipy.fft.dct(np.eye(3), axis=0, norm="ortho")
    for one in sampled(tmp_path, "star_product.py", "star_product", *arguments):
        matrix, target = np.array(one["input"]), np.array(one["target"])
        a, b, c = (x.reshape(2, 3, -1) for x in (matrix[:, :6], matrix[:, 6:], target))
        # a tube of A acts on one of B as M⁻¹ diag(M a) M
        tubes = np.einsum("fg,gh,ihk,gl->ikfl", transform.T, transform, a, transform)
        np.testing.assert_allclose(np.einsum("ikfl,klj->ifj", tubes, b), c, atol=1e-10)
        assert one["residual"] < 1e-14


def test_linear_attention(tmp_path):
    v, q = np.random.default_rng([2410_10101, 2]).normal(size=(2, 2, 2, 2)) / 2
    for one in sampled(tmp_path, "linear_attention.py", "linear_attention", "--dim", "2", "--cols", "4"):
        z = np.array(one["input"])
        expected = sum((v[h] @ t) * (t @ q[h] @ z[:, -1]) for h in range(2) for t in z.T)
        np.testing.assert_allclose(np.array(one["target"])[:, 0], expected, rtol=1e-12)


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


def test_the_notebook_runs_from_samples_to_a_loaded_model(tmp_path):
    notebook = nbformat.read(EXAMPLES / "notebook.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "is kept without its outputs"
    for cell in notebook.cells:
        cell.source = cell.source.replace("60_000", "1_920")
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = {
        line: [output.data for output in cell.outputs if "data" in output]
        for cell in notebook.cells
        if cell.cell_type == "code"
        for line in cell.source.splitlines()
    }
    assert "<th>residual</th>" in shown["problems"][0]["text/html"]
    progress, *_ = shown[
        '    "small/eigenvalues", run="notebook", overrides={"training.samples": 1_920}, overwrite=True'
    ]
    assert re.search(r"1,920/1,920.*loss.*valid", re.sub("<[^>]+>", "", progress["text/html"]))
    assert "data:image/png" in shown["run"][0]["text/html"]
    assert "image/png" in shown['plt.ylabel("predicted eigenvalue");'][0]
    assert shown["model.predict([[7.0, 4.0], [4.0, 1.0]])  # the eigenvalues are 9 and -1"]
    assert (
        "no residual is measured"
        in shown['matstream.sample("spectral_norm", dim=3, count=2)'][0]["text/html"]
    )
    assert "spectral_norm: " in shown["own"][-1]["text/html"]


USE = """
import json, sys
import numpy as np
import matstream
model = matstream.load(sys.argv[1])
matrices = np.random.default_rng(5).uniform(-10, 10, (50, 2, 2))
checked = model.check(matrices)
np.testing.assert_allclose(checked.exact[:, 0, 0], np.linalg.norm(matrices, 2, axis=(1, 2)))
print(json.dumps([model.predict(matrices).ravel().tolist(), list(model.input_shape), model.symmetric]))
"""


def use(folder: Path, model: str) -> list:
    """What a program finds of a trained model: its predictions, its input shape, its symmetry."""
    done = python(folder, "-c", USE, model)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@needs_browser
def test_spectral_norm_goes_all_the_way_from_one_file(start_server, tmp_path, monkeypatch):
    """Served, shown, trained, resumed, evaluated, reported, exported and loaded, without any other edit."""
    file = EXAMPLES / "spectral_norm.py"
    assert len(file.read_text().splitlines()) <= 15
    server = start_server(MATSTREAM_PROBLEMS=str(file)).url

    answer = httpx.get(f"{server}/v1/samples?operation=spectral_norm&dim=3&count=9", trust_env=False).json()
    for one in answer["samples"]:
        np.testing.assert_allclose(one["target"], [[np.linalg.norm(one["input"], 2)]])
        assert one["residual"] is None
    with chromium() as browser:
        page = browser.new_page(base_url=server)
        page.goto("/?operation=spectral_norm&dim=2")
        expect(page.locator("#operation-hint")).to_contain_text("‖A‖₂")
        expect(page.locator(".sample").first).to_contain_text("no residual is measured")

    def run(command: str, *arguments: str) -> tuple[str, str]:
        status, out, err = finish(forked(tmp_path, command, *arguments))
        assert status == 0, err
        return out, err

    few = [
        *("--stream.operation", "spectral_norm", "--stream.dim", "2", "--training.samples", "20000"),
        *("--training.validate_every", "10000", "--evaluation.test_samples", "500"),
        *("--evaluation.validation_samples", "200", "--training.checkpoint_every", "5000"),
    ]
    served = ("--generator", server, "--problems", str(file))
    stopped = finish(forked(tmp_path, "train", "quickstart", *served, *few, "--training.time_limit", "0.05"))
    assert stopped[0] != 0
    assert "--resume" in stopped[2]
    assert (tmp_path / "runs/quickstart/problems/spectral_norm.py").read_bytes() == file.read_bytes()
    # from here on the run's own copy is what is used
    out, _ = run("train", "quickstart", "--resume", "--generator", server, *few)
    assert "accuracy" in out
    result = json.loads((tmp_path / "runs/quickstart/result.json").read_text())
    assert result["samples_seen"] == 20_000
    out, _ = run("evaluate", "runs/quickstart", "--samples", "300", "--generator", server)
    assert re.search(r"300\b.*spectral_norm|spectral_norm.*300\b", out, re.DOTALL)
    run("report", "runs/quickstart")
    assert "spectral_norm" in (tmp_path / "runs/quickstart/report.html").read_text()
    found = use(tmp_path, "runs/quickstart")
    assert found[1:] == [[2, 2], False]
    (tmp_path / "runs/quickstart/model").rename(tmp_path / "exported")
    assert use(tmp_path, "exported") == found
