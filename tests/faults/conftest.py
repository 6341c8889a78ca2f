"""What tests of faults note of their outcomes, and the table that `make faults` makes of all these notes.

With --faults-table FILE, the table is written there as JSON and, if every test passed, into
docs/RELIABILITY.md.
"""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.runs import finished

PAGE = Path(__file__).parents[2] / "docs/RELIABILITY.md"
BEGIN, END = "<!-- table of make faults -->", "<!-- end of the table -->"
COLUMNS = {"fault": "fault", "times": "times", "outcome": "outcome", "seconds": "seconds"}


@pytest.fixture
def note(record_property) -> Callable[..., None]:
    """Note a fault's outcome: `note("kill -9 of the trainer", times=8, outcome="identical", seconds=2.1)`.

    `times`: how often it was caused; `outcome`: such as "identical" or "refused"; `seconds`: until everything
    was done or refused.
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


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--faults-table", type=Path, help="file for the table of faults, as JSON")


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, exitstatus: int, config: pytest.Config
) -> None:
    """Print the table, and write it where it is wanted."""
    passed = sorted(terminalreporter.getreports("passed"), key=lambda report: report.nodeid)
    faults = [
        value
        for report in passed
        if report.when == "call"
        for name, value in report.user_properties
        if name == "fault"
    ]
    if not faults:
        return
    table = _table(faults)
    terminalreporter.section("faults")
    terminalreporter.write_line(table)
    file = config.getoption("faults_table", None)
    if file is not None:
        file.write_text(json.dumps(faults, indent=2) + "\n", encoding="utf-8")
        if exitstatus == pytest.ExitCode.OK:
            before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
            after = rest.partition(END)[2]
            PAGE.write_text(f"{before}{BEGIN}\n{table}\n{END}{after}", encoding="utf-8")


def _table(faults: list[dict]) -> str:
    """The faults as a table in Markdown, whose columns stand below one another."""
    lines = [list(COLUMNS.values())]
    for fault in faults:
        shown = fault | {"times": f"{fault['times']:,}", "seconds": f"{fault['seconds']:.1f}"}
        lines.append([shown[name].replace("|", "\\|") for name in COLUMNS])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(
        f"| {' | '.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))} |"
        for line in lines
    )
