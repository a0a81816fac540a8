"""Rules about the machinery: errors, streams, clocks, disks, and whether the loop lives."""

from __future__ import annotations

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
    span,
)
from live.alerts.rules.trading import errors

_CLOCK = "this machine's clock"
"""With which the broker's word about the clock begins."""
_FEED = "feed"
_TOLD_TO_STOP = "told to stop"
_REMEMBERED = 5_000
"""Doubts, at most."""


@dataclass(frozen=True, kw_only=True)
class ErrorRate:
    """Tells when too many requests fail, and each error that the loop writes down.

    Parameters
    ----------
    window_s : float
        Of this machine's clock, over which requests are counted, > 0.
    least : int
        Failures below which nothing is told, >= 1.
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
        """Look at each error and each heartbeat."""
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
        counted: list[list[int]] = [*memory.get("counted", [])]
        told = bool(memory.get("told", False))
        for row in news.health:
            if counted and row.requests < counted[-1][1]:  # a session counts from nothing
                counted = []
            counted.append([row.wall_us, row.requests, row.failures])
            begin_us = row.wall_us - int(self.window_s * 1e6)
            while len(counted) > 1 and counted[1][0] <= begin_us:
                del counted[0]
            asked, failed = row.requests - counted[0][1], row.failures - counted[0][2]
            is_bad = failed >= self.least and failed >= self.share * asked
            if is_bad and not told:
                alerts.append(self._alert(failed, asked, row.ts_us))
            told = is_bad
        return {"counted": counted, "told": told}, alerts

    def _alert(self, failed: int, asked: int, event_us: int) -> Alert:
        return Alert(
            rule="error_rate",
            severity=self.severity,
            title=f"{failed} of {asked} requests to the exchange failed ({percent(failed / asked)})",
            text=f"Within {self.window_s / 60:.0f} min.",
            advice="Look at the exchange's status page and the network; /pause opens nothing new.",
            event_us=event_us,
            key="rate",
        )


@dataclass(frozen=True, kw_only=True)
class Streams:
    """Tells of streams that bring nothing, decisions given up for want of data, and doubts that pile up.

    Parameters
    ----------
    beats : int
        Heartbeats in a row in which a stream is missing, >= 1: a connection is renewed once a day.
    skipped : Severity
        Of a decision that was not taken.
    doubts : int
        So many within the window are too many, >= 1; a single one is resolved by a comparison and nothing to tell.
    window_s : float
        Of the exchange's clock, > 0.
    severity : Severity
        Of a missing stream, and of too many doubts.
    """

    beats: int
    skipped: Severity
    doubts: int
    window_s: float
    severity: Severity

    def __post_init__(self) -> None:
        check_positive(self, "beats", "doubts", "window_s")

    def judge(self, news: News, memory: Memory) -> Judged:
        """Look at each decision that was skipped, each heartbeat and each doubt."""
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
        missing, missed = self._missing(news, int(memory.get("missing", 0)))
        piled, doubts = self._doubts(news, memory)
        return {"missing": missing} | doubts, [*alerts, *missed, *piled]

    def _missing(self, news: News, missing: int) -> tuple[int, list[Alert]]:
        alerts = []
        for row in news.health:
            what = []
            if not row.account_stream:
                what.append("the account's stream")
            if row.connected < row.sockets:
                what.append(f"{row.sockets - row.connected} of {row.sockets} market streams")
            if not what and missing >= self.beats:
                alerts.append(
                    self._alert("stale", "All streams bring something again", "", row.ts_us)
                )
            missing = missing + 1 if what else 0
            if missing == self.beats:
                title = f"Stale: {' and '.join(what)} bring nothing"
                advice = (
                    "It reconnects by itself; if it lasts, look at the network and the exchange."
                )
                alerts.append(self._alert("stale", title, advice, row.ts_us))
        return missing, alerts

    def _doubts(self, news: News, memory: Memory) -> tuple[list[Alert], dict[str, Any]]:
        times = [*memory.get("times", [])]
        times += [row.heard_us for row in news.doubts if not row.reason.startswith(_CLOCK)]
        if not times:
            return [], {}
        times = [each for each in times if each > times[-1] - int(self.window_s * 1e6)][
            -_REMEMBERED:
        ]
        is_bad = len(times) >= self.doubts
        kept = {"times": times, "told": is_bad}
        if not is_bad or memory.get("told", False):
            return [], kept
        title = f"{len(times)} doubts about the account within {self.window_s / 60:.0f} min"
        advice = (
            "Everything is compared with the exchange each time; look at connection and exchange."
        )
        text = f"The last: {news.doubts[-1].reason}." if news.doubts else ""
        return [self._alert("doubts", title, advice, times[-1], text)], kept

    def _alert(self, key: str, title: str, advice: str, event_us: int, text: str = "") -> Alert:
        return Alert(
            rule="streams",
            severity=self.severity,
            title=title,
            text=text,
            advice=advice,
            event_us=event_us,
            key=key,
        )


@dataclass(frozen=True, kw_only=True)
class Clock:
    """Tells when this machine's clock is away from the exchange's, and when the loop comes too late to what is due.

    Parameters
    ----------
    off_s : float
        Seconds from which on a clock is told, > 0.
    late_s : float
        Seconds from which on a late loop is told, > 0.
    severity : Severity
        Of both.
    """

    off_s: float
    late_s: float
    severity: Severity

    def __post_init__(self) -> None:
        check_positive(self, "off_s", "late_s")

    def judge(self, news: News, memory: Memory) -> Judged:
        """Look at each heartbeat."""
        is_off, is_late = bool(memory.get("off", False)), bool(memory.get("late", False))
        alerts = []
        for row in news.health:
            off_s, late_s = row.clock_off_ms / 1e3, row.late_us / 1e6
            if abs(off_s) >= self.off_s and not is_off:  # never of NaN, a simulated clock
                where = "behind" if off_s > 0.0 else "ahead of"
                alerts.append(
                    self._alert(
                        "off",
                        f"This machine's clock is {abs(off_s):.1f} s {where} the exchange's",
                        "Set the machine's clock (chrony or ntpd): requests with a wrong time are refused.",
                        row.ts_us,
                    )
                )
            if late_s >= self.late_s and not is_late:
                alerts.append(
                    self._alert(
                        "late",
                        f"The loop was {late_s:.1f} s late to its own heartbeat",
                        "The machine is overloaded or was asleep: see what else runs on it.",
                        row.ts_us,
                    )
                )
            is_off, is_late = abs(off_s) >= self.off_s, late_s >= self.late_s
        return {"off": is_off, "late": is_late}, alerts

    def _alert(self, key: str, title: str, advice: str, event_us: int) -> Alert:
        return Alert(
            rule="clock",
            severity=self.severity,
            title=title,
            advice=advice,
            event_us=event_us,
            key=key,
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
    silence_s : float
        Seconds without a word, on this machine's clock, > 0: the loop writes a heartbeat every fifteen.
    """

    silence_s: float

    def __post_init__(self) -> None:
        check_positive(self, "silence_s")

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
        if not news.is_new and not kept["told"] and silence_s >= self.silence_s:
            alerts.append(self._silent(silence_s))
            kept["told"] = True
        return kept, alerts

    def _silent(self, seconds: float) -> Alert:
        return Alert(
            rule="heartbeat",
            severity=Severity.CRITICAL,
            title=f"The loop has been SILENT for {span(seconds)}",
            text="It writes nothing down: it has died, hangs, or its machine stands still. "
            "Orders and stops stay at the exchange.",
            advice="Look at its process and log, start it again: it goes on from its journal.",
            key="silent",
        )

    def _back(self, seconds: float) -> Alert:
        return Alert(
            rule="heartbeat",
            severity=Severity.WARNING,
            title=f"The loop is back after {span(seconds)} of silence",
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
