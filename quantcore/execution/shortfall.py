r"""Implementation shortfall: what it cost to turn decisions into positions, part by part.

A paper portfolio trades the whole of each decision at once, at the price at which it was taken and for nothing. What
the real one has less, Perold's implementation shortfall, is taken apart after Kissell and the textbooks' example. With
s the side, Q the quantity wanted, q_i and p_i the fills, F their sum, and the prices at decision, arrival and end:

.. math::
    \text{total} = s \sum_i q_i (p_i - p_d) + s (Q - F) (p_e - p_d) + \text{fees}

    \text{delay} = s F (p_a - p_d), \quad \text{spread} = \sum_i \text{spread}_i, \quad
    \text{impact} = s \sum_i q_i (p_i - p_a) - \text{spread}, \quad \text{missed} = s (Q - F) (p_e - p_d)

The parts add up to the total. The arrival price is that of the instant from which the order could be filled; impact
is all that happened to the price from there on, our own push and everybody else's, since one order cannot tell them
apart.
Everything is money (USDT), > 0 where it was lost; a fee below 0 is a rebate.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from quantcore.errors import DataGap, SchemaMismatch
from quantcore.frames import Bars, check_panel
from quantcore.timegrid import index_us, to_index
from quantcore.types import BoolArray, FillReason, FloatArray, IntArray, Panel, Side

PARTS = ("delay", "spread", "impact", "missed", "fees")
"""What a shortfall is made of, in the order in which it arises."""
ORDER_COLUMNS = (
    "order_id", "decision_ts", "symbol", "side", "type", "qty", "reduce_only", "reason",
)  # fmt: skip
FILL_COLUMNS = ("order_id", "qty", "price", "fee", "liquidity", "reference_price")

# Orders that no decision asked for have no decision's price to be measured against.
_PROTECTIVE = {
    reason.name.lower()
    for reason in FillReason
    if reason not in (FillReason.TARGET, FillReason.SCRIPT)
}
_DUST = 1e-9  # of the quantity wanted: rounding of sums of coins


@dataclass(frozen=True, kw_only=True)
class ParentOrder:
    """What a decision wanted, and the prices it is measured by; NaN where one is not known.

    Parameters
    ----------
    side : Side
        Buy or sell.
    qty : float
        Wanted, in coins, > 0.
    decision_price : float
        When the decision was taken.
    arrival_price : float
        When the order could first be filled.
    end_price : float
        When what was left of it was given up.
    """

    side: Side
    qty: float
    decision_price: float
    arrival_price: float
    end_price: float

    def __post_init__(self) -> None:
        if not 0.0 < self.qty < math.inf:
            raise ValueError(f"qty must be > 0 and finite, was {self.qty}")
        for name in ("decision_price", "arrival_price", "end_price"):
            value = getattr(self, name)
            if not (math.isnan(value) or 0.0 < value < math.inf):
                raise ValueError(f"{name} must be > 0 and finite, or NaN, was {value}")


@dataclass(frozen=True)
class Shortfall:
    """The shortfall of one order, in money."""

    delay: float
    spread: float
    impact: float
    missed: float
    fees: float
    total: float
    notional: float
    """Of the paper portfolio: quantity wanted at the decision price."""

    def fraction(self, part: str) -> float:
        """Return a part, or the total, as a fraction of the paper portfolio's notional."""
        return float(getattr(self, part)) / self.notional


@dataclass(frozen=True)
class ShortfallSummary:
    """All decisions together, those left out of which a part is not known."""

    decisions: int
    incomplete: int
    """Decisions left out."""
    notional: float
    """Of the paper portfolio, USDT."""
    fill_rate: float
    """Filled over wanted, weighted by notional; NaN without a decision."""
    delay_bps: float
    spread_bps: float
    impact_bps: float
    missed_bps: float
    fees_bps: float
    total_bps: float
    """Of the notional, as the parts are."""
    total: float
    """USDT."""


@dataclass(frozen=True, kw_only=True)
class Benchmarks:
    """Prices that shortfall is measured by, at each ``decision_ts`` and for each symbol; NaN where none is known.

    Parameters
    ----------
    decision, arrival, end : Panel, shape (n_decisions, n_symbols)
        As in `ParentOrder`; same index and columns.
    """

    decision: Panel
    arrival: Panel
    end: Panel

    def __post_init__(self) -> None:
        for name in ("decision", "arrival", "end"):
            panel = check_panel(getattr(self, name), name=name)
            same = panel.index.equals(self.decision.index)
            if not (same and panel.columns.equals(self.decision.columns)):
                raise SchemaMismatch(f"{name} must have the index and columns of decision")
            if (panel.to_numpy() <= 0.0).any():
                raise SchemaMismatch(f"{name} must be > 0 or NaN, was {np.nanmin(panel)}")

    def of(self, stamps: pd.DatetimeIndex, symbols: Sequence[str]) -> tuple[FloatArray, ...]:
        """Return the three prices of each decision and symbol, shape ``(n,)`` each.

        Raises
        ------
        DataGap
            If a decision or a symbol has no row or column.
        """
        row = self.decision.index.get_indexer(stamps)
        column = self.decision.columns.get_indexer(pd.Index(symbols))
        absent = np.flatnonzero((row < 0) | (column < 0))
        if len(absent):
            k = absent[0]
            raise DataGap(f"benchmarks must hold {symbols[k]} at {stamps[k]}, which they do not")
        panels = (self.decision, self.arrival, self.end)
        return tuple(panel.to_numpy(dtype=np.float64)[row, column] for panel in panels)


def bar_benchmarks(
    bars: Bars, decisions: pd.DatetimeIndex, *, latency_ms: float, horizon: pd.Timedelta
) -> Benchmarks:
    """Return the prices that bars know for decisions.

    Parameters
    ----------
    bars : Bars
        Execution bars with the field `open`.
    decisions : DatetimeIndex, UTC
        Instants of the decisions, unique and increasing.
    latency_ms : float
        From the decision to the venue, >= 0. The arrival price is the open of the bar in which the account lets the
        order in: latency rounded up to whole bars, at least the next one.
    horizon : Timedelta
        From the decision to the instant at which what is unfilled counts as given up, > 0.

    Returns
    -------
    Benchmarks
        The decision price is the close of the last bar known at the decision, the end price that of the last one known
        at the horizon, or at the end of the bars. A hole in them is NaN, and so is what lies before or after them.

    Raises
    ------
    ValueError
        If latency or horizon is out of its range.
    DataGap
        If the bars have no opens.
    """
    if not 0.0 <= latency_ms < math.inf:
        raise ValueError(f"latency_ms must be >= 0 and finite, was {latency_ms}")
    if not horizon > pd.Timedelta(0):
        raise ValueError(f"horizon must be > 0, was {horizon}")
    decided = index_us(decisions)
    active = decided + max(math.ceil(latency_ms * 1000), 1)
    given_up = decided + horizon // pd.Timedelta("1us")
    close = bars.array("close")

    def panel(field: FloatArray, row: IntArray) -> Panel:
        known = (row >= 0) & (row < bars.n_bars)
        values = np.full((len(row), bars.n_symbols), np.nan)
        values[known] = field[row[known]]
        return pd.DataFrame(values, index=to_index(decided), columns=list(bars.symbols))

    return Benchmarks(
        decision=panel(close, np.searchsorted(bars.ts_us, decided, side="right") - 1),
        arrival=panel(bars.array("open"), np.searchsorted(bars.ts_us, active, side="left")),
        end=panel(close, np.searchsorted(bars.ts_us, given_up, side="right") - 1),
    )


def order_shortfall(
    order: ParentOrder,
    qty: npt.ArrayLike,
    prices: npt.ArrayLike,
    *,
    fees: float,
    half_spread: float = 0.0,
) -> Shortfall:
    """Return the shortfall of one order.

    Parameters
    ----------
    order : ParentOrder
        What was wanted.
    qty, prices : array-like, shape (n_fills,)
        Coins > 0 and price of each fill; none is an order that was missed.
    fees : float
        Paid on all of them, in money.
    half_spread : float
        Part of the arrival price that crossing the spread cost, >= 0. It only moves money from impact to spread.

    Returns
    -------
    Shortfall
        A part is NaN where a price that it needs is; delay and impact of no fill, and what is missed of a whole one,
        need none. The total is known without the arrival price.

    Raises
    ------
    ValueError
        If more was filled than wanted, shapes differ, a quantity is not positive or an argument is out of its range.

    References
    ----------
    Perold, "The Implementation Shortfall: Paper versus Reality", *Journal of Portfolio Management* 14(3), 1988;
    Kissell, "The Expanded Implementation Shortfall: Understanding Transaction Cost Components", *Journal of Trading*
    1(3), 2006. Deviation: the delay is that of the coins that were filled; what it did to the others is in what was
    missed, as in the textbooks' example.

    Examples
    --------
    >>> order = ParentOrder(side=Side.BUY, qty=1000.0, decision_price=40.0, arrival_price=40.04, end_price=40.08)
    >>> found = order_shortfall(order, [700.0], [40.05], fees=17.0)
    >>> {part: round(found.fraction(part) * 1e4, 2) for part in PARTS}
    {'delay': 7.0, 'spread': 0.0, 'impact': 1.75, 'missed': 6.0, 'fees': 4.25}
    """
    _check_half_spread(half_spread)
    filled, price = _fills_of_one(qty, prices)
    total = math.fsum(filled.tolist())
    if total > order.qty * (1.0 + _DUST):
        raise ValueError(f"filled must be <= qty = {order.qty}, was {total}")
    sums = _Sums(
        side=np.array([float(order.side)]),
        wanted=np.array([order.qty]),
        filled=np.array([total]),
        paid=np.array([math.fsum((filled * price).tolist())]),
        spread=np.array([half_spread * order.arrival_price * total]),
        fees=np.array([fees]),
    )
    known = (order.decision_price, order.arrival_price, order.end_price)
    parts = _parts(sums, tuple(np.array([price]) for price in known))
    return Shortfall(**{name: float(value[0]) for name, value in parts.items()})


def shortfall_table(
    orders: pd.DataFrame, fills: pd.DataFrame, benchmarks: Benchmarks, *, half_spread: float
) -> pd.DataFrame:
    """Return the shortfall of every decision and symbol of a run.

    The orders of one decision, symbol and side are one parent. It wanted what they filled and what the last of them
    left, apart for reducing and other orders: one that replaces another wants the same coins, not more. Protective
    orders, liquidations and settlements belong to no decision and are left out; so are fills of unknown orders.

    Parameters
    ----------
    orders, fills : DataFrame
        With `ORDER_COLUMNS` and `FILL_COLUMNS` of the tables of a results folder; later orders have larger numbers.
    benchmarks : Benchmarks
        Prices at every decision, such as `bar_benchmarks` gives.
    half_spread : float
        What a taker pays for crossing, as a fraction of its reference price (of its price where that is NaN), >= 0. A
        maker's spread is what it traded worse than its reference price, mostly less than nothing.

    Returns
    -------
    DataFrame
        One row per parent, by decision, symbol and side: ``decision_ts symbol side wanted_qty filled_qty
        decision_price arrival_price mean_price end_price notional delay spread impact missed fees total total_bps``.
        Money in USDT, `notional` and `total_bps` of the paper portfolio. NaN as in `order_shortfall`; a NaN among a
        parent's fills makes the parts that need it NaN.

    Raises
    ------
    SchemaMismatch
        If a table lacks a column, a side is neither buy nor sell, an order number is doubled, or an order was filled
        by more than it wanted.
    DataGap
        If a decision or symbol has no benchmark.
    ValueError
        If `half_spread` is out of its range.

    References
    ----------
    As `order_shortfall`.
    """
    _check_half_spread(half_spread)
    asked = _asked(orders)
    traded = _traded(fills, asked)
    asked["left"] = asked["qty"] - _sums_by(traded, "row", "qty", len(asked))
    over = (asked["left"] < -_DUST * asked["qty"]).to_numpy()
    _refuse(over, "an order must not be filled by more than its qty, order_id", asked["order_id"])
    # Of orders that follow each other only the last still wants what it has left.
    last = ~asked.duplicated(["parent", "reduce_only"], keep="last")
    asked["left"] = asked["left"].clip(lower=0.0).where(last, 0.0)

    keys = asked.drop_duplicates("parent").sort_values("parent")
    prices = benchmarks.of(pd.DatetimeIndex(keys["decision_ts"]), keys["symbol"].tolist())
    traded["paid"] = traded["qty"] * traded["price"]
    traded["spread"] = traded["qty"] * _spreads(traded, half_spread)
    filled, paid, spread, fees = (
        _sums_by(traded, "parent", name, len(keys)) for name in ("qty", "paid", "spread", "fee")
    )
    wanted = filled + _sums_by(asked, "parent", "left", len(keys))
    sums = _Sums(_numbers(keys, "sign"), wanted, filled, paid, spread, fees)
    return _table(keys, sums, prices)


def shortfall_summary(table: pd.DataFrame) -> ShortfallSummary:
    """Return the parts of all decisions together, in basis points of what they wanted.

    Parameters
    ----------
    table : DataFrame
        Of `shortfall_table`; rows in which a part is NaN are counted and left out.

    Returns
    -------
    ShortfallSummary
        Basis points are NaN where no row is left.
    """
    columns = table[[*PARTS, "total", "notional"]].to_numpy(dtype=np.float64)
    complete = ~np.isnan(columns).any(axis=1)
    kept = table[complete]
    notional = math.fsum(kept["notional"])
    money = {part: math.fsum(kept[part]) for part in (*PARTS, "total")}
    done = math.fsum(kept["filled_qty"] * kept["decision_price"])
    return ShortfallSummary(
        decisions=len(kept),
        incomplete=len(table) - len(kept),
        notional=notional,
        fill_rate=done / notional if notional > 0.0 else math.nan,
        **{
            f"{part}_bps": 1e4 * value / notional if notional > 0.0 else math.nan
            for part, value in money.items()
        },
        total=money["total"],
    )


class _Sums(NamedTuple):
    """What the fills of each order come to, shape (n_orders,) each."""

    side: FloatArray
    wanted: FloatArray
    filled: FloatArray
    paid: FloatArray
    spread: FloatArray
    fees: FloatArray


def _parts(sums: _Sums, prices: tuple[FloatArray, ...]) -> dict[str, FloatArray]:
    decision, arrival, end = prices
    traded = sums.filled > 0.0
    left = sums.wanted - sums.filled
    left = np.where(left > _DUST * sums.wanted, left, 0.0)
    missed = np.where(left > 0.0, sums.side * left * (end - decision), 0.0)
    moved = sums.side * (sums.paid - sums.filled * arrival) - sums.spread
    against_paper = sums.side * (sums.paid - sums.filled * decision)
    return {
        "delay": np.where(traded, sums.side * sums.filled * (arrival - decision), 0.0),
        "spread": np.where(traded, sums.spread, 0.0),
        "impact": np.where(traded, moved, 0.0),
        "missed": missed,
        "fees": sums.fees,
        "total": np.where(traded, against_paper, 0.0) + missed + sums.fees,
        "notional": sums.wanted * decision,
    }


def _table(keys: pd.DataFrame, sums: _Sums, prices: tuple[FloatArray, ...]) -> pd.DataFrame:
    decision, arrival, end = prices
    parts = _parts(sums, prices)
    with np.errstate(invalid="ignore"):
        mean = sums.paid / sums.filled
    return pd.DataFrame(
        {
            "decision_ts": keys["decision_ts"].to_numpy(),
            "symbol": keys["symbol"].to_numpy(),
            "side": keys["side"].to_numpy(),
            "wanted_qty": sums.wanted,
            "filled_qty": sums.filled,
            "decision_price": decision,
            "arrival_price": arrival,
            "mean_price": mean,
            "end_price": end,
            "notional": parts.pop("notional"),
            **parts,
            "total_bps": 1e4 * parts["total"] / (sums.wanted * decision),
        }
    )


def _asked(orders: pd.DataFrame) -> pd.DataFrame:
    """Return the orders that a decision asked for, by number, with the number of their parent and their sign."""
    _check_columns(orders, ORDER_COLUMNS, "orders")
    sides = orders["side"].astype(str)
    doubled = orders["order_id"].duplicated().to_numpy()
    _refuse(doubled, "order_id of orders must be unique", orders["order_id"])
    _refuse(~sides.isin(["buy", "sell"]).to_numpy(), "side of orders must be buy or sell", sides)
    _refuse(~(_numbers(orders, "qty") > 0.0), "qty of orders must be > 0", orders["qty"])
    asked = orders["type"].isin(["market", "limit"]) & ~orders["reason"].isin(_PROTECTIVE)
    kept: pd.DataFrame = orders.loc[asked.to_numpy(), list(ORDER_COLUMNS)]
    kept = kept.sort_values("order_id", kind="stable").reset_index(drop=True)
    parents = kept.groupby(["decision_ts", "symbol", "side"], observed=True, sort=True)
    sign = np.where(kept["side"].astype(str).to_numpy() == "buy", 1.0, -1.0)
    kept["parent"], kept["sign"] = parents.ngroup().to_numpy(), sign
    return kept


def _traded(fills: pd.DataFrame, asked: pd.DataFrame) -> pd.DataFrame:
    """Return the fills of those orders, with the row of the order and its parent and sign."""
    _check_columns(fills, FILL_COLUMNS, "fills")
    row = pd.Index(asked["order_id"]).get_indexer(pd.Index(fills["order_id"]))
    kept: pd.DataFrame = fills.loc[row >= 0, list(FILL_COLUMNS)].reset_index(drop=True)
    row = row[row >= 0]
    _refuse(~(_numbers(kept, "qty") > 0.0), "qty of fills must be > 0", kept["qty"])
    _refuse(_numbers(kept, "price") <= 0.0, "price of fills must be > 0 or NaN", kept["price"])
    kept["row"] = row
    kept["parent"], kept["sign"] = (asked[name].to_numpy()[row] for name in ("parent", "sign"))
    return kept


def _spreads(traded: pd.DataFrame, half_spread: float) -> FloatArray:
    """Return what each fill paid for crossing, per coin."""
    price, reference = _numbers(traded, "price"), _numbers(traded, "reference_price")
    known = ~np.isnan(reference)
    crossed = half_spread * np.where(known, reference, price)
    rested = np.where(known, _numbers(traded, "sign") * (price - reference), 0.0)
    return np.where(traded["liquidity"].astype(str).to_numpy() == "maker", rested, crossed)


def _fills_of_one(qty: npt.ArrayLike, prices: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    filled, price = np.asarray(qty, dtype=np.float64), np.asarray(prices, dtype=np.float64)
    if filled.ndim != 1 or filled.shape != price.shape:
        raise ValueError(
            f"qty and prices must be of one shape (n_fills,), were {filled.shape} and {price.shape}"
        )
    bad = filled[~((filled > 0.0) & (filled < math.inf))]
    if len(bad):
        raise ValueError(f"qty must be > 0 and finite, was {bad[0]}")
    bad = price[(price <= 0.0) | np.isinf(price)]
    if len(bad):
        raise ValueError(f"prices must be > 0 and finite, or NaN, was {bad[0]}")
    return filled, price


def _sums_by(frame: pd.DataFrame, group: str, column: str, count: int) -> FloatArray:
    """Return the sum of a column by a group's number; unlike pandas' own, NaN where one of its values is."""
    numbers = frame[group].to_numpy(dtype=np.int64)
    return np.bincount(numbers, weights=_numbers(frame, column), minlength=count).astype(np.float64)


def _numbers(frame: pd.DataFrame, column: str) -> FloatArray:
    return frame[column].to_numpy(dtype=np.float64)


def _check_half_spread(half_spread: float) -> None:
    if not 0.0 <= half_spread < 1.0:
        raise ValueError(f"half_spread must be in [0, 1), was {half_spread}")


def _check_columns(table: pd.DataFrame, needed: Sequence[str], name: str) -> None:
    lacking = [column for column in needed if column not in table]
    if lacking:
        raise SchemaMismatch(f"{name} must have the columns {', '.join(needed)}, lacked {lacking}")


def _refuse(bad: BoolArray, rule: str, values: pd.Series) -> None:
    if bad.any():
        raise SchemaMismatch(f"{rule}, was {values.iloc[int(bad.argmax())]}")
