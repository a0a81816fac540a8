"""Deliveries: what is to be sent over each channel, what was, and when to try again."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from live.alerts.alert import Severity
from live.alerts.store import Store


@dataclass(frozen=True, kw_only=True)
class Due:
    """A message that is to be sent over one channel."""

    message_id: int
    kind: str
    severity: Severity
    subject: str
    body: str
    attempts: int


class Outbox:
    """The deliveries of messages, by channel; a channel stands here by name, never with its URL.

    Parameters
    ----------
    store : Store
        Where they are kept.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def put(
        self,
        connection: sqlite3.Connection,
        message_id: int,
        severity: Severity,
        channels: Sequence[str],
        *,
        now_us: int,
    ) -> None:
        """Let a message be due at once over some channels, inside a transaction."""
        connection.executemany(
            "INSERT INTO deliveries (message_id, channel, severity, next_try_us) VALUES (?, ?, ?, ?)",
            [(message_id, channel, int(severity), now_us) for channel in channels],
        )

    def due(self, channel: str, now_us: int) -> Due | None:
        """Return what a channel is to send next: the most severe, of these what was tried least, then the oldest."""
        row = self._store.one(
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
        row = self._store.one(wanted, channel)
        return None if row is None else row[0]

    def delivered(self, due: Due, channel: str, *, now_us: int) -> None:
        """Note that a message was sent over a channel."""
        with self._store.writing() as connection:
            connection.execute(
                "UPDATE deliveries SET delivered_us = ?, attempts = attempts + 1, failure = '' "
                "WHERE message_id = ? AND channel = ?",
                (now_us, due.message_id, channel),
            )

    def failed(self, due: Due, channel: str, failure: str, *, next_try_us: int) -> None:
        """Note that a message could not be sent over a channel, and when to try again."""
        with self._store.writing() as connection:
            connection.execute(
                "UPDATE deliveries SET attempts = attempts + 1, next_try_us = ?, failure = ? "
                "WHERE message_id = ? AND channel = ?",
                (next_try_us, failure, due.message_id, channel),
            )

    def retry_now(self, channel: str, *, now_us: int) -> None:
        """Let all that waits for a channel be due at once, as at a start."""
        with self._store.writing() as connection:
            connection.execute(
                "UPDATE deliveries SET next_try_us = ? WHERE channel = ? AND delivered_us IS NULL AND next_try_us > ?",
                (now_us, channel, now_us),
            )

    def undelivered(self) -> dict[str, int]:
        """Return how many messages wait, by channel."""
        rows = self._store.all(
            "SELECT channel, count(*) FROM deliveries WHERE delivered_us IS NULL GROUP BY channel"
        )
        return dict(rows)

    def move_to(self, channels: Sequence[str]) -> None:
        """Let what waits for channels that are no more go over all of these."""
        marks = ", ".join("?" * len(channels))
        gone = f"delivered_us IS NULL AND channel NOT IN ({marks})"
        with self._store.writing() as connection:
            for channel in channels:
                connection.execute(
                    "INSERT OR IGNORE INTO deliveries (message_id, channel, severity, next_try_us) "
                    f"SELECT message_id, ?, severity, next_try_us FROM deliveries WHERE {gone}",
                    (channel, *channels),
                )
            connection.execute(f"DELETE FROM deliveries WHERE {gone}", tuple(channels))
