"""How the cases of `binance_margin.json` are run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from quantcore.finance import liquidation
from quantcore.kernels.layout import CUM, MAINTENANCE_RATE
from quantcore.kernels.margin import maintenance_margin
from quantcore.types import FloatArray
from tests.reference.runner import Case

_WALLETS = ("wallet_balance", "isolated_margin", "isolated_wallet", "margin")


def _sign(x: Mapping[str, Any]) -> float:
    return {"long": 1.0, "short": -1.0}[x["side"]]


def _brackets(x: Mapping[str, Any]) -> FloatArray:
    """A whole table, or the one bracket that counts, whose cum stands for those below."""
    if "floors" not in x:
        return liquidation.bracket_table([0.0], [x["mmr"]], first_cum=x.get("maint_amount", 0.0))
    table = liquidation.bracket_table(x["floors"], x["mmr"])
    if "maint_amount" in x:
        table[:, CUM] = x["maint_amount"]
    return table


def _others(x: Mapping[str, Any]) -> tuple[float, float]:
    """Maintenance margin and unrealised PnL of the other positions, as given or as they follow from them."""
    given = x.get("other_positions", x.get("other_position", []))
    margin, pnl = 0.0, 0.0
    for other in [given] if isinstance(given, Mapping) else given:
        table = liquidation.bracket_table([0.0], [other["mmr"]], first_cum=other["cum"])
        margin += liquidation.maintenance_margin(abs(other["q"]) * other["mark"], table)
        pnl += float(liquidation.position_pnl(other["q"], other["EP"], other["mark"]))
    return x.get("other_maintenance_margin", margin), x.get("other_unrealised_pnl", pnl)


def _price(case: Case) -> dict[str, float | int | None]:
    x = case.inputs
    brackets = _brackets(x)
    margin, pnl = _others(x)
    price = liquidation.liquidation_price(
        _sign(x) * x["qty"],
        x["entry"],
        brackets,
        wallet=next(x[name] for name in _WALLETS if name in x),
        other_margin=margin,
        other_pnl=pnl,
    )
    if math.isnan(price):
        return {"liquidation_price": None, "tier_index_at_liquidation": None}
    tier = liquidation.bracket_index(x["qty"] * price, brackets)
    return {"liquidation_price": price, "tier_index_at_liquidation": tier}


def _amounts(case: Case) -> dict[str, Any]:
    x = case.inputs
    if "floors" in x:
        return {"maint_amount": liquidation.bracket_table(x["floors"], x["mmr"])[:, CUM].tolist()}
    table = liquidation.bracket_table(
        [0.0, x["floor"]], [x["mmr_prev"], x["mmr"]], first_cum=x["cum_prev"]
    )
    return {"maint_amount": float(table[-1, CUM])}


def _edges(case: Case) -> dict[str, list[float]]:
    table = _brackets(case.inputs)
    inner = list(enumerate(case.inputs["floors"]))[1:]
    return {
        "margin_at_floor_lower_tier": [maintenance_margin(table, f, n - 1) for n, f in inner],
        "margin_at_floor_upper_tier": [maintenance_margin(table, f, n) for n, f in inner],
    }


def _margin(case: Case) -> dict[str, float]:
    table = _brackets(case.inputs)
    tier = liquidation.bracket_index(case.inputs["notional"], table)
    return {
        "maintenance_margin": liquidation.maintenance_margin(case.inputs["notional"], table),
        "tier_index": tier,
        "mmr": float(table[tier, MAINTENANCE_RATE]),
        "maint_amount": float(table[tier, CUM]),
    }


def _pnl(case: Case) -> dict[str, float]:
    x = case.inputs
    how = {"side": _sign(x), "leverage": x["leverage"]}
    return {
        "pnl": float(liquidation.position_pnl(_sign(x) * x["qty"], x["entry"], x["exit"])),
        "initial_margin_at_entry": liquidation.initial_margin(
            x["qty"], x["entry"], leverage=x["leverage"]
        ),
        "initial_margin_at_exit": liquidation.initial_margin(
            x["qty"], x["exit"], leverage=x["leverage"]
        ),
        "roi_on_entry_margin": liquidation.entry_margin_return(x["entry"], x["exit"], **how),
        "roe_binance_formula": liquidation.exchange_roe(x["entry"], x["exit"], **how),
    }


def _target(case: Case) -> dict[str, float]:
    x = case.inputs
    price = liquidation.target_price(
        x["entry"], side=_sign(x), roe=x["roe"], leverage=x["leverage"]
    )
    return {"target_price": price}


def _rate(case: Case) -> dict[str, float]:
    x = case.inputs
    rate = liquidation.funding_rate(
        x["avg_premium"],
        interest=x["interest_per_interval"],
        clamp=x["clamp"],
        cap=x.get("cap", math.inf),
    )
    return {"funding_rate": rate}


def _flow(case: Case) -> dict[str, float]:
    x = case.inputs
    flow = liquidation.funding_cash_flow(
        _sign(x) * x["position_notional"], x["rate_per_interval"], settlements=x["intervals"]
    )
    return {"cashflow": flow}


def _interest(case: Case) -> dict[str, float]:
    x = case.inputs
    hours = 24.0 / x["intervals_per_day"]
    interest = liquidation.funding_interest(x["daily_interest"], interval_hours=hours)
    return {"interest_per_interval": interest}


CASES = {
    "maintenance_amount": _amounts,
    "maintenance_margin_continuous": _edges,
    "maintenance_margin": _margin,
    "pnl_": _pnl,
    "target_price": _target,
    "funding_rate": _rate,
    "funding_": _flow,
    "interest_": _interest,
    "(.*_)?(cross|isolated|long|short)_": _price,
}
