"""How the cases of `var_es.json` are run."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from quantcore.finance import extremes, risk_metrics
from quantcore.finance.volatility_models import GarchParameters
from quantcore.types import FloatArray
from tests.reference.runner import Case


class _Groups(Mapping[str, str]):
    """Tolerance groups by the form of a key: var_0.99 and es_0.995 share one, and so do the errors."""

    FORMS: Mapping[str, str] = {r"(var|es)(_|$)": "var_es", r"se_": "se", r"": "params"}

    def __getitem__(self, key: str) -> str:
        return next(group for form, group in self.FORMS.items() if re.match(form, key))

    def __iter__(self) -> Iterator[str]:
        return iter(self.FORMS)

    def __len__(self) -> int:
        return len(self.FORMS)


GROUPS = _Groups()


def _pair(losses: tuple[float, float]) -> dict[str, float]:
    return {"var": losses[0], "es": losses[1]}


def _tail_probability(x: Mapping[str, Any]) -> float:
    return float(x["tail_prob"] if "tail_prob" in x else 1.0 - x["confidence"])


def _normal(case: Case) -> dict[str, float]:
    x = case.inputs
    p = _tail_probability(x)
    return _pair(risk_metrics.normal_tail_loss(x["mu"], x["sigma"], tail_probability=p))


def _student_t(case: Case) -> dict[str, float]:
    x = case.inputs
    dof = x["dof"]
    scale = x["scale"] if "scale" in x else risk_metrics.student_t_scale(x["sigma"], dof=dof)
    p = _tail_probability(x)
    return _pair(risk_metrics.student_t_tail_loss(x["mu"], scale, dof=dof, tail_probability=p))


def _cornish_fisher(case: Case) -> dict[str, Any]:
    x = case.inputs
    at_risk, shortfall, monotone = risk_metrics.cornish_fisher_tail_loss(
        x["mu"],
        x["sigma"],
        skew=x["skew"],
        excess_kurtosis=x["excess_kurtosis"],
        tail_probability=_tail_probability(x),
    )
    return {
        "quantile": -at_risk,
        "var": at_risk,
        "es": shortfall,
        "quantile_function_monotone": monotone,
    }


def _historical(case: Case) -> dict[str, float]:
    """Our order statistic is not interpolated; numpy gives the number for those who do."""
    x = case.inputs
    returns, p = np.array(x["returns"], dtype=np.float64), _tail_probability(x)
    at_risk, shortfall = risk_metrics.historical_tail_loss(returns, tail_probability=p)
    return {
        "var_order_statistic": at_risk,
        "es_rockafellar_uryasev": shortfall,
        "var_numpy_linear": float(np.quantile(-returns, 1.0 - p)),
    }


def _losses(case: Case) -> FloatArray:
    data = case.inputs["data"]
    if isinstance(data, str):
        return np.loadtxt(case.folder / data, skiprows=1, delimiter=",", ndmin=1)
    return np.array(data, dtype=np.float64)


def _pareto_fit(case: Case) -> dict[str, float]:
    fit = extremes.fit_pareto_tail(_losses(case), threshold=case.inputs["threshold"])
    computed = {
        "n": fit.tail.n,
        "n_exceed": fit.tail.n_exceed,
        "xi": fit.tail.xi,
        "beta": fit.tail.beta,
        "se_xi": fit.se_xi,
        "se_beta": fit.se_beta,
        "loglik": fit.log_likelihood,
    }
    for key in case.expected:
        asked = re.fullmatch(r"(var|es)_([0-9.]+)", key)
        if asked:
            p = 1.0 - float(asked[2])
            losses = extremes.pareto_tail_loss(fit.tail, tail_probability=p)
            computed[key] = _pair(losses)[asked[1]]
    return computed


def _pareto_formula(case: Case) -> dict[str, float]:
    x = case.inputs
    tail = extremes.ParetoTail(
        threshold=x["threshold"], xi=x["xi"], beta=x["beta"], n=x["n"], n_exceed=x["n_exceed"]
    )
    return _pair(extremes.pareto_tail_loss(tail, tail_probability=_tail_probability(x)))


def _filtered(case: Case) -> dict[str, Any]:
    """A start given in words is the long-run variance, which is the default."""
    x = case.inputs
    parameters = GarchParameters(
        mu=x.get("mean", 0.0),
        omega=x["omega"],
        alpha=x["alpha"],
        beta=x["beta"],
        gamma=x.get("gamma", 0.0),
    )
    start = x.get("h0", "omega")
    if isinstance(start, str):
        assert start.startswith("omega"), f"unknown start {start!r}"
        start = None
    shocks = risk_metrics.garch_filter(x["returns"], parameters, start_variance=start)
    at_risk, shortfall = risk_metrics.filtered_historical_tail_loss(
        x["returns"],
        tail_probability=_tail_probability(x),
        parameters=parameters,
        start_variance=start,
    )
    return {
        "h_next": shocks.next_variance,
        "sigma_next": math.sqrt(shocks.next_variance),
        "standardised": shocks.standardised.tolist(),
        "var_1d": at_risk,
        "es_1d": shortfall,
    }


CASES = {
    "normal_": _normal,
    "student_t_": _student_t,
    "cornish_fisher_": _cornish_fisher,
    "historical_": _historical,
    "gpd_formula_": _pareto_formula,
    "gpd_": _pareto_fit,
    "fhs_": _filtered,
}
