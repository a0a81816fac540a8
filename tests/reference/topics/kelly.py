"""How the cases of `kelly.json` are run."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np

from quantcore.finance import kelly, ruin
from quantcore.types import FloatArray
from tests.reference.runner import Case

NUMBER = r"(\d+(?:\.\d+)?(?:e\d+)?)"


def _binary(case: Case) -> dict[str, float]:
    bet = _bet(case)
    fraction = kelly.binary_kelly(**bet, fraction=1.0)
    return {"fraction": fraction, "growth_per_bet": kelly.binary_growth(fraction, **bet)}


def _bet(case: Case) -> dict[str, float]:
    x = case.inputs
    return {
        "p_win": x["p_win"],
        "win_per_unit": x["win_per_unit"],
        "loss_per_unit": x.get("loss_per_unit", 1.0),
    }


def _lognormal(case: Case) -> dict[str, float]:
    x = case.inputs
    asset = {"mean": x["mu_annual"], "sigma": x["sigma_annual"], "risk_free": x.get("r", 0.0)}
    full = kelly.lognormal_kelly(**asset, fraction=1.0)
    half = kelly.lognormal_kelly(**asset, fraction=0.5)
    growth, volatility = kelly.lognormal_growth(full, **asset)
    return {
        "fraction": full,
        "growth_annual": growth,
        "half_kelly_growth": kelly.lognormal_growth(half, **asset)[0],
        "growth_at_double_kelly": kelly.lognormal_growth(2.0 * full, **asset)[0],
        "vol_of_growth": volatility,
    }


def _limits(case: Case) -> dict[str, Any]:
    """The limits that a case may give; the paper's bets are non-negative and, with cash, add up to 1."""
    x = case.inputs
    given = {key: x[key] for key in ("lower", "upper") if x.get(key) is not None}
    return {"gross_cap": x.get("gross_cap") or math.inf, **given}


def _gaussian(case: Case) -> dict[str, Any]:
    x = case.inputs
    r = x.get("r", 0.0)
    mean, covariance = np.array(x["mu"]) - r, np.array(x["cov"])
    free = kelly.kelly_weights(mean, covariance, fraction=1.0)
    capped = kelly.kelly_weights(mean, covariance, fraction=1.0, **_limits(case))
    return {
        "unconstrained": free,
        "growth": kelly.gaussian_growth(free, mean, covariance, risk_free=r),
        "capped": capped,
        "growth_capped": kelly.gaussian_growth(capped, mean, covariance, risk_free=r),
    }


def _discrete(case: Case) -> dict[str, Any]:
    x = case.inputs
    weights = kelly.scenario_kelly(x["returns"], x["prob"], fraction=1.0, **_limits(case))
    return {"weights": weights, "growth": kelly.scenario_growth(weights, x["returns"], x["prob"])}


def _finite(case: Case) -> dict[str, Any]:
    """The paper's finite example: the last bet is cash, which our functions leave implicit."""
    x = case.inputs
    returns, probabilities = _generated(x["generator"])
    limits = {"gross_cap": 1.0, "lower": 0.0}
    alpha, lambda_ = x["alpha"], _aversion(x)
    mean, second = probabilities @ returns, (returns.T * probabilities) @ returns
    if "quadratic" in x["method"]:
        bets = kelly.quadratic_risk_constrained_kelly(mean, second, lambda_=lambda_, **limits)
    else:
        bets = kelly.risk_constrained_kelly(returns, probabilities, lambda_=lambda_, **limits)
    drawn, n_paths = _drawn(x["generator"], probabilities)
    once = np.full(len(drawn), 1.0 / len(drawn))
    paths = (returns @ bets)[drawn].reshape(n_paths, -1)
    return {
        "exact_growth": kelly.scenario_growth(bets, returns, probabilities),
        "quadratic_growth": kelly.gaussian_growth(bets, mean, second),
        "mc_growth": kelly.scenario_growth(bets, returns[drawn], once),
        "drawdown_bound": kelly.drawdown_bound(alpha, lambda_),
        "mc_prob_wmin_below_alpha": ruin.share_below(paths, threshold=alpha),
        "bets": [*bets, 1.0 - bets.sum()],
    }


def _aversion(x: Any) -> float:
    return x["lambda_"] if "lambda_" in x else kelly.drawdown_lambda(x["alpha"], x["beta"])


def _generated(words: str) -> tuple[FloatArray, FloatArray]:
    """Return net returns without cash, scenarios in rows, and probabilities, as the words describe them."""
    seed = _number(words, rf"RandomState seed {NUMBER}")
    n_scenarios = _number(words, rf"pi=uniform\({NUMBER}\)")
    low, high, n_bets, columns = _numbers(
        words, rf"uniform\({NUMBER},\s*{NUMBER},\s*size=\({NUMBER},\s*{NUMBER}\)\)"
    )
    times = _number(words, rf"{NUMBER} times")
    jumps = [float(value) for value in re.findall(rf"choice\(\d+\)\]\s*=\s*{NUMBER}", words)]
    ((cash, gross),) = re.findall(rf"r\[(\d+),\s*:\]\s*=\s*{NUMBER}", words)
    draw = np.random.RandomState(int(seed))
    weights = draw.uniform(size=int(n_scenarios))
    table = draw.uniform(low, high, size=(int(n_bets), int(columns)))
    for _ in range(int(times)):
        for jump in jumps:
            table[draw.choice(int(n_bets)), draw.choice(int(columns))] = jump
    assert (int(cash), float(gross)) == (n_bets - 1, 1.0), "the last bet is cash"
    return table[:-1].T - 1.0, weights / weights.sum()


def _drawn(words: str, probabilities: FloatArray) -> tuple[Any, int]:
    """Return the scenarios of the Monte Carlo and the number of its paths."""
    words = words[words.index("Monte Carlo") :]
    seed = _number(words, rf"seed {NUMBER}")
    (_, size) = _numbers(words, rf"choice\({NUMBER},\s*size=(?:int\()?{NUMBER}")
    n_paths = _number(words, rf"{NUMBER} paths")
    draw = np.random.RandomState(int(seed))
    return draw.choice(len(probabilities), size=int(size), p=probabilities), int(n_paths)


def _numbers(words: str, pattern: str) -> list[float]:
    found = re.search(pattern, words)
    assert found is not None, f"{pattern} does not occur in {words!r}"
    return [float(value) for value in found.groups()]


def _number(words: str, pattern: str) -> float:
    return _numbers(words, pattern)[0]


def _constrained_binary(case: Case) -> dict[str, float]:
    x, bet = case.inputs, _bet(case)
    lambda_ = _aversion(x)
    returns = [[bet["win_per_unit"]], [-bet["loss_per_unit"]]]
    probabilities = [bet["p_win"], 1.0 - bet["p_win"]]
    (stake,) = kelly.risk_constrained_kelly(returns, probabilities, lambda_=lambda_, lower=0.0)
    return {
        "lambda_": lambda_,
        "fraction": stake,
        "kelly": kelly.binary_kelly(**bet, fraction=1.0),
        "growth": kelly.binary_growth(stake, **bet),
    }


def _shrinkage(case: Case) -> dict[str, float]:
    x = case.inputs
    scale = kelly.estimation_shrinkage(
        x["theta2_per_obs"], n_observations=x["t_obs"], n_assets=x["n_assets"]
    )
    return {"scale": scale}


CASES = {
    "bernoulli_": _binary,
    "lognormal_": _lognormal,
    "gaussian_multi": _gaussian,
    "discrete_": _discrete,
    "(q?)rck_finite": _finite,
    "rck_bernoulli": _constrained_binary,
    "estimation_error": _shrinkage,
}
GROUPS = {
    "growth": "unconstrained",
    "growth_capped": "capped",
    "mc_growth": "mc",
    "mc_prob_wmin_below_alpha": "mc",
    "drawdown_bound": "mc",
}
