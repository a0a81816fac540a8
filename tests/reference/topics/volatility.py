"""How the cases of `volatility.json` are run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from quantcore.finance import range_volatility, volatility_models
from quantcore.finance.volatility_models import GarchParameters, Presample
from quantcore.types import FloatArray
from tests.reference.runner import Case

PARAMETERS = ("mu", "omega", "alpha", "gamma", "beta", "nu")
GROUPS = dict.fromkeys(PARAMETERS, "params") | {"se_hessian": "se"}
HAR_NAMES = ("daily", "weekly", "monthly")


def _returns(case: Case) -> FloatArray:
    """The series of a case: inline, or a file of one column with a header, cut to its first `n`."""
    x = case.inputs
    if "data" in x:
        values = np.loadtxt(case.folder / x["data"], skiprows=1, delimiter=",", ndmin=1)
    else:
        values = np.array(x["returns"], dtype=np.float64)
    return np.asarray(values[: x.get("n")])


def _ewma(case: Case) -> dict[str, Any]:
    x = case.inputs
    decay = next(x[key] for key in ("lambda_", "lambda", "lam", "decay") if key in x)
    start = x.get("initial_variance", "r[0]^2")
    if isinstance(start, str):
        start = "first_square" if "[0]" in start else "mean_square"
    path = volatility_models.ewma_variance(_returns(case), decay=decay, initial_variance=start)
    return {
        "variance_path": path.tolist(),
        "forecast_variance": float(path[-1]),
        "forecast_vol": math.sqrt(path[-1]),
        "mean_lag_bars": volatility_models.ewma_mean_lag(decay),
        "half_life_bars": volatility_models.ewma_half_life(decay),
    }


def _range_estimators(case: Case) -> dict[str, Any]:
    opens, highs, lows, closes = np.array(case.inputs["ohlc"], dtype=np.float64).T
    n = len(opens) - 1
    return {
        "parkinson_var": range_volatility.parkinson(highs, lows),
        "garman_klass_var": range_volatility.garman_klass(opens, highs, lows, closes),
        "rogers_satchell_var": range_volatility.rogers_satchell(opens, highs, lows, closes),
        "yang_zhang_var": range_volatility.yang_zhang(opens, highs, lows, closes),
        "yang_zhang_k": range_volatility.yang_zhang_weight(n),
        "yang_zhang_n": n,
    }


def _efficiency(case: Case) -> Mapping[str, float]:
    return range_volatility.EFFICIENCY


def _garch(case: Case) -> dict[str, Any]:
    """A horizon asks for a forecast, given parameters for the likelihood there, a series alone for a fit."""
    x = case.inputs
    if "horizon" in x:
        return _forecast(x)
    if "params" in x or "omega" in x:
        p = _parameters(case)
        before = p.long_run_variance if _starts_at_long_run(x) else _presample(case)
        values = _returns(case)
        return {
            "loglik": volatility_models.garch_log_likelihood(values, p, presample=before),
            "variance_path": volatility_models.garch_variances(
                values, p, presample=before
            ).tolist(),
        }
    fit = volatility_models.fit_garch(
        _returns(case),
        asymmetric=_asymmetric(case),
        distribution=_distribution(case),
        mean="zero" if x.get("mean") in ("zero", 0) else "constant",
        presample=_presample(case),
    )
    p = fit.parameters
    return {
        **{name: getattr(p, name) for name in PARAMETERS},
        "loglik": fit.log_likelihood,
        "se_hessian": list(fit.standard_errors.values()),
        "persistence": p.persistence,
        "unconditional": fit.long_run_variance,
        "h_next": fit.next_variance,
    }


def _forecast(x: Mapping[str, Any]) -> dict[str, Any]:
    parameters = GarchParameters(
        mu=0.0, omega=x["omega"], alpha=x["alpha"], beta=x["beta"], gamma=x.get("gamma", 0.0)
    )
    path = volatility_models.garch_forecast(parameters, x["h_next"], horizon=x["horizon"])
    return {
        "path": path.tolist(),
        "cumulative_variance": float(path.sum()),
        "unconditional": parameters.long_run_variance,
        "half_life_bars": parameters.half_life,
        "persistence": parameters.persistence,
    }


def _parameters(case: Case) -> GarchParameters:
    """Parameters by name, or as a list in the usual order without those that the model does not have."""
    x = case.inputs
    given = x.get("params", x)
    if isinstance(given, Mapping):
        return GarchParameters(
            **{"mu": 0.0, **{name: given[name] for name in PARAMETERS if name in given}}
        )
    absent = {
        "mu": x.get("mean") in ("zero", 0),
        "gamma": not _asymmetric(case),
        "nu": _distribution(case) == "normal",
    }
    names = [name for name in PARAMETERS if not absent.get(name)]
    return GarchParameters(**{"mu": 0.0, **dict(zip(names, given, strict=True))})


def _asymmetric(case: Case) -> bool:
    return (
        "gjr" in f"{case.name} {case.inputs.get('model', '')}".lower() or "gamma" in case.expected
    )


def _distribution(case: Case) -> Any:
    x = case.inputs
    said = str(x.get("distribution", x.get("dist", x.get("innovations", "normal")))).lower()
    is_t = said.startswith(("t", "student")) or "nu" in case.expected
    return "t" if is_t else "normal"


def _starts_at_long_run(x: Mapping[str, Any]) -> bool:
    words = str(x.get("presample", "")).lower()
    return "omega" in words or "unconditional" in words or "long" in words


def _presample(case: Case) -> Presample:
    """A number, or words: an exponential backcast is named so, all else is the mean squared residual."""
    given = case.inputs.get("presample", "mean squared residual")
    if isinstance(given, str):
        return "backcast" if "backcast" in given.lower() else "mean_square"
    return float(given)


def _har(case: Case) -> dict[str, Any]:
    rv, lags = np.array(case.inputs["rv"], dtype=np.float64), case.inputs["lags"]
    fit = range_volatility.fit_har(rv, lags=lags)
    coefficients = fit.coefficients.tolist()
    return {
        "const": fit.constant,
        "coefficients": coefficients,
        "r_squared": fit.r_squared,
        "forecast_next": fit.forecast(rv, horizon=1)[0],
        **dict(zip(HAR_NAMES, coefficients, strict=False)),
    }


CASES = {
    "ewma_": _ewma,
    "range_estimators_": _range_estimators,
    "range_estimator_efficiency": _efficiency,
    "(i?garch|gjr)": _garch,
    "har_": _har,
}
