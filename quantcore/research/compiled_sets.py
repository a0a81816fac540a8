"""Parameter sets that one compiled pass can run: prepared as arrays, run, and turned back into metrics.

A set qualifies if its strategy has the kernel for it (`fill_rows` and `sweep_parts`, see `strategies.trend`), and
nothing between forecast and account is fitted: no set of strategies, no estimated shares, no Kelly scale. Its universe
and all settings of account, risk and execution are free. Sets that share the portfolio's half-lives, the universe and
the flows of cash run as one group.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from quantcore.account_plane import AccountPlane, account_plane
from quantcore.errors import ConfigError
from quantcore.exits import exits_of
from quantcore.research.outcomes import SET_METRICS, Chunk
from quantcore.research.set_group import SetGroup, Stage, module_of
from quantcore.research.study import Variant
from quantcore.signal_plane import PORTFOLIOS, StrategySet
from quantcore.signals.fixed import FixedSettings


def qualifies(variant: Variant) -> bool:
    """Return whether the compiled pass can run a set."""
    strategy, portfolio = variant.signal.strategy, variant.signal.portfolio
    if isinstance(strategy, StrategySet) or not hasattr(module_of(strategy), "fill_rows"):
        return False
    if isinstance(portfolio, FixedSettings):
        return True
    return portfolio.shares is None and portfolio.kelly is None


def group_key(variant: Variant, where: Stage) -> tuple[Any, ...]:
    """Return what the sets of a group have in common."""
    signal, account = variant.signal, variant.account
    module, bars = module_of(signal.strategy), where.bars
    *_, counts = module.sweep_parts(signal.strategy, where.data.interval, bars.n_symbols)
    return (
        type(signal.strategy),
        len(counts),
        _half_lives(signal.portfolio),
        signal.universe,
        account.missing_funding_rate,
        account.cash_flows,
        variant.risk is None,
        variant.execution.router is None,
        variant.execution.slippage is None,
    )


def _half_lives(portfolio: PORTFOLIOS) -> tuple[float, ...]:
    if isinstance(portfolio, FixedSettings):
        return ()
    return portfolio.volatility_half_life, portfolio.covariance_half_life


def run_group(where: Stage, variants: Sequence[Variant], rows: Sequence[int]) -> Chunk:
    """Return what the sets of one group came to.

    Parameters
    ----------
    where : from `stage`
        What they read.
    variants : sequence of Variant
        All with the same `group_key`, all of which `qualifies`.
    rows : sequence of int
        Their numbers in the sweep.
    """
    refused = [""] * len(variants)
    planes: dict[int, AccountPlane] = {}
    made: dict[Any, AccountPlane] = {}
    for k, variant in enumerate(variants):
        try:
            planes[k] = _plane(where, variant, made)
        except ConfigError as error:
            refused[k] = str(error)
    metrics = np.full((len(variants), len(SET_METRICS)), np.nan)
    daily, days_us = np.empty((0, len(variants))), np.empty(0, dtype=np.int64)
    if planes:
        kept = list(planes)
        group = SetGroup(where, [variants[k] for k in kept], [planes[k] for k in kept])
        group.run()
        days_us = group.days_us
        daily = np.full((len(days_us), len(variants)), np.nan)
        found, returns = group.result()
        for g, k in enumerate(kept):
            refused[k] = group.refusal(g)
            if not refused[k]:
                metrics[k], daily[:, k] = found[g], returns[g]
    return Chunk(
        rows=np.array(rows, dtype=np.int64),
        metrics=metrics,
        daily=daily,
        days_us=days_us,
        refused=tuple(refused),
    )


def _plane(where: Stage, variant: Variant, made: dict[Any, AccountPlane]) -> AccountPlane:
    exits = exits_of(variant.signal.strategy)
    key = (variant.account, variant.execution, variant.risk, exits)
    if key not in made:
        made[key] = account_plane(
            where.instruments,
            interval=where.bars.interval,
            account=variant.account,
            execution=variant.execution,
            exits=exits,
            risk=variant.risk,
        )
    return made[key]
