"""A small run that every test of trained models may share."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from matstream import main
from tests.trainer.commands import finish, flags, matstream
from trainer.client import Client


@pytest.fixture(scope="session")
def mixed_run(tmp_path_factory) -> Path:
    """A finished run, hardly trained, on a mixture: eigenvalues and transposes of dimensions 2 and 3."""
    folder = tmp_path_factory.mktemp("mixed")
    settings = {
        "stream__operation": "eigenvalues,transpose",
        "stream__dim": "2-3",
        "model__width": 16,
        "model__heads": 2,
        "training__samples": 1280,
        "training__average": 200,
        "evaluation__validation_samples": 40,
        "evaluation__test_samples": 120,
    }
    status, _, err = finish(matstream(folder, "train", "quickstart", "--run", "mixed", **settings))
    assert status == 0, err
    return folder / "runs/mixed"


@pytest.fixture
def client(server) -> Iterator[Client]:
    """A client of the generator that every test may share."""
    with Client(server) as client:
        yield client


@pytest.fixture
def here(tmp_path, monkeypatch, capfd) -> Callable[..., tuple[int, str, str]]:
    """Run `matstream` in this process, in a folder of its own: its status, standard output and error."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, **settings: object) -> tuple[int, str, str]:
        capfd.readouterr()
        try:
            main([*arguments, *flags(settings)])
            status = 0
        except SystemExit as ended:
            status = ended.code
        return status, *capfd.readouterr()

    return run
