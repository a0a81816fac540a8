"""The numbers of `metrics.json`, each from the tables of a run (DESIGN.md 6)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from quantcore.backtest.curves import Curves, curves
from quantcore.backtest.execution_quality import execution_quality
from quantcore.backtest.outlook import Outlook, outlook
from quantcore.backtest.result import METRIC_KEYS, Recorded, Run
from quantcore.backtest.trades import OPEN, round_trips
from quantcore.errors import SchemaMismatch
from quantcore.finance import performance, risk_metrics, sharpe
from quantcore.research.trials import TrialCount
from quantcore.timegrid import DAYS_PER_YEAR, index_us, to_us
from quantcore.types import BoolArray, FloatArray

CONFIDENCE = 0.95
"""Level of the Sharpe interval and of the minimum track record."""

TAIL_PROBABILITY = 0.05
CONSERVATION_TOLERANCE = 1e-9
"""Largest error of the money identity, relative to the largest of capital, final equity and money moved in."""

FORCED = frozenset({"liquidation", "settlement"})
"""Reasons of fills that nobody sent an order for."""


@dataclass(frozen=True, kw_only=True)
class Costs:
    """Where the money went, in USDT; costs are > 0 when paid.

    Parameters
    ----------
    gross_pnl : float
        Price PnL at fill prices; slippage is inside.
    fees, funding, liquidation_fees, slippage : float
        Trading fees, funding, liquidation fees, and how much worse than the reference price takers bought and sold.
    insurance : float
        Shortfall of liquidations that the account did not have to pay.
    deposits : float
        Deposits minus withdrawals.
    """

    gross_pnl: float
    fees: float
    funding: float
    liquidation_fees: float
    slippage: float
    insurance: float
    deposits: float

    def final_equity(self, capital: float) -> float:
        """Return the equity that these sums imply."""
        return math.fsum(
            [
                capital,
                self.deposits,
                self.gross_pnl,
                -self.fees,
                -self.funding,
                -self.liquidation_fees,
                self.insurance,
            ]
        )


def costs(run: Run) -> Costs:
    """Return the sums over a run's fills, funding, liquidations and cash flows."""
    fills, gone = run.tables["fills"], run.tables["liquidations"]
    held = closing_positions(run)
    cash = -signed_qty(fills) * _numbers(fills["price"])
    value = _numbers(held["qty"]) * _numbers(held["mark_price"])
    return Costs(
        gross_pnl=math.fsum(np.concatenate([cash, value])),
        fees=_total(fills["fee"]),
        funding=_total(run.tables["funding"]["amount"]),
        liquidation_fees=_total(gone["fee"]),
        slippage=math.fsum(slippage_costs(fills)),
        insurance=_total(gone["insurance"]),
        deposits=_total(run.tables["cash_flows"]["amount"]),
    )


def signed_qty(fills: pd.DataFrame) -> FloatArray:
    """Return the quantity of each fill in coins, > 0 bought, shape ``(n_fills,)``."""
    return _numbers(fills["qty"]) * np.where(fills["side"].to_numpy() == "buy", 1.0, -1.0)


def slippage_costs(fills: pd.DataFrame) -> FloatArray:
    r"""Return what slippage cost each fill, in USDT, shape ``(n_fills,)``.

    .. math:: (p - p_{\text{reference}})\, q

    with signed quantity q; zero for makers, for liquidations and settlements, and where no reference price is known.
    """
    if "reference_price" not in fills:
        return np.zeros(len(fills))
    gap = _numbers(fills["price"]) - _numbers(fills["reference_price"])
    return np.where(_crossed(fills) & ~np.isnan(gap), gap * signed_qty(fills), 0.0)


def closing_positions(run: Recorded) -> pd.DataFrame:
    """Return the positions still held at the last equity row."""
    positions = run.tables["positions"]
    last_us = to_us(run.tables["equity"]["ts"].iloc[-1])
    return positions.take(np.flatnonzero(index_us(pd.DatetimeIndex(positions["ts"])) == last_us))


def run_trades(run: Run) -> pd.DataFrame:
    """Return the round trips of a run, open ones left at the marks of the closing positions."""
    held = closing_positions(run)
    marks = dict(zip(held["symbol"], _numbers(held["mark_price"]), strict=True))
    return round_trips(run.tables["fills"], run.tables["funding"], run.bars, last_marks=marks)


def compute_metrics(
    run: Run, *, trades: pd.DataFrame | None = None, ahead: Outlook | None = None
) -> dict[str, Any]:
    """Return every key of `metrics.json` in the order of the contract; None where a value is unknown or does not exist.

    Fractions are fractions, money is USDT, costs are > 0 when paid. Statistics of returns use daily UTC returns of the
    flow-adjusted unit value. ``max_drawdown`` is the deeper of the unit value's at decisions and the one the account
    recorded between them; ``max_drawdown_days`` the longest time under water, from peak to recovery or to the end;
    ``win_rate``, ``profit_factor`` and ``expectancy`` are net of fees and funding over closed round trips, ``trades``
    counts the open ones too; ``symbols`` counts those that ever had a target; ``turnover_annual`` is traded notional
    over mean equity and years; ``var_95_daily`` and ``es_95_daily`` are losses > 0. ``sharpe_ci_low`` and
    ``sharpe_ci_high`` are the studentised stationary bootstrap's, from `outlook.RETURNS_MIN` daily returns on;
    ``ruin_probability`` is that of equity below half within a year, by resampling the record;
    ``liquidation_probability_24h`` that of the riskiest day. What ``fill_rate`` and the keys after
    ``min_track_record_days`` are, `execution_quality` says. ``trials`` is how many trials deflate ``dsr``:
    what `Run.trials` found in the ledger, without it the variants that the strategies' files declare.

    Parameters
    ----------
    run : Run
        The finished run.
    trades : DataFrame or None
        Its round trips, where they are known already.
    ahead : Outlook or None
        What `outlook` says of it, where that is known already.

    Returns
    -------
    dict
        Keys `METRIC_KEYS`, values str, int, float or None.

    Raises
    ------
    SchemaMismatch
        If the final equity is not what fills, funding, liquidations and cash flows make of the capital.
    """
    curve, paid = curves(run), costs(run)
    check_conservation(run, paid)
    trips = run_trades(run) if trades is None else trades
    told = outlook(run, curve) if ahead is None else ahead
    values: dict[str, Any] = {
        **span(run),
        "capital": run.capital,
        "final_equity": float(curve.equity[-1]),
        **_returns(curve),
        **_belief(curve, run.trials or declared_only(run)),
        **_ahead(told),
        **_trips(trips),
        "deposits": paid.deposits,
        "insurance": paid.insurance,
        "liquidations": len(run.tables["liquidations"]),
        "fees": paid.fees,
        "funding": paid.funding,
        "liquidation_fees": paid.liquidation_fees,
        "slippage_cost": paid.slippage,
        "gross_pnl": paid.gross_pnl,
        **_execution(run, curve, paid),
    }
    return {key: _plain(values.get(key)) for key in METRIC_KEYS}


def declared_only(run: Run) -> TrialCount:
    """Return the count of a run that was not written down: the variants that its strategies' files declare."""
    return TrialCount(declared=run.variants, found=None, effective=None)


def check_conservation(run: Run, paid: Costs) -> None:
    r"""Refuse a run whose money does not add up.

    .. math:: E = C + \text{deposits} + \text{gross} - \text{fees} - \text{funding}
              - \text{liquidation fees} + \text{insurance}

    Raises
    ------
    SchemaMismatch
        If the two sides differ by more than `CONSERVATION_TOLERANCE`, or the last equity row is NaN.
    """
    final = float(run.tables["equity"]["equity"].iloc[-1])
    expected = paid.final_equity(run.capital)
    moved = float(np.abs(_numbers(run.tables["cash_flows"]["amount"])).sum())
    scale = max(run.capital, abs(final), moved)
    if not abs(final - expected) <= CONSERVATION_TOLERANCE * scale:
        raise SchemaMismatch(
            f"final equity must equal capital + deposits + gross PnL - fees - funding - liquidation fees + insurance = "
            f"{expected!r}, was {final!r}"
        )


def span(run: Recorded) -> dict[str, Any]:
    """Return ``start end bars symbols`` of `metrics.json`: what was traded, and when; no ``bars`` without the bars."""
    stamps = run.tables["equity"]["ts"]
    targets = run.tables["targets"]
    panel = targets.drop(columns="ts", errors="ignore")
    first_us, last_us = index_us(pd.DatetimeIndex(stamps.iloc[[0, -1]]))
    bars = run.bars.between(int(first_us), int(last_us)).n_bars if isinstance(run, Run) else None
    return {
        "start": stamps.iloc[0].isoformat(),
        "end": stamps.iloc[-1].isoformat(),
        "bars": bars,
        "symbols": int(panel.notna().any(axis=0).sum()) if len(panel) else 0,
    }


def _returns(curve: Curves) -> dict[str, float]:
    drawn = np.isfinite(curve.drawdown).any()
    return return_metrics(
        curve.daily,
        curve.benchmark_daily,
        total=float(curve.nav[-1]) - 1.0,
        deepest=float(np.nanmin(curve.drawdown)) if drawn else math.nan,
        longest_days=performance.longest_drawdown_days(curve.ts_us, curve.nav, start=1.0),
        days=curve.days,
        days_per_year=curve.days_per_year,
    ) | {"benchmark_return": float(curve.benchmark[-1]) - 1.0}


def return_metrics(
    daily: pd.Series, benchmark_daily: pd.Series, *, total: float, deepest: float, longest_days: float,
    days: float, days_per_year: float,
) -> dict[str, float]:  # fmt: skip
    """Return the metrics that follow from a curve and its daily returns.

    Parameters
    ----------
    daily, benchmark_daily : Series, shape (n_days,)
        Daily UTC returns, fractions.
    total : float
        Return of the whole span.
    deepest, longest_days : float
        Maximum drawdown, <= 0, and the longest time under water.
    days : float
        Length of the span.
    days_per_year : float
        Returns per year in `daily`.
    """
    q = days_per_year
    annual = performance.annual_return(total, days=days)
    alpha, beta = performance.alpha_beta(daily, benchmark_daily, periods_per_year=q)
    at_risk, shortfall = math.nan, math.nan
    if daily.notna().any():
        at_risk, shortfall = risk_metrics.historical_tail_loss(
            daily, tail_probability=TAIL_PROBABILITY
        )
    ratio, psr, record = _sharpe(daily)
    return {
        "total_return": total,
        "annual_return": annual,
        "annual_volatility": performance.annual_volatility(daily, periods_per_year=q),
        "sharpe": ratio * math.sqrt(q),
        "sortino": performance.sortino(daily, periods_per_year=q),
        "calmar": performance.calmar(annual, deepest),
        "max_drawdown": deepest,
        "max_drawdown_days": longest_days,
        "alpha": alpha,
        "beta": beta,
        "var_95_daily": at_risk,
        "es_95_daily": shortfall,
        "psr": psr,
        "min_track_record_days": record * DAYS_PER_YEAR / q,
    }


def _sharpe(daily: pd.Series) -> tuple[float, float, float]:
    """Return the Sharpe ratio per day, the probability that it is above 0, and the days it takes to believe it."""
    ratio = performance.sharpe(daily, periods_per_year=1.0)
    skew, kurtosis = performance.skewness(daily), performance.raw_kurtosis(daily)
    known = int(daily.notna().sum())
    psr = sharpe.probabilistic_sharpe(ratio, known, skew=skew, kurtosis=kurtosis, benchmark=0.0)
    record = sharpe.min_track_record(
        ratio, skew=skew, kurtosis=kurtosis, benchmark=0.0, confidence=CONFIDENCE
    )
    return ratio, psr, record


def _belief(curve: Curves, trials: TrialCount) -> dict[str, float | None]:
    daily, q = curve.daily, curve.days_per_year
    low, high = sharpe.sharpe_interval(daily, periods_per_year=q, confidence=CONFIDENCE)
    deflated = trials.deflated(
        performance.sharpe(daily, periods_per_year=1.0),
        curve.returns,
        skew=performance.skewness(daily),
        kurtosis=performance.raw_kurtosis(daily),
    )
    return {
        "dsr": deflated,
        "trials": trials.used,
        "sharpe_ci_low": low,
        "sharpe_ci_high": high,
    }


def _ahead(told: Outlook) -> dict[str, float]:
    """Return what resampling says; its Sharpe interval, which allows for autocorrelation, takes the formula's place."""
    found: dict[str, float] = {}
    if told.sharpe is not None:
        found |= {"sharpe_ci_low": told.sharpe.low, "sharpe_ci_high": told.sharpe.high}
    if told.ruin is not None:
        found["ruin_probability"] = told.ruin.probability
    if told.liquidation is not None:
        found["liquidation_probability_24h"] = told.liquidation.estimate.probability
    return found


def _trips(trades: pd.DataFrame) -> dict[str, Any]:
    closed = trades[trades["exit_reason"] != OPEN]
    net = net_profit(closed)
    return {
        "trades": len(trades),
        "win_rate": performance.win_rate(net),
        "profit_factor": performance.profit_factor(net),
        "expectancy": performance.expectancy(net),
    }


def net_profit(trades: pd.DataFrame) -> FloatArray:
    """Return each round trip's PnL after fees and funding, USDT, shape ``(n_trades,)``."""
    return _numbers(trades["pnl"]) - _numbers(trades["fees"]) - _numbers(trades["funding"])


def _execution(run: Run, curve: Curves, paid: Costs) -> dict[str, float]:
    fills = run.tables["fills"]
    notional = _numbers(fills["qty"]) * _numbers(fills["price"])
    mean_equity = float(np.nanmean(curve.equity))
    traded_years = mean_equity * curve.years
    crossed = _crossed(fills)
    if "reference_price" in fills:
        crossed = crossed & fills["reference_price"].notna().to_numpy()
        compared = float(notional[crossed].sum())
    else:
        compared = 0.0
    return {
        "turnover_annual": float(notional.sum()) / traded_years if traded_years > 0 else math.nan,
        "mean_slippage_bps": paid.slippage / compared * 1e4 if compared > 0.0 else math.nan,
        **execution_quality(run).metrics(),
    }


def _crossed(fills: pd.DataFrame) -> BoolArray:
    taker = fills["liquidity"].to_numpy() == "taker"
    return np.asarray(taker & ~fills["reason"].isin(FORCED).to_numpy())


def _numbers(column: pd.Series) -> FloatArray:
    return column.to_numpy(dtype=np.float64)


def _total(column: pd.Series) -> float:
    return math.fsum(_numbers(column))


def _plain(value: Any) -> Any:
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    return value
