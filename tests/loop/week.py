"""A week of the loop in accelerated time, killed again and again at random moments: what both sides have in the end.

``python -m tests.loop.week`` starts ``python -m live.run conf=sim`` in a folder of its own, kills it with SIGKILL,
starts it again, ends it in order when the week is over, and reports decisions, fills, differences by rule, the own
wallet beside the exchange's, how long positions stood without a stop, memory, latencies, and what
``python -m live.journal action=verify`` says. Exit code 0 if everything holds, else 1.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import func, select

from live.journal import open_journal, tables
from live.journal.journal import Journal
from live.latency import latencies
from live.ledger import Ledger
from live.parts import kept
from live.replayer import replayer_of
from live.simulator.state_file import RunningExchange, find_running
from live.wanted import ClientIds
from tests.loop.on_exchange import QUICK

DAY_S = 86_400.0
HISTORY_DAYS = 20
"""Before the week, to warm the signals up."""
LOOK_S = 0.5
START_S = 120.0
SETTLED_S = 40.0
"""After which a run has loaded and compiled what it needs."""
WALLET_TOLERANCE = 1e-6
"""USDT by which the wallets may differ in the end: thousands of fees, each rounded to eight digits."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What is run.

    Parameters
    ----------
    days : float
        Simulated ones, > 0.
    speed : float
        Simulated seconds per second, > 0.
    kills : int
        How often the loop is killed, >= 0.
    seed : int
        Of the moments.
    folder : Path
        Of everything that is written.
    interval, execution_interval : str
        Of the decisions, and of the bars that the account sees.
    faults : str
        Of the exchange, a name of ``conf/faults``.
    more : tuple of str
        Overrides of ``live.run``.
    """

    days: float
    speed: float
    kills: int
    seed: int
    folder: Path
    interval: str
    execution_interval: str
    faults: str
    more: tuple[str, ...]

    @property
    def journal(self) -> str:
        return f"sqlite:///{self.folder / 'live' / 'journal.sqlite'}"

    @property
    def state_file(self) -> Path:
        return self.folder / "state.json"

    @property
    def seconds(self) -> float:
        """On the wall."""
        return self.days * DAY_S / self.speed

    def command(self) -> list[str]:
        """Return the loop's command."""
        market = (
            "data=synthetic", "data.interval=${data.interval}", "data.execution_interval=${data.execution_interval}",
            "data.n_symbols=10", "data.late_listings=0", f"data.days={math.ceil(self.days) + HISTORY_DAYS + 2}",
            f"start=2024-01-{1 + HISTORY_DAYS:02d}", "capital=${account.capital}", "snapshot_seconds=5",
            "idle_seconds=120", f"faults={self.faults}",
        )  # fmt: skip
        return [
            sys.executable, "-m", "live.run", "conf=sim", f"conf.journal={self.journal}",
            f"conf.simulator.state_file={self.state_file}", f"conf.simulator.folder={self.folder / 'live'}",
            f"conf.simulator.speed={self.speed:g}", f"data.interval={self.interval}",
            f"data.execution_interval={self.execution_interval}", "conf.reconcile_s=20",
            f"conf.simulator.overrides=[{','.join(map(repr, market))}]", *QUICK, *self.more,
        ]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One look at the run."""

    wall_s: float
    loop_mib: float
    exchange_mib: float
    run: int
    naked: frozenset[str]
    """Symbols with a position and no protective stop."""
    resting: int
    """Ordinary orders at the exchange."""
    alive: bool


@dataclass
class Watch:
    """What was seen while it ran."""

    asked: Asked
    samples: list[Sample] = field(default_factory=list)
    kills: list[float] = field(default_factory=list)
    """Seconds on the wall since the start."""
    deaths: list[str] = field(default_factory=list)
    """Ends that nobody asked for."""
    began_s: float = field(default_factory=time.monotonic)

    def run(self) -> tuple[int, dict[str, Any]]:
        """Run the week; return the loop's last exit code, and the exchange's last books."""
        rng = np.random.default_rng(self.asked.seed)
        moments = np.sort(rng.uniform(0.0, self.asked.seconds, self.asked.kills)).tolist()
        process = self._start()
        exchange, end_ms = self._found(process)
        try:
            while self._told(exchange, "/time")["time"] < end_ms:
                time.sleep(LOOK_S)
                due = bool(moments) and self._elapsed() >= moments[0]
                if due:
                    moments.pop(0)
                    self.kills.append(self._elapsed())
                    process.kill()
                    process.wait()
                    self._sample(exchange, None)
                elif process.poll() is not None:
                    self.deaths.append(
                        f"exit code {process.returncode} after {self._elapsed():.0f} s"
                    )
                if process.poll() is not None:
                    process = self._start()
                self._sample(exchange, process.pid)
            process.send_signal(signal.SIGINT)
            code = process.wait(timeout=90)
            self._sample(exchange, None)
            return code, self._told(exchange, "/ledger")["accounts"][0]
        finally:
            process.kill()
            process.wait()
            os.kill(exchange.pid, signal.SIGTERM)

    def _start(self) -> subprocess.Popen[bytes]:
        with (self.asked.folder / "terminal.txt").open("ab") as told:
            told.write(f"--- {self._elapsed():.0f} s: start\n".encode())
            told.flush()
            return subprocess.Popen(self.asked.command(), stderr=told, stdout=subprocess.DEVNULL)

    def _found(self, process: subprocess.Popen[bytes]) -> tuple[RunningExchange, float]:
        """Return the exchange that the loop has started, and its time at which the week is over."""
        while (found := find_running(self.asked.state_file)) is None:
            if process.poll() is not None or self._elapsed() > START_S:
                process.kill()
                told = (self.asked.folder / "terminal.txt").read_text()
                raise SystemExit(f"the loop must start, did not: {told[-800:]}")
            time.sleep(0.1)
        self.began_s = time.monotonic()
        first_ms = self._told(found, "/time")["time"]
        return found, first_ms + self.asked.days * DAY_S * 1000.0

    def _sample(self, exchange: RunningExchange, pid: int | None) -> None:
        books = self._told(exchange, "/ledger")["accounts"][0]
        guarded = {each["symbol"] for each in books["algo_orders"]}
        naked = frozenset(each["symbol"] for each in books["positions"]) - guarded
        self.samples.append(
            Sample(
                wall_s=self._elapsed(),
                loop_mib=0.0 if pid is None else _resident(pid),
                exchange_mib=_resident(exchange.pid),
                run=len(self.kills) + len(self.deaths),
                naked=naked,
                resting=len(books["orders"]),
                alive=pid is not None,
            )
        )

    def _elapsed(self) -> float:
        return time.monotonic() - self.began_s

    @staticmethod
    def _told(exchange: RunningExchange, path: str) -> Any:
        with urllib.request.urlopen(f"{exchange.control}{path}", timeout=30) as told:
            return json.loads(told.read())


def _resident(pid: int) -> float:
    """Return a process's resident memory, MiB; 0 if it has gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    resident = status.partition("VmRSS:")[2].split()
    return int(resident[0]) / 1024.0 if resident else 0.0


def naked_spans(samples: list[Sample]) -> list[tuple[str, float, bool]]:
    """Return how long positions stood without a stop: symbol, seconds on the wall, and whether a kill fell into it.

    A span that only one look saw counts as the time between two looks.
    """
    since: dict[str, tuple[float, bool]] = {}
    spans = []
    for former, sample in pairwise(samples):
        killed = sample.run != former.run or not sample.alive or not former.alive
        for symbol in sample.naked:
            began_s, met = since.get(symbol, (former.wall_s, False))
            since[symbol] = (began_s, met or killed)
        for symbol in since.keys() - sample.naked:
            began_s, met = since.pop(symbol)
            spans.append((symbol, sample.wall_s - began_s, met or killed))
    end_s = samples[-1].wall_s
    spans += [(symbol, end_s - began_s, met) for symbol, (began_s, met) in since.items()]
    return sorted(spans, key=lambda span: -span[1])


def counts(journal: Journal) -> dict[str, Any]:
    """Return what the journal holds."""
    with journal.transaction() as connection:

        def number(table: Any, *wanted: Any) -> int:
            return connection.scalar(select(func.count()).select_from(table).where(*wanted)) or 0

        differences = connection.execute(
            select(tables.differences.c.subject, tables.differences.c.rule)
        )
        by_rule = Counter(f"{row.subject}: {row.rule}" for row in differences)
        notes = connection.execute(select(tables.notes.c.source))
        decided = tables.decisions.c.skipped.is_(None)
        return {
            "sessions": number(tables.sessions),
            "decisions": number(tables.decisions, decided),
            "skipped": number(tables.decisions, ~decided),
            "steps": number(tables.steps),
            "orders": number(tables.intents, tables.intents.c.action == "send"),
            "cancels": number(tables.intents, tables.intents.c.action == "cancel"),
            "fills": number(tables.fills),
            "differences": dict(by_rule),
            "notes": Counter(row.source for row in notes),
        }


def verified(asked: Asked) -> tuple[int, str]:
    """Return the exit code and the last words of ``python -m live.journal action=verify``."""
    done = subprocess.run(
        [sys.executable, "-m", "live.journal", "action=verify", f"journal.url={asked.journal}"],
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    return done.returncode, (done.stdout + done.stderr).strip()


def problems(watch: Watch, code: int, books: dict[str, Any], own: Own) -> list[str]:
    """Return what does not hold in the end."""
    opens = [each["clientOrderId"] for each in books["orders"] if not each.get("reduceOnly")]
    there = {each["symbol"]: each["qty"] for each in books["positions"]}
    guarded = {each["symbol"] for each in books["algo_orders"]}
    away = abs(own.wallet - books["wallet"])
    told = {
        f"the loop ended by itself: {watch.deaths}": watch.deaths,
        f"the end in order had exit code {code}": code,
        f"fills here {own.fills}, at the exchange {books['trades']}": own.fills != books["trades"],
        f"wallet here {own.wallet}, at the exchange {books['wallet']}": away > WALLET_TOLERANCE,
        f"positions here {own.held}, at the exchange {there}": own.held != there,
        f"no stop for {sorted(there.keys() - guarded)}": there.keys() - guarded,
        f"orders that open rest at the exchange: {opens}": opens,
    }
    return [text for text, is_wrong in told.items() if is_wrong]


def report(watch: Watch, code: int, books: dict[str, Any]) -> int:
    """Print what came of it; return 0 if all of it holds."""
    asked, samples = watch.asked, watch.samples
    verify_code, verify_words = verified(asked)
    with open_journal(asked.journal, read_only=True) as journal:
        held, measured, own = counts(journal), latencies(journal), own_books(journal)
    wrong = problems(watch, code, books, own)
    if verify_code:
        wrong.append(f"verify had exit code {verify_code}")
    spans = naked_spans(samples)
    every = max(1, len(samples) // 12)
    sizes = [sample.exchange_mib for sample in samples[::every]]
    lines = [
        f"{asked.days:g} days at {asked.speed:g} times real time in {samples[-1].wall_s:.0f} s, decisions every "
        f"{asked.interval} on bars of {asked.execution_interval}",
        f"kills: {len(watch.kills)} after {', '.join(f'{s:.0f}' for s in watch.kills)} s",
        ", ".join(f"{number:,} {name}" for name, number in held.items() if isinstance(number, int)),
        f"differences: {held['differences'] or 'none'}; notes: {dict(held['notes']) or 'none'}",
        f"wallet here {own.wallet:.8f}, at the exchange {books['wallet']:.8f}",
        f"positions without a stop: {_longest(spans, killed=False)} while it ran, "
        f"{_longest(spans, killed=True)} across a kill",
        *(each.words() for each in measured),
        f"memory of the loop, MiB, from {SETTLED_S:.0f} s after each start: {', '.join(memory(samples))}",
        f"memory of the exchange: {_row(sizes)} MiB",
        verify_words,
        *(f"WRONG: {text}" for text in wrong),
        f"{'does not hold' if wrong else 'holds'}; everything is in {asked.folder}",
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    return int(bool(wrong))


@dataclass(frozen=True, kw_only=True)
class Own:
    """The own books in the end."""

    wallet: float
    held: dict[str, float]
    fills: int


def own_books(journal: Journal) -> Own:
    """Return the books of the last state, replayed from the journal."""
    recovery = journal.recover()
    assert recovery.session is not None
    replayed = recovery.resume(replayer_of(recovery.session).advance)
    assert replayed is not None
    told = kept(recovery.session)
    ledger = Ledger(told.plane, told.instruments, ClientIds("own"), replayed.account)
    return Own(
        wallet=ledger.wallet,
        held={symbol: float(ledger.qty(symbol)) for symbol in ledger.at if ledger.lots(symbol)},
        fills=counts(journal)["fills"],
    )


def _longest(spans: list[tuple[str, float, bool]], *, killed: bool) -> str:
    """Return in words how long positions stood bare, across a kill or not."""
    found = [seconds for _, seconds, met in spans if met == killed]
    return f"{len(found)} times, {max(found):.1f} s at most" if found else "never"


def _row(sizes: list[float]) -> str:
    return ", ".join(f"{size:.0f}" for size in sizes)


def memory(samples: list[Sample]) -> list[str]:
    """Return the loop's memory in words: once each run had settled, and at its end."""
    runs: dict[int, list[Sample]] = {}
    for sample in samples:
        if sample.loop_mib:
            runs.setdefault(sample.run, []).append(sample)
    found = []
    for seen in runs.values():
        settled = [s for s in seen if s.wall_s - seen[0].wall_s > SETTLED_S] or seen[-1:]
        first, last = settled[0], settled[-1]
        found.append(
            f"{first.loop_mib:.0f} to {last.loop_mib:.0f} ({last.wall_s - first.wall_s:.0f} s)"
        )
    return found


def main() -> int:
    """Run a week and report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--days", type=float, default=7.0)
    parser.add_argument("--speed", type=float, default=340.0)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--interval", default="1h")
    parser.add_argument("--execution-interval", default="5m")
    parser.add_argument("--faults", default="calm")
    parser.add_argument("--folder", type=Path, default=None)
    parser.add_argument("more", nargs="*", help="overrides of live.run")
    told = parser.parse_args()
    folder = told.folder or Path(tempfile.mkdtemp(prefix="week-"))
    folder.mkdir(parents=True, exist_ok=True)
    asked = Asked(
        days=told.days, speed=told.speed, kills=told.kills, seed=told.seed, folder=folder.resolve(),
        interval=told.interval, execution_interval=told.execution_interval, faults=told.faults,
        more=tuple(told.more),
    )  # fmt: skip
    watch = Watch(asked)
    code, books = watch.run()
    return report(watch, code, books)


if __name__ == "__main__":
    raise SystemExit(main())
