"""`python -m live.alerts` as a process: quick with a busy loop, killed without a loss, and no secret shown."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from live.alerts.alert import Severity
from live.journal.records import Difference, Note, NoteKind, Resolution
from tests.alerts.made import webhook
from tests.journal.entries import Loop, opened, url_of

pytestmark = pytest.mark.filterwarnings(
    "ignore:'imghdr' is deprecated:DeprecationWarning"  # Apprise imports it for mail
)

URL = "QUANTCORE_ALERT_URL"
MARKER = "SECRETMARKER9"
UNBOUND = "[{messages: 1000, seconds: 60}]"


def command(folder: Path, *overrides: str) -> list[str]:
    run = f"run={folder / 'live'}"
    return [sys.executable, "-m", "live.alerts", run, *overrides]


def started(folder: Path, root: Path, url: str, *overrides: str) -> subprocess.Popen[str]:
    """Start the command and wait until it works."""
    process = subprocess.Popen(
        command(folder, *overrides),
        cwd=root,
        env=os.environ | {URL: url},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("Alerts of "), process.communicate()
    return process


def ended(process: subprocess.Popen[str]) -> str:
    """End the command in order and return what it wrote."""
    process.send_signal(signal.SIGTERM)
    said, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    return said + errors


def until(holds: Callable[[], Any], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "not in time"
        time.sleep(0.05)


def note(folder: Path, *messages: str) -> None:
    journal = opened(folder)
    with journal:
        for message in messages:
            journal.note(Note(ts_us=1, kind=NoteKind.ERROR, source=message, message=message))


def begun(folder: Path) -> None:
    """Make a journal with a session and a step."""
    with opened(folder) as journal:
        Loop(journal).step()


@pytest.mark.slow
@pytest.mark.integration
def test_alerts_come_within_a_second_while_the_loop_is_busy(
    tmp_path: Path, root: Path, record_property: Callable[[str, object], None]
) -> None:
    n_notes = 200
    loop = subprocess.Popen(
        [sys.executable, "-m", "tests.alerts.busy", url_of(tmp_path), str(n_notes), "0.15"],
        cwd=root,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert loop.stdout is not None
    assert loop.stdin is not None
    assert loop.stdout.readline() == "begun\n"
    with webhook() as (url, got):
        alerts = started(
            tmp_path, root, url, f"alerts.pace.warning={UNBOUND}", "alerts.pace.gather_s=0.0"
        )
        said, _ = loop.communicate("go\n", timeout=120)
        until(lambda: len(told(got)) == n_notes)
        ended(alerts)
    lines = [line.split() for line in said.splitlines()]
    written = {int(number): int(at_us) for number, at_us in lines if number.isdigit()}
    assert len(written) == n_notes
    waits = [(at_us - written[number]) / 1e6 for number, at_us in told(got).items()]
    p50, p99, most = np.quantile(waits, [0.5, 0.99, 1.0]).tolist()
    figures = f"{lines[-1]}: p50 {p50:.3f} s, p99 {p99:.3f} s, most {most:.3f} s of {n_notes}"
    record_property("delivery", figures)
    assert p99 <= 1.0, figures


@pytest.mark.slow
@pytest.mark.integration
def test_a_storm_in_the_journal_is_a_few_messages_and_hides_nothing_critical(
    tmp_path: Path, root: Path, record_property: Callable[[str, object], None]
) -> None:
    begun(tmp_path)
    symbols = [f"S{number:02d}USDT" for number in range(25)]
    with webhook() as (url, got):
        alerts = started(tmp_path, root, url)
        time.sleep(1.0)  # its first look knows what is there
        note(tmp_path, *(f"storm {number % 50}" for number in range(9_975)))
        with opened(tmp_path) as journal:
            for symbol in symbols:  # what matters comes last
                journal.difference(halting(symbol))
            written_us = time.time_ns() // 1000
        until(lambda: len(named(got, symbols)) == len(symbols))
        time.sleep(5.0)
        said = ended(alerts)
    first = max(named(got, symbols).values())
    figures = f"{len(got)} messages, all that is critical after {(first - written_us) / 1e6:.2f} s"
    record_property("storm", figures)
    assert len(got) <= 10, said
    with sqlite3.connect(tmp_path / "live" / "alerts.sqlite") as queue:
        kept = dict(queue.execute("SELECT severity, count(*) FROM alerts GROUP BY severity"))
    assert (kept[Severity.WARNING], kept[Severity.CRITICAL]) == (9_975, 25)


def halting(symbol: str) -> Difference:
    return Difference(
        ts_us=1,
        subject="position",
        expected="0",
        found="1",
        rule=Resolution.HALT,
        symbol=symbol,
    )


def named(got: list[dict[str, Any]], symbols: list[str]) -> dict[str, int]:
    """When each symbol came first in a critical message."""
    found: dict[str, int] = {}
    for message in got:
        for symbol in symbols:
            if message["title"].startswith("CRITICAL") and symbol in text(message):
                found.setdefault(symbol, message["got_us"])
    return found


def told(got: list[dict[str, Any]]) -> dict[int, int]:
    """When each marker came first."""
    found: dict[int, int] = {}
    for message in got:
        for number in re.findall(r"marker (\d+)\b", f"{message['title']} {message['message']}"):
            found.setdefault(int(number), message["got_us"])
    return found


@pytest.mark.slow
@pytest.mark.integration
def test_a_process_that_is_killed_loses_nothing_and_a_double_has_its_number(
    tmp_path: Path, root: Path
) -> None:
    begun(tmp_path)
    pace = f"alerts.pace.warning={UNBOUND}"
    with webhook() as (url, got):
        killed = started(tmp_path, root, url, pace)
        assert os.getpriority(os.PRIO_PROCESS, killed.pid) >= 10  # the loop goes first
        time.sleep(1.0)  # its first look knows what is there
        note(tmp_path, "first")
        until(lambda: any("first" in message["title"] for message in got))
        killed.kill()
        killed.communicate()
        note(tmp_path, "while dead 1", "while dead 2")
    with webhook((503,)) as (url, nothing):
        killed = started(tmp_path, root, url, pace)
        until(lambda: waiting(tmp_path) > 0)
        killed.kill()  # in the midst of trying
        killed.communicate()
        assert nothing == []
    with webhook() as (url, got_later):
        process = started(tmp_path, root, url, pace)
        until(lambda: all(any(f"while dead {i}" in text(m) for m in got_later) for i in (1, 2)))
        ended(process)
    numbers = [re.findall(r"#(\d+) ·", text(message)) for message in (*got, *got_later)]
    assert all(len(each) == 1 for each in numbers)
    by_number: dict[str, set[str]] = {}
    for (number,), message in zip(numbers, (*got, *got_later), strict=True):
        by_number.setdefault(number, set()).add(text(message))
    assert all(len(texts) == 1 for texts in by_number.values())


def text(message: dict[str, Any]) -> str:
    return f"{message['title']}\n{message['message']}"


def waiting(folder: Path) -> int:
    with sqlite3.connect(folder / "live" / "alerts.sqlite") as connection:
        wanted = "SELECT count(*) FROM deliveries WHERE delivered_us IS NULL AND attempts > 0"
        found: int = connection.execute(wanted).fetchone()[0]
    return found


@pytest.mark.slow
@pytest.mark.integration
def test_no_secret_of_a_url_is_in_logs_queue_or_errors(tmp_path: Path, root: Path) -> None:
    begun(tmp_path)
    with webhook((401,)) as (url, _):
        secret = url.replace("json://", f"json://user:{MARKER}@") + f"/{MARKER}?+X-Token={MARKER}"
        process = started(tmp_path, root, secret)
        time.sleep(1.0)
        note(tmp_path, "an error")
        until(lambda: waiting(tmp_path) > 0)
        said = ended(process)
        assert "answered 401" in said
        tried = subprocess.run(
            command(tmp_path, "action=test"),
            cwd=root,
            env=os.environ | {URL: secret},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (tried.returncode, tried.stdout.splitlines()) == (1, ["main: answered 401"])
    assert MARKER not in said + tried.stdout + tried.stderr
    for file in (tmp_path / "live").iterdir():
        assert MARKER.encode() not in file.read_bytes(), file


@pytest.mark.integration
@pytest.mark.parametrize(
    ("overrides", "url", "says"),
    [
        (
            (),
            "",
            "channels.main.url must name an environment variable that is set, QUANTCORE_ALERT_URL is not",
        ),
        (
            ("action=dance",),
            "json://localhost",
            "action must be one of run, test, list, acknowledge, was dance",
        ),
        (("action=list",), "json://localhost", "queue must be there"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
    overrides: tuple[str, ...], url: str, says: str,
) -> None:  # fmt: skip
    from live.alerts.__main__ import main
    from quantcore.config import run_command

    begun(tmp_path)
    monkeypatch.setenv(URL, url)
    monkeypatch.setattr(sys, "argv", ["alerts", f"run={tmp_path / 'live'}", *overrides])
    assert run_command("alerts", main) == 2
    said = capsys.readouterr()
    assert says in said.err
    assert MARKER not in said.out + said.err
    assert len(said.err.strip().splitlines()) == 1
