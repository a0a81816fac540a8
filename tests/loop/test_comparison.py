"""How far back the exchange is read at a comparison: bounded, also while a difference stands for weeks."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from live import comparison
from live.comparison import LATE_US, Comparison
from live.journal.records import Resolution
from live.reconcile import Finding

HOUR_US = 3_600_000_000


@pytest.mark.parametrize("stands", [True, False])
async def test_what_was_read_is_not_read_again_for_ever(
    monkeypatch: pytest.MonkeyPatch, stands: bool
) -> None:
    foreign = Finding(
        subject="position", symbol="BTCUSDT", client_id=None, expected="0", found="0.050", rule=Resolution.HALT
    )  # fmt: skip
    clock = SimpleNamespace(now_us=0)
    driver: Any = SimpleNamespace(broker=SimpleNamespace(now_us=lambda: clock.now_us))
    began_us: list[int] = []

    async def read_missed(self: Comparison, _: Any) -> None:
        began_us.append(self.equal_us)

    async def compared(_: Any) -> list[Finding]:
        return [foreign] if stands else []

    monkeypatch.setattr(Comparison, "read_missed", read_missed)
    monkeypatch.setattr(comparison, "_compared", compared)
    monkeypatch.setattr(comparison, "_LOOK_PAUSE_S", 0.0)
    monkeypatch.setattr(comparison, "_write", lambda *_: None)
    monkeypatch.setattr(comparison, "_halt", lambda *_: None)
    held = Comparison(equal_us=0, first_us=0)
    for day in range(1, 4):
        clock.now_us = 24 * day * HOUR_US
        assert await held.reconcile(driver) == ([foreign] if stands else [])
    assert held.equal_us == clock.now_us - (LATE_US if stands else 0)
    assert sorted(began_us) == began_us
    clock.now_us = HOUR_US // 2  # a clock that goes back takes nothing back
    await held.reconcile(driver)
    assert held.equal_us >= 71 * HOUR_US
