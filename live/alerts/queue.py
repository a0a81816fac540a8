"""What is to be told, kept on disk until it was: alerts, messages, their deliveries, and the commands that came.

One row of `alerts` is committed together with the mark up to which the journal was read, so that each row of the
journal is judged once; a delivery is marked after it was made. So a message comes at least once whenever the process
ends, and twice under one number if it ends between the two. Channels stand here by name, never with their URLs.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from live.alerts.alert import Alert, Severity
from live.alerts.wording import Draft, Kept, Open, numbered
from quantcore.errors import ConfigError, JournalError

FILE: Final = "alerts.sqlite"
"""Name of the queue beside a journal."""
ALERT, REMINDER, REPORT, TEST = "alert", "reminder", "report", "test"
"""Kinds of messages."""
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


@dataclass(frozen=True, kw_only=True)
class Due:
    """A message that is to be sent over one channel."""

    message_id: int
    kind: str
    severity: Severity
    subject: str
    body: str
    attempts: int


@dataclass(frozen=True, kw_only=True)
class Command:
    """A message that came in a chat, as it was taken."""

    update_id: int
    chat_id: int
    sender: str
    text: str
    sent_us: int


class Queue:
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

    def __init__(self, path: Path, *, owner: bool = True) -> None:
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

    def take(
        self, alerts: Sequence[Alert], memory: Mapping[str, Any], *, absent_us: int, seen_us: int
    ) -> None:
        """Keep what the rules said together with what they remember, in one commit.

        Parameters
        ----------
        alerts : sequence of Alert
            May be empty.
        memory : mapping of str to JSON value
            Kept by name, over what was there.
        absent_us, seen_us : int
            When it was not yet there, and when it was seen: microseconds since 1970 of this machine's clock.
        """
        with self._writing() as connection:
            for name, value in memory.items():
                self._keep(connection, name, value)
            connection.executemany(
                "INSERT INTO alerts (rule, key, severity, title, text, advice, event_us, absent_us, seen_us) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (
                        a.rule,
                        a.key,
                        int(a.severity),
                        a.title,
                        a.text,
                        a.advice,
                        a.event_us,
                        absent_us,
                        seen_us,
                    )
                    for a in alerts
                ],
            )

    def remember(self, name: str) -> Any:
        """Return what is kept under a name, None if nothing is."""
        found = self._one("SELECT value FROM memory WHERE name = ?", name)
        return None if found is None else json.loads(found[0])

    def keep(self, name: str, value: Any) -> None:
        """Keep a JSON value under a name."""
        with self._writing() as connection:
            self._keep(connection, name, value)

    def waiting(self, severity: Severity) -> list[Kept]:
        """Return the alerts of a severity that no message tells yet, in order."""
        rows = self._all(
            "SELECT alert_id, rule, key, title, text, advice, event_us, seen_us FROM alerts "
            "WHERE message_id IS NULL AND severity = ? ORDER BY alert_id",
            int(severity),
        )
        return [
            Kept(
                alert_id=number,
                alert=Alert(
                    rule=rule,
                    key=key,
                    severity=severity,
                    title=title,
                    text=text,
                    advice=advice,
                    event_us=event_us,
                ),
                seen_us=seen_us,
            )
            for number, rule, key, title, text, advice, event_us, seen_us in rows
        ]

    def waits_since_us(self, severity: Severity) -> int | None:
        """Return when the first alert of a severity was seen that no message tells yet, None if there is none."""
        row = self._one(
            "SELECT min(seen_us) FROM alerts WHERE message_id IS NULL AND severity = ?",
            int(severity),
        )
        return None if row is None else row[0]

    def hold(self, severity: Severity) -> None:
        """Note of the alerts that wait that they could not go at once, so that nobody takes it for slowness."""
        which = "message_id IS NULL AND severity = ? AND held = 0"
        if self._one(f"SELECT 1 FROM alerts WHERE {which} LIMIT 1", int(severity)) is None:
            return
        with self._writing() as connection:
            connection.execute(f"UPDATE alerts SET held = 1 WHERE {which}", (int(severity),))

    def made_us(self, severity: Severity, since_us: int) -> list[int]:
        """Return when the messages of alerts of a severity were made, from a time on, in order."""
        rows = self._all(
            "SELECT made_us FROM messages WHERE kind = ? AND severity = ? AND made_us > ? ORDER BY made_us",
            ALERT,
            int(severity),
            since_us,
        )
        return [row[0] for row in rows]

    def add(
        self,
        draft: Draft,
        channels: Sequence[str],
        *,
        kind: str,
        now_us: int,
        remind_us: int | None = None,
        answers: str = "",
    ) -> int:
        """Make a message of a draft, due at once over some channels, and return its number.

        Parameters
        ----------
        draft : Draft
            What it says, and the alerts that it tells.
        channels : sequence of str
            By name.
        kind : str
            `ALERT`, `REMINDER`, `REPORT` or `TEST`.
        now_us : int
            When.
        remind_us : int or None
            When it is to be told again, unless somebody acknowledges it.
        answers : str
            How to acknowledge it, with ``{number}``; told in its last line.
        """
        with self._writing() as connection:
            severity = int(draft.severity)
            number = connection.execute(
                "INSERT INTO messages (kind, severity, subject, body, made_us, remind_us) VALUES (?, ?, ?, '', ?, ?)",
                (kind, severity, draft.subject, now_us, remind_us),
            ).lastrowid
            assert number is not None
            body = numbered(draft.body, number, now_us, answers=answers)
            connection.execute("UPDATE messages SET body = ? WHERE message_id = ?", (body, number))
            connection.executemany(
                "UPDATE alerts SET message_id = ? WHERE alert_id = ?",
                [(number, each) for each in draft.alert_ids],
            )
            connection.executemany(
                "INSERT INTO deliveries (message_id, channel, severity, next_try_us) VALUES (?, ?, ?, ?)",
                [(number, channel, severity, now_us) for channel in channels],
            )
        return number

    def due(self, channel: str, now_us: int) -> Due | None:
        """Return what a channel is to send next: the most severe, of these what was tried least, then the oldest."""
        row = self._one(
            "SELECT m.message_id, m.kind, m.severity, m.subject, m.body, d.attempts FROM deliveries d "
            "JOIN messages m USING (message_id) WHERE d.channel = ? AND d.delivered_us IS NULL AND d.next_try_us <= ? "
            "ORDER BY d.severity DESC, d.attempts, d.message_id LIMIT 1",
            channel,
            now_us,
        )
        if row is None:
            return None
        number, kind, severity, subject, body, attempts = row
        return Due(
            message_id=number,
            kind=kind,
            severity=Severity(severity),
            subject=subject,
            body=body,
            attempts=attempts,
        )

    def next_try_us(self, channel: str) -> int | None:
        """Return when a channel has something to send next, None if nothing waits."""
        wanted = (
            "SELECT min(next_try_us) FROM deliveries WHERE channel = ? AND delivered_us IS NULL"
        )
        row = self._one(wanted, channel)
        return None if row is None else row[0]

    def delivered(self, due: Due, channel: str, *, now_us: int) -> None:
        """Note that a message was sent over a channel."""
        with self._writing() as connection:
            connection.execute(
                "UPDATE deliveries SET delivered_us = ?, attempts = attempts + 1, failure = '' "
                "WHERE message_id = ? AND channel = ?",
                (now_us, due.message_id, channel),
            )

    def failed(self, due: Due, channel: str, failure: str, *, next_try_us: int) -> None:
        """Note that a message could not be sent over a channel, and when to try again."""
        with self._writing() as connection:
            connection.execute(
                "UPDATE deliveries SET attempts = attempts + 1, next_try_us = ?, failure = ? "
                "WHERE message_id = ? AND channel = ?",
                (next_try_us, failure, due.message_id, channel),
            )

    def retry_now(self, channel: str, *, now_us: int) -> None:
        """Let all that waits for a channel be due at once, as at a start."""
        with self._writing() as connection:
            connection.execute(
                "UPDATE deliveries SET next_try_us = ? WHERE channel = ? AND delivered_us IS NULL AND next_try_us > ?",
                (now_us, channel, now_us),
            )

    def undelivered(self) -> dict[str, int]:
        """Return how many messages wait, by channel."""
        rows = self._all(
            "SELECT channel, count(*) FROM deliveries WHERE delivered_us IS NULL GROUP BY channel"
        )
        return dict(rows)

    def move_to(self, channels: Sequence[str]) -> None:
        """Let what waits for channels that are no more go over all of these."""
        marks = ", ".join("?" * len(channels))
        gone = f"delivered_us IS NULL AND channel NOT IN ({marks})"
        with self._writing() as connection:
            for channel in channels:
                connection.execute(
                    "INSERT OR IGNORE INTO deliveries (message_id, channel, severity, next_try_us) "
                    f"SELECT message_id, ?, severity, next_try_us FROM deliveries WHERE {gone}",
                    (channel, *channels),
                )
            connection.execute(f"DELETE FROM deliveries WHERE {gone}", tuple(channels))

    def open_messages(self, *, due_us: int | None = None) -> list[Open]:
        """Return the critical messages that nobody has acknowledged, or those to be told again by a time."""
        rows = self._all(
            "SELECT message_id, subject, made_us, reminders FROM messages WHERE remind_us IS NOT NULL "
            "AND (? IS NULL OR remind_us <= ?) ORDER BY message_id",
            due_us,
            due_us,
        )
        return [
            Open(message_id=number, subject=subject, made_us=made_us, reminders=reminders)
            for number, subject, made_us, reminders in rows
        ]

    def reminded(self, message_ids: Sequence[int], *, remind_us: int) -> None:
        """Note that messages were told again, and when that is to be next."""
        with self._writing() as connection:
            connection.executemany(
                "UPDATE messages SET reminders = reminders + 1, remind_us = ? "
                "WHERE message_id = ? AND remind_us IS NOT NULL",
                [(remind_us, number) for number in message_ids],
            )

    def acknowledge(self, message_id: int | None, *, by: str, now_us: int) -> list[int]:
        """Acknowledge one open message, or all, and return which: they are not told again."""
        with self._writing() as connection:
            rows = connection.execute(
                "UPDATE messages SET remind_us = NULL, acknowledged_us = ?, acknowledged_by = ? "
                "WHERE remind_us IS NOT NULL AND (? IS NULL OR message_id = ?) RETURNING message_id",
                (now_us, by, message_id, message_id),
            ).fetchall()
        return sorted(row[0] for row in rows)

    def take_command(self, command: Command, *, now_us: int) -> bool:
        """Keep a command before it is carried out; return False of one that was taken before."""
        self._connection.execute(
            "PRAGMA synchronous=FULL"
        )  # not even a loss of power may let it come twice
        try:
            with self._writing() as connection:
                added = connection.execute(
                    "INSERT OR IGNORE INTO commands (update_id, chat_id, sender, text, sent_us, taken_us) "
                    "VALUES (?, ?, ?, ?, ?, ?)",
                    (
                        command.update_id,
                        command.chat_id,
                        command.sender,
                        command.text,
                        command.sent_us,
                        now_us,
                    ),
                ).rowcount
        finally:
            self._connection.execute("PRAGMA synchronous=NORMAL")
        return added == 1

    def carried_out(self, update_id: int, outcome: str) -> None:
        """Note what became of a command."""
        with self._writing() as connection:
            connection.execute(
                "UPDATE commands SET outcome = ? WHERE update_id = ?", (outcome, update_id)
            )

    def interrupted(self) -> list[Command]:
        """Return the commands of which it is not known whether they were carried out, in order."""
        rows = self._all(
            "SELECT update_id, chat_id, sender, text, sent_us FROM commands WHERE outcome IS NULL ORDER BY update_id"
        )
        return [
            Command(update_id=number, chat_id=chat_id, sender=sender, text=text, sent_us=sent_us)
            for number, chat_id, sender, text, sent_us in rows
        ]

    def newest(self, n_messages: int) -> list[dict[str, Any]]:
        """Return the newest messages, the last first, each with what its channels say."""
        rows = self._all(
            "SELECT m.message_id, m.kind, m.severity, m.subject, m.made_us, m.remind_us IS NOT NULL, "
            "m.acknowledged_by, "
            "(SELECT count(*) FROM alerts a WHERE a.message_id = m.message_id) "
            "FROM messages m ORDER BY m.message_id DESC LIMIT ?",
            n_messages,
        )
        names = (
            "message_id",
            "kind",
            "severity",
            "subject",
            "made_us",
            "is_open",
            "acknowledged_by",
            "n_alerts",
        )
        found = [dict(zip(names, row, strict=True)) for row in rows]
        for message in found:
            message["deliveries"] = self._all(
                "SELECT channel, attempts, delivered_us, failure FROM deliveries WHERE message_id = ? ORDER BY channel",
                message["message_id"],
            )
        return found

    def latencies_us(self, since_us: int = 0) -> list[int]:
        """Return how long alerts took that were not held back, from before their row was there to their delivery."""
        rows = self._all(
            "SELECT min(latency_us) FROM latencies WHERE held = 0 AND seen_us >= ? GROUP BY alert_id",
            since_us,
        )
        return [row[0] for row in rows]

    @staticmethod
    def _keep(connection: sqlite3.Connection, name: str, value: Any) -> None:
        connection.execute(
            "INSERT INTO memory (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            (name, json.dumps(value)),
        )

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        connection = self._connection
        try:
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

    def _all(self, statement: str, *values: Any) -> list[Any]:
        try:
            return self._connection.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise self._refused(error) from error

    def _one(self, statement: str, *values: Any) -> Any:
        found = self._all(statement, *values)
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
