"""A client that every test of the trainer may share."""

from collections.abc import Iterator

import pytest

from matstream.trainer.client import Client


@pytest.fixture
def client(server) -> Iterator[Client]:
    """A client of the generator that every test may share."""
    with Client(server) as client:
        yield client
