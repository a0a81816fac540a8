"""What is done with one look: rules judge it, alerts are kept, and what may go becomes messages."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from live.alerts.alert import Alert, Severity
from live.alerts.news import News
from live.alerts.pace import time_of_day
from live.alerts.queue import ALERT, REMINDER, REPORT, Queue
from live.alerts.rules.health import Heartbeat
from live.alerts.rules.rule import Memory, judge_all
from live.alerts.settings import AlertSettings
from live.alerts.wording import Draft, drafts, reminder

_ANSWER = "answer /ack {number}"
"""Said under a message that is to be acknowledged, where commands are taken."""
_COMMAND = "to acknowledge: python -m live.alerts action=acknowledge message={number}"
"""Said where none are."""
_KEEP_US = 5_000_000
"""At most so long is what the rules remember not on disk; what they said is at once."""
_RULES, _READER, _REPORTED = "rules", "reader", "reported"


class Teller:
    """Turns looks into messages. Of one thread.

    Parameters
    ----------
    queue : Queue
        Where all is kept.
    settings : AlertSettings
        Rules, channels and pace.
    run : str
        Which account it is, in subjects.
    """

    def __init__(self, queue: Queue, settings: AlertSettings, run: str) -> None:
        self.run = run
        self._queue = queue
        self._settings = settings
        self._reported: str | None = queue.store.remember(_REPORTED)
        self._memories: dict[str, Memory] = queue.store.remember(_RULES) or {}
        self._kept_us = 0
        self._has_chats = bool(settings.commands.chats)

    @property
    def reader_memory(self) -> Any:
        """From where the reader of the journal goes on."""
        return self._queue.store.remember(_READER)

    @property
    def is_silent(self) -> bool:
        """Whether the loop is not heard any more."""
        rules = self._settings.rules.items()
        silent = [name for name, rule in rules if isinstance(rule, Heartbeat)]
        return any(self._memories.get(name, {}).get("told", False) for name in silent)

    def take(self, news: News, reader_memory: Any) -> bool:
        """Judge what a look has found, keep what is to be told, and return whether anything is due now.

        Parameters
        ----------
        news : News
            Of the look.
        reader_memory : JSON value
            From where the next process goes on.
        """
        self._memories, alerts = judge_all(self._settings.rules, news, self._memories)
        if alerts or news.seen_us - self._kept_us >= _KEEP_US:
            self._kept_us = news.seen_us
            memory = {_RULES: self._memories}
            if reader_memory is not None:
                memory[_READER] = reader_memory
            self._queue.take(alerts, memory, absent_us=news.absent_us, seen_us=news.seen_us)
        return self.tell(news.seen_us)

    def say(self, alert: Alert, now_us: int) -> None:
        """Keep an alert of the process itself."""
        self._queue.take([alert], {}, absent_us=now_us, seen_us=now_us)

    def tell(self, now_us: int) -> bool:
        """Make the messages that may go now, and return whether there are any."""
        made = [self._tell(severity, now_us) for severity in reversed(Severity)]
        return any((*made, self._remind(now_us)))

    def _tell(self, severity: Severity, now_us: int) -> bool:
        since_us = self._queue.waits_since_us(severity)
        if since_us is None:
            return False
        pace = self._settings.pace
        made_us = self._queue.made_us(severity, now_us - pace.span_us(severity))
        is_quiet = (
            severity < Severity.CRITICAL
            and self._settings.quiet_hours is not None
            and self._settings.quiet_hours.until_us(now_us) is not None
        )
        if is_quiet or pace.next_us(severity, made_us) > now_us:
            self._queue.hold(severity)
            return False
        if now_us - since_us < pace.gather_s * 1e6:
            return False
        channels = self._settings.channels_of(severity)
        is_critical = severity is Severity.CRITICAL
        for draft in drafts(self._queue.waiting(severity), severity, self.run):
            self._queue.add(
                draft,
                channels,
                kind=ALERT,
                now_us=now_us,
                remind_us=now_us + self._settings.remind_after_us(0) if is_critical else None,
                answers=(_ANSWER if self._has_chats else _COMMAND) if is_critical else "",
            )
        return True

    def _remind(self, now_us: int) -> bool:
        due = self._queue.open_messages(due_us=now_us)
        if not due:
            return False
        found = self._queue.open_messages()
        reminders = max(each.reminders for each in found) + 1
        channels = self._settings.channels_of(Severity.CRITICAL, reminders)
        way = "answer /ack" if self._has_chats else "python -m live.alerts action=acknowledge"
        self._queue.add(
            reminder(found, self.run, now_us),
            channels,
            kind=REMINDER,
            now_us=now_us,
            answers=f"to acknowledge all: {way}",
        )
        again_us = now_us + self._settings.remind_after_us(reminders)
        self._queue.reminded([each.message_id for each in found], remind_us=again_us)
        return True

    def report_due(self, now_us: int) -> str | None:
        """Return the day of which a report is due, None if none is; the first one comes a day after the first start."""
        report = self._settings.daily_report
        if report is None:
            return None
        now = datetime.fromtimestamp(now_us / 1e6, UTC)
        due = datetime.combine(now.date(), time_of_day("at", report.at), UTC)
        day = (due if due <= now else due - timedelta(days=1)).date().isoformat()
        if self._reported is None:
            self.reported(day)
        return day if day > str(self._reported) else None

    def add_report(self, day: str, subject: str, body: str, now_us: int) -> None:
        """Make the message of a day's report; neither pace nor quiet hours hold it."""
        draft = Draft(severity=Severity.INFO, subject=subject, body=body, alert_ids=())
        self._queue.add(
            draft, self._settings.channels_of(Severity.INFO), kind=REPORT, now_us=now_us
        )
        self.reported(day)

    def reported(self, day: str) -> None:
        """Keep that nothing is due of a day any more."""
        self._reported = day
        self._queue.store.keep(_REPORTED, day)
