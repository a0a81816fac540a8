"""Portfolio Optimizer: weights from risk alone, from scenarios of loss, or from expected returns and costs.

Weights are signed notionals over equity; covariances and means are per period, in fractions. Nothing here knows lots:
`quantcore.finance.allocation` turns weights into what an account can hold. Inputs must be finite (the estimates of
`quantcore.finance.covariance` are, however short a symbol's history); NaN is refused, never dropped.
"""

from quantcore.finance.portfolio.limits import LONG_ONLY, WeightLimits
from quantcore.finance.portfolio.mean_variance import (
    MeanVariance,
    NoTradeBand,
    ShrunkMeans,
    mean_variance,
    no_trade_band,
    shrink_means,
)
from quantcore.finance.portfolio.minimum_cvar import MinimumCvar, minimum_cvar
from quantcore.finance.portfolio.risk_parity import (
    HierarchicalRiskParity,
    Linkage,
    RiskBudget,
    hierarchical_risk_parity,
    inverse_volatility,
    risk_budgeting,
)

__all__ = [
    "LONG_ONLY",
    "HierarchicalRiskParity",
    "Linkage",
    "MeanVariance",
    "MinimumCvar",
    "NoTradeBand",
    "RiskBudget",
    "ShrunkMeans",
    "WeightLimits",
    "hierarchical_risk_parity",
    "inverse_volatility",
    "mean_variance",
    "minimum_cvar",
    "no_trade_band",
    "risk_budgeting",
    "shrink_means",
]
