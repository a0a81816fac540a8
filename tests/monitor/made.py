"""What the tests of monitoring share."""

from __future__ import annotations

from quantcore.risk.limits import RiskSettings

LIMITS = RiskSettings(
    leverage_max=3.0, net_max=None, symbol_max=2.0, cluster_max=None, cluster_correlation=0.8, daily_var_max=0.03,
    var_confidence=0.95, drawdown_max=0.1, drawdown_reduce=0.05, drawdown_restore=0.02, reduce_scale=0.5,
    daily_loss_max=0.04, cool_down_hours=24.0, halts_max=3, resume_hours=None, size_limit=1.0,
    liquidation_probability_max=0.005, volatility_floor=0.4, stress_move=0.1, margin_ratio_max=0.5,
    margin_ratio_after=0.3, covariance_half_life_hours=240.0, protective_stop=0.25, stage_capital=None,
)  # fmt: skip
"""Of a mode."""
