"""The benchmarks' table, printed when all have run."""

from __future__ import annotations

import pytest

from tests.benchmarks.timing import Table

_TABLE = Table()


@pytest.fixture(scope="session")
def table() -> Table:
    """The rows of this run."""
    return _TABLE


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table."""
    if _TABLE.rows:
        terminalreporter.section("medians of warm, interleaved rounds; ratios of cpu time")
        for line in _TABLE.lines():
            terminalreporter.write_line(line)
