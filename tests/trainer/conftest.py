"""A small run that every test of trained models may share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from matstream.trainer.client import Client
from tests.commands import finish, forked


@pytest.fixture(scope="session")
def mixed_run(tmp_path_factory, server) -> Path:
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
    status, _, err = finish(
        forked(folder, "train", "quickstart", "--run", "mixed", "--generator", server, **settings)
    )
    assert status == 0, err
    return folder / "runs/mixed"


@pytest.fixture
def client(server) -> Iterator[Client]:
    """A client of the generator that every test may share."""
    with Client(server) as client:
        yield client
