"""The limits of a mode name what they refuse, and contradictions are refused before anything runs."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from quantcore.config import build, compose
from quantcore.errors import ConfigError
from quantcore.kernels import layout as at
from quantcore.risk.limits import RiskSettings, check_stage, configure, release, start_risk
from quantcore.timegrid import HOUR_US, MINUTE_US
from quantcore.types import RiskLevel

MODES = ("paper", "testnet", "staging", "prod")


def mode(name: str) -> RiskSettings:
    return build(compose("backtest", [f"risk={name}"]).risk, RiskSettings)


@pytest.mark.parametrize(
    ("name", "leverage", "var", "drawdown", "size", "capital"),
    [
        ("paper", 2.0, 0.05, 0.20, 1.0, 100.0),
        ("testnet", 3.0, 0.03, 0.15, 1.0, None),
        ("staging", 3.0, 0.03, 0.15, 0.1, 230.0),
        ("prod", 10.0, 0.02, 0.12, 1.0, 7700.0),
    ],
)
def test_the_modes_are_those_of_the_design(
    name: str, leverage: float, var: float, drawdown: float, size: float, capital: float | None
) -> None:
    settings = mode(name)
    assert settings.leverage_max == leverage
    assert settings.daily_var_max == var
    assert settings.drawdown_max == drawdown
    assert settings.size_limit == size
    assert settings.stage_capital == capital
    assert settings.liquidation_probability_max == 0.005


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"leverage_max": 0.0}, "leverage_max must be > 0, was 0.0"),
        ({"symbol_max": 1.6}, "symbol_max must be <= cluster_max = 1.5, was 1.6"),
        ({"cluster_max": 3.5}, "cluster_max must be <= leverage_max = 3, was 3.5"),
        ({"cluster_max": None, "symbol_max": 4.0}, "symbol_max must be <= leverage_max = 3, was 4"),
        ({"net_max": 3.5}, "net_max must be <= leverage_max = 3, was 3.5"),
        ({"net_max": -1.0}, "net_max must be > 0 or null, was -1.0"),
        ({"cluster_correlation": 0.0}, r"cluster_correlation must be in \(0, 1\], was 0.0"),
        ({"daily_var_max": 0.0}, r"daily_var_max must be in \(0, 1\) or null, was 0.0"),
        ({"var_confidence": 0.5}, r"var_confidence must be in \[0.9, 1\), was 0.5"),
        ({"drawdown_max": 1.0}, r"drawdown_max must be in \(0, 1\) or null, was 1.0"),
        ({"drawdown_reduce": 0.2}, r"drawdown_reduce must be in \(0, drawdown_max = 0.15\], was 0.2"),
        ({"drawdown_restore": 0.1}, r"drawdown_restore must be in \[0, drawdown_reduce = 0.09\), was 0.1"),
        ({"reduce_scale": 1.0}, r"reduce_scale must be in \(0, 1\), was 1.0"),
        ({"daily_loss_max": -0.1}, r"daily_loss_max must be in \(0, 1\) or null, was -0.1"),
        ({"cool_down_hours": 0.0}, "cool_down_hours must be > 0, was 0.0"),
        ({"halts_max": -1}, "halts_max must be >= 0, was -1"),
        ({"size_limit": 1.2}, r"size_limit must be in \(0, 1\], was 1.2"),
        ({"size_limit": 0.0}, r"size_limit must be in \(0, 1\], was 0.0"),
        ({"liquidation_probability_max": 0.5}, r"liquidation_probability_max must be in \(0, 0.5\)"),
        ({"stress_move": 1.0}, r"stress_move must be in \[0, 1\), was 1.0"),
        ({"volatility_floor": -0.1}, "volatility_floor must be >= 0, was -0.1"),
        ({"margin_ratio_max": 1.0}, r"margin_ratio_max must be in \(0, 1\) or null, was 1.0"),
        ({"margin_ratio_after": 0.5}, r"margin_ratio_after must be in \(0, margin_ratio_max = 0.5\)"),
        ({"margin_ratio_max": None}, "margin_ratio_after must be null where margin_ratio_max is, was 0.3"),
        ({"protective_stop": 1.0}, r"protective_stop must be in \(0, 1\) or null, was 1.0"),
        ({"resume_hours": 0.0}, "resume_hours must be > 0 or null, was 0.0"),
        ({"stage_capital": -5.0}, "stage_capital must be > 0 or null, was -5.0"),
    ],
)  # fmt: skip
def test_settings_name_what_they_refuse(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        replace(mode("staging"), **change)


def test_a_refusal_names_the_key_and_where_it_stands() -> None:
    cfg = compose("backtest", ["risk=prod", "risk.net_max=20"])
    with pytest.raises(ConfigError, match=r"risk.*net_max must be <= leverage_max = 10, was 20"):
        build(cfg.risk, RiskSettings)


def test_an_account_smaller_than_its_stage_is_refused() -> None:
    check_stage(mode("prod"), 7700.0)
    check_stage(mode("testnet"), 1.0)
    said = "account.capital must be >= risk.stage_capital = 7700 USDT, was 230"
    with pytest.raises(ConfigError, match=said):
        check_stage(mode("prod"), 230.0)


def test_limits_left_away_are_infinite_and_a_risk_bar_is_never_finer_than_an_hour() -> None:
    number = np.full(at.N_CONFIG, at.OFF)
    none = replace(
        mode("prod"), net_max=None, symbol_max=None, cluster_max=None, daily_var_max=None, drawdown_max=None,
        daily_loss_max=None, margin_ratio_max=None, margin_ratio_after=None, liquidation_probability_max=None,
    )  # fmt: skip
    configure(number, none, MINUTE_US)
    assert number[at.RISK_BAR_US] == HOUR_US
    for column in (at.NET_MAX, at.SYMBOL_MAX, at.CLUSTER_MAX, at.VAR_MAX, at.DRAWDOWN_MAX):
        assert number[column] == math.inf
    assert number[at.LIQUIDATION_SIGMAS] == 0.0
    configure(number, mode("prod"), 4 * HOUR_US)
    assert number[at.RISK_BAR_US] == 4 * HOUR_US
    assert number[at.COVARIANCE_DECAY] == pytest.approx(0.5 ** (4 / 240))
    assert number[at.VAR_SIGMAS] == pytest.approx(1.6448536)
    assert number[at.LIQUIDATION_SIGMAS] == pytest.approx(4.303175, abs=1e-6)


def test_an_account_begins_at_its_peak_and_careful() -> None:
    risk, pairs = start_risk(3, MINUTE_US)
    assert risk[at.PEAK] == risk[at.DAY_NAV] == 1.0
    assert np.sqrt(pairs[0, 1, 1] * 24 * 365) == pytest.approx(1.0)
    assert pairs[0, 0, 1] / pairs[0, 1, 1] == pytest.approx(0.7)
    assert (np.linalg.eigvalsh(pairs[0]) > 0.0).all()


def test_a_person_lets_a_stopped_account_go_on_from_a_new_peak() -> None:
    risk, _ = start_risk(1, MINUTE_US)
    risk[at.LEVEL], risk[at.HALTS] = RiskLevel.STOPPED, 3.0
    after = release(risk, 5, 0.8)
    assert after[at.LEVEL] == RiskLevel.REDUCE
    assert (after[at.PEAK], after[at.DAY_NAV], after[at.HALTS], after[at.LEVEL_TS]) == (
        0.8,
        0.8,
        0,
        5,
    )
    assert risk[at.LEVEL] == RiskLevel.STOPPED
