"""How quick the loop is while those who look on are away, at work, hung, flooded and killed.

``python -m tests.alerts.apart FOLDER PHASE_S ROUNDS`` trades on the simulator and prints what it found.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from sqlalchemy import func, select

from live.alerts.alert import Alert, Severity
from live.alerts.queue import Queue
from live.folds import CLOSE, EVENT
from live.journal import tables
from live.journal.records import SEND
from live.monitor.view import View
from quantcore.types import FloatArray, IntArray
from tests.alerts.made import webhook
from tests.broker.on_simulator import simulator
from tests.journal.entries import url_of
from tests.loop.on_exchange import QUICK

SPEED = 30
N_SYMBOLS = 6
ALONE, RUNNING, HUNG, FLOODED, KILLED = "alone", "running", "hung", "flooded", "killed"
PHASES = (ALONE, RUNNING, HUNG, FLOODED, KILLED)
SENT = "closed bar to first order sent"
MEASURES = (SENT, "step of a closed bar", "risk check of a decision", "step between two closes")
_DOWN = "json://127.0.0.1:9"
"""A receiver that is not there."""
_STORM = 1_000
"""Alerts at once."""
_CLIENTS = 8


@dataclass
class Sample:
    """Latencies of one measure in one phase; those of one step belong together."""

    ms: list[float] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)

    def add(self, rows: Sequence[Any]) -> None:
        self.ms += [us / 1e3 for us, _ in rows]
        self.steps += [seq for _, seq in rows]

    def quantiles(self) -> FloatArray:
        found: FloatArray = np.quantile(np.array(self.ms), [0.5, 0.99])
        return found

    def drawn(self, rng: np.random.Generator, n_draws: int) -> FloatArray:
        """Return median and 99 % of samples drawn step by step with replacement, shape (n_draws, 2)."""
        ms = np.array(self.ms)
        _, groups = np.unique(self.steps, return_inverse=True)
        order = np.argsort(groups, kind="stable")
        parts = np.split(ms[order], np.cumsum(np.bincount(groups))[:-1])
        picked: IntArray = rng.integers(0, len(parts), (n_draws, len(parts)))
        return np.array(
            [np.quantile(np.concatenate([parts[i] for i in row]), [0.5, 0.99]) for row in picked]
        )


Samples = dict[str, dict[str, Sample]]


@dataclass(frozen=True)
class Against:
    """What a phase adds to a quantile of the loop alone, ms, with the band in which that lies at 95 %."""

    found: float
    low: float
    high: float


def against_alone(
    samples: Samples, phase: str, measure: str, rng: np.random.Generator, n_draws: int = 1000
) -> tuple[Against, Against]:
    """Return by how much median and 99 % of a phase are above those of the loop alone."""
    one, other = samples[phase][measure], samples[ALONE][measure]
    found = one.quantiles() - other.quantiles()
    low, high = np.quantile(
        one.drawn(rng, n_draws) - other.drawn(rng, n_draws), [0.025, 0.975], axis=0
    )
    median, far = (
        Against(*each) for each in zip(found.tolist(), low.tolist(), high.tolist(), strict=True)
    )
    return median, far


@dataclass
class Run:
    """A loop that trades, and what is measured of it."""

    folder: Path
    root: Path
    loop: subprocess.Popen[str]
    samples: Samples = field(
        default_factory=lambda: {p: {m: Sample() for m in MEASURES} for p in PHASES}
    )
    wal_mb: dict[str, float] = field(default_factory=dict)
    """Largest size of the write-ahead log in each phase."""
    resident_mb: dict[str, float] = field(default_factory=dict)

    @property
    def live(self) -> Path:
        return self.folder / "live"

    def measure(self, phase: str, seconds: float) -> None:
        """Let a phase pass, and take what the loop did in it."""
        with View(url_of(self.folder)) as view:
            begin = view.marks().steps
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            assert self.loop.poll() is None, "the loop must go on"
            time.sleep(min(1.0, seconds))
            size = (self.live / "journal.sqlite-wal").stat().st_size / 1e6
            self.wal_mb[phase] = max(size, self.wal_mb.get(phase, 0.0))
        with View(url_of(self.folder)) as view:
            taken(view, begin, self.samples[phase])


def taken(view: View, after: int, into: dict[str, Sample]) -> None:
    """Add what was measured in the steps after one."""
    steps, sent, answers = tables.steps.c, tables.intents.c, tables.answers.c
    orders = (
        select(func.min(answers.sent_after_us), steps.seq)
        .join(tables.intents, sent.intent_id == answers.intent_id)
        .join(tables.steps, steps.seq == sent.seq)
        .where(
            steps.seq > after,
            steps.kind == CLOSE,
            sent.action == SEND,
            answers.sent_after_us.is_not(None),
        )
        .group_by(steps.seq)
    )

    def of(column: Any, kind: str) -> Any:
        wanted = select(column, steps.seq).where(
            steps.seq > after, steps.kind == kind, column.is_not(None)
        )
        decided = select(tables.decisions.c.seq)
        return wanted.where(steps.seq.in_(decided)) if column is steps.account_us else wanted

    wanted = (
        orders,
        of(steps.took_us, CLOSE),
        of(steps.account_us, CLOSE),
        of(steps.took_us, EVENT),
    )
    with view.journal.transaction() as connection:
        for measure, statement in zip(MEASURES, wanted, strict=True):
            into[measure].add(connection.execute(statement).all())


@contextlib.contextmanager
def trading(folder: Path, root: Path) -> Iterator[Run]:
    """Give a loop that trades as ``python -m live.run``, after its first decisions."""
    options = (
        "clock=accelerated", f"speed={SPEED}", f"data.n_symbols={N_SYMBOLS}", "limits.weight_1m=100000",
        "start=2024-01-02T07:58:00",
    )  # fmt: skip
    with simulator(folder, *options), (folder / "loop.log").open("w") as log:
        command = [
            sys.executable, "-m", "live.run", "conf=sim", f"conf.journal={url_of(folder)}",
            f"conf.simulator.state_file={folder / 'state.json'}", f"conf.simulator.folder={folder / 'live'}", *QUICK,
        ]  # fmt: skip
        loop = subprocess.Popen(command, cwd=root, stdout=log, stderr=log, text=True)
        try:
            run = Run(folder, root, loop)
            wait(lambda: closes(run) >= 5, 300.0, "the loop must decide")
            yield run
        finally:
            loop.send_signal(signal.SIGINT)
            loop.wait(timeout=60)


def closes(run: Run) -> int:
    """Return how many bars have closed."""
    assert run.loop.poll() is None, (run.folder / "loop.log").read_text()[-2000:]
    path = run.live / "journal.sqlite"
    if not path.exists():
        return 0
    steps = tables.steps.c
    with View(url_of(run.folder)) as view, view.journal.transaction() as connection:
        return int(connection.scalar(select(func.count()).where(steps.kind == CLOSE)) or 0)


@dataclass
class Watchers:
    """Dashboard and alerts of a run, and one more reader."""

    run: Run
    receiver: str
    processes: dict[str, subprocess.Popen[str]] = field(default_factory=dict)
    page: str = ""

    def start(self) -> None:
        self._begin(
            "alerts", "run", {"QUANTCORE_ALERT_URL": self.receiver}, "alerts.daily_report=null"
        )
        said = self._begin("dashboard", "run", {}, "port=0")
        found = re.search(r"http://127\.0\.0\.1:\d+", said)
        assert found is not None, said
        self.page = found.group(0)

    def hang(self) -> None:
        """Stop both wherever they are, and one more reader in the midst of a transaction."""
        command = [
            sys.executable,
            "-m",
            "tests.alerts.hung",
            url_of(self.run.folder),
        ]
        reader = subprocess.Popen(command, cwd=self.run.root, stdout=subprocess.PIPE, text=True)
        assert reader.stdout is not None
        assert reader.stdout.readline() == "in a transaction\n"
        self.processes["reader"] = reader
        for process in self.processes.values():
            process.send_signal(signal.SIGSTOP)

    def kill(self) -> None:
        for process in self.processes.values():
            process.kill()
            process.communicate()
        self.processes.clear()

    def note_memory(self) -> None:
        for name, process in self.processes.items():
            status = Path(f"/proc/{process.pid}/status").read_text()
            for kind in ("VmRSS", "RssAnon"):
                kb = re.search(rf"{kind}:\s+(\d+)", status)
                assert kb is not None
                self.run.resident_mb[f"{name} {kind}"] = int(kb.group(1)) / 1e3

    def _begin(self, name: str, key: str, more: dict[str, str], *overrides: str) -> str:
        with (self.run.folder / f"{name}.log").open("a") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", f"live.{name}", f"{key}={self.run.live}", *overrides],
                cwd=self.run.root, env=os.environ | more, stdout=subprocess.PIPE, stderr=log, text=True,
            )  # fmt: skip
        assert process.stdout is not None
        self.processes[name] = process
        return process.stdout.readline()


@contextlib.contextmanager
def flood(watchers: Watchers) -> Iterator[None]:
    """Ask the page as quickly as it answers, and put storms of alerts into the queue."""
    asking = subprocess.Popen(
        ["nice", "-n", "19", sys.executable, "-m", "tests.alerts.flood", watchers.page, str(_CLIENTS)],
        cwd=watchers.run.root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    storm = storm_of(_STORM)
    queue = Queue(watchers.run.live / "alerts.sqlite", owner=False)
    try:
        for _ in range(5):
            now_us = time.time_ns() // 1000
            queue.take(storm, {}, absent_us=now_us, seen_us=now_us)
        yield
    finally:
        queue.close()
        said, _ = asking.communicate("\n", timeout=60)
        sys.stdout.write(f"flood: {said}")


def storm_of(n_alerts: int) -> list[Alert]:
    return [
        Alert(
            rule="storm", severity=Severity(n % 3), title=f"S{n}USDT is not well", key=f"S{n}USDT"
        )
        for n in range(n_alerts)
    ]


def measured(folder: Path, root: Path, *, phase_s: float, rounds: int) -> Run:
    """Let a loop trade through all phases, each round in another order, so that the market favours none."""
    with trading(folder, root) as run, webhook() as (url, _):
        for turn in range(rounds):
            first = turn % len(PHASES)
            for phase in PHASES[first:] + PHASES[:first]:
                with looking_on(run, url, phase):
                    run.measure(phase, phase_s)
    return run


@contextlib.contextmanager
def looking_on(run: Run, url: str, phase: str) -> Iterator[None]:
    """Bring those who look on into the state of a phase, and leave none behind."""
    if phase == ALONE:
        yield
        return
    watchers = Watchers(run, _DOWN if phase == FLOODED else url)
    try:
        watchers.start()
        with contextlib.ExitStack() as stack:
            if phase == RUNNING:
                watchers.note_memory()
            elif phase == HUNG:
                watchers.hang()
            elif phase == FLOODED:
                stack.enter_context(flood(watchers))
            else:
                watchers.kill()
            yield
    finally:
        watchers.kill()


def wait(holds: Any, seconds: float, what: str) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"{what} within {seconds:.0f} s"
        time.sleep(0.5)


def report(run: Run, stream: TextIO) -> None:
    """Write what was found."""
    rng = np.random.default_rng(7)
    for measure in MEASURES:
        stream.write(f"{measure}\n")
        for phase in PHASES:
            sample = run.samples[phase][measure]
            median, far = sample.quantiles()
            line = f"  {phase:8} n {len(sample.ms):5,}  p50 {median:8.2f} ms  p99 {far:8.2f} ms"
            if phase != ALONE:
                for name, found in zip(
                    ("p50", "p99"), against_alone(run.samples, phase, measure, rng), strict=True
                ):
                    line += f"  {name} {found.found:+7.2f} ({found.low:+.2f} to {found.high:+.2f})"
            stream.write(f"{line}\n")
    stream.write(f"write-ahead log, MB: { {k: round(v, 1) for k, v in run.wal_mb.items()} }\n")
    stream.write(f"memory, MB: { {k: round(v) for k, v in run.resident_mb.items()} }\n")


if __name__ == "__main__":
    place = Path(sys.argv[1])
    place.mkdir(parents=True, exist_ok=True)
    report(
        measured(place, Path.cwd(), phase_s=float(sys.argv[2]), rounds=int(sys.argv[3])), sys.stdout
    )
