"""What is to be told, kept on disk until it was: alerts, and the messages that are made of them.

One row of `alerts` is committed together with the mark up to which the journal was read, so that each row of the
journal is judged once; a delivery is marked after it was made. So a message comes at least once whenever the process
ends, and twice under one number if it ends between the two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from live.alerts.alert import Alert, Severity
from live.alerts.inbox import Inbox
from live.alerts.outbox import Outbox
from live.alerts.store import Store, keep
from live.alerts.wording import Draft, Kept, Open, numbered

ALERT: Final = "alert"
REMINDER: Final = "reminder"
REPORT: Final = "report"
TEST: Final = "test"
"""Kinds of messages."""


class Queue:
    """All that one run's alerts keep; `close` it in the end. Of one thread.

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
        self.store = Store(path, owner=owner)
        """The file, and what is remembered in it."""
        self.outbox = Outbox(self.store)
        """What is sent over each channel."""
        self.inbox = Inbox(self.store)
        """What came in a chat."""

    def close(self) -> None:
        """Leave the file, and let another process send."""
        self.store.close()

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
        with self.store.writing() as connection:
            for name, value in memory.items():
                keep(connection, name, value)
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

    def waiting(self, severity: Severity) -> list[Kept]:
        """Return the alerts of a severity that no message tells yet, in order."""
        rows = self.store.all(
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
        row = self.store.one(
            "SELECT min(seen_us) FROM alerts WHERE message_id IS NULL AND severity = ?",
            int(severity),
        )
        return None if row is None else row[0]

    def hold(self, severity: Severity) -> None:
        """Note of the alerts that wait that they could not go at once, so that nobody takes it for slowness."""
        which = "message_id IS NULL AND severity = ? AND held = 0"
        if self.store.one(f"SELECT 1 FROM alerts WHERE {which} LIMIT 1", int(severity)) is None:
            return
        with self.store.writing() as connection:
            connection.execute(f"UPDATE alerts SET held = 1 WHERE {which}", (int(severity),))

    def made_us(self, severity: Severity, since_us: int) -> list[int]:
        """Return when the messages of alerts of a severity were made, from a time on, in order."""
        rows = self.store.all(
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
        with self.store.writing() as connection:
            number = connection.execute(
                "INSERT INTO messages (kind, severity, subject, body, made_us, remind_us) VALUES (?, ?, ?, '', ?, ?)",
                (kind, int(draft.severity), draft.subject, now_us, remind_us),
            ).lastrowid
            assert number is not None
            body = numbered(draft.body, number, now_us, answers=answers)
            connection.execute("UPDATE messages SET body = ? WHERE message_id = ?", (body, number))
            connection.executemany(
                "UPDATE alerts SET message_id = ? WHERE alert_id = ?",
                [(number, each) for each in draft.alert_ids],
            )
            self.outbox.put(connection, number, draft.severity, channels, now_us=now_us)
        return number

    def open_messages(self, *, due_us: int | None = None) -> list[Open]:
        """Return the critical messages that nobody has acknowledged, or those to be told again by a time."""
        rows = self.store.all(
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
        with self.store.writing() as connection:
            connection.executemany(
                "UPDATE messages SET reminders = reminders + 1, remind_us = ? "
                "WHERE message_id = ? AND remind_us IS NOT NULL",
                [(remind_us, number) for number in message_ids],
            )

    def acknowledge(self, message_id: int | None, *, by: str, now_us: int) -> list[int]:
        """Acknowledge one open message, or all, and return which: they are not told again."""
        with self.store.writing() as connection:
            rows = connection.execute(
                "UPDATE messages SET remind_us = NULL, acknowledged_us = ?, acknowledged_by = ? "
                "WHERE remind_us IS NOT NULL AND (? IS NULL OR message_id = ?) RETURNING message_id",
                (now_us, by, message_id, message_id),
            ).fetchall()
        return sorted(row[0] for row in rows)
