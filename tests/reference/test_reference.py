"""Every reference case is run: those beside the project, and the project's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import REFERENCE_OUTCOME
from tests.reference.runner import OWN, Case, cases_of, compute_of, differences, reference_folder

LATER: tuple[str, ...] = ()
"""Topics of parts that are not built yet: their cases fail until somebody says how they are run."""
TOPICS = Path(__file__).with_name("topics")
NOT_GATING = "unconfirmed"


def _parameters() -> Iterator[object]:
    for folder in (reference_folder(), OWN):
        for case in cases_of(folder):
            marks = []
            if case.topic in LATER and not (TOPICS / f"{case.topic}.py").exists():
                marks.append(pytest.mark.xfail(reason="its part is not built yet", strict=True))
            yield pytest.param(case, id=f"{case.topic}-{case.name}", marks=marks)


@pytest.mark.parametrize("case", list(_parameters()))
def test_case(case: Case, record_property: Callable[[str, object], None]) -> None:
    outcome = "not built yet" if case.topic in LATER else "failed"
    try:
        found = differences(case)
        outcome = "failed" if found else "passed"
        if found and case.status == NOT_GATING:
            outcome = "differing though not confirmed"
    finally:
        record_property(REFERENCE_OUTCOME, (case.topic, outcome))
    assert outcome not in ("failed", "not built yet"), f"{case}: " + "; ".join(found)


def test_outside_cases_were_found(shared: Path) -> None:
    assert shared.is_dir()
    assert any(True for _ in cases_of(reference_folder()))


def test_a_case_that_nobody_knows_fails() -> None:
    strange = Case("performance_statistics", "never_heard_of", {}, {}, {}, "confirmed", OWN)
    with pytest.raises(LookupError, match="never_heard_of"):
        compute_of(strange)
