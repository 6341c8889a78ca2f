"""What every test of a fault may say of it, for the table that `make faults` prints."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.runs import finished


@pytest.fixture
def note(record_property) -> Callable[..., None]:
    """Note what a fault came to: `note("kill -9 of the trainer", times=8, outcome="identical", seconds=2.1)`.

    `times` it was made to happen; `outcome`, such as "identical" or "refused"; `seconds` until all went on.
    """

    def add(fault: str, *, times: int, outcome: str, seconds: float) -> None:
        record_property("fault", {"fault": fault, "times": times, "outcome": outcome, "seconds": seconds})

    return add


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory, server) -> Path:
    """A folder with a run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("undisturbed")
    finished(folder, "--generator", server)
    return folder
