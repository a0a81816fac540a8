"""Rules about the machinery: errors, streams, clocks, disks, and whether the loop lives."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from live.alerts.alert import Alert, Severity
from live.alerts.news import News
from live.alerts.rules.rule import (
    Judged,
    Memory,
    Step,
    check_fraction,
    check_positive,
    check_steps,
    climbed,
    percent,
)
from live.alerts.rules.trading import errors

_CLOCK = "this machine's clock"
"""With which the broker's word about the clock begins."""
_FEED = "feed"
_UNKNOWN = "unknown"
_REQUEST = "request"
_TOLD_TO_STOP = "told to stop"
_REMEMBERED = 5_000
"""Answers, at most."""


@dataclass(frozen=True, kw_only=True)
class ErrorRate:
    """Tells when too many requests go without an answer, and each error that the loop writes down.

    Parameters
    ----------
    window_s : float
        Of the exchange's clock, over which requests are counted, > 0.
    least : int
        Requests without an answer below which nothing is told, >= 1.
    share : float
        Of them among all requests of the window, from which on it is told, in [0, 1).
    severity : Severity
        Of too many.
    each : Severity
        Of an error that was written down.
    """

    window_s: float
    least: int
    share: float
    severity: Severity
    each: Severity

    def __post_init__(self) -> None:
        check_positive(self, "window_s", "least")
        check_fraction("share", self.share)

    def judge(self, news: News, memory: Memory) -> Judged:
        """Look at each answer and each error."""
        alerts = [
            Alert(
                rule="error_rate",
                severity=self.each,
                title=f"The loop reports ({row.source}): {row.message}",
                event_us=row.ts_us,
                key=row.source,
            )
            for row in errors(news)
            if row.source != _FEED
        ]
        asked = [*memory.get("asked", [])]
        asked += [[r.ts_us, int(r.outcome == _UNKNOWN)] for r in news.answers if r.by == _REQUEST]
        if not asked:
            return {}, alerts
        begin_us = asked[-1][0] - int(self.window_s * 1e6)
        asked = [each for each in asked if each[0] > begin_us][-_REMEMBERED:]
        lost = sum(is_lost for _, is_lost in asked)
        is_bad = lost >= self.least and lost >= self.share * len(asked)
        if is_bad and not memory.get("told", False):
            alerts.append(
                Alert(
                    rule="error_rate",
                    severity=self.severity,
                    title=f"{lost} of {len(asked)} requests had no answer ({percent(lost / len(asked))})",
                    text=f"Within {self.window_s / 60:.0f} min.",
                    advice="Look at the exchange's status page and the network; /pause opens nothing new.",
                    event_us=asked[-1][0],
                    key="rate",
                )
            )
        return {"asked": asked, "told": is_bad}, alerts


@dataclass(frozen=True, kw_only=True)
class Streams:
    """Tells of decisions that were given up for want of data, and of doubts that pile up.

    Parameters
    ----------
    skipped : Severity
        Of a decision that was not taken.
    doubts : int
        So many within the window are too many, >= 1; a single one is resolved by a comparison and nothing to tell.
    window_s : float
        Of the exchange's clock, > 0.
    severity : Severity
        Of too many.
    """

    skipped: Severity
    doubts: int
    window_s: float
    severity: Severity

    def __post_init__(self) -> None:
        check_positive(self, "doubts", "window_s")

    def judge(self, news: News, memory: Memory) -> Judged:
        """Look at each decision that was skipped, and each doubt."""
        alerts = [
            Alert(
                rule="streams",
                severity=self.skipped,
                title=f"No decision was taken: {row.why}",
                text="Positions and their stops stay as they are.",
                advice="If it repeats, look at the data streams and this machine's network.",
                event_us=row.ts_us,
                key="skipped",
            )
            for row in news.skipped
        ]
        times = [*memory.get("times", [])]
        times += [row.heard_us for row in news.doubts if not row.reason.startswith(_CLOCK)]
        if not times:
            return {}, alerts
        times = [each for each in times if each > times[-1] - int(self.window_s * 1e6)][
            -_REMEMBERED:
        ]
        is_bad = len(times) >= self.doubts
        if is_bad and not memory.get("told", False):
            alerts.append(
                Alert(
                    rule="streams",
                    severity=self.severity,
                    title=f"{len(times)} doubts about the account within {self.window_s / 60:.0f} min",
                    text=f"The last: {news.doubts[-1].reason}." if news.doubts else "",
                    advice="Everything is compared with the exchange each time; look at connection and exchange.",
                    event_us=times[-1],
                    key="doubts",
                )
            )
        return {"times": times, "told": is_bad}, alerts


@dataclass(frozen=True, kw_only=True)
class Clock:
    """Tells when this machine's clock is away from the exchange's, by the loop's word or by what was just written.

    Parameters
    ----------
    off_s : float
        Seconds from which on it is told, > 0. The loop's clock follows the exchange's: a row that was not there at
        the look before and is there now was written in between, by whatever clock this machine has.
    severity : Severity
        Of it.
    """

    off_s: float
    severity: Severity

    def __post_init__(self) -> None:
        check_positive(self, "off_s")

    def judge(self, news: News, memory: Memory) -> Judged:
        """Look at what the loop says of the clock, and at when it heard what is newest."""
        said = [row for row in news.doubts if row.reason.startswith(_CLOCK)]
        alerts = [self._alert(row.reason, row.heard_us) for row in said]
        is_off = bool(memory.get("told", False))
        if (
            news.heard_us is not None
            and news.run is not None
            and news.run.mode != "sim"
            and not news.is_more
        ):
            least_s = (news.absent_us - news.heard_us) / 1e6
            most_s = (news.seen_us - news.heard_us) / 1e6
            off_s = least_s if least_s > self.off_s else most_s if most_s < -self.off_s else 0.0
            if off_s and not is_off:
                where = "ahead of" if off_s > 0.0 else "behind"
                alerts.append(
                    self._alert(
                        f"this machine's clock is {abs(off_s):.1f} s {where} the exchange's",
                        news.heard_us,
                    )
                )
            is_off = bool(off_s)
        return {"told": is_off}, alerts

    def _alert(self, words: str, event_us: int) -> Alert:
        return Alert(
            rule="clock",
            severity=self.severity,
            title=words[0].upper() + words[1:],
            advice="Set the machine's clock (chrony or ntpd): requests with a wrong time are refused.",
            event_us=event_us,
            key="clock",
        )


@dataclass(frozen=True, kw_only=True)
class Disk:
    """Tells when a disk is nearly full.

    Parameters
    ----------
    steps : tuple of Step
        Gigabytes that are left, each less than the one before.
    again : float
        Share of a step by which more must be free before it is told again, in [0, 1).
    """

    steps: tuple[Step, ...]
    again: float

    def __post_init__(self) -> None:
        check_steps(self.steps[::-1])
        check_fraction("again", self.again)

    def judge(self, news: News, memory: Memory) -> Judged:
        """Look at the disks, where they were asked."""
        told: dict[str, int] = dict(memory)
        alerts: list[Alert] = []
        steps = [Step(at=1.0 / step.at, severity=step.severity) for step in self.steps]
        for folder, n_bytes in news.free_bytes.items():
            free = n_bytes / 1e9
            told[folder], step = climbed(
                steps, told.get(folder, 0), 1.0 / max(free, 1e-9), again=self.again
            )
            if step is not None:
                alerts.append(
                    Alert(
                        rule="disk",
                        severity=step.severity,
                        title=f"The disk of {folder} has {free:.2f} GB left",
                        text="Without space nothing can be written down, and the loop stops.",
                        advice="Make space; python -m live.journal action=prune drops what no replay needs.",
                        key=folder,
                    )
                )
        return told, alerts


@dataclass(frozen=True, kw_only=True)
class Heartbeat:
    """Tells when the loop writes nothing any more, when it is back, and when it begins or ends.

    Parameters
    ----------
    bars : float
        Execution bars without a word, > 0.
    plus_s : float
        Seconds more, > 0; alone where a session does not say how long its bars are. On this machine's clock.
    """

    bars: float
    plus_s: float

    def __post_init__(self) -> None:
        check_positive(self, "bars", "plus_s")

    def judge(self, news: News, memory: Memory) -> Judged:
        """Look whether anything is new."""
        if news.unreadable:
            return memory, []
        kept: dict[str, Any] = {
            "last_us": news.seen_us,
            "session": 0,
            "ended": 0,
            "told": False,
        } | dict(memory)
        run = news.run
        if run is None:
            return kept, []
        alerts = []
        if run.session_id != kept["session"]:
            if memory:  # else the process begins, and not the loop
                alerts.append(self._begun(run.session_id, run.started_us))
            kept |= {"session": run.session_id, "last_us": news.seen_us}
            kept["ended"] = (
                run.session_id if run.ended_us is not None and not memory else kept["ended"]
            )
        silence_s = (news.seen_us - kept["last_us"]) / 1e6
        if news.is_new:
            kept["last_us"] = news.seen_us
            if kept["told"]:
                alerts.append(self._back(silence_s))
                kept["told"] = False
        if run.ended_us is not None:
            if kept["ended"] != run.session_id:
                alerts.append(self._ended(run.session_id, run.ended_us, run.why_ended))
            return kept | {"ended": run.session_id, "told": False}, alerts
        if not news.is_new and not kept["told"] and silence_s >= self._patience_s(run.bar_s):
            alerts.append(self._silent(silence_s))
            kept["told"] = True
        return kept, alerts

    def _patience_s(self, bar_s: float) -> float:
        return self.plus_s + (0.0 if math.isnan(bar_s) else self.bars * bar_s)

    def _silent(self, seconds: float) -> Alert:
        return Alert(
            rule="heartbeat",
            severity=Severity.CRITICAL,
            title=f"The loop has been SILENT for {seconds / 60:.0f} min",
            text="It writes nothing down: it has died, hangs, or its machine stands still. "
            "Orders and stops stay at the exchange.",
            advice="Look at its process and log, start it again: it goes on from its journal.",
            key="silent",
        )

    def _back(self, seconds: float) -> Alert:
        return Alert(
            rule="heartbeat",
            severity=Severity.WARNING,
            title=f"The loop is back after {seconds / 60:.0f} min of silence",
            key="back",
        )

    def _begun(self, session_id: int, started_us: int) -> Alert:
        return Alert(
            rule="heartbeat",
            severity=Severity.INFO,
            title=f"The loop has started (session {session_id})",
            event_us=started_us,
            key="begun",
        )

    def _ended(self, session_id: int, ended_us: int, why: str) -> Alert:
        in_order = why == _TOLD_TO_STOP
        return Alert(
            rule="heartbeat",
            severity=Severity.WARNING if in_order else Severity.CRITICAL,
            title=f"The loop has ended (session {session_id}): {why or 'nobody knows why'}",
            text="Orders and protective stops stay at the exchange.",
            advice=""
            if in_order
            else "Look at its log, and start it again: it goes on from its journal.",
            event_us=ended_us,
            key="ended",
        )


@dataclass(frozen=True, kw_only=True)
class Readable:
    """Tells when the journal cannot be read.

    Parameters
    ----------
    after_s : float
        Seconds on this machine's clock, > 0.
    """

    after_s: float

    def __post_init__(self) -> None:
        check_positive(self, "after_s")

    def judge(self, news: News, memory: Memory) -> Judged:
        """Look whether this look has failed."""
        told = bool(memory.get("told", False))
        if not news.unreadable or news.unreadable_us is None:
            over = Alert(
                rule="readable",
                severity=Severity.WARNING,
                title="The journal can be read again",
                key="again",
            )
            return {"told": False}, [over] if told else []
        seconds = (news.seen_us - news.unreadable_us) / 1e6
        if told or seconds < self.after_s:
            return memory, []
        alert = Alert(
            rule="readable",
            severity=Severity.CRITICAL,
            title=f"The journal has been unreadable for {seconds:.0f} s: no alerts until it is back",
            text=news.unreadable,
            advice="Look at disk and database; whether the loop trades is not known from here.",
            key="unreadable",
        )
        return {"told": True}, [alert]
