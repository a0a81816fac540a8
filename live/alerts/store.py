"""The file in which alerts keep all that must outlive the process: opened, locked for one sender, read and written."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from quantcore.errors import ConfigError, JournalError

FILE: Final = "alerts.sqlite"
"""Name of the file beside a journal."""
_BUSY_S = 2.0
_TABLES = """
CREATE TABLE IF NOT EXISTS messages (
    message_id INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,
    severity INTEGER NOT NULL,
    subject TEXT NOT NULL,
    body TEXT NOT NULL,
    made_us INTEGER NOT NULL,
    reminders INTEGER NOT NULL DEFAULT 0,
    remind_us INTEGER,
    acknowledged_us INTEGER,
    acknowledged_by TEXT
);
CREATE INDEX IF NOT EXISTS messages_by_time ON messages (kind, severity, made_us);
CREATE INDEX IF NOT EXISTS messages_open ON messages (remind_us) WHERE remind_us IS NOT NULL;
CREATE TABLE IF NOT EXISTS alerts (
    alert_id INTEGER PRIMARY KEY,
    rule TEXT NOT NULL,
    key TEXT NOT NULL,
    severity INTEGER NOT NULL,
    title TEXT NOT NULL,
    text TEXT NOT NULL,
    advice TEXT NOT NULL,
    event_us INTEGER,
    absent_us INTEGER NOT NULL,
    seen_us INTEGER NOT NULL,
    held INTEGER NOT NULL DEFAULT 0,
    message_id INTEGER REFERENCES messages
);
CREATE INDEX IF NOT EXISTS alerts_waiting ON alerts (severity) WHERE message_id IS NULL;
CREATE INDEX IF NOT EXISTS alerts_unheld ON alerts (severity) WHERE message_id IS NULL AND held = 0;
CREATE INDEX IF NOT EXISTS alerts_by_message ON alerts (message_id);
CREATE TABLE IF NOT EXISTS deliveries (
    message_id INTEGER NOT NULL REFERENCES messages,
    channel TEXT NOT NULL,
    severity INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    next_try_us INTEGER NOT NULL,
    delivered_us INTEGER,
    failure TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (message_id, channel)
);
CREATE INDEX IF NOT EXISTS deliveries_due ON deliveries (channel, severity) WHERE delivered_us IS NULL;
CREATE TABLE IF NOT EXISTS memory (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS commands (
    update_id INTEGER PRIMARY KEY,
    chat_id INTEGER NOT NULL,
    sender TEXT NOT NULL,
    text TEXT NOT NULL,
    sent_us INTEGER NOT NULL,
    taken_us INTEGER NOT NULL,
    outcome TEXT
);
CREATE VIEW IF NOT EXISTS latencies AS
    SELECT a.alert_id, a.rule, a.severity, a.held, d.channel, d.attempts, a.event_us, a.absent_us, a.seen_us,
           d.delivered_us, d.delivered_us - a.absent_us AS latency_us
    FROM alerts a JOIN deliveries d ON d.message_id = a.message_id
    WHERE d.delivered_us IS NOT NULL;
"""


class Store:
    """The file of one run's alerts; `close` it in the end. Of one thread.

    Parameters
    ----------
    path : Path
        Of the file, made if need be.
    owner : bool
        Whether this process sends: only one may. Others may look and acknowledge.

    Raises
    ------
    ConfigError
        If others than its owner may read the file.
    JournalError
        If it does not open, or another process sends what is in it.
    """

    def __init__(self, path: Path, *, owner: bool) -> None:
        self.path = path
        self._lock: int | None = None
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
            held = path.stat().st_mode & 0o777
        except OSError as error:
            raise JournalError(
                f"queue must be a file that opens, {path} does not: {error.strerror}"
            ) from error
        if held & 0o077:
            raise ConfigError(
                f"queue must be readable by its owner alone, {path} has mode {held:04o}: chmod 600 it"
            )
        if owner:
            self._take_lock()
        try:
            self._connection = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None)
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=NORMAL")
            self._connection.executescript(_TABLES)
        except sqlite3.Error as error:
            self._leave_lock()
            raise self._refused(error) from error

    def close(self) -> None:
        """Leave the file, and let another process send."""
        self._connection.close()
        self._leave_lock()

    def remember(self, name: str) -> Any:
        """Return what is kept under a name, None if nothing is."""
        found = self.one("SELECT value FROM memory WHERE name = ?", name)
        return None if found is None else json.loads(found[0])

    def keep(self, name: str, value: Any) -> None:
        """Keep a JSON value under a name."""
        with self.writing() as connection:
            keep(connection, name, value)

    @contextlib.contextmanager
    def writing(self, *, lasting: bool = False) -> Iterator[sqlite3.Connection]:
        """Run the body in one transaction.

        Parameters
        ----------
        lasting : bool
            Whether it survives a loss of power too, and not only the end of the process.

        Raises
        ------
        JournalError
            If the file does not take it: then nothing of it is there.
        """
        connection = self._connection
        try:
            connection.execute(f"PRAGMA synchronous={'FULL' if lasting else 'NORMAL'}")
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            raise self._refused(error) from error

    def all(self, statement: str, *values: Any) -> list[Any]:
        """Return the rows that a statement finds."""
        try:
            return self._connection.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise self._refused(error) from error

    def one(self, statement: str, *values: Any) -> Any:
        """Return the first row that a statement finds, None if there is none."""
        found = self.all(statement, *values)
        return found[0] if found else None

    def _refused(self, error: sqlite3.Error) -> JournalError:
        return JournalError(f"queue must be a database that works, {self.path} said: {error}")

    def _take_lock(self) -> None:
        lock = os.open(self.path.with_name(f"{self.path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(lock)
            raise JournalError(
                f"queue must have one sender, {self.path} is in use by another process"
            ) from error
        self._lock = lock

    def _leave_lock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def keep(connection: sqlite3.Connection, name: str, value: Any) -> None:
    """Keep a JSON value under a name, inside a transaction."""
    connection.execute(
        "INSERT INTO memory (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        (name, json.dumps(value)),
    )
