"""What a walk-forward will do, before anything is evaluated: its settings, spans and gaps, and why they are so."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from quantcore.backtest.engine import Decided
from quantcore.errors import ConfigError
from quantcore.finance.performance import daily_returns
from quantcore.research.cross_validation import check_groups
from quantcore.research.evidence import Validation, check_blocks
from quantcore.research.folds import (
    SCHEMES,
    TRAIN_DAYS_MIN,
    Fold,
    check_training,
    holding_days,
    plan_folds,
)
from quantcore.research.selection import Chooser
from quantcore.research.space import Sampling
from quantcore.signal_plane import warm_up
from quantcore.timegrid import DAY_US, index_us, interval_us
from quantcore.types import IntArray

SPARED = 0.25
"""Largest share of a training span or a group that a gap may take where it follows from the strategy."""

_SWITCHED = ("account.no_trade_band", "account.margin_buffer")
"""Parts of the account that can change while it holds positions."""
_FIXED_NODES = ("account", "execution")
_FIXED_GROUPS = ("account", "execution", "risk")


@dataclass(frozen=True, kw_only=True)
class WalkForwardSettings:
    """The settings of a walk-forward.

    Parameters
    ----------
    parameters : tuple of str
        What is chosen among, in Hydra's sweep grammar.
    sampling : str
        ``"grid"`` tries all combinations, ``"random"`` and ``"sobol"`` as many as `sets`.
    sets : int or None
        Number of sets where they are sampled.
    scheme : str
        ``"expanding"`` or ``"rolling"`` training spans.
    train_days, test_days : int or None
        Days before the first test, and of each test; None: half of the record, and what is left in `folds` tests.
    folds : int
        Number of tests where `test_days` is None, >= 1.
    purge_days, embargo_days : int or None
        Days left out before a test, and after one in cross-validation; None: from holding period and memory.
    choose : str
        One of `selection.CRITERIA`.
    confidence : float
        One-sided level of the lower bound, in (0.5, 1).
    cash_if_doubtful : bool
        Whether a choice whose lower bound is not above 0 is left in cash.
    groups, test_groups : int
        Of cross-validation.
    blocks : int
        Of the probability of overfitting.
    draws : int
        Simulated records from which the number of independent sets follows.

    Raises
    ------
    ConfigError
        If a value is out of its range.
    """

    parameters: tuple[str, ...]
    sampling: Sampling
    sets: int | None
    scheme: str
    train_days: int | None
    test_days: int | None
    folds: int
    purge_days: int | None
    embargo_days: int | None
    choose: str
    confidence: float
    cash_if_doubtful: bool
    groups: int
    test_groups: int
    blocks: int
    draws: int

    def __post_init__(self) -> None:
        if self.scheme not in SCHEMES:
            raise ConfigError(
                f"walk_forward.scheme must be one of {', '.join(SCHEMES)}, was {self.scheme!r}"
            )
        if not self.parameters:
            raise ConfigError(
                "walk_forward.parameters must name at least one setting with its values, such as "
                '["strategy.fast=24,48"], was []'
            )
        if self.sampling == "grid" and self.sets is not None:
            raise ConfigError(
                f"walk_forward.sets must be null on a grid, which has a number of its own, was {self.sets}"
            )
        if self.sampling != "grid" and (self.sets is None or self.sets < 2):
            raise ConfigError(
                f"walk_forward.sets must be >= 2 for {self.sampling} sampling, was {self.sets}"
            )
        self._check_counts()
        self.chooser(seed=0)

    def _check_counts(self) -> None:
        for name, least in (
            ("train_days", 1), ("test_days", 1), ("folds", 1), ("purge_days", 0),
            ("embargo_days", 0), ("groups", 2), ("test_groups", 1), ("blocks", 2), ("draws", 1),
        ):  # fmt: skip
            value = getattr(self, name)
            if value is not None and value < least:
                raise ConfigError(f"walk_forward.{name} must be >= {least}, was {value}")

    def chooser(self, *, seed: int) -> Chooser:
        """Return how sets are chosen."""
        return Chooser(
            criterion=self.choose, confidence=self.confidence, n_draws=self.draws, seed=seed
        )


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The spans of a walk-forward and of its cross-validation.

    Parameters
    ----------
    days_us : int64 array, shape (n_days,)
        The UTC days that are traded.
    folds : tuple of Fold
        In order of time.
    validation : Validation
        Of cross-validation and PBO.
    warm_up : int
        Days before the experiment's own settings first want a position.
    purge : int
        Days left out before a test.
    holding : float
        Days that a position is held on average, by the experiment's own target weights before the first test.
    memory : int
        Days until the signals have forgotten 99 % of what is older.
    notes : tuple of str
        Why the gaps are as they are.
    """

    days_us: IntArray
    folds: tuple[Fold, ...]
    validation: Validation
    warm_up: int
    purge: int
    holding: float
    memory: int
    notes: tuple[str, ...]


def make_plan(settings: WalkForwardSettings, decided: Decided) -> Plan:
    """Return the plan that settings and an experiment's own decisions give.

    Parameters
    ----------
    settings : WalkForwardSettings
        What is given; None in it is derived here.
    decided : Decided
        What the signal plane says with the experiment's own settings. What is derived uses decisions before the first
        test only.

    Raises
    ------
    ConfigError
        If the record is too short for the spans, the warm-up or the gaps.
    """
    days_us = traded_days(decided)
    n_days = len(days_us)
    rows = np.nan_to_num(decided.found.weight_array)
    wanted = np.flatnonzero((rows != 0.0).any(axis=1))
    ts_us = decided.found.bars.ts_us
    opened = int(ts_us[wanted[0]]) // DAY_US * DAY_US if len(wanted) else int(days_us[-1]) + DAY_US
    warm = int(np.searchsorted(days_us, opened))

    def folds_of(purge: int) -> tuple[Fold, ...]:
        return plan_folds(
            n_days,
            scheme=settings.scheme,
            train=settings.train_days,
            test=settings.test_days,
            count=settings.folds,
            purge=purge,
        )

    first = folds_of(0)[0].test_start
    before = ts_us < days_us[first]
    holding = holding_days(decided.found.weight_array[before], ts_us[before])
    memory = -(
        -warm_up(decided.signal, decided.data.interval)
        * interval_us(decided.data.interval)
        // DAY_US
    )
    purge, why = _purge(settings, holding, first - warm)
    folds = folds_of(purge)
    check_training(folds, warm_up=warm)
    validation, notes = _validation(settings, n_days - warm, purge, memory)
    return Plan(
        days_us=days_us,
        folds=folds,
        validation=validation,
        warm_up=warm,
        purge=purge,
        holding=holding,
        memory=memory,
        notes=(why, *notes),
    )


def traded_days(decided: Decided) -> IntArray:
    """Return the UTC days in which a backtest of these decisions has returns, microseconds since 1970."""
    stamps = np.append(decided.found.bars.ts_us, decided.data.bars.ts_us[-1])
    ts_us = np.unique(stamps)
    first = int(
        len(ts_us) > 1 and ts_us[0] % DAY_US == 0
    )  # a day of no length, as in `backtest.curves`
    daily = daily_returns(ts_us[first:], np.ones(len(ts_us) - first), start=1.0)
    return index_us(pd.DatetimeIndex(daily.index))


def check_switchable(path: str) -> None:
    """Refuse a parameter that one account cannot change while it holds positions.

    Raises
    ------
    ConfigError
        Naming it.
    """
    node = path.partition(".")[0]
    if path in _FIXED_GROUPS or (node in _FIXED_NODES and path not in _SWITCHED):
        raise ConfigError(
            f"walk_forward.parameters must be what one account can change from fold to fold (strategy, portfolio, "
            f"universe, regime, matrix, values of risk, {' and '.join(_SWITCHED)}), was {path}"
        )
    if node not in ("strategy", "portfolio", "universe", "regime", "matrix", "risk", "account"):
        raise ConfigError(
            f"walk_forward.parameters must change strategy, portfolio, universe, regime, matrix, risk or account, "
            f"was {path}"
        )


def _purge(settings: WalkForwardSettings, holding: float, n_days: int) -> tuple[int, str]:
    if settings.purge_days is not None:
        return settings.purge_days, f"Purged before each test: {_days(settings.purge_days)}, given."
    # Where the span is too short for a choice in any case, it is refused with the gap that it would need.
    wanted, least = max(math.ceil(holding), 1), TRAIN_DAYS_MIN / (1.0 - SPARED)
    most = int(SPARED * max(n_days, least))
    purge = min(wanted, most)
    why = f"Purged before each test: {_days(purge)}; a position is held for {holding:.1f} days on average"
    if purge < wanted:
        return (
            purge,
            f"{why}, but no more than a quarter of the first training span after warm-up is given up.",
        )
    return purge, f"{why} (target weights before the first test)."


def _validation(
    settings: WalkForwardSettings, n_days: int, purge: int, memory: int
) -> tuple[Validation, list[str]]:
    """Return what cross-validation uses and what has to be said about it; `n_days` have positions."""
    most = int(SPARED * (n_days // settings.groups))
    beside = min(purge, most) if settings.purge_days is None else purge
    embargo = min(memory, most) if settings.embargo_days is None else settings.embargo_days
    notes = []
    if beside < purge:
        notes.append(
            f"In cross-validation {_days(beside)} are purged on either side of a test block: a quarter of a group."
        )
    if settings.embargo_days is not None:
        notes.append(f"Embargo after each test block of cross-validation: {_days(embargo)}, given.")
    elif embargo < memory:
        notes.append(
            f"Embargo after each test block of cross-validation: {_days(embargo)}, a quarter of a group. The signals "
            f"need {memory:,} days to forget 99 % of what is older, more than the record can spare: its training days "
            "after a test still remember some of it. The walk-forward has no such days."
        )
    else:
        notes.append(
            f"Embargo after each test block of cross-validation: {_days(embargo)}, until the signals have forgotten "
            "99 % of it."
        )
    check_groups(
        n_days, n_groups=settings.groups, n_test_groups=settings.test_groups, gap=beside + embargo
    )
    check_blocks(n_days, settings.blocks)
    return Validation(
        n_groups=settings.groups,
        n_test_groups=settings.test_groups,
        purge=beside,
        embargo=embargo,
        n_blocks=settings.blocks,
    ), notes


def _days(count: int) -> str:
    return f"{count} day{'' if count == 1 else 's'}"
