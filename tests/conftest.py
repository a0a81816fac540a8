"""Shared by all tests: the data beside the project, a seeded generator, and strict skips."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Generator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
REQUIRE_SHARED = "QUANTCORE_REQUIRE_SHARED"
REFERENCE_OUTCOME = "reference outcome"
"""Name of the property in which a reference case records its topic and outcome."""

# The same examples on every machine; compiling a kernel inside an example is not slowness of the code.
settings.register_profile("quantcore", derandomize=True, deadline=None)
settings.load_profile("quantcore")


@pytest.fixture(scope="session")
def root() -> Path:
    """The project's folder."""
    return ROOT


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of market data and reference cases beside the project; skips where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("needs ../shared, the market data and reference cases beside the project")
    return SHARED


@pytest.fixture
def rng() -> np.random.Generator:
    """A generator with a fixed seed."""
    return np.random.default_rng(7)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skip for want of ../shared into a failure where the environment says that it must be there."""
    report = yield
    if (
        report.skipped
        and os.environ.get(REQUIRE_SHARED) == "1"
        and "shared" in str(report.longrepr)
    ):
        report.outcome = "failed"
        report.longrepr = (
            f"{item.nodeid} was skipped although {REQUIRE_SHARED}=1: {report.longrepr}"
        )
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print how many cases of each reference file passed, also when several processes ran them."""
    outcomes: Counter[tuple[str, str]] = Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            if getattr(report, "when", None) == "call":
                outcomes.update(v for k, v in report.user_properties if k == REFERENCE_OUTCOME)
    if not outcomes:
        return
    terminalreporter.section("reference cases")
    for topic in sorted({topic for topic, _ in outcomes}):
        counts = {how: n for (of, how), n in sorted(outcomes.items()) if of == topic}
        passed, total = (
            counts.pop("passed", 0),
            sum(n for (of, _), n in outcomes.items() if of == topic),
        )
        rest = "".join(f", {n} {how}" for how, n in counts.items())
        terminalreporter.write_line(f"{topic + '.json':<34}{passed:>3} of {total} passed{rest}")
