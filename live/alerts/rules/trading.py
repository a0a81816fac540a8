"""Rules about what the loop does: limits that bind, hands that intervene, stops, and differences from the exchange."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from live.alerts.alert import Alert, Severity
from live.alerts.news import News, NoteRow, ReasonRow
from live.alerts.rules.rule import Judged, Memory, check_positive, percent
from live.journal.records import NoteKind

_MINDED = ("controller", "liquidation_monitor")
_LIQUIDATION = "liquidation"
_FRACTIONS = ("drawdown", "daily_loss", "daily_var", "liquidation_probability", "margin_ratio")
_HOUR_US = 3_600_000_000
_WORDS = {
    "stopped": (
        "Trading is STOPPED",
        "Everything is closed, and stays so until a person releases it.",
    ),
    "halted": (
        "Trading is HALTED",
        "Everything is closed; it goes on by itself after the cool-down.",
    ),
    "reduced": ("Positions are being reduced", "Nothing is to be done; look at why."),
    "released": ("Trading goes on", ""),
    "cut": ("Cut by a limit", ""),
    "closed": ("Closed", ""),
}


@dataclass(frozen=True, kw_only=True)
class Interventions:
    """Tells what risk controller and liquidation monitor did, and what hands did.

    Parameters
    ----------
    actions : mapping of str to Severity
        Of each action that is told, in the words of ``reasons.parquet``.
    by_hand : Severity
        Of an intervention that the loop wrote down, such as that of the kill switch.
    """

    actions: Mapping[str, Severity]
    by_hand: Severity

    def __post_init__(self) -> None:
        for action in self.actions:
            if action not in _WORDS:
                raise ValueError(f"actions must be of {', '.join(_WORDS)}, was {action!r}")

    def judge(self, news: News, memory: Memory) -> Judged:
        """Look at each reason and each note."""
        alerts = [
            _intervention(row, self.actions[row.action])
            for row in news.reasons
            if row.stage in _MINDED and row.action in self.actions and row.rule != _LIQUIDATION
        ]
        alerts += [_liquidated(row) for row in news.reasons if row.rule == _LIQUIDATION]
        alerts += [
            Alert(
                rule="interventions",
                severity=self.by_hand,
                title=f"{row.source.capitalize()}: {row.message}",
                text="The loop has heard it.",
                advice="If nobody you know did this, look at once.",
                event_us=row.ts_us,
                key=f"hand {row.source}",
            )
            for row in news.notes
            if row.kind == NoteKind.INTERVENTION.value
        ]
        return {}, alerts


@dataclass(frozen=True, kw_only=True)
class Stops:
    """Tells of positions without a working protective stop, and of stops that are stuck.

    Parameters
    ----------
    missing_s : float
        Seconds on this machine's clock for which a position may be without one, > 0: an entry's stop follows at the
        next close. Of a run that asks for none nothing is told.
    """

    missing_s: float

    def __post_init__(self) -> None:
        check_positive(self, "missing_s")

    def judge(self, news: News, memory: Memory) -> Judged:
        """Look at each order that is stuck, and at what is held now."""
        alerts = [
            Alert(
                rule="stops",
                severity=Severity.CRITICAL,
                title=f"{row.symbol}: a protective stop is STUCK",
                text=f"It has triggered, and no order came of it ({row.client_id}).",
                advice=f"Close {row.symbol} by hand at the exchange, or /flatten closes everything.",
                event_us=row.ts_us,
                key=f"stuck {row.symbol}",
            )
            for row in news.stuck
        ]
        bare = self._bare(news, memory)
        told = []
        for symbol, since_us in bare.items():
            if news.seen_us - since_us >= self.missing_s * 1e6:
                told.append(symbol)
                if symbol not in memory.get("told", ()):
                    alerts.append(_unprotected(symbol, (news.seen_us - since_us) / 1e6))
        return {"bare": bare, "told": told}, alerts

    def _bare(self, news: News, memory: Memory) -> dict[str, int]:
        """Return since when positions are without a stop."""
        held: dict[str, int] = memory.get("bare", {})
        if news.run is None or not news.run.wants_stops:
            return {}
        if news.holdings is None:
            return held
        now = [each.symbol for each in news.holdings if not each.has_stop]
        return {symbol: held.get(symbol, news.seen_us) for symbol in now}


@dataclass(frozen=True, kw_only=True)
class Differences:
    """Tells in what loop and exchange differed, by the rule that resolved it.

    Parameters
    ----------
    rules : mapping of str to Severity
        Of each rule that is told: adopt, cancel, close, halt.
    """

    rules: Mapping[str, Severity]

    def judge(self, news: News, memory: Memory) -> Judged:
        """Look at each difference."""
        alerts = []
        for row in news.differences:
            if row.rule not in self.rules:
                continue
            what = f"{row.symbol} {row.subject}" if row.symbol else row.subject
            halts = row.rule == "halt"
            then = "nothing opens" if row.symbol is None else "it is not traded"
            alerts.append(
                Alert(
                    rule="differences",
                    severity=self.rules[row.rule],
                    title=f"{what} differs from the exchange"
                    + (f": {then}" if halts else f", rule {row.rule}"),
                    text=f"Here {row.expected}, at the exchange {row.found}.",
                    advice="Look at the exchange: undo what another hand did; it goes on by itself then."
                    if halts
                    else "",
                    event_us=row.ts_us,
                    key=f"{what} {row.rule}",
                )
            )
        return {}, alerts


def _intervention(row: ReasonRow, severity: Severity) -> Alert:
    words, advice = _WORDS[row.action]
    rule = row.rule.replace("_", " ").replace(" var", " value at risk")
    figures = f"{rule} {_figure(row.rule, row.value)}, limit {_figure(row.rule, row.limit)}"
    if row.rule == "cool_down":
        figures = f"the cool-down of {row.limit / _HOUR_US:.0f} h is over"
    elif math.isnan(row.value) or math.isnan(row.limit):
        figures = rule
    title = f"{row.symbol} {words.lower()}" if row.symbol else words
    return Alert(
        rule="interventions",
        severity=severity,
        title=f"{title}: {figures}",
        text=f"By the {row.stage.replace('_', ' ')}.",
        advice=advice,
        event_us=row.ts_us,
        key=f"{row.symbol} {row.rule} {row.action}",
    )


def _liquidated(row: ReasonRow) -> Alert:
    return Alert(
        rule="interventions",
        severity=Severity.CRITICAL,
        title=f"{row.symbol or 'The account'} was LIQUIDATED",
        text="The exchange has closed it by force.",
        advice="Look at the account now; /pause opens nothing new.",
        event_us=row.ts_us,
        key=f"{row.symbol} liquidated",
    )


def _unprotected(symbol: str, seconds: float) -> Alert:
    return Alert(
        rule="stops",
        severity=Severity.CRITICAL,
        title=f"{symbol} has had NO protective stop for {seconds:.0f} s",
        text="Every position is to have one, and none is open at the exchange.",
        advice=f"Set a stop for {symbol} at the exchange or close it; /flatten closes everything.",
        key=f"missing {symbol}",
    )


def _figure(rule: str, value: float) -> str:
    return percent(value, 2) if rule in _FRACTIONS else f"{value:,.4g}"


def errors(news: News) -> Iterator[NoteRow]:
    """Yield what went wrong in the loop."""
    return (row for row in news.notes if row.kind == NoteKind.ERROR.value)
