"""Whether an account of this size makes a portfolio: `quantcore.research.feasibility` on the rules of the host."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from live.guard.checks import Check, failed, not_applicable, passed
from live.guard.modes import MODES
from quantcore.account_plane import compile_rules
from quantcore.backtest.engine import Decided, trade
from quantcore.data.instruments import Instrument
from quantcore.errors import DataGap
from quantcore.research.feasibility import (
    Stage,
    capital_for,
    demand,
    greedy_weights,
    judge,
    position_table,
    smallest_orders,
)
from quantcore.research.feasibility_demand import Demand, weights_held

NAME = "feasibility"


def check_feasible(
    mode: str,
    decided: Decided,
    stage: Stage,
    instruments: Sequence[Instrument],
    *,
    positions_min: int,
) -> Check:
    """Return whether enough positions fit at the median decision of the bars that warmed the signals up.

    Without real money too few are told and not refused.

    Parameters
    ----------
    mode : str
        One of `modes.MODES`.
    decided : Decided
        What the signal plane said over the warm-up.
    stage : Stage
        The account in its mode, its capital what the exchange says.
    instruments : sequence of Instrument
        Of the same symbols, as the host traded on has them.
    positions_min : int
        Fewest positions that make a portfolio.
    """
    own = stage.holding(stage.account.capital)
    wanted = _on_host(demand(decided, own), own, instruments)
    run = trade(
        decided,
        account=own.account,
        execution=own.execution,
        risk=own.risk,
        instruments=instruments,
    )
    held = weights_held(run, decided)[wanted.rows]
    greedy = greedy_weights(wanted, own, own.account.capital)
    verdict, reason = judge(
        position_table(wanted, own, greedy, held),
        own,
        positions_min=positions_min,
        capital_from=capital_for(wanted, own, positions_min),
    )
    if verdict == "feasible":
        return passed(NAME, reason)
    if not MODES[mode].real_money:
        return not_applicable(NAME, f"no real money is at stake: {reason}")
    return failed(NAME, reason)


def _on_host(wanted: Demand, stage: Stage, instruments: Sequence[Instrument]) -> Demand:
    """Return what is wanted beside the smallest orders that a host takes, instead of the committed ones."""
    named = tuple(instrument.symbol for instrument in instruments)
    if named != wanted.symbols:
        raise DataGap(f"the host must describe {wanted.symbols}, described {named}")
    rules = compile_rules(instruments, account=stage.account, execution=stage.execution)
    lots, orders = smallest_orders(wanted.prices, rules)
    return replace(wanted, lots=lots, orders=orders, rules=rules, instruments=tuple(instruments))
