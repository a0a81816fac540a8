"""One row of the equity curve: what a decision finds in the account."""

from __future__ import annotations

import math

from quantcore.kernels.compiled import inner
from quantcore.kernels.layout import (
    CURVE_DRAWDOWN,
    CURVE_EQUITY,
    CURVE_GROSS,
    CURVE_LEVEL,
    CURVE_LIQUIDATION,
    CURVE_MARGIN_RATIO,
    CURVE_NAV,
    CURVE_NET,
    CURVE_UNREALISED,
    CURVE_VAR,
    CURVE_WALLET,
    ENTRY,
    LEVEL,
    LIQUIDATION_CHANCE,
    LOTS,
    MARGIN,
    MARGIN_TYPE,
    MARK,
    N_LEAN,
    NAV_RATE,
    PEAK_NAV,
    QTY,
    VAR,
    Account,
    Journal,
    Rules,
)
from quantcore.kernels.ledger import ISOLATED, position_margin


@inner()
def record(
    account: Account, rules: Rules, journal: Journal, curve: int, pnl: float, maintenance: float,
    gross: float, net: float,
) -> None:  # fmt: skip
    """Fill the row of `journal.curve` whose equity is written already, from the marks and totals of its close."""
    equity = journal.curve[CURVE_EQUITY, curve]
    nav = equity * account.cash[NAV_RATE]
    journal.curve[CURVE_NAV, curve] = nav
    journal.curve[CURVE_DRAWDOWN, curve] = nav / account.cash[PEAK_NAV] - 1.0
    if len(journal.curve) == N_LEAN:
        return
    journal.curve[CURVE_WALLET, curve] = equity - pnl
    journal.curve[CURVE_UNREALISED, curve] = pnl
    journal.curve[CURVE_GROSS, curve] = gross
    journal.curve[CURVE_NET, curve] = net
    # Cross margin is one pot; an isolated position is as near to liquidation as its own margin says.
    cross, ratio = equity, 0.0
    for s in range(len(account.held)):
        if account.held[s, LOTS] != 0 and rules.size[s, MARGIN_TYPE] == ISOLATED:
            mark = account.position[s, MARK]
            margin = account.position[s, MARGIN]
            margin += account.position[s, QTY] * (mark - account.position[s, ENTRY])
            needed = position_margin(account, rules, s, mark)
            cross -= margin
            maintenance -= needed
            ratio = max(ratio, needed / margin) if margin > 0.0 else math.inf
    if maintenance > 0.0:
        ratio = max(ratio, maintenance / cross) if cross > 0.0 else math.inf
    journal.curve[CURVE_MARGIN_RATIO, curve] = ratio
    journal.curve[CURVE_LEVEL, curve] = account.risk[LEVEL]
    journal.curve[CURVE_VAR, curve] = account.risk[VAR]
    journal.curve[CURVE_LIQUIDATION, curve] = account.risk[LIQUIDATION_CHANCE]
