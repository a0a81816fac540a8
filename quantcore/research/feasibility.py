r"""What an account can really hold: smallest orders, whole lots and the size limit against what an experiment wants.

The signal plane is computed once. Everything is then asked of the *normal size*: the weights that the risk mode holds
of the targets where nothing has to be rounded and no loss has moved it down its ladder. They are taken from an account
that trades the targets in hundred-thousandths of a lot, without costs and band, under the mode's limits of exposure,
value at risk and liquidation; its holdings are those of the decision before. Against them stand, at each decision that
wants anything, the exchange's smallest orders at that moment's prices.

A symbol can be held where its smallest order is within its weight, and with a `size_limit` below 1 also within that
share of the gross exposure, for the limit caps the sum and is held in whole positions of what fits. How many positions
*fit* is the largest number that can be opened at once, each at its smallest order. It never falls with more capital,
and the verdict rests on it. How many are *held* is what the backtest of the account held: fewer, where its greedy rule
prefers the largest weights, or more, where positions were opened at better times and only reduced since, which no
minimum forbids.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from quantcore.account_plane import AccountSettings, ExecutionSettings, compile_rules
from quantcore.backtest.curves import Curves, curves
from quantcore.backtest.engine import Decided, trade, traded_instruments
from quantcore.backtest.metrics import compute_metrics
from quantcore.backtest.outlook import outlook
from quantcore.backtest.result import Run
from quantcore.backtest.tables import known_marks
from quantcore.data.instruments import Instrument
from quantcore.errors import ConfigError
from quantcore.finance.allocation import AllocationCaps, allocate
from quantcore.finance.covariance import HistoryRules, ledoit_wolf
from quantcore.frames import Bars
from quantcore.kernels import layout as at
from quantcore.kernels.allocation import allocate_greedily, lot_grid
from quantcore.kernels.layout import Rules
from quantcore.risk.limits import RiskSettings
from quantcore.timegrid import DAY_US, DAYS_PER_YEAR, index_us
from quantcore.types import BoolArray, FloatArray, IntArray

if TYPE_CHECKING:
    from omegaconf import DictConfig

UNLIMITED = "unlimited"
"""Name of the account whose lots are so fine that nothing is rounded."""
UNLIMITED_CAPITAL = 10_000.0
"""USDT that stand for an unlimited account: few enough for every symbol's first brackets."""
LARGEST_CAPITAL = 1e9
"""USDT beyond which no capital is looked for."""

_FINER = 5  # decimals by which the lots of an unlimited account are finer
_ON_LOT = 1e-6  # of a lot: as much as the allocation counts as whole
_WITHIN = 1e-12
_DUST = 1e-6  # of equity: a weight of less is nothing that anybody wants
_BISECTIONS = 60
_RETURNS_MIN = 10
_REFUSING = ("refused", "cut", "rejected")
_METRICS = (
    "total_return", "annual_return", "annual_volatility", "sharpe", "sharpe_ci_low", "sharpe_ci_high", "max_drawdown",
    "turnover_annual", "trades",
)  # fmt: skip
_COSTS = ("fees", "funding", "slippage_cost", "liquidation_fees")


@dataclass(frozen=True, kw_only=True)
class Stage:
    """An account in its mode.

    Parameters
    ----------
    account, execution : AccountSettings, ExecutionSettings
        The account and its costs.
    risk : RiskSettings or None
        The mode; None limits nothing.
    """

    account: AccountSettings
    execution: ExecutionSettings
    risk: RiskSettings | None

    @property
    def size_limit(self) -> float:
        """Share of the normal gross exposure that is held."""
        return 1.0 if self.risk is None else self.risk.size_limit

    @property
    def margin_share(self) -> float:
        """Share of equity that may be initial margin."""
        return 1.0 - self.account.margin_buffer

    def gross_caps(self, gross: FloatArray) -> FloatArray:
        """Return the largest gross exposure over equity, given that of the normal size."""
        room = self.margin_share * self.account.leverage_max
        return np.minimum(self.size_limit * gross, room)

    def holding(self, capital: float) -> Stage:
        """Return the same mode on another capital, without deposits and whatever capital it is meant for."""
        risk = None if self.risk is None else replace(self.risk, stage_capital=None)
        account = replace(self.account, capital=capital, cash_flows=())
        return replace(self, account=account, risk=risk)


@dataclass(frozen=True, kw_only=True)
class Demand:
    """What is wanted at each decision that wants anything, and what the exchange takes at least.

    Parameters
    ----------
    rows : int64 array, shape (n_decisions,)
        Rows of the traded decisions.
    index : DatetimeIndex, shape (n_decisions,)
        Their stamps.
    symbols : tuple of str
        Columns of the arrays.
    weights : float64 array, shape (n_decisions, n_symbols)
        Signed notional over equity at the normal size; 0 where nothing is wanted.
    prices : float64 array, shape (n_decisions, n_symbols)
        Marks, USDT; NaN before a symbol is listed.
    lots, orders : float64 array, shape (n_decisions, n_symbols)
        USDT of one lot and of the smallest order that opens a position.
    last_lots, last_orders : float64 array, shape (n_symbols,)
        The same at the last known price of the data.
    ended : bool array, shape (n_symbols,)
        Whether a symbol has no price at the data's end.
    rules : Rules
        Of the exchange.
    instruments : tuple of Instrument
        The same as facts.
    """

    rows: IntArray = field(repr=False)
    index: pd.DatetimeIndex
    symbols: tuple[str, ...]
    weights: FloatArray = field(repr=False)
    prices: FloatArray = field(repr=False)
    lots: FloatArray = field(repr=False)
    orders: FloatArray = field(repr=False)
    last_lots: FloatArray = field(repr=False)
    last_orders: FloatArray = field(repr=False)
    ended: BoolArray = field(repr=False)
    rules: Rules = field(repr=False)
    instruments: tuple[Instrument, ...] = field(repr=False)

    @property
    def gross(self) -> FloatArray:
        """Gross exposure over equity at the normal size, shape ``(n_decisions,)``."""
        return np.asarray(np.abs(self.weights).sum(axis=1))


def demand(decided: Decided, stage: Stage) -> Demand:
    """Return what a mode wants of the targets, and the exchange's smallest orders beside it."""
    bars = decided.found.bars
    instruments = traded_instruments(decided.data)
    rules = compile_rules(instruments, account=stage.account, execution=stage.execution)
    weights = normal_weights(decided, stage, instruments)
    wanted = np.flatnonzero((weights != 0.0).any(axis=1))
    prices = known_marks(bars)
    lots, orders = smallest_orders(prices[wanted], rules)
    last_lots, last_orders = smallest_orders(prices[-1:], rules)
    return Demand(
        rows=wanted,
        index=bars.index[wanted],
        symbols=bars.symbols,
        weights=weights[wanted],
        prices=prices[wanted],
        lots=lots,
        orders=orders,
        last_lots=last_lots[0],
        last_orders=last_orders[0],
        ended=np.isnan(bars.array("close")[-1]),
        rules=rules,
        instruments=instruments,
    )


def normal_weights(decided: Decided, stage: Stage, instruments: Sequence[Instrument]) -> FloatArray:
    """Return the weights that a mode holds where nothing is rounded, nothing costs and nothing was lost.

    Returns
    -------
    float64 array, shape (n_decisions, n_symbols)
        Signed notional over equity, of the targets of the decision before.
    """
    free = stage.holding(UNLIMITED_CAPITAL)
    risk = free.risk
    if risk is not None:
        risk = replace(
            risk, size_limit=1.0, drawdown_max=None, drawdown_reduce=1.0, daily_loss_max=None
        )
    costs = {"half_spread_bps": 0.0, "slippage_bps": 0.0, "maker_fee": 0.0, "taker_fee": 0.0}
    run = trade(
        decided,
        account=replace(free.account, no_trade_band=0.0),
        execution=replace(stage.execution, **costs),
        risk=risk,
        instruments=[finer(i) for i in instruments],
    )
    weights = weights_held(run, decided)
    return np.where(np.abs(weights) < _DUST, 0.0, weights)


def weights_held(run: Run, decided: Decided) -> FloatArray:
    """Return what a backtest held at each decision, signed notional over equity, ``(n_decisions, n_symbols)``."""
    held, equity = run.tables["positions"], run.tables["equity"]
    decisions_us = decided.found.bars.ts_us
    # The equity has a closing row besides those of the decisions.
    equity_us = index_us(pd.DatetimeIndex(equity["ts"]))
    worth = equity["equity"].to_numpy(np.float64)[np.searchsorted(equity_us, decisions_us)]
    row = np.searchsorted(decisions_us, index_us(pd.DatetimeIndex(held["ts"])))
    column = np.searchsorted(np.array(run.bars.symbols), held["symbol"].to_numpy(dtype=str))
    notional = held["qty"].to_numpy(np.float64) * held["mark_price"].to_numpy(np.float64)
    inside = row < len(decisions_us)
    weights = np.zeros((len(decisions_us), len(run.bars.symbols)))
    weights[row[inside], column[inside]] = notional[inside]
    np.divide(weights, worth[:, None], out=weights, where=worth[:, None] > 0.0)
    return weights


def finer(instrument: Instrument) -> Instrument:
    """Return an instrument with lots a hundred-thousandth in size and without a minimum notional.

    An account that trades it holds what one with 100,000 times the capital would, without that one's larger
    brackets and market orders.
    """
    step = format(Decimal(instrument.step_size).scaleb(-_FINER), "f")
    return replace(instrument, step_size=step, min_qty=step, min_notional=0.0)


def smallest_orders(prices: FloatArray, rules: Rules) -> tuple[FloatArray, FloatArray]:
    """Return what one lot and the smallest order that opens a position are worth at some prices.

    Parameters
    ----------
    prices : float64 array, shape (n_rows, n_symbols)
        USDT per coin; NaN gives NaN.
    rules : Rules
        Steps, minimum lots and minimum notionals.

    Returns
    -------
    tuple of float64 array, shape (n_rows, n_symbols)
        USDT.
    """
    step = rules.size[:, at.STEP_NUMERATOR] / rules.size[:, at.STEP_DENOMINATOR]
    lots = prices * step
    one, caps = np.ones(prices.shape[1]), np.full(2, 1e9)
    least = np.empty(prices.shape, dtype=np.int64)
    for t, row in enumerate(np.ascontiguousarray(prices)):
        least[t] = lot_grid(one, row, 1.0, rules, caps, False).least
    return lots, least * lots


def fitting(wanted: Demand, stage: Stage, capital: float) -> IntArray:
    """Return the most positions that can be held at once at each decision, each at its smallest order."""
    sizes = np.abs(wanted.weights) * capital
    fits = (sizes > 0.0) & (wanted.orders - _ON_LOT * wanted.lots <= sizes)
    orders = np.sort(np.where(fits, wanted.orders, np.inf), axis=1)
    room = stage.gross_caps(wanted.gross) * capital * (1.0 + _WITHIN)
    return np.asarray((np.cumsum(orders, axis=1) <= room[:, None]).sum(axis=1), dtype=np.int64)


def capital_for(wanted: Demand, stage: Stage, positions: int) -> float:
    """Return the least capital at which so many positions fit at the median decision; NaN where none is enough."""

    def enough(capital: float) -> bool:
        return bool(np.median(fitting(wanted, stage, capital)) >= positions)

    if not len(wanted.index) or not enough(LARGEST_CAPITAL):
        return math.nan
    low, high = math.log(1e-3), math.log(LARGEST_CAPITAL)
    for _ in range(_BISECTIONS):
        middle = 0.5 * (low + high)
        low, high = (low, middle) if enough(math.exp(middle)) else (middle, high)
    return math.exp(high)


def greedy_weights(wanted: Demand, stage: Stage, capital: float) -> FloatArray:
    """Return the weights that the account's greedy rule gives in whole lots, shape ``(n_decisions, n_symbols)``.

    Each decision is taken afresh, while the account changes the symbols within a size limit once a day, and leaves
    small changes alone.
    """
    n, caps = len(wanted.symbols), np.empty(2)
    held = np.zeros(wanted.weights.shape)
    lots, cuts = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64)
    limits = _gross_limits(wanted, stage)
    for t in range(len(held)):
        caps[:] = limits[t], stage.margin_share
        allocate_greedily(
            wanted.weights[t], wanted.prices[t], capital, wanted.rules, caps, False, lots, cuts
        )
        held[t] = lots
    return np.where(held == 0.0, 0.0, held * wanted.lots / capital)


def symbol_table(wanted: Demand, stage: Stage, held: FloatArray) -> pd.DataFrame:
    """Return per symbol what the exchange takes at least, what is wanted, and from which capital it is tradable.

    Parameters
    ----------
    wanted : Demand
        At the normal size.
    stage : Stage
        The account.
    held : float64 array, shape (n_decisions, n_symbols)
        Weights that the backtest of the account held.

    Returns
    -------
    DataFrame
        ``symbol step_size min_notional defaulted``; in USDT ``lot_notional smallest_order`` (at the last known price)
        and ``smallest_order_median``; over equity ``lot_share smallest_share smallest_share_median``,
        ``target_weight`` (median of what is wanted of it at the normal size where it is), ``limited_weight`` (the most
        that the size limit leaves of it: the smaller of it and the limit's share of the median gross exposure) and
        ``order_over_target``; ``tradable reason``; ``capital_min``, from which the smallest order is within
        ``limited_weight``, and ``capital_proportional``, from which it is within the symbol's own share of the size
        limit, so that all can be held in proportion; and of the decisions that want the symbol ``fits_share``, at which
        its smallest order is within its weight, and ``held_share``, at which the backtest held it. The cheapest first.
    """
    capital, sizes = stage.account.capital, np.abs(wanted.weights)
    asked = sizes > 0.0
    times = np.maximum(asked.sum(axis=0), 1)
    target = _medians(np.where(asked, sizes, np.nan))
    gross = float(np.median(wanted.gross)) if len(wanted.index) else math.nan
    limited = np.minimum(target, stage.gross_caps(np.array(gross)))
    from_ = np.where(wanted.ended, np.nan, wanted.last_orders / limited)
    within = asked & (wanted.orders - _ON_LOT * wanted.lots <= sizes * capital)
    median_order = _medians(wanted.orders)
    table = pd.DataFrame(
        {
            "symbol": list(wanted.symbols),
            "step_size": [float(i.step_size) for i in wanted.instruments],
            "min_notional": [i.min_notional for i in wanted.instruments],
            "defaulted": [i.defaulted for i in wanted.instruments],
            "lot_notional": wanted.last_lots,
            "smallest_order": wanted.last_orders,
            "smallest_order_median": median_order,
            "lot_share": wanted.last_lots / capital,
            "smallest_share": wanted.last_orders / capital,
            "smallest_share_median": median_order / capital,
            "target_weight": target,
            "limited_weight": limited,
            "order_over_target": wanted.last_orders / (target * capital),
            "tradable": from_ <= capital,
            "reason": _reasons(wanted, target, limited, capital),
            "capital_min": from_,
            "capital_proportional": np.where(
                wanted.ended, np.nan, wanted.last_orders / (stage.size_limit * target)
            ),
            "fits_share": within.sum(axis=0) / times,
            "held_share": ((held != 0.0) & asked).sum(axis=0) / times,
        }
    )
    return table.sort_values(["smallest_order", "symbol"], kind="stable", ignore_index=True)


def position_table(
    wanted: Demand, stage: Stage, greedy: FloatArray, held: FloatArray
) -> pd.DataFrame:
    """Return ``ts wanted fit greedy held`` of each decision.

    That is positions asked for, that can be opened at once at most, that the greedy rule gives when it decides afresh,
    and that the backtest of the account held.
    """
    return pd.DataFrame(
        {
            "ts": wanted.index,
            "wanted": (wanted.weights != 0.0).sum(axis=1),
            "fit": fitting(wanted, stage, stage.account.capital),
            "greedy": (greedy != 0.0).sum(axis=1),
            "held": (held != 0.0).sum(axis=1),
        }
    )


def rounding_table(
    wanted: Demand,
    stage: Stage,
    holdings: Mapping[str, FloatArray],
    covariance: FloatArray | None,
    *,
    samples: int,
) -> pd.DataFrame:
    """Return how far what is held is from the target portfolio, at every decision.

    Parameters
    ----------
    wanted, stage
        As in `symbol_table`.
    holdings : mapping of str to float64 array, shape (n_decisions, n_symbols)
        Weights held, by the method that gave them.
    covariance : float64 array, shape (n_symbols, n_symbols), or None
        Of annual returns; None leaves the volatilities unknown.
    samples : int
        Decisions, evenly spread, at which the best allocation is found as well.

    Returns
    -------
    DataFrame
        ``ts method`` (those given, and ``exact``) ``gross_wanted gross_held positions deviation difference_volatility
        target_volatility proven``. The target portfolio is that of the normal size times the size limit; ``deviation``
        is the sum of absolute deviations over its gross exposure, the volatilities are annual fractions of equity.
        ``exact`` is the holding nearest to the same weights under the same caps by the sum of squares, or the best
        found where it is not ``proven``.
    """
    target = stage.size_limit * wanted.weights
    picked = _spread(len(wanted.index), samples)
    limits, best, proven = _gross_limits(wanted, stage), [], []
    for t in picked:
        caps = AllocationCaps(
            equity=stage.account.capital, gross_max=limits[t], margin_share=stage.margin_share
        )
        found = allocate(
            wanted.weights[t], wanted.prices[t], wanted.rules, caps=caps, may_exceed_target=False
        )
        best.append(found.weights)
        proven.append(found.proven)
    exact = np.array(best).reshape(len(picked), len(wanted.symbols))
    parts = [
        *(
            _deviations(wanted.index, target, held, covariance).assign(method=name, proven=False)
            for name, held in holdings.items()
        ),
        _deviations(wanted.index[picked], target[picked], exact, covariance).assign(
            method="exact", proven=np.array(proven, dtype=np.bool_)
        ),
    ]
    table = pd.concat(parts).sort_values("ts", kind="stable", ignore_index=True)
    return table[["ts", "method", *[c for c in table if c not in ("ts", "method")]]]


def yearly_covariance(bars: Bars) -> FloatArray | None:
    """Return the covariance of daily returns over all bars times 365, shrunk; None where there are too few days."""
    closes = known_marks(bars)
    closes = np.where(np.isnan(bars.array("close")), np.nan, closes)
    last = np.flatnonzero(np.diff((bars.ts_us - 1) // DAY_US, append=-1))
    daily = closes[last]
    returns = daily[1:] / daily[:-1] - 1.0
    if (~np.isnan(returns)).sum(axis=0).max(initial=0) < _RETURNS_MIN:
        return None
    rules = HistoryRules(minimum_rows=_RETURNS_MIN, short="conservative")
    found = ledoit_wolf(returns, target="constant_correlation", rules=rules)
    return found.covariance * DAYS_PER_YEAR


def capital_runs(decided: Decided, stage: Stage, capitals: Sequence[float]) -> dict[str, Run]:
    """Return a backtest of the same targets and mode for each capital and for `UNLIMITED`, the smallest first."""
    facts = traded_instruments(decided.data)
    runs = {}
    for capital in sorted({*capitals, stage.account.capital}):
        own = stage.holding(float(capital))
        runs[f"{capital:.12g}"] = trade(
            decided, account=own.account, execution=own.execution, risk=own.risk
        )
    own = stage.holding(UNLIMITED_CAPITAL)
    runs[UNLIMITED] = trade(
        decided,
        account=own.account,
        execution=own.execution,
        risk=own.risk,
        instruments=[finer(i) for i in facts],
    )
    return runs


def capital_table(
    runs: Mapping[str, Run], curve: Mapping[str, Curves], index: pd.DatetimeIndex
) -> pd.DataFrame:
    """Return what each capital would have come to.

    Parameters
    ----------
    runs, curve : mapping of str to Run and to Curves
        By name of the capital.
    index : DatetimeIndex
        Decisions that want anything, at which positions are counted.

    Returns
    -------
    DataFrame
        ``name capital`` (infinite where unlimited) and metrics as in `metrics.json`; ``positions_min
        positions_median positions_max``; ``halted_share`` of the decisions; ``fees funding slippage_cost
        liquidation_fees costs`` as fractions of the capital; ``refusals`` and ``refused_<rule>``, orders and targets
        refused, cut or rejected.
    """
    rows = []
    for name, run in runs.items():
        numbers = compute_metrics(run, ahead=outlook(run, curve[name]))
        held = run.tables["positions"].groupby("ts").size().reindex(index, fill_value=0)
        counted = held.to_numpy(np.float64) if len(held) else np.zeros(1)
        paid = {key: numbers[key] / run.capital for key in _COSTS}
        reasons = run.tables["reasons"]
        refused = Counter(reasons.loc[reasons["action"].isin(_REFUSING), "rule"].tolist())
        rows.append(
            {
                "name": name,
                "capital": math.inf if name == UNLIMITED else run.capital,
                **{key: numbers[key] for key in _METRICS},
                "positions_min": counted.min(),
                "positions_median": float(np.median(counted)),
                "positions_max": counted.max(),
                "halted_share": float(run.tables["equity"]["halted"].mean()),
                **paid,
                "costs": math.fsum(paid.values()),
                "refusals": refused.total(),
                **{f"refused_{rule}": refused[rule] for rule in sorted(refused)},
            }
        )
    table = pd.DataFrame(rows)
    rules = [str(c) for c in table if str(c).startswith("refused_")]
    kinds = dict.fromkeys(rules, np.int64) | dict.fromkeys(_METRICS, np.float64)
    return table.fillna(dict.fromkeys(rules, 0)).astype(kinds)


def curve_table(curve: Mapping[str, Curves]) -> pd.DataFrame:
    """Return the value of one unit of each account, a column per name of its capital, index ``ts``."""
    series = [
        pd.Series(c.nav, index=pd.to_datetime(c.ts_us, unit="us", utc=True), name=name)
        for name, c in curve.items()
    ]
    return pd.concat(series, axis=1).rename_axis(index="ts")


def judge(
    positions: pd.DataFrame, stage: Stage, *, positions_min: int, capital_from: float
) -> tuple[str, str]:
    """Return ``feasible`` or ``not_feasible``, and the sentence that says why.

    Parameters
    ----------
    positions : DataFrame
        From `position_table`.
    stage : Stage
        The account.
    positions_min : int
        Fewest positions that make a portfolio.
    capital_from : float
        From `capital_for`.
    """
    held = f"{stage.account.capital:,.12g} USDT"
    if stage.size_limit < 1.0:
        held += f" at {100.0 * stage.size_limit:g} % of the normal size"
    if positions.empty:
        return "not_feasible", f"With {held} nothing can be held: no position was ever wanted."
    middle, low, high = _spans(positions["fit"])
    fit = f"{middle:g} position{'' if middle == 1 else 's'} fit{'s' if middle == 1 else ''}"
    said = f"With {held} {fit} at the median decision ({low:g} to {high:g})"
    kept = f"the backtest held {positions['held'].median():g}"
    if middle >= positions_min:
        return (
            "feasible",
            f"{said}, at least the {positions_min} that make a portfolio; {kept}.",
        )
    asked = float(positions["wanted"].median())
    if asked < positions_min:
        more = f"only {asked:g} are wanted there, so no capital is enough"
    elif math.isnan(capital_from):
        more = "no capital is enough"
    else:
        more = f"{positions_min} fit from {math.ceil(capital_from):,} USDT on"
    return (
        "not_feasible",
        f"{said}, fewer than the {positions_min} that make a portfolio ({kept}); {more}.",
    )


def _spans(values: pd.Series) -> tuple[float, float, float]:
    return float(values.median()), float(values.min()), float(values.max())


def _gross_limits(wanted: Demand, stage: Stage) -> FloatArray:
    """Return the gross cap of each decision as the account has it: none at full size."""
    if stage.size_limit < 1.0:
        return stage.size_limit * wanted.gross
    return np.full(len(wanted.index), np.inf)


def _medians(values: FloatArray) -> FloatArray:
    """Return each column's median, NaN aside; NaN where there is nothing else."""
    return pd.DataFrame(values).median().to_numpy(np.float64)


def _reasons(wanted: Demand, target: FloatArray, limited: FloatArray, capital: float) -> list[str]:
    told = []
    for s, order in enumerate(wanted.last_orders):
        if math.isnan(target[s]):
            told.append("never wanted")
        elif wanted.ended[s]:
            told.append("no price at the end of the data")
        elif order / limited[s] <= capital:
            told.append("fits")
        elif order > target[s] * capital:
            told.append("smallest order above its target")
        else:
            told.append("smallest order above the size limit")
    return told


def _spread(n: int, samples: int) -> IntArray:
    return np.unique(np.linspace(0, n - 1, min(samples, n)).round().astype(np.int64))


def _deviations(
    index: pd.DatetimeIndex, target: FloatArray, held: FloatArray, covariance: FloatArray | None
) -> pd.DataFrame:
    gap, gross = held - target, np.abs(target).sum(axis=1)

    def volatility(weights: FloatArray) -> FloatArray:
        if covariance is None:
            return np.full(len(weights), np.nan)
        return np.asarray(np.sqrt(np.einsum("ti,ij,tj->t", weights, covariance, weights)))

    return pd.DataFrame(
        {
            "ts": index,
            "gross_wanted": gross,
            "gross_held": np.abs(held).sum(axis=1),
            "positions": (held != 0.0).sum(axis=1),
            "deviation": np.abs(gap).sum(axis=1) / gross,
            "difference_volatility": volatility(gap),
            "target_volatility": volatility(target),
        }
    )


def main(cfg: DictConfig) -> int:
    """Ask what the configured account can hold, publish what was found, and print the verdict."""
    from quantcore.backtest.compiling import begin_compiling
    from quantcore.backtest.engine import decide
    from quantcore.backtest.experiment import shown, signal_settings
    from quantcore.backtest.folder import publish, to_json
    from quantcore.config import build, resolved_yaml, writable_folder
    from quantcore.research.feasibility_report import page, print_folder, print_study

    runs = writable_folder(cfg.runs, key="runs")
    positions_min = _whole(cfg, "positions_min")
    samples = _whole(cfg, "samples")
    capitals = _capitals(cfg)
    stage = Stage(
        account=build(cfg.account, AccountSettings),
        execution=build(cfg.execution, ExecutionSettings),
        risk=build(cfg.risk, RiskSettings) if cfg.risk else None,
    )
    signal = signal_settings(cfg)
    source = build(cfg.data)
    wait = begin_compiling()
    decided = decide(
        source.load(reviewed=signal.universe is not None),
        signal=signal,
        progress=shown("forecasts"),
    )
    wait()
    summary, tables = study(
        decided, stage, capitals=capitals, positions_min=positions_min, samples=samples
    )
    summary = {"experiment": str(cfg.name), **summary}
    print_study(summary, tables)

    def fill(folder: Path) -> None:
        (folder / "summary.json").write_text(to_json(summary), "utf-8")
        (folder / "config.yaml").write_text(resolved_yaml(cfg), "utf-8")
        for name, table in tables.items():
            table.to_parquet(folder / f"{name}.parquet", index=name == "curves")
        (folder / "feasibility.html").write_text(page(summary, tables), "utf-8")

    print_folder(publish(runs, "feasibility", cfg.name, fill))
    return 0


def study(
    decided: Decided, stage: Stage, *, capitals: Sequence[float], positions_min: int, samples: int
) -> tuple[dict[str, Any], dict[str, pd.DataFrame]]:
    """Return `summary.json` and the tables of a results folder by name.

    Parameters
    ----------
    decided : Decided
        What the signal plane said.
    stage : Stage
        The account.
    capitals : sequence of float
        USDT of the accounts that the result is compared with.
    positions_min : int
        Fewest positions that make a portfolio.
    samples : int
        Decisions at which the best allocation is found.

    Raises
    ------
    ConfigError
        If the leverage exceeds what a symbol's brackets allow.
    """
    wanted = demand(decided, stage)
    runs = capital_runs(decided, stage, capitals)
    own = runs[f"{stage.account.capital:.12g}"]
    held = weights_held(own, decided)[wanted.rows]
    greedy = greedy_weights(wanted, stage, stage.account.capital)
    covariance = yearly_covariance(decided.found.bars)
    curve = {name: curves(run) for name, run in runs.items()}
    tables = {
        "symbols": symbol_table(wanted, stage, held),
        "positions": position_table(wanted, stage, greedy, held),
        "rounding": rounding_table(
            wanted, stage, {"greedy": greedy, "account": held}, covariance, samples=samples
        ),
        "capitals": capital_table(runs, curve, wanted.index),
        "curves": curve_table(curve),
    }
    capital_from = capital_for(wanted, stage, positions_min)
    verdict, reason = judge(
        tables["positions"], stage, positions_min=positions_min, capital_from=capital_from
    )
    return {
        "verdict": verdict,
        "reason": reason,
        "capital": stage.account.capital,
        "size_limit": stage.size_limit,
        "leverage_max": stage.account.leverage_max,
        "positions_min": positions_min,
        "capital_for_positions_min": capital_from,
        "start": own.tables["equity"]["ts"].iloc[0].isoformat(),
        "end": own.tables["equity"]["ts"].iloc[-1].isoformat(),
        "interval": decided.data.interval,
        "decisions": decided.found.bars.n_bars,
        "decisions_wanted": len(wanted.index),
        "symbols": len(wanted.symbols),
        "tradable": int(tables["symbols"]["tradable"].sum()),
        "gross_median": float(np.median(wanted.gross)) if len(wanted.index) else None,
        "positions": _counts(tables["positions"]),
        "rounding": _rounding(tables["rounding"]),
        "notes": list(dict.fromkeys([*_stage_notes(stage), *own.notes])),
    }, tables


def _counts(positions: pd.DataFrame) -> dict[str, Any]:
    if positions.empty:
        return {}
    return {
        name: dict(zip(("median", "min", "max"), _spans(positions[name]), strict=True))
        for name in ("wanted", "fit", "greedy", "held")
    }


def _rounding(table: pd.DataFrame) -> dict[str, Any]:
    """Return the medians of each method, over all decisions and over those at which both are known."""
    exact = table[table["method"] == "exact"]
    greedy = table[table["method"] == "greedy"]
    numbers = ["deviation", "difference_volatility", "target_volatility", "positions"]
    parts = {
        "greedy": greedy,
        "account": table[table["method"] == "account"],
        "greedy_sampled": greedy[greedy["ts"].isin(exact["ts"])],
        "exact_sampled": exact,
    }
    told: dict[str, Any] = {name: part[numbers].median().to_dict() for name, part in parts.items()}
    return {**told, "samples": len(exact), "proven": int(exact["proven"].sum())}


def _stage_notes(stage: Stage) -> list[str]:
    notes = []
    meant = None if stage.risk is None else stage.risk.stage_capital
    if meant is not None and stage.account.capital < meant:
        notes.append(
            f"The mode is meant for {meant:,.12g} USDT (risk.stage_capital): a backtest and the live loop refuse this "
            "account."
        )
    if stage.account.cash_flows:
        notes.append("Deposits and withdrawals are left out, so that capitals can be compared.")
    return notes


def _whole(cfg: DictConfig, name: str) -> int:
    value = cfg[name]
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(f"{name} must be a whole number >= 1, was {value}")
    return value


def _capitals(cfg: DictConfig) -> tuple[float, ...]:
    from omegaconf import ListConfig

    given = cfg.capitals
    values = list(given) if isinstance(given, ListConfig) else [given]
    for value in values:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not (number and 0.0 < value <= LARGEST_CAPITAL):
            raise ConfigError(
                f"capitals must be a list of numbers in (0, {LARGEST_CAPITAL:,.0f}], was {given}"
            )
    return tuple(float(value) for value in values)


if __name__ == "__main__":
    from quantcore.config import run_command

    raise SystemExit(run_command("feasibility", main))
