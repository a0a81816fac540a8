"""The rules under which a session trades: limits, kind of margin, margin brackets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from live.journal.records import KeptSession
from live.parts import kept
from quantcore.risk.limits import RiskSettings
from quantcore.types import FloatArray


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What a session kept of its rules: limits, kind of margin, margin brackets by symbol."""

    risk: RiskSettings | None
    margin: str
    brackets: Mapping[str, FloatArray]

    @classmethod
    def of(cls, session: KeptSession) -> Rules | None:
        """Return those of a session; None where it kept none."""
        try:
            found = kept(session)
        except (AttributeError, KeyError, TypeError):
            return None
        plane = found.plane
        brackets = dict(zip(plane.symbols, plane.rules.bracket, strict=True))
        return cls(risk=found.parts.risk, margin=found.parts.account.margin, brackets=brackets)
