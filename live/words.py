"""What a step had to say, in the words of the results folder (DESIGN.md 6), for the journal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from live.journal.records import Equity, Position, Reason, RiskState
from quantcore.account_plane import Events
from quantcore.fold import FoldState
from quantcore.kernels import layout as at
from quantcore.types import Action, RiskLevel, Rule, Stage


def reasons(events: Events, symbols: Sequence[str]) -> Iterator[Reason]:
    """Yield what was cut, refused or closed, and why."""
    for whole, number in zip(*events.of(at.EVENT_WHY), strict=True):
        s = int(whole[at.EVENT_SYMBOL])
        yield Reason(
            symbol=symbols[s] if s >= 0 else "",
            stage=Stage(whole[at.EVENT_STATE]).name.lower(),
            rule=Rule(whole[at.EVENT_REASON]).name.lower(),
            limit=float(number[at.A]),
            value=float(number[at.B]),
            action=Action(whole[at.EVENT_ACTION]).name.lower(),
        )


def equity(events: Events, *, flow: float, regime: str | None) -> Equity | None:
    """Return the account at the step's close, None where none was recorded."""
    if not len(events.curve):
        return None
    row = events.curve[-1]
    return Equity(
        equity=float(row[at.CURVE_EQUITY]),
        wallet_balance=float(row[at.CURVE_WALLET]),
        unrealised_pnl=float(row[at.CURVE_UNREALISED]),
        margin_ratio=float(row[at.CURVE_MARGIN_RATIO]),
        gross_exposure=float(row[at.CURVE_GROSS]),
        net_exposure=float(row[at.CURVE_NET]),
        drawdown=float(row[at.CURVE_DRAWDOWN]),
        flow=flow,
        nav=float(row[at.CURVE_NAV]),
        regime=regime,
    )


def positions(state: FoldState, symbols: Sequence[str]) -> Iterator[Position]:
    """Yield what is held."""
    for s, row in enumerate(state["position"]):
        if row[at.QTY] != 0.0:
            yield Position(
                symbol=symbols[s],
                qty=float(row[at.QTY]),
                entry_price=float(row[at.ENTRY]),
                mark_price=float(row[at.MARK]),
                isolated_margin=float(row[at.MARGIN]),
                liquidation_chance=float(row[at.CHANCE]),
            )


def risk_state(state: FoldState) -> RiskState:
    """Return where the account stands on the ladder of the risk controller."""
    row = state["risk"]
    return RiskState(
        level=RiskLevel(int(row[at.LEVEL])),
        level_since_us=int(row[at.LEVEL_TS]),
        peak_nav=float(row[at.PEAK]),
        day_nav=float(row[at.DAY_NAV]),
        halts=int(row[at.HALTS]),
        daily_var=float(row[at.VAR]),
        liquidation_probability=float(row[at.LIQUIDATION_CHANCE]),
        binding=int(row[at.BINDING]),
    )
