"""How the cases of `regime.json` are run."""

from __future__ import annotations

import itertools
import re
from typing import Any

import numpy as np
from scipy import optimize

from quantcore.kernels.hmm import (
    filter_scan,
    normal_log_likelihoods,
    smooth,
    stationary_distribution,
    viterbi,
)
from quantcore.regime.jump_model import best_path, half_squared_distances, online_path
from quantcore.types import FloatArray
from tests.reference.runner import Case

NUMBER = r"(\d+(?:\.\d+)?)"


def _discrete(case: Case) -> dict[str, Any]:
    x = case.inputs
    transition = np.array(x["transition"], dtype=np.float64)
    with np.errstate(divide="ignore"):
        emission = np.log(np.array(x["emission"], dtype=np.float64))
    log_likelihoods = np.ascontiguousarray(emission[:, x["observations"]].T)
    return _inferred(_start(case, transition), transition, log_likelihoods)


def _normal(case: Case) -> dict[str, Any]:
    x = case.inputs
    transition = _transition(case)
    means = np.array(x["mean"], dtype=np.float64)
    variances = np.array(x["variance"] if "variance" in x else np.square(x["sd"]), dtype=np.float64)
    values = np.array(x["returns"], dtype=np.float64)
    start = _start(case, transition)
    return _inferred(start, transition, normal_log_likelihoods(values, means, variances))


def _transition(case: Case) -> FloatArray:
    x = case.inputs
    if "transition" in x:
        return np.array(x["transition"], dtype=np.float64)
    return np.array([[x["p00"], 1.0 - x["p00"]], [1.0 - x["p11"], x["p11"]]])


def _start(case: Case, transition: FloatArray) -> FloatArray:
    """The distribution of the first state: numbers, or words for the stationary one."""
    given = case.inputs.get("start", "stationary")
    if isinstance(given, str):
        assert "stationary" in given, given
        return stationary_distribution(transition)
    return np.array(given, dtype=np.float64)


def _inferred(
    start: FloatArray, transition: FloatArray, log_likelihoods: FloatArray
) -> dict[str, Any]:
    filtered, log_likelihood = filter_scan(start, transition, log_likelihoods)
    smoothed, _ = smooth(filtered, transition)
    path, _ = viterbi(start, transition, log_likelihoods)
    return {
        "start": start.tolist(),
        "loglik": log_likelihood,
        "viterbi": path.tolist(),
        **{f"filtered_state{k}": column.tolist() for k, column in enumerate(filtered.T)},
        **{f"smoothed_state{k}": column.tolist() for k, column in enumerate(smoothed.T)},
    }


class _SwitchingMean:
    """Hamilton's model, an autoregression about a mean that switches between two regimes, as a chain of our kernel.

    Its states are the regimes of the last p + 1 quarters, newest first. A point is (p00, p10, means of regimes 0 and
    1, variance, p coefficients).
    """

    def __init__(self, growth: FloatArray, order: int) -> None:
        self.growth, self.order = growth, order
        self.regimes = np.array(list(itertools.product((0, 1), repeat=order + 1)))
        # A state follows another if its older regimes are the other's newer ones.
        self.follows = (self.regimes[:, None, :-1] == self.regimes[None, :, 1:]).all(axis=2)

    def filtered(self, point: FloatArray) -> tuple[FloatArray, float]:
        """Return the filtered probability of regime 0 in each quarter from the p-th on, and the log-likelihood."""
        p00, p10, variance = point[0], point[1], point[4]
        means, coefficients = point[2:4], point[5:]
        moves = np.array([[p00, 1.0 - p00], [p10, 1.0 - p10]])
        newest = self.regimes[:, 0]
        transition = np.where(self.follows, moves[newest[:, None], newest[None, :]], 0.0)
        start = stationary_distribution(moves)[self.regimes[:, -1]]
        for lag in range(self.order):
            start = start * moves[self.regimes[:, lag + 1], self.regimes[:, lag]]
        about = np.concatenate([[1.0], -coefficients])
        windows = np.lib.stride_tricks.sliding_window_view(self.growth, self.order + 1)
        residuals = (windows[:, ::-1] @ about)[:, None] - means[self.regimes] @ about
        log_likelihoods = -0.5 * (np.log(2.0 * np.pi * variance) + residuals**2 / variance)
        probabilities, log_likelihood = filter_scan(start, transition, log_likelihoods)
        return probabilities[:, newest == 0].sum(axis=1), log_likelihood

    def fit(self) -> FloatArray:
        """Return the point of largest likelihood, regime 0 having the lower mean."""
        low, high = np.quantile(self.growth, [0.1, 0.7])
        start = [1.0, -2.0, low, high, np.log(self.growth.var()), *np.zeros(self.order)]
        found = optimize.minimize(
            lambda free: -self.filtered(_bounded(free))[1], start, method="BFGS", tol=1e-6
        )
        point = _bounded(found.x)
        if point[2] > point[3]:
            swapped = [1.0 - point[1], 1.0 - point[0], point[3], point[2]]
            point = np.concatenate([swapped, point[4:]])
        return point

    def standard_errors(self, point: FloatArray) -> FloatArray:
        """Return the square roots of the diagonal of the inverse of the observed information."""
        n, step = len(point), 1e-4
        shifts = np.eye(n) * step
        hessian = np.empty((n, n))
        for i, j in itertools.product(range(n), repeat=2):
            corners = [
                sign * self.filtered(point + a * shifts[i] + b * shifts[j])[1]
                for sign, a, b in ((1, 1, 1), (-1, 1, -1), (-1, -1, 1), (1, -1, -1))
            ]
            hessian[i, j] = sum(corners) / (4.0 * step**2)
        return np.asarray(np.sqrt(np.diag(np.linalg.inv(-hessian))))


def _bounded(free: FloatArray) -> FloatArray:
    """Return the point of numbers without bounds: logits of the probabilities, the variance's logarithm."""
    odds = 1.0 / (1.0 + np.exp(-free[:2]))
    return np.concatenate([odds, free[2:4], np.exp(free[4:5]), free[5:]])


def _hamilton(case: Case) -> dict[str, Any]:
    x = case.inputs
    assert (x["k_regimes"], x["switching"]) == (2, "mean only"), "the model as of 1989"
    growth = np.loadtxt(case.folder / x["data"], skiprows=1, delimiter=",", ndmin=1)
    model = _SwitchingMean(growth, x["ar_order"])
    point = model.fit()
    recession, log_likelihood = model.filtered(point)
    return {
        "p00": point[0],
        "p10": point[1],
        "mean_recession": point[2],
        "mean_expansion": point[3],
        "sigma2": point[4],
        "ar": point[5:].tolist(),
        "loglik": log_likelihood,
        "se": model.standard_errors(point)[:4].tolist(),
        **_ends(case, recession),
    }


def _ends(case: Case, recession: FloatArray) -> dict[str, list[float]]:
    """The first or last quarters that a key such as `filtered_recession_first10` asks for."""
    ends = {}
    for key in case.expected:
        found = re.fullmatch(r"filtered_recession_(first|last)(\d+)", key)
        if found is not None:
            count = int(found[2])
            part = recession[:count] if found[1] == "first" else recession[-count:]
            ends[key] = part.tolist()
    return ends


def _jump_model(case: Case) -> dict[str, Any]:
    x = case.inputs
    points = np.array(x["x"], dtype=np.float64).reshape(len(x["x"]), -1)
    centroids = np.array(x["centroids"], dtype=np.float64).reshape(len(x["centroids"]), -1)
    factor = re.match(rf"{NUMBER}\s*\*", x.get("loss", "0.5*"))
    scale = 2.0 * (float(factor[1]) if factor else 1.0)
    losses = scale * half_squared_distances(points, centroids)
    penalty = float(x["jump_penalty"])
    path, objective = best_path(losses, penalty)
    return {
        "states_full_sample": path.tolist(),
        "objective": objective,
        "states_online": online_path(losses, penalty).tolist(),
    }


CASES = {
    "hmm_": _discrete,
    "gaussian_hmm_": _normal,
    "hamilton_": _hamilton,
    "jump_model_": _jump_model,
}
GROUPS = {
    "p00": "params",
    "p10": "params",
    "mean_recession": "params",
    "mean_expansion": "params",
    "sigma2": "params",
    "ar": "params",
    "se": "params",
    "filtered_recession_first10": "filtered",
    "filtered_recession_last5": "filtered",
    "states_full_sample": "states",
    "states_online": "states",
}
