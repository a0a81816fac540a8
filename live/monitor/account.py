"""The account at the last closed bar, as the journal tells it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pandas as pd
from sqlalchemy import Connection

from live.journal.codec import number
from live.monitor.view import selected
from quantcore.types import RiskLevel


@dataclass(frozen=True, kw_only=True)
class Account:
    """The account at the last closed bar, in the units of `equity.parquet`.

    Parameters
    ----------
    ts : Timestamp
        Of the bar.
    day_return : float
        Since the UTC day's start; NaN before the risk controller has spoken.
    leverage : float
        Gross exposure over equity.
    risk_level : RiskLevel
        On the controller's ladder.
    """

    ts: pd.Timestamp
    equity: float
    wallet_balance: float
    unrealised_pnl: float
    margin_ratio: float
    gross_exposure: float
    net_exposure: float
    leverage: float
    drawdown: float
    nav: float
    day_return: float
    regime: str | None
    daily_var: float
    liquidation_probability: float
    risk_level: RiskLevel
    level_since: pd.Timestamp | None
    halts: int


def account_of(connection: Connection) -> Account | None:
    """Return the account at the last closed bar; None before the first."""
    row = connection.execute(selected("equity", last=1)).first()
    if row is None:
        return None
    spoken, since_us = row.level is not None, row.level_since_us or 0
    equity, gross, nav = number(row.equity), number(row.gross_exposure), number(row.nav)
    return Account(
        ts=_time(row.ts_us),
        equity=equity,
        wallet_balance=number(row.wallet_balance),
        unrealised_pnl=number(row.unrealised_pnl),
        margin_ratio=number(row.margin_ratio),
        gross_exposure=gross,
        net_exposure=number(row.net_exposure),
        leverage=ratio(gross, equity),
        drawdown=number(row.drawdown),
        nav=nav,
        day_return=ratio(nav, number(row.day_nav)) - 1.0,
        regime=row.regime,
        daily_var=number(row.daily_var),
        liquidation_probability=number(row.liquidation_probability),
        risk_level=RiskLevel[row.level.upper()] if spoken else RiskLevel.NORMAL,
        level_since=_time(since_us) if since_us > 0 else None,
        halts=row.halts if spoken else 0,
    )


def ratio(value: float, of: float) -> float:
    """Return a quotient; NaN of nothing."""
    return float(value / of) if of > 0.0 else math.nan


def _time(time_us: int) -> pd.Timestamp:
    return pd.Timestamp(time_us, unit="us", tz="UTC")
