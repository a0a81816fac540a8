"""What each decision wanted and what it got: the orders and fills of a run, added up by decision.

Whoever works an order sends several *children*: post-only orders that are re-quoted, slices, and a market order for
the rest. The children of one decision, symbol and side are one *parent*. An order that replaces another wants the same
coins, not more, so a parent wanted what its children filled and what the last of them left. A turn from long to short
has closing (reduce-only) and opening children, which want different coins: the last of each kind counts.

An order also says what its decision still wanted when it was sent, so that slices which a new decision overtook are
missed. What a decision wanted and for which no order was ever sent, such as the opening part of a turn whose closing
part did not fill, is not seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import NamedTuple

import numpy as np
import pandas as pd

from quantcore.errors import SchemaMismatch
from quantcore.timegrid import index_us
from quantcore.types import (
    Array,
    BoolArray,
    FillReason,
    FloatArray,
    IntArray,
    OrderStatus,
    OrderType,
    Rule,
)

ORDER_COLUMNS = (
    "order_id", "decision_ts", "symbol", "side", "type", "qty", "reduce_only", "status", "reason",
)  # fmt: skip
FILL_COLUMNS = ("order_id", "qty", "price", "fee")
DUST = 1e-9
"""Share of the quantity wanted that sums of coins may be off by rounding."""

PROTECTIVE = frozenset(
    reason.name.lower()
    for reason in FillReason
    if reason not in (FillReason.TARGET, FillReason.SCRIPT)
)
"""Reasons of orders and fills that no decision asked for, so that no decision's price measures them."""

_SENT = [kind.name.lower() for kind in (OrderType.MARKET, OrderType.LIMIT)]
_FILLED = OrderStatus.FILLED.name.lower()
_NOTHING_HELD = Rule.REDUCE_ONLY.name.lower()


@dataclass(frozen=True, kw_only=True)
class Parents:
    """Parents by decision, symbol and side: arrays of shape ``(n_parents,)``, money in USDT.

    Parameters
    ----------
    names : tuple of str
        Symbols, sorted; `symbol` is a place in it.
    decision_us, symbol : int64 array
        When they were decided, microseconds since 1970, and of what.
    side : float64 array
        1 bought, -1 sold.
    wanted, filled : float64 array
        Coins, ``0 <= filled <= wanted`` and ``wanted > 0``.
    paid : float64 array
        Quantity times price of the fills.
    spread : float64 array
        How much worse than their reference prices the fills traded; 0 where none is known.
    fees : float64 array
        Paid, < 0 for a rebate.
    """

    names: tuple[str, ...]
    decision_us: IntArray
    symbol: IntArray
    side: FloatArray
    wanted: FloatArray
    filled: FloatArray
    paid: FloatArray
    spread: FloatArray
    fees: FloatArray

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.wanted)

    def where(self, kept: BoolArray) -> Parents:
        """Return those that are kept."""
        if kept.all():
            return self
        columns = [field.name for field in fields(self) if field.name != "names"]
        return replace(self, **{name: getattr(self, name)[kept] for name in columns})

    @property
    def fill_rate(self) -> float:
        """Mean over parents of filled over wanted quantity, in [0, 1]; NaN without one."""
        return float((self.filled / self.wanted).mean()) if len(self) else float("nan")


def parent_orders(orders: pd.DataFrame, fills: pd.DataFrame) -> Parents:
    """Return what every decision of a run wanted and got.

    Protective orders, liquidations and settlements belong to no decision and are left out; so are fills of unknown
    orders. A filled order left nothing of its own quantity: a reducing one is cut to the position. One that expired
    because there was no position to reduce wanted nothing.

    Parameters
    ----------
    orders, fills : DataFrame
        With `ORDER_COLUMNS` and `FILL_COLUMNS` of the tables of a results folder, and where known ``reference_price``
        of fills and ``wanted_qty`` of orders (else their ``qty``); later orders have larger numbers.

    Returns
    -------
    Parents
        Sorted by decision, symbol and side, buys first. A NaN among a parent's fills makes its sum NaN.

    Raises
    ------
    SchemaMismatch
        If a table lacks a column, a side is neither buy nor sell, an order number is doubled, or an order was filled
        by more than it wanted.
    """
    _check_columns(orders, ORDER_COLUMNS, "orders")
    children = _children_of(orders)
    child, qty, price, fee, reference = _fills_of(fills, children.ids)
    done = _sums(child, qty, len(children.ids))
    over = done > children.qty * (1.0 + DUST)
    _refuse(over, "an order must not be filled by more than its qty, order_id", children.ids)
    traded = np.where(children.filled, children.qty, done)
    left = np.where(children.wants_nothing, 0.0, np.maximum(children.wanted - traded, 0.0))
    left[left <= DUST * children.wanted] = 0.0

    parent, first = _groups(children.decision_us, children.symbol, children.side)
    # Of children that follow each other only the last still wants what it has left.
    kind = 2 * parent + children.reduces
    last = np.full(2 * len(first), -1, dtype=np.int64)
    last[kind] = np.arange(len(kind))
    rest = np.where(last >= 0, left[last], 0.0) if len(left) else left

    of_fill = parent[child]
    worse = children.side[child] * (price - reference)
    filled = _sums(of_fill, qty, len(first))
    wanted = filled + rest[::2] + rest[1::2]
    return Parents(
        names=children.names,
        decision_us=children.decision_us[first],
        symbol=children.symbol[first],
        side=children.side[first],
        wanted=wanted,
        filled=filled,
        paid=_sums(of_fill, qty * price, len(first)),
        spread=_sums(of_fill, np.where(np.isnan(reference), 0.0, qty * worse), len(first)),
        fees=_sums(of_fill, fee, len(first)),
    ).where(wanted > 0.0)


def symbol_codes(symbols: pd.Series) -> tuple[tuple[str, ...], IntArray]:
    """Return the names of a column of symbols, sorted, and the place of each row's in them."""
    codes, found = pd.factorize(symbols)
    if (codes < 0).any():
        raise SchemaMismatch("symbol must not be missing")
    names = [str(name) for name in found]
    place = np.argsort(np.argsort(names))
    return tuple(sorted(names)), place[codes].astype(np.int64)


class _Children(NamedTuple):
    """The orders that decisions asked for, by number; arrays of shape ``(n_orders,)``."""

    names: tuple[str, ...]
    ids: IntArray
    decision_us: IntArray
    symbol: IntArray
    side: FloatArray
    qty: FloatArray
    wanted: FloatArray
    reduces: BoolArray
    filled: BoolArray
    wants_nothing: BoolArray


def _children_of(orders: pd.DataFrame) -> _Children:
    decided = orders["type"].isin(_SENT) & ~orders["reason"].isin(PROTECTIVE)
    row = np.flatnonzero(decided.to_numpy())
    number = orders["order_id"].to_numpy(np.int64)
    row = row[np.argsort(number[row], kind="stable")]
    ids = number[row]
    _refuse(ids[1:] == ids[:-1], "order_id of orders must be unique", ids[1:])
    qty = _numbers(orders, "qty")[row]
    _refuse(~(qty > 0.0), "qty of orders must be > 0", qty)
    bought, sold = ((orders["side"] == side).to_numpy()[row] for side in ("buy", "sell"))
    if not (bought | sold).all():
        _refuse(
            ~(bought | sold), "side of orders must be buy or sell", orders["side"].to_numpy()[row]
        )
    names, symbol = symbol_codes(orders["symbol"])
    wanted = qty
    if "wanted_qty" in orders:
        wanted = np.fmax(_numbers(orders, "wanted_qty")[row], qty)
    return _Children(
        names=names,
        ids=ids,
        decision_us=index_us(pd.DatetimeIndex(orders["decision_ts"]))[row],
        symbol=symbol[row],
        side=np.where(bought, 1.0, -1.0),
        qty=qty,
        wanted=wanted,
        reduces=orders["reduce_only"].to_numpy(np.bool_)[row],
        filled=(orders["status"] == _FILLED).to_numpy()[row],
        wants_nothing=(orders["reason"] == _NOTHING_HELD).to_numpy()[row],
    )


def _fills_of(
    fills: pd.DataFrame, ids: IntArray
) -> tuple[IntArray, FloatArray, FloatArray, FloatArray, FloatArray]:
    """Return the fills of orders: the order's place in `ids`, quantity, price, fee and reference price."""
    _check_columns(fills, FILL_COLUMNS, "fills")
    number = fills["order_id"].to_numpy(np.int64)
    place = np.searchsorted(ids, number)
    known = np.flatnonzero(place < len(ids))
    known = known[ids[place[known]] == number[known]]
    qty, price, fee = (_numbers(fills, name)[known] for name in ("qty", "price", "fee"))
    _refuse(~(qty > 0.0), "qty of fills must be > 0", qty)
    _refuse(price <= 0.0, "price of fills must be > 0 or NaN", price)
    reference = np.full(len(known), np.nan)
    if "reference_price" in fills:
        reference = _numbers(fills, "reference_price")[known]
    return place[known], qty, price, fee, reference


def _groups(stamps: IntArray, symbol: IntArray, side: FloatArray) -> tuple[IntArray, IntArray]:
    """Return the number of each row's group, in their order, and the first row of each group."""
    if not len(stamps):
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    key = ((stamps - stamps.min()) * (symbol.max() + 1) + symbol) * 2 + (side < 0.0)
    order = np.argsort(
        key, kind="stable"
    )  # mostly sorted already, which a stable sort makes use of
    begins = np.concatenate([[True], np.diff(key[order]) > 0])
    number = np.empty(len(key), dtype=np.int64)
    number[order] = np.cumsum(begins) - 1
    return number, order[begins]


def _sums(group: IntArray, amounts: FloatArray, count: int) -> FloatArray:
    return np.bincount(group, weights=amounts, minlength=count).astype(np.float64)


def _numbers(frame: pd.DataFrame, column: str) -> FloatArray:
    return frame[column].to_numpy(dtype=np.float64)


def _check_columns(table: pd.DataFrame, needed: Sequence[str], name: str) -> None:
    lacking = [column for column in needed if column not in table]
    if lacking:
        raise SchemaMismatch(f"{name} must have the columns {', '.join(needed)}, lacked {lacking}")


def _refuse(bad: BoolArray, rule: str, values: Array) -> None:
    if bad.any():
        raise SchemaMismatch(f"{rule}, was {values[int(bad.argmax())]}")
