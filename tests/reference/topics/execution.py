"""How the cases of `execution.json` are run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from quantcore.execution import impact, propagator, shortfall, slices
from quantcore.kernels.queue import post_only_crosses, post_only_fill
from quantcore.types import Side
from tests.reference.runner import Case


def _schedule(case: Case) -> Mapping[str, Any]:
    x = case.inputs
    market = slices.LinearMarket(
        volatility=x["sigma_per_share_sqrt_day"],
        permanent=x["gamma"],
        temporary=x["eta"],
        fixed=x["epsilon"],
    )
    found = slices.almgren_chriss(
        x["shares"],
        market,
        horizon=float(x["horizon_days"]),
        intervals=x["intervals"],
        risk_aversion=float(x["risk_aversion"]),
    )
    return {
        "kappa_per_day": found.kappa,
        "eta_tilde": found.eta_tilde,
        "trajectory": found.holdings,
        "expected_cost": found.expected_cost,
        "variance": found.variance,
        "std": found.std,
    }


def _power_laws(case: Case) -> Mapping[str, Any]:
    x = case.inputs
    found = impact.power_law_impact(
        x["order"],
        daily_volume=x["adv"],
        daily_vol=x["daily_vol"],
        outstanding=x["shares_outstanding"],
        horizon_days=x["horizon_days"],
        laws=impact.PowerLaws(
            permanent=x["gamma"],
            temporary=x["eta"],
            turnover_exponent=x["delta"],
            rate_exponent=x["beta"],
        ),
    )
    pairs = zip(x["horizon_days"], found.temporary_bps, found.realised_bps, strict=True)
    return {
        "permanent_bp": found.permanent_bps,
        "by_horizon": {
            str(days): {"temporary_bp": temporary, "realised_bp": realised}
            for days, temporary, realised in pairs
        },
    }


def _square_root(case: Case) -> Mapping[str, Any]:
    x = case.inputs
    found = impact.square_root_law(
        x["order_notional"],
        daily_notionals=x["daily_volume_notional"],
        daily_vols=x["daily_vol"],
        coefficient=x["Y"],
    )
    return {
        "impact_fraction": found.peak,
        "impact_bp": 1e4 * found.peak,
        "average_slippage_fraction": found.mean_cost,
    }


def _blocks(case: Case) -> Mapping[str, Any]:
    x = case.inputs
    found = propagator.obizhaeva_wang(x["shares"], resilience=x["resilience"], horizon=x["horizon"])
    return {
        "first_block": found.first_block,
        "last_block": found.last_block,
        "continuous_rate": found.rate,
    }


def _propagator(case: Case) -> Mapping[str, Any]:
    x = case.inputs
    decay = propagator.PowerLawDecay(initial=x["G0"], scale=x["l0"], exponent=x["beta"])
    found = propagator.propagate(x["signed_volume"], decay, volume_exponent=x["volume_exponent"])
    return {"kernel": found.kernel, "price_shift": found.price_shifts}


def _shortfall(case: Case) -> Mapping[str, Any]:
    x = case.inputs
    order = shortfall.ParentOrder(
        side=Side[x["side"].upper()],
        qty=x["ordered"],
        decision_price=x["decision_price"],
        arrival_price=x["arrival_price"],
        end_price=x["cancel_price"],
    )
    qty, prices = np.array(x["fills"], dtype=np.float64).reshape(-1, 2).T
    found = shortfall.order_shortfall(order, qty, prices, fees=x["fees"])
    return {
        "explicit": found.fraction("fees"),
        "trading_impact": found.fraction("impact"),
        "delay": found.fraction("delay"),
        "missed": found.fraction("missed"),
        "total": found.fraction("total"),
        "total_cash": found.total,
    }


def _post_only(case: Case) -> Mapping[str, Any]:
    x = case.inputs
    side = int(Side[x["side"].upper()])
    if post_only_crosses(side, x["limit"], x["bars_ohlcv"][0][0]):  # rejected, never filled
        return {"fills_per_bar": [0.0] * len(x["bars_ohlcv"]), "remaining": x["qty"]}
    left, queue, fills = x["qty"], x["queue_ahead"], []
    for _, high, low, close, volume in x["bars_ohlcv"]:
        filled, queue, _ = post_only_fill(
            side,
            x["limit"],
            left,
            queue,
            x["touch_participation"],
            float(high),
            float(low),
            float(close),
            float(volume),
        )
        fills.append(filled)
        left -= filled
    return {"fills_per_bar": fills, "remaining": left}


CASES = {
    "almgren_chriss_": _schedule,
    "square_root_family_": _power_laws,
    "square_root_law_": _square_root,
    "obizhaeva_wang_": _blocks,
    "propagator_": _propagator,
    "implementation_shortfall_": _shortfall,
    "post_only_fill_": _post_only,
}
