"""GARCH fits beside arch, covariance matrices of 25 symbols beside scikit-learn and skfolio."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from arch import arch_model
from pytest_benchmark.fixture import BenchmarkFixture
from skfolio.moments import EWCovariance, LedoitWolf
from sklearn.covariance import ledoit_wolf as sklearn_ledoit_wolf

from quantcore.finance.covariance import ewma_covariance, ledoit_wolf
from quantcore.finance.volatility_models import fit_garch
from quantcore.types import FloatArray
from tests.benchmarks.timing import Table, keep, race


def garch_returns(n: int) -> FloatArray:
    """Percent returns of a GJR process with t innovations."""
    rng = np.random.default_rng(11)
    shocks = rng.standard_t(6, n) * np.sqrt(4.0 / 6.0)
    returns, h = np.empty(n), 1.0
    for t in range(n):
        returns[t] = np.sqrt(h) * shocks[t]
        h = 0.03 + (0.05 + 0.08 * (returns[t] < 0.0)) * returns[t] ** 2 + 0.88 * h
    return returns


def arch_fit(returns: FloatArray, asymmetric: bool, distribution: Any) -> object:
    """What a user of arch writes; its starting values are not started over."""
    model = arch_model(
        returns, vol="GARCH", p=1, o=int(asymmetric), q=1, dist=distribution, rescale=False
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.fit(disp="off")


@pytest.mark.parametrize(
    ("name", "asymmetric", "distribution"),
    [("GARCH(1,1), normal", False, "normal"), ("GJR, t", True, "t")],
)
def test_garch_fit(
    benchmark: BenchmarkFixture, table: Table, name: str, asymmetric: bool, distribution: Any
) -> None:
    returns = garch_returns(2_000)
    ours = partial(fit_garch, returns, asymmetric=asymmetric, distribution=distribution)
    rounds = 1 if benchmark.disabled else 15
    contestants: dict[str, Callable[[], object]] = {
        "ours": ours,
        "arch": partial(arch_fit, returns, asymmetric, distribution),
    }
    timings = race(contestants, rounds=rounds)
    table.add(f"{name}, 2,000 returns: fit and standard errors", timings, goal="none set")
    keep(benchmark, ours, rounds=3)


def test_covariance_of_25_symbols(benchmark: BenchmarkFixture, table: Table) -> None:
    rng = np.random.default_rng(12)
    returns = 0.02 * (rng.standard_t(4, (1_000, 1)) + rng.standard_t(4, (1_000, 25)))
    rounds = 1 if benchmark.disabled else 31
    shrunk = partial(ledoit_wolf, returns, target="identity")
    contestants: dict[str, Callable[[], object]] = {
        "ours": shrunk,
        "ours, constant correlation": partial(ledoit_wolf, returns, target="constant_correlation"),
        "scikit-learn": partial(sklearn_ledoit_wolf, returns),
        "skfolio": lambda: LedoitWolf().fit(returns),
    }
    work = "Ledoit-Wolf covariance, 25 symbols x 1,000 returns"
    table.add(work, race(contestants, rounds=rounds), goal="none set")
    weighted: dict[str, Callable[[], object]] = {
        "ours": partial(ewma_covariance, returns, half_life=60.0),
        "skfolio": lambda: EWCovariance(half_life=60.0).fit(returns),
    }
    work = "exponentially weighted covariance, 25 symbols x 1,000 returns"
    table.add(work, race(weighted, rounds=rounds), goal="none set")
    keep(benchmark, shrunk, rounds=10)
