"""Of all limits the strictest holds, whichever source asks for it; no combination loosens one."""

from __future__ import annotations

import random
from dataclasses import fields, replace

import pytest

from live.guard.checks import Verdict, failures
from live.guard.limits import STRICTNESS, check_limits, strictest
from live.guard.modes import MODES
from quantcore.config import build, compose
from quantcore.errors import ConfigError
from quantcore.risk.limits import RiskSettings
from tests.account.random_cases import random_limits


def of_mode(mode: str) -> RiskSettings:
    return build(compose("backtest", [f"risk={mode}"]).risk, RiskSettings)


@pytest.mark.parametrize("mode", ["paper", "testnet", "staging", "prod"])
def test_a_modes_own_limits_are_those_of_its_table(mode: str) -> None:
    own = of_mode(mode)
    assert strictest(mode, {"risk": own}) == own
    table = MODES[mode]
    assert own.leverage_max == table.leverage_max
    assert own.daily_var_max == table.daily_var_max
    assert own.drawdown_max == table.drawdown_max
    assert own.stage_capital == table.capital
    assert own.size_limit == (table.size_limit or 1.0)


def test_every_limit_has_a_stricter_way() -> None:
    assert set(STRICTNESS) == {f.name for f in fields(RiskSettings)}


def test_an_experiment_cannot_loosen_a_mode() -> None:
    wild = replace(
        of_mode("prod"), leverage_max=50.0, net_max=None, symbol_max=None, cluster_max=None, daily_var_max=None,
        drawdown_max=None, drawdown_reduce=0.9, drawdown_restore=0.6, daily_loss_max=None, resume_hours=1.0,
        liquidation_probability_max=None, margin_ratio_max=None, margin_ratio_after=None, protective_stop=None,
        stage_capital=None,
    )  # fmt: skip
    found = strictest("prod", {"risk": wild})
    assert (found.leverage_max, found.daily_var_max, found.drawdown_max) == (10.0, 0.02, 0.12)
    assert found.drawdown_reduce == 0.12
    assert found.drawdown_restore == pytest.approx(0.6 * 0.12 / 0.9)
    assert found.resume_hours is None
    own = of_mode("prod")
    assert strictest("prod", {"risk": wild, "conf.limits": own}) == own


@pytest.mark.parametrize("seed", range(200))
def test_the_strictest_is_no_looser_than_any_source_in_any_order(seed: int) -> None:
    draw = random.Random(seed)
    sources = {name: random_limits(draw) for name in ("risk", "conf.limits", "stage")}
    mode = draw.choice([*MODES])
    found = strictest(mode, sources)
    assert strictest(mode, dict(reversed(sources.items()))) == replace(
        found, covariance_half_life_hours=sources["stage"].covariance_half_life_hours
    )
    for name, way in STRICTNESS.items():
        mine = getattr(found, name)
        given = [getattr(each, name) for each in sources.values()]
        known = [value for value in given if value is not None]
        if way == "lower" and known:
            assert mine <= min(known)
        elif way == "higher" and known:
            assert mine == max(known)
        elif way == "never":
            assert mine is None


def test_no_limits_are_refused_where_orders_are_real() -> None:
    with pytest.raises(ConfigError, match=r"risk or conf\.limits must give limits for conf=prod"):
        strictest("prod", {"risk": None, "conf.limits": None})
    [check] = check_limits("sim", {"risk": None}, leverage=20)
    assert check.verdict is Verdict.NOT_APPLICABLE


def test_the_check_names_every_source_and_the_leverage_that_is_too_high() -> None:
    sources = {"risk": of_mode("prod"), "conf.limits": of_mode("staging")}
    limits, leverage = check_limits("staging", sources, leverage=3)
    assert not failures([limits, leverage])
    assert "leverage_max 3 (risk 10, conf.limits 3, mode 3)" in limits.line
    assert "size_limit 0.1 (risk 1, conf.limits 0.1, mode 0.1)" in limits.line
    _, leverage = check_limits("staging", sources, leverage=5)
    assert leverage.verdict is Verdict.FAILED
    assert leverage.line == "account.leverage_max must be <= 3, is 5"
