"""The simulator's command on a recording: it trades there, and refuses what it cannot replay in one line."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.simulator.recording_made import START_MS, SYMBOL, Lines, snapshot
from tests.simulator.test_server import refused, running

pytestmark = pytest.mark.integration


def made(folder: Path) -> Path:
    """Write a recording of ten minutes in which 0.5 coins trade at the bid every second."""
    place = folder / "recorded"
    place.mkdir()
    snapshot(place, 0, 9_000, [("99.9", "1"), ("99.8", "2")], [("100.1", "3")])
    lines = Lines().trade(0, "100.0", "0.1")
    for k in range(1, 600):
        lines.trade(1_000 * k, "99.9", "0.5", sold=True)
    lines.write(place / "a.jsonl")
    return place


def test_an_order_rests_fills_in_parts_and_is_filled(tmp_path: Path) -> None:
    recorded = ("data=recorded", f"data.path={made(tmp_path)}")
    with running(tmp_path, *recorded, "clock=accelerated", "speed=10") as exchange:
        assert START_MS <= exchange.get("/fapi/v1/time")["serverTime"] < START_MS + 600_000
        book = exchange.get(f"/fapi/v1/depth?symbol={SYMBOL}&limit=5")
        assert book["asks"] == [["100.1", "3.0"]]
        rest = f"symbol={SYMBOL}&side=BUY&type=LIMIT&timeInForce=GTX&price=99.9&quantity=5"
        number = exchange.signed("POST", "/fapi/v1/order", rest)["orderId"]
        seen, until = set(), time.monotonic() + 30.0
        while "FILLED" not in seen and time.monotonic() < until:
            order = exchange.signed("GET", "/fapi/v1/order", f"symbol={SYMBOL}&orderId={number}")
            seen.add(order["status"])
        assert seen >= {"PARTIALLY_FILLED", "FILLED"}
        trades = exchange.signed("GET", "/fapi/v1/userTrades", f"symbol={SYMBOL}")
        assert [trade["qty"] for trade in trades] == ["0.5"] * 10
        assert {trade["price"] for trade in trades} == {"99.9"}
        assert all(trade["time"] % 1_000 == START_MS % 1_000 for trade in trades)
        code, out, err = exchange.end()
    assert (code, out) == (0, "")
    assert "Traceback" not in err


@pytest.mark.slow
def test_what_cannot_be_replayed_is_refused_in_one_line(tmp_path: Path) -> None:
    def told(path: Path, *more: str) -> str:
        return refused(tmp_path, "data=recorded", f"data.path={path}", *more)

    missing = tmp_path / "missing"
    assert told(missing) == f"data.path must name a file or folder that is there, was {missing}"
    broken = Lines().trade(0, "100.0", "1")
    broken.lines.append("{oops")
    path = broken.write(tmp_path / "a.jsonl")
    assert told(path) == f"{path} line 2 must be JSON, was '{{oops'"
    torn = Lines().trade(0, "100.0", "1").depth(0, previous=10).depth(9, previous=30)
    refusal = told(torn.write(tmp_path / "b.jsonl"))
    assert refusal.startswith(f"{SYMBOL}: depth differences must chain")
    assert "pu was 30 after u 20" in refusal
    short = Lines().trade(0, "100.0", "1").write(tmp_path / "c.jsonl")
    assert "must hold a whole minute" in told(short, "clock=lock_step")
    assert "start must lie within the recording" in told(short, "start=2031-01-01")
