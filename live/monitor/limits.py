"""How much of each limit is in use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from live.monitor.account import Account
from live.monitor.positions import Held
from quantcore.risk.limits import RiskSettings


@dataclass(frozen=True, kw_only=True)
class Limit:
    """A limit of the mode, and what of it is in use; both are >= 0."""

    name: str
    value: float
    limit: float

    @property
    def share(self) -> float:
        """How much of the limit is in use, 1 at the limit."""
        return self.value / self.limit


def limits(
    account: Account | None, positions: Sequence[Held], risk: RiskSettings | None
) -> tuple[Limit, ...]:
    """Return the limits of a mode, each with what of it is in use; those that are not set are left out."""
    if account is None or risk is None or not account.equity > 0.0:
        return ()
    largest = max((position.leverage for position in positions), default=0.0)
    chance = account.liquidation_probability
    found = (
        ("leverage", account.leverage, risk.leverage_max),
        ("net exposure", abs(account.net_exposure) / account.equity, risk.net_max),
        ("largest position", largest, risk.symbol_max),
        ("daily value at risk", account.daily_var, risk.daily_var_max),
        ("drawdown", -account.drawdown, risk.drawdown_max),
        ("loss of the day", max(-account.day_return, 0.0), risk.daily_loss_max),
        ("liquidation probability", chance, risk.liquidation_probability_max),
        ("margin ratio", account.margin_ratio, risk.margin_ratio_max),
    )
    return tuple(
        Limit(name=name, value=max(0.0, value), limit=limit)  # NaN counts as nothing
        for name, value, limit in found
        if limit is not None
    )
