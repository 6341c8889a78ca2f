"""What is installed is `matstream`, whole, and nothing else."""

import subprocess
import sys
from pathlib import Path

from tests.test_library import run

ROOT = Path(__file__).parents[1]


def test_the_wheel_holds_one_package_that_works(tmp_path):
    wheels, installed = tmp_path / "wheels", tmp_path / "installed"
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", str(wheels), str(ROOT)], check=True)
    [wheel] = wheels.iterdir()
    subprocess.run([*pip, "install", "--no-deps", "--target", str(installed), str(wheel)], check=True)
    assert {path.name for path in installed.iterdir() if not path.name.endswith(".dist-info")} == {
        "matstream",
        "bin",
    }
    sources = {
        path.relative_to(ROOT)
        for side in ("shared", "generator_service", "trainer", "models")
        for path in (ROOT / side).rglob("*")
        if path.is_file() and path.suffix not in (".pyc", "")
    }
    assert len(sources) > 100
    assert [path for path in sources if not (installed / "matstream" / path).is_file()] == []
    assert (installed / "matstream/py.typed").is_file()
    code = (
        f"import matstream; assert matstream.__file__.startswith('{installed}'), matstream.__file__\n"
        "from matstream.shared.encodings import by_name; by_name('P1000', digits=3)\n"
        "run = matstream.train('small/transpose', run='x', overrides={'training.samples': 640,"
        " 'evaluation.test_samples': 20})\n"
        "print(len(matstream.load('runs/x').predict(matstream.sample('transpose', dim=2, count=7).inputs)))"
    )
    folder = tmp_path / "decoys"
    folder.mkdir()
    assert run(folder, code, PYTHONPATH=str(installed)).splitlines()[-1] == "7"
