"""``python -m live.alerts run=PATH|db=URL``: tells a person what matters, and takes commands."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from quantcore.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from omegaconf import DictConfig

    from live.alerts.settings import AlertSettings
    from live.monitor.place import Place

WIDTH = 120
"""Columns where nobody watches, and at most."""


def main(cfg: DictConfig) -> int:
    """Do what the settings ask for, and return the exit code."""
    from live.alerts.settings import AlertSettings
    from live.monitor.place import place_of
    from quantcore.config import build

    actions = {"run": run, "test": test, "list": list_, "acknowledge": acknowledge}
    if cfg.action not in actions:
        raise ConfigError(f"action must be one of {', '.join(actions)}, was {cfg.action}")
    if cfg.message is not None and cfg.action != "acknowledge":
        raise ConfigError(f"message must be null but for action=acknowledge, was {cfg.message}")
    settings = build(cfg.alerts, AlertSettings)
    place = place_of(*(None if cfg[key] is None else str(cfg[key]) for key in ("run", "db")))
    return actions[cfg.action](cfg, settings, place)


def run(cfg: DictConfig, settings: AlertSettings, place: Place) -> int:
    """Work until told to end."""
    import asyncio
    import logging
    import os

    os.nice(settings.niceness)  # before any thread and any work
    from live.alerts.process import Process, run_until_signal
    from live.alerts.queue import Queue

    logging.basicConfig(
        stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(name)s: %(message)s"
    )
    mode = _mode(place)
    queue = Queue(_queue_path(cfg, place, mode))
    try:
        process = Process(place, settings, queue, mode, str(cfg.runs))
        print(
            f"Alerts of {place.words}: {len(settings.rules)} rules, channels {', '.join(settings.channels)}, "
            f"{sum(queue.outbox.undelivered().values())} messages wait in {queue.path}. Ctrl-C ends it.",
            flush=True,
        )
        asyncio.run(run_until_signal(process))
    finally:
        queue.close()
    return 0


def test(cfg: DictConfig, settings: AlertSettings, place: Place) -> int:
    """Send a message over each channel now, and say which of them took it."""
    from live.alerts.alert import Severity
    from live.alerts.outbox import Due
    from live.alerts.process import now_us, sends
    from live.alerts.queue import TEST
    from live.alerts.wording import numbered

    mode = _mode(place)
    body = numbered("If you read this, alerts come here. Nothing is to be done.", 0, now_us())
    due = Due(
        message_id=0,
        kind=TEST,
        severity=Severity.INFO,
        subject=f"TEST {mode}: alerts reach you",
        body=body,
        attempts=0,
    )
    code = 0
    for name, send in sends(settings).items():
        failure = send(due)
        print(f"{name}: {failure or 'sent'}")
        code = code or int(bool(failure))
    return code


def list_(cfg: DictConfig, settings: AlertSettings, place: Place) -> int:
    """Print the newest messages, and how quick they were."""
    from datetime import UTC, datetime

    import numpy as np
    from rich.console import Console
    from rich.table import Table

    from live.alerts.history import latencies_us, newest
    from live.alerts.queue import Queue

    queue = Queue(_present(_queue_path(cfg, place, _mode(place))), owner=False)
    try:
        messages, waits, latencies = (
            newest(queue.store, 30),
            queue.outbox.undelivered(),
            latencies_us(queue.store),
        )
    finally:
        queue.close()
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("#", "UTC", "Alerts", "Subject", "State"):
        table.add_column(
            name, justify="right" if name in ("#", "Alerts") else "left", overflow="fold"
        )
    for message in messages:
        when = datetime.fromtimestamp(message["made_us"] / 1e6, UTC).strftime("%m-%d %H:%M:%S")
        table.add_row(
            str(message["message_id"]),
            when,
            str(message["n_alerts"]),
            message["subject"],
            _state(message),
        )
    console = Console(width=None if sys.stdout.isatty() else WIDTH, highlight=False, markup=False)
    console.print(table)
    if latencies:
        p50, p99 = np.quantile(np.array(latencies) / 1e6, [0.5, 0.99])
        console.print(
            f"{len(latencies):,} alerts went at once: half of them within {p50:.2f} s of their row, "
            f"99 % within {p99:.2f} s."
        )
    for channel, count in waits.items():
        console.print(f"{count:,} messages wait for {channel}.")
    return 0


def acknowledge(cfg: DictConfig, settings: AlertSettings, place: Place) -> int:
    """Acknowledge one message, or all, so that they are not told again."""
    import getpass

    from live.alerts.process import now_us
    from live.alerts.queue import Queue

    number = cfg.message
    if number is not None and (isinstance(number, bool) or not isinstance(number, int)):
        raise ConfigError(f"message must be a number, was {number}")
    queue = Queue(_present(_queue_path(cfg, place, _mode(place))), owner=False)
    try:
        done = queue.acknowledge(number, by=f"{getpass.getuser()} on this machine", now_us=now_us())
    finally:
        queue.close()
    if number is not None and not done:
        raise ConfigError(f"message must be open, {number} is not")
    print(f"Acknowledged: {', '.join(f'#{each}' for each in done) or 'nothing was open'}")
    return 0


def _state(message: dict[str, object]) -> str:
    parts = []
    deliveries = message["deliveries"]
    assert isinstance(deliveries, list)
    for channel, attempts, delivered_us, failure in deliveries:
        again = f" ({failure}, {attempts} tries)" if failure else ""
        parts.append(f"{channel} {'sent' if delivered_us is not None else f'waits{again}'}")
    if message["is_open"]:
        parts.append("not acknowledged")
    elif message["acknowledged_by"]:
        parts.append(f"acknowledged by {message['acknowledged_by']}")
    return ", ".join(parts)


def _mode(place: Place) -> str:
    from live.monitor.view import View

    if place.url is None:
        raise ConfigError(f"run must have a journal, {place.words} is a finished run")
    with View(place.url) as view:
        return view.sessions()[-1].session.mode


def _queue_path(cfg: DictConfig, place: Place, mode: str) -> Path:
    from pathlib import Path

    from live.alerts.store import FILE

    if cfg.queue is not None:
        return Path(str(cfg.queue))
    return (place.folder or Path("data/live") / mode) / FILE


def _present(path: Path) -> Path:
    if not path.is_file():
        raise ConfigError(f"queue must be there, {path} is not: python -m live.alerts makes it")
    return path


if __name__ == "__main__":
    try:
        from quantcore.config import run_command

        code = run_command("alerts", main)
    except KeyboardInterrupt:  # also while the imports above take their time
        print("interrupted", file=sys.stderr)
        code = 130
    raise SystemExit(code)
