"""The live loop's latencies with 25 symbols on loopback, as its own journal keeps them.

The loop is a process of its own, and so is the exchange; nothing of either is made quicker for the measurement. Both
share the machine: measure on one that is otherwise idle.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from live.journal import open_journal
from live.latency import Measured, latencies
from quantcore.data.synthetic import DEFAULT_SYMBOLS
from tests.loop.on_exchange import Ground, ground

SYMBOLS = (*DEFAULT_SYMBOLS, "AAAUSDT", "BBBUSDT", "CCCUSDT", "DDDUSDT", "EEEUSDT")
SPEED = 5
"""Simulated seconds per second, so five times a real market's messages: a decision every twelve seconds."""
SECONDS = 330.0
RECONCILE_S = 60
"""As `conf=sim` has it: at five times real time as often as every five minutes, which a real account takes."""
MOST_MS = {
    "closed bar to order sent": 50.0,
    "fill heard to its stop asked for": 20.0,
    "fill heard to new stop sent": 20.0,  # the exchange's answer to the old one's cancel lies within
    "risk check, sizer and router of a decision": 1.0,
}
"""The 99th percentile at most."""


def run(there: Ground) -> str:
    """Let the loop trade for a while, end it in order, and return what it said."""
    process = subprocess.Popen(
        [sys.executable, "-m", "live.run", *there.overrides("conf.symbols_max=25", f"conf.reconcile_s={RECONCILE_S}")],
        stderr=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )  # fmt: skip
    try:
        time.sleep(SECONDS)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    return said


def test_25_symbols_are_served_in_time(tmp_path: Path) -> None:
    limits = ("limits.orders_10s=100000", "limits.orders_1m=100000")
    with ground(
        tmp_path, f"data.symbols=[{','.join(SYMBOLS)}]", f"speed={SPEED}", *limits
    ) as there:
        said = run(there)
        with open_journal(there.journal, read_only=True) as journal:
            found = latencies(journal)
    sys.stdout.write("\n" + "\n".join(each.words() for each in found) + "\n")
    assert "Ended in order" in said, said[-2000:]
    assert [each.what for each in found] == list(MOST_MS)
    slow = [each.words() for each in found if not in_time(each)]
    assert slow == []


def in_time(measured: Measured) -> bool:
    """Return whether it was measured often enough, and is quick enough."""
    return measured.n >= 20 and measured.p99_ms <= MOST_MS[measured.what]
