"""Alerts as a person reads them on a phone: a subject says what and how bad, a text says what to do (pure)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from live.alerts.alert import Alert, Severity

SUBJECT_LENGTH = 110
"""Characters; mail and phones cut off more."""
BODY_LENGTH = 3_000
"""Characters; the smallest of the usual services takes 4,096."""
_TEXT_LENGTH = 300
_LINES_MAX = 20
"""Things named one by one in a message that is not critical."""
_PAGES_MAX = 5
"""Messages that one look makes of what is critical; the last one counts what is beyond."""


@dataclass(frozen=True, kw_only=True)
class Kept:
    """An alert as the queue has it."""

    alert_id: int
    alert: Alert
    seen_us: int


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A message that has no number yet.

    Parameters
    ----------
    severity : Severity
        Of all that it tells.
    subject, body : str
        What is read.
    alert_ids : tuple of int
        What it tells.
    """

    severity: Severity
    subject: str
    body: str
    alert_ids: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Open:
    """A critical message that nobody has acknowledged."""

    message_id: int
    subject: str
    made_us: int
    reminders: int


def drafts(alerts: Sequence[Kept], severity: Severity, run: str) -> list[Draft]:
    """Return the messages that tell alerts of one severity, the first ones first.

    Alerts of one rule and key are one line with their number. What is critical is named line by line, over as many
    messages as that takes; of the rest a message names the first, and counts what it leaves out.

    Parameters
    ----------
    alerts : sequence of Kept
        At least one.
    severity : Severity
        Of each.
    run : str
        Which account it is, such as ``"prod"``.
    """
    groups = _grouped(alerts)
    pages = _pages(groups) if severity is Severity.CRITICAL else [groups]
    return [_draft(page, severity, run) for page in pages]


def reminder(found: Sequence[Open], run: str, now_us: int) -> Draft:
    """Return the message that tells of critical ones again, until somebody acknowledges them."""
    oldest = min(each.made_us for each in found)
    waits = f"{_span(now_us - oldest)} without an answer"
    what = f"{len(found)} critical messages" if len(found) > 1 else _without_head(found[0].subject)
    lines = [f"{_clock(each.made_us)} #{each.message_id} {each.subject}" for each in found]
    return Draft(
        severity=Severity.CRITICAL,
        subject=_cut(f"STILL CRITICAL {run}: {waits}: {what}", SUBJECT_LENGTH),
        body=_fitting(["Nobody has acknowledged:", *lines], BODY_LENGTH),
        alert_ids=(),
    )


def numbered(body: str, message_id: int, made_us: int, *, answers: str = "") -> str:
    """Return a body with its last line: number, time, and how to acknowledge it; a double has the same number."""
    parts = [f"#{message_id}", f"{_day_clock(made_us)} UTC"]
    if answers:
        parts.append(answers.format(number=message_id))
    return f"{body}\n\n{' · '.join(parts)}"


def one_line(text: str, length: int = _TEXT_LENGTH) -> str:
    """Return what others wrote as one printable line that is not too long."""
    printable = "".join(c if c.isprintable() else " " for c in text)
    return _cut(" ".join(printable.split()), length)


def _draft(groups: Sequence[Sequence[Kept]], severity: Severity, run: str) -> Draft:
    first = groups[0][0].alert
    head = f"{severity.name} {run}: "
    n_alerts = sum(len(group) for group in groups)
    if len(groups) == 1:
        title = one_line(first.title) + (f" (×{n_alerts:,})" if n_alerts > 1 else "")
        lines = [line for line in _said(groups[0]) if line]
    else:
        rest = f" – and {n_alerts - len(groups[0]):,} more"
        title = _cut(one_line(first.title), SUBJECT_LENGTH - len(head) - len(rest)) + rest
        lines = _listed(groups)
    return Draft(
        severity=severity,
        subject=_cut(head + title, SUBJECT_LENGTH),
        body=_fitting(lines, BODY_LENGTH) or "Nothing is to be done.",
        alert_ids=tuple(kept.alert_id for group in groups for kept in group),
    )


def _grouped(alerts: Sequence[Kept]) -> list[list[Kept]]:
    groups: dict[tuple[str, str], list[Kept]] = {}
    for kept in alerts:
        groups.setdefault((kept.alert.rule, kept.alert.key), []).append(kept)
    return list(groups.values())


def _pages(groups: Sequence[Sequence[Kept]]) -> list[list[Sequence[Kept]]]:
    pages: list[list[Sequence[Kept]]] = [[]]
    length = 0
    for group in groups:
        size = sum(len(line) + 1 for line in _lines(group))
        if pages[-1] and length + size > BODY_LENGTH and len(pages) < _PAGES_MAX:
            pages.append([])
            length = 0
        pages[-1].append(group)
        length += size
    return pages


def _listed(groups: Sequence[Sequence[Kept]]) -> list[str]:
    lines: list[str] = []
    for number, group in enumerate(groups):
        said = _lines(group)
        rest = sum(len(each) for each in groups[number:])
        is_full = sum(len(line) + 1 for line in (*lines, *said)) > BODY_LENGTH
        if is_full or (number >= _LINES_MAX and group[0].alert.severity < Severity.CRITICAL):
            return [*lines, f"… and {rest:,} more; python -m live.alerts action=list names all."]
        lines += said
    return lines


def _lines(group: Sequence[Kept]) -> list[str]:
    """Return one of several groups: its newest alert, how many there were, and what to do."""
    newest = group[-1].alert
    line = f"• {one_line(newest.title)}"
    if len(group) > 1:
        line += f" (×{len(group):,}, first at {_clock(_when(group[0]))})"
    else:
        line += f" ({_clock(_when(group[0]))})"
    return [line, f"  {newest.advice}"] if newest.advice else [line]


def _said(group: Sequence[Kept]) -> tuple[str, ...]:
    """Return the only group of a message; the subject has its title."""
    newest = group[-1].alert
    since = ""
    if len(group) > 1:
        since = f"{len(group):,} times from {_clock(_when(group[0]))} to {_clock(_when(group[-1]))} UTC."
        if newest.title != group[0].alert.title:
            since += f" The last: {one_line(newest.title)}."
    elif newest.event_us is not None:
        since = f"At {_day_clock(newest.event_us)} UTC."
    return (one_line(newest.text), since, newest.advice)


def _when(kept: Kept) -> int:
    return kept.seen_us if kept.alert.event_us is None else kept.alert.event_us


def _without_head(subject: str) -> str:
    return subject.partition(": ")[2] or subject


def _fitting(lines: Sequence[str], length: int) -> str:
    """Return the lines that fit, and say that there are more."""
    kept: list[str] = []
    for number, line in enumerate(lines):
        if sum(len(each) + 1 for each in (*kept, line)) > length:
            return "\n".join([*kept, f"… and {len(lines) - number} more lines"])
        kept.append(line)
    return "\n".join(kept)


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"


def _span(us: int) -> str:
    if us < 120_000_000:
        return f"{us // 1_000_000} s"
    minutes = us // 60_000_000
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h"


def _clock(us: int) -> str:
    return datetime.fromtimestamp(us / 1e6, UTC).strftime("%H:%M:%S")


def _day_clock(us: int) -> str:
    return datetime.fromtimestamp(us / 1e6, UTC).strftime("%Y-%m-%d %H:%M:%S")
