"""Rules about what keeps the loop from trading or from being copied, told when it lasts, and when it is over."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from live.alerts.alert import Alert, Severity
from live.alerts.news import HealthRow, News
from live.alerts.rules.rule import (
    Judged,
    Memory,
    Step,
    check_fraction,
    check_steps,
    climbed,
    span,
)
from live.kill_switch import Level

_BY_HAND = tuple(f"{level.name.lower()} by " for level in Level)
"""With which the loop's word begins where the kill switch is why nothing opens."""


class Spell(NamedTuple):
    """Something that has lasted for a step, or is over.

    Parameters
    ----------
    why : str
        In the loop's words.
    row : HealthRow
        The heartbeat that tells it.
    seconds : float
        How long it has lasted, on this machine's clock.
    severity : Severity
        Of the step; of one that is over, of the last step that was told.
    is_over : bool
        Whether it has ended.
    """

    why: str
    row: HealthRow
    seconds: float
    severity: Severity
    is_over: bool


def followed(
    news: News, memory: Memory, steps: Sequence[Step], why_of: Callable[[HealthRow], str]
) -> tuple[Memory, list[Spell]]:
    """Follow through heartbeats what must last before it is told.

    Parameters
    ----------
    news : News
        With heartbeats.
    memory : mapping
        What this gave for the look before.
    steps : sequence of Step
        Seconds, rising.
    why_of : callable
        Returns why a heartbeat has it, empty if it does not; another reason begins anew, as does another session.

    Returns
    -------
    memory : mapping
        To be kept.
    spells : list of Spell
        One for each step that was reached, and one for each end of what was told.
    """
    session = 0 if news.run is None else news.run.session_id
    is_same = memory.get("session") == session
    why, since_us, told = ("", 0, 0)
    if is_same:
        why, since_us, told = memory["why"], memory["since_us"], memory["told"]
    spells = []
    for row in news.health:
        now = why_of(row)
        if now != why:
            if told and not now:
                spells.append(_spell(why, row, since_us, steps[told - 1], is_over=True))
            why, since_us, told = now, row.wall_us, 0
        if why:
            seconds = (row.wall_us - since_us) / 1e6
            told, step = climbed(steps, told, seconds, again=0.0)
            if step is not None:
                spells.append(_spell(why, row, since_us, step, is_over=False))
    return {"session": session, "why": why, "since_us": since_us, "told": told}, spells


@dataclass(frozen=True, kw_only=True)
class NothingOpens:
    """Tells when nothing that opens has been sent for a while, and when it is again.

    Parameters
    ----------
    steps : tuple of Step
        Seconds on this machine's clock.
    by_hand : Severity
        At most, where the kill switch is why: who pulled it knows.
    """

    steps: tuple[Step, ...]
    by_hand: Severity

    def __post_init__(self) -> None:
        check_steps(self.steps)

    def judge(self, news: News, memory: Memory) -> Judged:
        """Look at each heartbeat."""
        kept, spells = followed(news, memory, self.steps, lambda row: row.stopped or "")
        return kept, [self._alert(spell) for spell in spells]

    def _alert(self, spell: Spell) -> Alert:
        severity = spell.severity
        if spell.why.startswith(_BY_HAND):
            severity = min(severity, self.by_hand)
        if spell.is_over:
            return _over("opens", "Positions can be opened again", spell, severity)
        return Alert(
            rule="opens",
            severity=severity,
            title=f"Nothing has been opened for {span(spell.seconds)}: {spell.why}",
            text="What is held stays protected; decisions that would open are not sent.",
            advice="See to the reason; it goes on by itself then.",
            event_us=spell.row.ts_us,
            key="opens",
        )


@dataclass(frozen=True, kw_only=True)
class _Symbols:
    """Tells when heartbeats have counted symbols for a while, and when they count none any more."""

    steps: tuple[Step, ...]

    rule: ClassVar[str]
    """Name of the rule, and of the heartbeat's column."""
    title: ClassVar[str]
    """With places for the symbols and for how long."""
    over: ClassVar[str]
    text: ClassVar[str]
    advice: ClassVar[str]

    def __post_init__(self) -> None:
        check_steps(self.steps)

    def judge(self, news: News, memory: Memory) -> Judged:
        """Look at each heartbeat."""
        kept, spells = followed(
            news, memory, self.steps, lambda row: self.rule if self._count(row) else ""
        )
        return kept, [self._alert(spell) for spell in spells]

    def _count(self, row: HealthRow) -> int:
        found: int = getattr(row, self.rule)
        return found

    def _alert(self, spell: Spell) -> Alert:
        if spell.is_over:
            return _over(self.rule, self.over, spell, spell.severity)
        count = self._count(spell.row)
        symbols = "1 symbol has" if count == 1 else f"{count} symbols have"
        return Alert(
            rule=self.rule,
            severity=spell.severity,
            title=self.title.format(symbols=symbols, span=span(spell.seconds)),
            text=self.text,
            advice=self.advice,
            event_us=spell.row.ts_us,
            key=self.rule,
        )


@dataclass(frozen=True, kw_only=True)
class Doubtful(_Symbols):
    """Tells when nobody has known for a while what became of a request, and when it is known.

    Parameters
    ----------
    steps : tuple of Step
        Seconds on this machine's clock; a request without an answer is asked for again within a few.
    """

    rule = "doubtful"
    title = "{symbols} been in doubt for {span}"
    over = "No symbol is in doubt any more"
    text = "A request has no answer, and the exchange does not say what became of it."
    advice = "Look at the open orders and stops of these symbols at the exchange."


@dataclass(frozen=True, kw_only=True)
class Halted(_Symbols):
    """Tells when symbols have not been traded for a while because another hand is in them, and when they are again.

    Each of them is told once by its difference; this tells that it lasts.

    Parameters
    ----------
    steps : tuple of Step
        Seconds on this machine's clock.
    """

    rule = "halted"
    title = "{symbols} not been traded for {span}: another hand is there"
    over = "All symbols are traded again"
    text = "Position or orders at the exchange are not the loop's own."
    advice = "Undo at the exchange what another hand did; it goes on by itself then."


@dataclass(frozen=True, kw_only=True)
class CopyBehind:
    """Tells when the journal's copy lacks too much, and when it has caught up.

    Parameters
    ----------
    steps : tuple of Step
        Steps of the loop that it lacks; beyond `conf.copy_behind_max` nothing opens.
    again : float
        Share of a step by which it must have caught up before that is told again, in [0, 1).
    """

    steps: tuple[Step, ...]
    again: float

    def __post_init__(self) -> None:
        check_steps(self.steps)
        check_fraction("again", self.again)

    def judge(self, news: News, memory: Memory) -> Judged:
        """Look at each heartbeat; a journal without a copy has nothing to tell."""
        told, alerts = int(memory.get("told", 0)), []
        for row in news.health:
            if row.copy_behind is None:
                continue
            before = told
            told, step = climbed(self.steps, told, row.copy_behind, again=self.again)
            if step is not None:
                alerts.append(self._alert(row, step))
            elif before and not told:
                severity = min(self.steps[before - 1].severity, Severity.WARNING)
                title = f"The journal's copy lacks only {row.copy_behind:,} steps again"
                alerts.append(
                    Alert(
                        rule="copy",
                        severity=severity,
                        title=title,
                        event_us=row.ts_us,
                        key="copy",
                    )
                )
        return {"told": told}, alerts

    def _alert(self, row: HealthRow, step: Step) -> Alert:
        return Alert(
            rule="copy",
            severity=step.severity,
            title=f"The journal's copy lacks {row.copy_behind:,} steps",
            text="The loop goes on with its own file, which has them all.",
            advice="Look at the database server and the way to it; the copy catches up by itself.",
            event_us=row.ts_us,
            key="copy",
        )


def _spell(why: str, row: HealthRow, since_us: int, step: Step, *, is_over: bool) -> Spell:
    return Spell(why, row, (row.wall_us - since_us) / 1e6, step.severity, is_over)


def _over(rule: str, title: str, spell: Spell, severity: Severity) -> Alert:
    return Alert(
        rule=rule,
        severity=min(severity, Severity.WARNING),
        title=f"{title}, after {span(spell.seconds)}",
        event_us=spell.row.ts_us,
        key=rule,
    )
