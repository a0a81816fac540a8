"""What a person reads: one line per decision, its troubles at the end, and what is left when it ends."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from live.guard.checks import not_applicable, passed
from live.ledger import Ledger
from live.status import Status
from quantcore.fold import FoldState
from quantcore.kernels import layout as at
from tests.journal.entries import opened
from tests.loop.made import ledger_of

SYMBOLS = ("BTCUSDT", "ETHUSDT")
CLOSE_US = 1_704_182_280_000_000


@dataclass
class Loop:
    """As far as it is told of."""

    ledger: Ledger
    halted: set[str] = field(default_factory=set)


@dataclass
class Driver:
    """As far as it is told of."""

    loop: Loop
    journal: Any = None
    fills: int = 0
    sent: int = 0
    doubtful: set[str] = field(default_factory=set)
    stopped: dict[str, str] = field(default_factory=dict)


@pytest.fixture
def driver() -> Any:
    return Driver(Loop(ledger_of(SYMBOLS)))


def told(driver: Any, status: Status | None = None, stream: io.StringIO | None = None) -> str:
    stream = stream or io.StringIO()
    (status or Status(stream)).decision(CLOSE_US, object(), driver)  # type: ignore[arg-type]  # only that it is one
    return stream.getvalue().splitlines()[-1]


def hold(driver: Any, lots: tuple[int, int], *, equity: float = 7700.0) -> None:
    ledger = driver.loop.ledger
    arrays = ledger.state.copies()
    arrays["held"][:, at.LOTS] = lots
    arrays["position"][:, at.QTY] = np.array(lots) * 0.001
    arrays["position"][:, at.MARK] = 40_000.0
    arrays["cash"][at.EQUITY] = equity
    ledger.state = FoldState(ledger.state.kind, ledger.state.version, arrays)


def test_a_line_says_how_the_account_stands(driver: Any) -> None:
    hold(driver, (10, -5), equity=7507.5)
    line = told(driver)
    assert line.startswith(
        "01-02 07:58  equity   7,507.50  drawdown  2.5 %   1 long  1 short  0.08x"
    )
    assert "no decision" not in line


def test_nothing_lost_is_no_drawdown_of_minus_zero(driver: Any) -> None:
    hold(driver, (0, 0), equity=7700.0 * (1.0 + 1e-15))
    assert "drawdown  0.0 %" in told(driver)


def test_fills_are_those_since_the_line_before(driver: Any) -> None:
    stream = io.StringIO()
    status = Status(stream)
    driver.fills = 7
    assert "  7 fills" in told(driver, status, stream)
    driver.fills = 9
    assert "  2 fills" in told(driver, status, stream)


def test_what_needs_an_eye_stands_at_the_end(driver: Any) -> None:
    hold(driver, (10, 0))
    driver.doubtful.add("ETHUSDT")
    driver.loop.halted.add("BTCUSDT")
    driver.stopped["wallet"] = "the wallet differs"
    line = told(driver)
    assert line.endswith(
        "stop on its way: BTCUSDT  in doubt: ETHUSDT  halted: BTCUSDT  opens nothing: the wallet differs"
    )


def test_the_end_says_what_stays_and_whether_it_is_protected(driver: Any, tmp_path: Path) -> None:
    hold(driver, (10, -5))
    stream = io.StringIO()
    with opened(tmp_path) as journal:
        driver.journal = journal
        Status(stream).ended(driver)
    assert stream.getvalue() == (
        "Ended in order: at the exchange stay 2 positions, WITHOUT A STOP: BTCUSDT, ETHUSDT; "
        "nothing that opens rests there. The next start goes on from here.\n"
    )


def test_a_start_says_what_it_found() -> None:
    stream = io.StringIO()
    status = Status(stream)
    status.recovered(0, 0)
    status.recovered(3, 1)
    assert stream.getvalue().splitlines() == [
        "In step with the exchange; nothing differs.",
        "In step with the exchange, 3 events of the time away booked; 1 difference resolved.",
    ]


def test_a_pre_flight_that_passed_is_one_line_where_no_real_money_is_at_stake() -> None:
    checks = [passed("mode", "is sim"), not_applicable("keys", "none"), passed("equity", "is 7")]
    short, whole = io.StringIO(), io.StringIO()
    Status(short).checked(checks, whole=False)
    Status(whole).checked(checks, whole=True)
    assert short.getvalue() == "2 checks before the first order hold; dry_run=true lists them.\n"
    assert [line.split()[0] for line in whole.getvalue().splitlines()] == ["✓", "–", "✓"]
