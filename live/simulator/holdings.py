"""Signed requests that tell what an account holds: balances, margins and positions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from live.simulator.accounts import VenueAccount, notional_max
from live.simulator.filters import symbols_of
from live.simulator.liquidation_price import liquidation_price
from live.simulator.orders import MONEY
from live.simulator.user_events import break_even
from live.simulator.wire import digits_of, milliseconds, text
from quantcore.kernels import layout as at
from quantcore.types import FloatArray

if TYPE_CHECKING:
    from live.simulator.engine import Engine

Params = Mapping[str, str]


def account_v3(venue: Engine, account: VenueAccount, params: Params) -> Any:
    """GET account v3: the symbols with a position or orders alone."""
    answer, totals = _account(venue, account)
    touched = np.flatnonzero((account.held["held"][:, at.LOTS] != 0) | (totals["orders"] > 0.0))
    answer["positions"] = [_position_v3(venue, account, int(s), totals) for s in touched]
    return answer


def account_v2(venue: Engine, account: VenueAccount, params: Params) -> Any:
    """GET account v2: all symbols, with leverage."""
    answer, totals = _account(venue, account)
    for asset in answer["assets"]:
        asset["marginAvailable"] = True
    positions = []
    for s, instrument in enumerate(venue.instruments):
        initial, orders = float(totals["initial"][s]), float(totals["orders"][s])
        positions.append(
            {
                "symbol": instrument.symbol,
                "initialMargin": text(initial + orders, MONEY),
                "maintMargin": text(float(totals["maintenance"][s]), MONEY),
                "unrealizedProfit": text(float(totals["profit"][s]), MONEY),
                "positionInitialMargin": text(initial, MONEY),
                "openOrderInitialMargin": text(orders, MONEY),
                "leverage": str(account.leverage(s)),
                "isolated": account.isolated(s),
                "entryPrice": text(account.entry(s), digits_of(instrument.tick_size) + 3),
                "breakEvenPrice": text(break_even(account, s), digits_of(instrument.tick_size) + 3),
                "maxNotional": text(notional_max(instrument, account.leverage(s)), 0),
                "bidNotional": "0",
                "askNotional": "0",
                "positionSide": "BOTH",
                "positionAmt": text(account.qty(s), digits_of(instrument.step_size)),
                "updateTime": milliseconds(account.touched_us.get(s, 0)),
            }
        )
    return {
        "feeTier": 0, "canTrade": True, "canDeposit": True, "canWithdraw": False, "updateTime": 0,
        "multiAssetsMargin": False, "tradeGroupId": -1, **answer, "positions": positions,
    }  # fmt: skip


def balance(venue: Engine, account: VenueAccount, params: Params) -> Any:
    """GET balance."""
    sums = _sums(venue, account, _totals(venue, account))
    return [
        {
            "accountAlias": "simulated",
            "asset": "USDT",
            "balance": sums["walletBalance"],
            "crossWalletBalance": sums["crossWalletBalance"],
            "crossUnPnl": sums["crossUnPnl"],
            "availableBalance": sums["availableBalance"],
            "maxWithdrawAmount": sums["maxWithdrawAmount"],
            "marginAvailable": True,
            "updateTime": milliseconds(venue.now_us),
        }
    ]


def position_risk_v3(venue: Engine, account: VenueAccount, params: Params) -> Any:
    """GET positionRisk v3: positions held, or symbols with orders; without leverage and margin type."""
    totals = _totals(venue, account)
    chosen = symbols_of(params, venue.symbols)
    found = []
    for s in chosen:
        if account.lots(s) == 0 and not totals["orders"][s]:
            continue
        instrument = venue.instruments[s]
        digits = digits_of(instrument.tick_size)
        brief = _position_v3(venue, account, s, totals)
        initial, orders = float(totals["initial"][s]), float(totals["orders"][s])
        found.append(
            {
                "symbol": instrument.symbol,
                "positionSide": "BOTH",
                "positionAmt": brief["positionAmt"],
                "entryPrice": text(account.entry(s), digits + 3),
                "breakEvenPrice": text(break_even(account, s), digits + 3),
                "markPrice": text(float(np.nan_to_num(totals["mark"][s])), MONEY),
                "unRealizedProfit": brief["unrealizedProfit"],
                "liquidationPrice": text(liquidation_price(account, s, totals["mark"]), digits + 3),
                "isolatedMargin": brief["isolatedMargin"],
                "notional": brief["notional"],
                "marginAsset": "USDT",
                "isolatedWallet": brief["isolatedWallet"],
                "initialMargin": brief["initialMargin"],
                "maintMargin": brief["maintMargin"],
                "positionInitialMargin": text(initial, MONEY),
                "openOrderInitialMargin": text(orders, MONEY),
                "adl": 0,
                "bidNotional": "0",
                "askNotional": "0",
                "updateTime": brief["updateTime"],
            }
        )
    return found


def position_risk_v2(venue: Engine, account: VenueAccount, params: Params) -> Any:
    """GET positionRisk v2: every symbol, with leverage and margin type."""
    totals = _totals(venue, account)
    chosen = symbols_of(params, venue.symbols)
    found = []
    for s in chosen:
        instrument = venue.instruments[s]
        digits = digits_of(instrument.tick_size)
        brief = _position_v3(venue, account, s, totals)
        found.append(
            {
                "symbol": instrument.symbol,
                "positionAmt": brief["positionAmt"],
                "entryPrice": text(account.entry(s), digits + 3),
                "breakEvenPrice": text(break_even(account, s), digits + 3),
                "markPrice": text(float(np.nan_to_num(totals["mark"][s])), MONEY),
                "unRealizedProfit": brief["unrealizedProfit"],
                "liquidationPrice": text(liquidation_price(account, s, totals["mark"]), digits + 3),
                "leverage": str(account.leverage(s)),
                "maxNotionalValue": text(notional_max(instrument, account.leverage(s)), 0),
                "marginType": "isolated" if account.isolated(s) else "cross",
                "isolatedMargin": brief["isolatedMargin"],
                "isAutoAddMargin": "false",
                "positionSide": "BOTH",
                "notional": brief["notional"],
                "isolatedWallet": brief["isolatedWallet"],
                "updateTime": brief["updateTime"],
            }
        )
    return found


def adl_quantile(venue: Engine, account: VenueAccount, params: Params) -> Any:
    """GET adlQuantile: 0 for all; who is deleveraged is a fault's business."""
    chosen = symbols_of(params, venue.symbols)
    return [
        {"symbol": venue.symbols[s], "adlQuantile": {"LONG": 0, "SHORT": 0, "BOTH": 0}}
        for s in chosen
        if account.lots(s) != 0
    ]


def books(venue: Engine) -> list[dict[str, Any]]:
    """Return every account's books in plain numbers, and by how much they miss adding up, USDT."""
    found = []
    for account in venue.accounts.values():
        cash = account.held["cash"]
        made = cash[at.REALISED] - cash[at.FEES] - cash[at.FUNDING] - cash[at.LIQUIDATION_FEES]
        owed = account.capital + cash[at.NET_DEPOSITS] + made + cash[at.INSURANCE]
        totals = _totals(venue, account)
        found.append(
            {
                "key": account.key,
                "capital": account.capital,
                "wallet": account.balance,
                "equity": account.balance + float(totals["profit"].sum()),
                "available": account.available(totals["mark"]),
                "realised": float(cash[at.REALISED]),
                "fees": float(cash[at.FEES]),
                "funding": float(cash[at.FUNDING]),
                "liquidation_fees": float(cash[at.LIQUIDATION_FEES]),
                "insurance": float(cash[at.INSURANCE]),
                "missing": float(account.balance - owed),
                "positions": [
                    {
                        "symbol": venue.symbols[s],
                        "qty": account.qty(s),
                        "entry": account.entry(s),
                        "mark": float(totals["mark"][s]),
                        "profit": float(totals["profit"][s]),
                        "leverage": account.leverage(s),
                        "isolated": account.isolated(s),
                    }
                    for s in range(len(venue.symbols))
                    if account.lots(s) != 0
                ],
                "orders": [order.listed() for order in account.open_orders()],
                "algo_orders": [algo.listed() for algo in account.open_algos()],
                "trades": len(account.trades),
            }
        )
    return found


def _account(venue: Engine, account: VenueAccount) -> tuple[dict[str, Any], dict[str, FloatArray]]:
    totals = _totals(venue, account)
    sums = _sums(venue, account, totals)
    names = {
        f"total{name[0].upper()}{name[1:]}": value
        for name, value in sums.items()
        if name not in ("availableBalance", "maxWithdrawAmount")
    }
    names["totalUnrealizedProfit"] = sums["unrealizedProfit"]
    answer: dict[str, Any] = names | {
        "availableBalance": sums["availableBalance"],
        "maxWithdrawAmount": sums["maxWithdrawAmount"],
        "assets": [{"asset": "USDT", **sums, "updateTime": milliseconds(venue.now_us)}],
    }
    return answer, totals


def _position_v3(
    venue: Engine, account: VenueAccount, s: int, totals: dict[str, FloatArray]
) -> dict[str, Any]:
    instrument = venue.instruments[s]
    isolated = account.isolated(s)
    own = float(account.held["position"][s, at.MARGIN]) if isolated else 0.0
    initial, orders = float(totals["initial"][s]), float(totals["orders"][s])
    return {
        "symbol": instrument.symbol,
        "positionSide": "BOTH",
        "positionAmt": text(account.qty(s), digits_of(instrument.step_size)),
        "unrealizedProfit": text(float(totals["profit"][s]), MONEY),
        "isolatedMargin": text(own + (float(totals["profit"][s]) if isolated else 0.0), MONEY),
        "notional": text(
            account.qty(s) * float(totals["mark"][s]) if account.lots(s) else 0.0, MONEY
        ),
        "isolatedWallet": text(own, MONEY),
        "initialMargin": text(initial + orders, MONEY),
        "maintMargin": text(float(totals["maintenance"][s]), MONEY),
        "updateTime": milliseconds(account.touched_us.get(s, 0)),
    }


def _sums(venue: Engine, account: VenueAccount, totals: dict[str, FloatArray]) -> dict[str, str]:
    profit = float(totals["profit"].sum())
    cross = np.array([not account.isolated(s) for s in range(len(venue.symbols))])
    free = account.available(totals["mark"])
    initial, orders = float(totals["initial"].sum()), float(totals["orders"].sum())
    amounts = {
        "initialMargin": initial + orders,
        "maintMargin": float(totals["maintenance"].sum()),
        "walletBalance": account.balance,
        "unrealizedProfit": profit,
        "marginBalance": account.balance + profit,
        "positionInitialMargin": initial,
        "openOrderInitialMargin": orders,
        "crossWalletBalance": account.wallet,
        "crossUnPnl": float(totals["profit"][cross].sum()),
        "availableBalance": free,
        "maxWithdrawAmount": min(free, max(account.wallet, 0.0)),
    }
    return {name: text(value, MONEY) for name, value in amounts.items()}


def _totals(venue: Engine, account: VenueAccount) -> dict[str, FloatArray]:
    marks = venue.marks
    position = account.held["position"]
    known = np.where(np.isnan(marks), position[:, at.MARK], marks)
    n = len(venue.symbols)
    return {
        "mark": known,
        "profit": account.unrealised(known),
        "initial": account.initial_margin(known),
        "maintenance": np.array([account.maintenance_margin(s, float(known[s])) for s in range(n)]),
        "orders": np.array(
            [
                account.order_margin(s, float(known[s]))
                if account.held["held"][s, at.RESTING]
                else 0.0
                for s in range(n)
            ]
        ),
    }
