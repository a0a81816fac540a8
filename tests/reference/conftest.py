"""Print how many cases of each reference file passed, also when several processes ran them."""

from __future__ import annotations

from collections import Counter

import pytest

OUTCOME = "reference outcome"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    outcomes: Counter[tuple[str, str]] = Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            if getattr(report, "when", None) == "call":
                outcomes.update(v for k, v in report.user_properties if k == OUTCOME)
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
