"""The live loop's latencies with 25 symbols on loopback, as its own journal keeps them.

The loop is a process of its own, and so is the exchange; nothing of either is made quicker for the measurement. Each
has processors of its own, as a real exchange is another machine: left to itself the kernel puts both onto one while the
next stands idle, and what is measured then is how long they wait for each other. Measure on a machine that is idle.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
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


@contextmanager
def on(processors: Sequence[int]) -> Iterator[None]:
    """Let what the body starts run on these processors alone."""
    own = os.sched_getaffinity(0)
    os.sched_setaffinity(0, processors)
    try:
        yield
    finally:
        os.sched_setaffinity(0, own)


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
    processors = sorted(os.sched_getaffinity(0))
    half = len(processors) // 2
    assert half, "must have two processors, has one"
    options = (f"data.symbols=[{','.join(SYMBOLS)}]", f"speed={SPEED}", *limits)
    with ExitStack() as open_ones:
        with on(processors[half:]):
            there = open_ones.enter_context(ground(tmp_path, *options))
        with on(processors[:half]):
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
