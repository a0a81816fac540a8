"""The rules under which a session trades: limits, kind of margin, margin brackets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from live.journal.records import KeptSession
from live.parts import kept_settings
from quantcore.account_plane import AccountSettings, compile_rules
from quantcore.config import build
from quantcore.execution.settings import ExecutionSettings
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
            cfg, instruments = kept_settings(session)
        except (AttributeError, KeyError, TypeError):
            return None
        account = build(cfg.account, AccountSettings)
        execution = build(cfg.execution, ExecutionSettings)
        rules = compile_rules(instruments, account=account, execution=execution)
        symbols = (instrument.symbol for instrument in instruments)
        return cls(
            risk=build(cfg.risk, RiskSettings) if cfg.risk else None,
            margin=account.margin,
            brackets=dict(zip(symbols, rules.bracket, strict=True)),
        )
