"""Every target by a record that is known by heart."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from live.monitor.beats import Beats
from live.monitor.estimates import State
from live.monitor.record import Record, Stability
from live.monitor.return_scores import exceedances, whole_days
from live.monitor.score import Score, counted
from live.monitor.scores import scores
from quantcore.finance.var_backtests import kupiec_pof
from quantcore.timegrid import DAY_US
from tests.monitor.made import LIMITS

DAY = pd.Timedelta(days=1)
START = pd.Timestamp("2024-03-01", tz="UTC")


def equity(returns: list[float], *, var: float = 0.01, chance: float = 0.001) -> pd.DataFrame:
    """Rows at each midnight, the first before any return."""
    nav = np.cumprod([1.0, *(1.0 + each for each in returns)])
    n = len(nav)
    return pd.DataFrame(
        {
            "ts": pd.date_range(START, periods=n, freq="D", unit="us"),
            "equity": 1000.0 * nav,
            "nav": nav,
            "drawdown": nav / np.maximum.accumulate(nav) - 1.0,
            "gross_exposure": 500.0,
            "daily_var": var,
            "liquidation_probability": chance,
        }
    )


BEATS = Beats(
    n=69_120, span_us=8 * DAY_US, away=0, away_us=0, requests=100_000, failures=10, speed=1.0
)


def live(**changed: object) -> Stability:
    given = {
        "round_trip_us": np.full(400, 30_000.0),
        "sent_after_us": np.full(400, 2_000.0),
        "account_us": np.full(400, 4_000.0),
        "update_us": np.full(400, 20_000.0),
        "alert_us": np.empty(0),
        "beats": BEATS,
        "closes_us": np.arange(1, 49) * 3_600_000_000,
        "skipped": pd.Series(dtype=str),
    }
    return Stability(**given | changed)  # type: ignore[arg-type]  # the tests' own values


NO_ORDERS = pd.DataFrame(
    {
        name: pd.Series(dtype=kind)
        for name, kind in {
            "order_id": "int64", "decision_ts": "datetime64[us, UTC]", "symbol": "str", "side": "str", "type": "str",
            "qty": "float64", "reduce_only": "bool", "status": "str", "reason": "str", "wanted_qty": "float64",
            "time_in_force": "str",
        }.items()
    }
)  # fmt: skip
NO_FILLS = pd.DataFrame(
    {
        name: pd.Series(dtype=kind)
        for name, kind in {
            "ts": "datetime64[us, UTC]", "order_id": "int64", "symbol": "str", "qty": "float64", "price": "float64",
            "fee": "float64", "liquidity": "str", "reference_price": "float64",
        }.items()
    }
)  # fmt: skip


def record(returns: list[float], **changed: object) -> Record:
    rows = equity(returns)
    given = {
        "name": "sim",
        "simulated": False,
        "interval": "1h",
        "execution_interval": "1h",
        "equity": rows,
        "nav_before": 1.0,
        "orders": NO_ORDERS,
        "fills": NO_FILLS,
        "funding": pd.DataFrame({"ts": rows["ts"][:0], "amount": rows["nav"][:0]}),
        "liquidations": 0,
        "risk": LIMITS,
        "stability": live(),
    }
    return Record(**given | changed)  # type: ignore[arg-type]  # the tests' own values


def found(record: Record) -> dict[str, Score]:
    return {each.key: each for each in scores(record)}


STEADY = [0.004, -0.002] * 60


def test_nothing_is_said_of_returns_before_thirty_whole_days() -> None:
    few = found(record(STEADY[:29]))
    assert {few[key].state for key in ("sharpe", "annual_return", "ruin_probability")} == {
        State.EARLY
    }
    assert few["sharpe"].reason.startswith("29 whole days of returns; 30 are needed")
    assert (
        found(record(STEADY[:40]))["sharpe"].state is State.MET
    )  # 6.4 a year, and hardly any doubt


def test_a_day_that_is_not_whole_counts_for_nothing() -> None:
    rows = equity([0.01, 0.02, 0.03])
    cut = record([], equity=rows[rows["ts"] < START + 3 * DAY], interval="1h")
    begun_at_noon = rows.assign(
        ts=rows["ts"].where(rows["ts"] > START, START + pd.Timedelta(hours=12))
    )
    assert whole_days(cut).tolist() == pytest.approx([0.01, 0.02])
    assert whole_days(record([], equity=begun_at_noon)).tolist() == pytest.approx([0.02, 0.03])


def test_a_drawdown_beyond_the_target_is_missed_at_once() -> None:
    deep = found(record([0.01, -0.13, 0.01]))["max_drawdown"]
    assert deep.state is State.MISSED
    assert deep.estimate.value == pytest.approx(-0.13)
    assert found(record(STEADY[:20]))["max_drawdown"].state is State.EARLY
    assert found(record(STEADY))["max_drawdown"].state is State.MET


def test_ruin_is_judged_from_ninety_days_on() -> None:
    assert found(record(STEADY[:89]))["ruin_probability"].state is State.EARLY
    assert found(record(STEADY))["ruin_probability"].state is State.MET
    rng = np.random.default_rng(1)
    wild = rng.normal(-0.004, 0.08, 200).tolist()
    assert found(record(wild))["ruin_probability"].state is State.MISSED


def test_the_largest_probability_of_liquidation_counts() -> None:
    rows = equity(STEADY[:10])
    rows.loc[4, "liquidation_probability"] = 0.006
    worst = found(record([], equity=rows))["liquidation_probability_24h"]
    assert (worst.state, worst.estimate.value) == (State.MISSED, 0.006)
    rows.loc[4, "gross_exposure"] = 0.0  # nothing was held then
    assert found(record([], equity=rows))["liquidation_probability_24h"].state is State.MET
    unknown = found(record(STEADY, risk=None))["liquidation_probability_24h"]
    assert (unknown.state, unknown.reason) == (State.UNKNOWN, "The run has no risk controller.")


def test_a_day_is_held_against_the_value_at_risk_stated_before_it() -> None:
    rows = equity([-0.02, -0.02, 0.01, -0.02])
    rows["daily_var"] = [0.03, 0.01, 0.01, 0.0, 0.5]  # of the last day nothing was stated
    hits, confidence = exceedances(record([], equity=rows), whole_days(record([], equity=rows)))
    assert hits.tolist() == [False, True, False]
    assert confidence == LIMITS.var_confidence


@pytest.mark.parametrize(
    ("n", "k", "state"),
    [(20, 0, State.EARLY), (100, 5, State.EARLY), (300, 15, State.MET), (300, 26, State.MISSED)],
)
def test_losses_beyond_the_value_at_risk_are_tested(n: int, k: int, state: State) -> None:
    losses = np.zeros(n, dtype=bool)
    losses[np.linspace(0, n - 1, k).astype(int)] = True  # far from each other
    returns = np.where(losses, -0.02, 0.001).tolist()
    score = found(record(returns))["var_exceedances"]
    assert score.state is state
    assert score.estimate.value == k / n
    assert f"Kupiec p = {kupiec_pof(n, k, tail_probability=0.05).p_value:.2f}" in score.reason


def test_losses_that_come_together_are_missed() -> None:
    together = [-0.02] * 15 + [0.001] * 285
    score = found(record(together))["var_exceedances"]
    assert (score.state, score.reason[-22:]) == (State.MISSED, "They come in clusters.")


def traded(*orders: tuple[str, float, float, float, bool]) -> dict[str, pd.DataFrame]:
    """Post-only orders of 1 coin by status, filled coins, price and arrival, each of a decision of its own hour."""
    n = len(orders)
    hours = [START + pd.Timedelta(hours=h) for h in range(n)]
    sent = pd.DataFrame(
        {
            "order_id": range(n), "decision_ts": hours, "symbol": "BTCUSDT", "side": "buy", "type": "limit", "qty": 1.0,
            "reduce_only": False, "status": [each[0] for each in orders], "reason": "target", "wanted_qty": 1.0,
            "time_in_force": "GTX",
        }
    )  # fmt: skip
    fills = pd.DataFrame(
        {
            "ts": hours, "order_id": range(n), "symbol": "BTCUSDT", "qty": [each[1] for each in orders],
            "price": [each[2] for each in orders], "fee": 0.0, "reference_price": [each[3] for each in orders],
            "liquidity": ["maker" if each[4] else "taker" for each in orders],
        }
    )  # fmt: skip
    return {"orders": sent, "fills": fills[fills["qty"] > 0.0]}


def test_execution_follows_by_hand() -> None:
    made = traded(
        ("filled", 1.0, 100.05, 100.0, True),
        ("filled", 1.0, 100.05, 100.0, False),
        ("canceled", 0.5, 100.0, 100.0, True),
        ("rejected", 0.0, 0.0, 100.0, True),
        ("new", 0.0, 0.0, 100.0, True),  # the last decision's is still at work
    )
    got = found(record(STEADY, **made))
    assert got["fill_rate"].estimate.value == pytest.approx(2.5 / 4)
    assert got["fill_rate"].estimate.n == 4
    assert got["slippage_bps"].estimate.value == pytest.approx(1e4 * 0.1 / (100.05 * 2 + 50.0))
    assert got["post_only_success"].estimate.value == 1 / 4
    assert got["post_only_success"].state is State.EARLY


def test_execution_is_met_or_missed_once_there_is_enough() -> None:
    good = traded(*[("filled", 1.0, 100.01, 100.0, True)] * 200)
    met = found(record(STEADY, **good))
    assert {met[key].state for key in ("fill_rate", "slippage_bps", "post_only_success")} == {
        State.MET
    }
    few = found(record(STEADY, **traded(*[("filled", 1.0, 100.01, 100.0, True)] * 20)))
    assert few["fill_rate"].estimate.value == 1.0
    assert few["fill_rate"].state is State.EARLY  # all of twenty prove no more than 86 %
    bad = traded(*[("canceled", 0.2, 100.1, 100.0, True)] * 200)
    missed = found(record(STEADY, **bad))
    assert {missed[key].state for key in ("fill_rate", "slippage_bps", "post_only_success")} == {
        State.MISSED
    }
    coarse = found(record(STEADY, stability=None, **good))
    assert {coarse[key].state for key in ("fill_rate", "post_only_success")} == {State.UNKNOWN}


def test_latencies_are_judged_by_their_quantiles() -> None:
    got = found(record(STEADY))
    assert {
        got[key].state
        for key in ("order_latency_p50", "order_latency_p99", "risk_check", "position_update")
    } == {State.MET}
    assert (got["order_latency_p50"].value, got["alert_delivery"].state) == (
        "30.0 ms",
        State.UNKNOWN,
    )
    few = found(record(STEADY, stability=live(round_trip_us=np.full(200, 30_000.0))))
    assert few["order_latency_p99"].state is State.EARLY
    slow = found(
        record(
            STEADY, stability=live(account_us=np.full(400, 40_000.0), alert_us=np.full(400, 2e6))
        )
    )
    assert slow["risk_check"].state is State.UNKNOWN  # the check is a part of it
    assert slow["alert_delivery"].state is State.MISSED


def test_stability_follows_by_hand() -> None:
    got = found(record(STEADY))
    assert (got["api_errors"].state, got["api_errors"].value) == (State.MET, "0.010 %")
    assert (got["uptime"].state, got["uptime"].value) == (State.MET, "100.00 %")
    assert (got["data_loss"].state, got["data_loss"].value) == (State.MET, "0 bars")
    away = live(
        beats=replace(BEATS, failures=500, away=1, away_us=1_220_000_000),
        closes_us=np.delete(live().closes_us, [5, 6]),
        skipped=pd.Series(["late"], index=[START]),
    )
    bad = found(record(STEADY, stability=away))
    assert {bad[key].state for key in ("api_errors", "uptime", "data_loss")} == {State.MISSED}
    assert bad["uptime"].reason.startswith("Away 1 time, 20.3 min of 8.0 days")
    assert bad["data_loss"].reason.startswith(
        "46 of 48 closed bars of 1h are in the journal; 1 decision not taken"
    )
    brief = replace(BEATS, n=100, span_us=DAY_US // 2)
    short = found(record(STEADY, stability=live(beats=brief)))
    assert short["uptime"].state is State.EARLY
    silent = replace(BEATS, n=0, span_us=0, requests=0, failures=0)
    nothing = live(beats=silent, closes_us=np.zeros(0, dtype=np.int64))
    none = found(record(STEADY, stability=nothing))
    assert {none[key].state for key in ("api_errors", "uptime", "data_loss")} == {State.UNKNOWN}


def test_a_backtest_has_no_live_targets() -> None:
    states = [
        each.state
        for each in scores(record(STEADY, stability=None))
        if each.group in ("Latency", "Stability")
    ]
    assert states == [State.UNKNOWN] * 8
    assert sum(counted(scores(record(STEADY))).values()) == 18


def test_returns_before_the_window_are_left_out() -> None:
    whole = record([0.5, *STEADY])
    later = replace(whole, equity=whole.equity[1:].reset_index(drop=True), nav_before=1.5)
    ratio = found(later)["sharpe"].estimate.value
    assert ratio == pytest.approx(found(record(STEADY))["sharpe"].estimate.value, rel=0.05)
    assert math.isfinite(found(later)["annual_return"].estimate.high)
