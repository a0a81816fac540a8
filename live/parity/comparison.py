"""Two accounts of the same bars, row by row: what was wanted, sent, traded and paid, and what it came to.

Both sides are tables of a results folder (DESIGN.md 6). Equity may differ by `EQUITY_TOLERANCE` of the capital,
everything else must be the same to the last bit. The exchange ends a protective order with its position before anybody
can cancel it: such an order is `expired` there and `canceled` in the backtest, and those two ends count as the same.
Order numbers are not compared: an order is known by when it was decided, its symbol, side and type, and its place among
them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from live.parity.kinds import Kind
from quantcore.types import Array, BoolArray, FloatArray

Tables = Mapping[str, pd.DataFrame]

EQUITY_TOLERANCE = 1e-9
"""Share of the capital by which equity may differ, for sums are taken in another order."""
TOLD = 1e-8
"""By how much an amount that only an exchange tells may differ: it has eight digits."""
KEPT = 1000
"""Most differences that are listed of one table."""
CONDITIONAL = ("stop_market", "take_profit_market", "trailing_stop_market")
"""Types of the orders that protect a position, and end with it."""
COLUMNS = ["ts", "subject", "kind", "symbol", "field", "backtest", "live", "difference"]
BACKTEST_ROW, LIVE_ROW = "backtest_row", "live_row"
"""Row of a difference in each side's table, -1 where it has none."""

_ORDER_FIELDS = {
    "qty": Kind.ROUNDING,
    "wanted_qty": Kind.ROUNDING,
    "price": Kind.PRICE,
    "stop_price": Kind.PRICE,
    "time_in_force": Kind.TERMS,
    "reduce_only": Kind.TERMS,
    "status": Kind.ENDING,
    "reason": Kind.ENDING,
}
_FILL_FIELDS = {
    "ts": Kind.TIMING,
    "qty": Kind.ROUNDING,
    "price": Kind.PRICE,
    "reference_price": Kind.PRICE,
    "fee": Kind.FEE,
    "liquidity": Kind.FEE,
    "reason": Kind.TERMS,
}
_FUNDING_FIELDS = dict.fromkeys(("qty", "rate", "mark_price", "amount", "assumed"), Kind.FUNDING)
_LIQUIDATION_FIELDS = dict.fromkeys(("qty", "price", "fee", "insurance"), Kind.LIQUIDATION)
_RANKS = {
    name: rank
    for rank, name in enumerate(("funding", "fills", "liquidations", "equity", "targets", "orders"))
}
"""The order in which things happen within a bar and at its close."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What the comparison of two sides found.

    Parameters
    ----------
    counts : mapping of str to (int, int)
        By table: rows compared, and how many of them differ; decisions are under ``targets``.
    max_equity_error : float
        Largest difference in equity at a decision, USDT.
    differences : DataFrame
        `COLUMNS`, `BACKTEST_ROW` and `LIVE_ROW`, the first to happen first, values as text that gives them back; at
        most `KEPT` of each table.
    by_kind : mapping of str to int
        Rows that differ, by where that comes from.
    expired : int
        Orders that ended with their position at the exchange before the loop could cancel them.
    pairs : DataFrame
        Every fill: `BACKTEST_ROW` and `LIVE_ROW`, and its ``kind``, None where both are the same.
    """

    counts: Mapping[str, tuple[int, int]]
    max_equity_error: float
    differences: pd.DataFrame = field(repr=False)
    by_kind: Mapping[str, int]
    expired: int
    pairs: pd.DataFrame = field(repr=False)

    @property
    def equal(self) -> bool:
        """Whether nothing differs."""
        return not any(differing for _, differing in self.counts.values())


def compare(
    backtest: Tables, live: Tables, *, capital: float, tolerance: float = 0.0
) -> Comparison:
    """Compare two sides.

    Parameters
    ----------
    backtest, live : mapping of str to DataFrame
        ``targets fills orders funding liquidations equity``, as `backtest.tables.run_tables` gives them.
    capital : float
        USDT at the start.
    tolerance : float
        With more than 0, as for a real run: by how much numbers of orders, fills and payments may differ, and what the
        live side does not know (NaN) is the same as anything; 0 for the last bit.
    """
    orders = _matched(backtest["orders"], live["orders"], ["decision_ts", "symbol", "side", "type"])
    same_end, expired = _same_ends(backtest["orders"], live["orders"], orders)
    fills = _matched(*_by_order(backtest["fills"], live["fills"], backtest, live, orders), ["pair"])
    found = {
        "targets": _targets(backtest["targets"], live["targets"]),
        "orders": _rows("orders", backtest, live, orders, _ORDER_FIELDS, tolerance, same_end),
        "fills": _rows("fills", backtest, live, fills, _FILL_FIELDS, tolerance),
        "equity": _equity(backtest["equity"], live["equity"], capital),
    }
    for name, fields in (("funding", _FUNDING_FIELDS), ("liquidations", _LIQUIDATION_FIELDS)):
        matched = _matched(backtest[name], live[name], ["ts", "symbol"])
        least = TOLD if name == "liquidations" else 0.0
        found[name] = _rows(name, backtest, live, matched, fields, max(tolerance, least))
    listed = pd.concat([each.listed for each in found.values()], ignore_index=True)
    listed["rank"] = listed["subject"].map(_RANKS)
    listed = listed.sort_values(["ts", "rank"], kind="stable", ignore_index=True)
    kinds: dict[str, int] = {}
    for each in found.values():
        for kind, number in each.kinds.items():
            kinds[kind] = kinds.get(kind, 0) + number
    return Comparison(
        counts={name: (each.compared, sum(each.kinds.values())) for name, each in found.items()},
        max_equity_error=_equity_error(backtest["equity"], live["equity"]),
        differences=listed.drop(columns="rank"),
        by_kind=kinds,
        expired=expired,
        pairs=fills.assign(kind=np.array(found["fills"].kind_of, dtype=object)),
    )


@dataclass(frozen=True, kw_only=True)
class _Found:
    """What was found in one table: rows compared, how many differ by kind, and the differences field by field."""

    compared: int
    kinds: Mapping[str, int]
    listed: pd.DataFrame
    kind_of: Sequence[str | None] = ()


def _matched(left: pd.DataFrame, right: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Return the rows of both sides that are the same thing, in order of time; -1 where a side has none."""
    numbered = []
    for table, row in ((left, BACKTEST_ROW), (right, LIVE_ROW)):
        own = table[keys].assign(**{row: np.arange(len(table))})
        own["place"] = own.groupby(keys, sort=False, dropna=False).cumcount()
        numbered.append(own)
    both = numbered[0].merge(numbered[1], how="outer", on=[*keys, "place"], sort=False)
    rows = both[[BACKTEST_ROW, LIVE_ROW]].fillna(-1).astype(np.int64)
    first = rows.where(rows >= 0, np.iinfo(np.int64).max).min(axis=1)
    return rows.iloc[np.argsort(first.to_numpy(), kind="stable")].reset_index(drop=True)


def _by_order(
    left: pd.DataFrame, right: pd.DataFrame, backtest: Tables, live: Tables, orders: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the fills with the pair of orders that they belong to."""
    sides = []
    for fills, tables, row in ((left, backtest, BACKTEST_ROW), (right, live, LIVE_ROW)):
        mine = orders[orders[row] >= 0]
        ids = tables["orders"]["order_id"].to_numpy()[mine[row].to_numpy()]
        pair = pd.Series(mine.index.to_numpy(), index=ids)
        sides.append(pd.DataFrame({"pair": pair.reindex(fills["order_id"]).to_numpy()}))
    return sides[0], sides[1]


def _same_ends(
    left: pd.DataFrame, right: pd.DataFrame, orders: pd.DataFrame
) -> tuple[BoolArray, int]:
    """Return where a conditional order that the backtest cancelled had expired at the exchange, and how often."""
    both = (orders[[BACKTEST_ROW, LIVE_ROW]] >= 0).all(axis=1).to_numpy()
    ended = [
        table["status"].to_numpy()[np.maximum(orders[row].to_numpy(), 0)]
        if len(table)
        else np.full(len(orders), "")
        for table, row in ((left, BACKTEST_ROW), (right, LIVE_ROW))
    ]
    same = both & (ended[0] == "canceled") & (ended[1] == "expired")
    same[same] = left["type"].iloc[orders.loc[same, BACKTEST_ROW]].isin(CONDITIONAL).to_numpy()
    return same, int(same.sum())


def _rows(
    subject: str,
    backtest: Tables,
    live: Tables,
    matched: pd.DataFrame,
    fields: Mapping[str, Kind],
    tolerance: float,
    same_end: BoolArray | None = None,
) -> _Found:
    """Compare the matched rows of a table field by field; the first field that differs names the kind."""
    left, right = backtest[subject], live[subject]
    l_row, r_row = matched[BACKTEST_ROW].to_numpy(), matched[LIVE_ROW].to_numpy()
    kind = np.full(len(matched), None, dtype=object)
    kind[r_row < 0], kind[l_row < 0] = Kind.MISSING, Kind.EXTRA
    both = np.flatnonzero((l_row >= 0) & (r_row >= 0))
    differing = {}
    for name, why in fields.items():
        other = np.zeros(len(matched), dtype=np.bool_)
        values = left[name].iloc[l_row[both]], right[name].iloc[r_row[both]]
        other[both] = ~_same(*values, tolerance)
        if name == "status" and same_end is not None:
            other &= ~same_end
        differing[name] = other
        kind[other & pd.isna(kind)] = why
    wrong = [
        (row, name) for name, other in differing.items() for row in np.flatnonzero(other).tolist()
    ]
    wrong += [(row, "qty") for row in np.flatnonzero((l_row < 0) | (r_row < 0)).tolist()]
    wrong.sort(key=lambda pair: pair[0])
    return _Found(
        compared=len(matched),
        kinds=_counted(kind),
        listed=_listed(subject, left, right, matched, wrong[:KEPT], kind),
        kind_of=kind.tolist(),
    )


def _listed(
    subject: str,
    left: pd.DataFrame,
    right: pd.DataFrame,
    matched: pd.DataFrame,
    wrong: Sequence[tuple[int, str]],
    kind: Array,
) -> pd.DataFrame:
    """Return differences as rows; `wrong` are pairs of a matched row and a field."""
    when = "decision_ts" if subject == "orders" else "ts"
    found = []
    for row, name in wrong:
        places = [int(matched[column].to_numpy()[row]) for column in (BACKTEST_ROW, LIVE_ROW)]
        sides = [
            None if at < 0 else table.iloc[at]
            for table, at in zip((left, right), places, strict=True)
        ]
        known = [side for side in sides if side is not None]
        values = [None if side is None else side[name] for side in sides]
        found.append(
            (
                min(side[when] for side in known), subject, str(kind[row]), known[0]["symbol"], name,
                *map(text, values), _apart(*values), *places,
            )
        )  # fmt: skip
    return _table(found)


def _targets(left: pd.DataFrame, right: pd.DataFrame) -> _Found:
    """Compare target weights bit by bit; a decision that one side did not take differs."""
    index = left.index.union(right.index)
    columns = left.columns
    rows = [side.index.get_indexer(index) for side in (left, right)]
    there = [row >= 0 for row in rows]
    weights = [
        side.reindex(index=index, columns=columns).to_numpy(np.float64) for side in (left, right)
    ]
    same = _same_bits(*weights)
    same[~(there[0] & there[1])] = False
    differing = ~same.all(axis=1)
    alone = ~(there[0] & there[1])
    kind = np.where(alone, np.where(there[0], Kind.MISSING, Kind.EXTRA), Kind.SIGNAL)
    listed = ~same & ~alone[:, None]
    # A decision that one side did not take is listed once, by its largest weight.
    sizes = np.abs(np.where(there[0][:, None], *weights)[alone])
    listed[alone, np.argmax(np.nan_to_num(sizes), axis=1)] = True
    found = []
    for row, column in np.argwhere(listed)[:KEPT].tolist():
        values = [
            float(w[row, column]) if t[row] else None for w, t in zip(weights, there, strict=True)
        ]
        found.append(
            (
                index[row], "targets", str(kind[row]), columns[column], "weight", *map(text, values),
                _apart(*values), rows[0][row], rows[1][row],
            )
        )  # fmt: skip
    return _Found(compared=len(index), kinds=_counted(kind[differing]), listed=_table(found))


def _equity(left: pd.DataFrame, right: pd.DataFrame, capital: float) -> _Found:
    """Compare the equity at the rows of the backtest."""
    there = pd.Index(right["ts"]).get_indexer(left["ts"])
    values = (
        np.where(there >= 0, right["equity"].to_numpy()[there], np.nan)
        if len(right)
        else (np.full(len(left), np.nan))
    )
    own = left["equity"].to_numpy()
    differing = ~(np.abs(values - own) <= EQUITY_TOLERANCE * capital)
    found = [
        (
            left["ts"].iat[row], "equity", str(Kind.EQUITY), "", "equity", text(own[row]),
            text(values[row]), _apart(own[row], values[row]), row, there[row],
        )
        for row in np.flatnonzero(differing)[:KEPT].tolist()
    ]  # fmt: skip
    kinds = {str(Kind.EQUITY): int(differing.sum())} if differing.any() else {}
    return _Found(compared=len(left), kinds=kinds, listed=_table(found))


def _equity_error(left: pd.DataFrame, right: pd.DataFrame) -> float:
    both = left[["ts", "equity"]].merge(right[["ts", "equity"]], on="ts")
    apart = (both["equity_x"] - both["equity_y"]).abs()
    return float(apart.max()) if len(apart) else 0.0


def _same(left: pd.Series, right: pd.Series, tolerance: float) -> BoolArray:
    if left.dtype == np.float64 and tolerance > 0.0:
        unknown = right.isna().to_numpy()
        return np.asarray(unknown | ((left - right.to_numpy()).abs() <= tolerance).to_numpy())
    if left.dtype == np.float64:
        return _same_bits(left.to_numpy(), right.to_numpy())
    ours, theirs = left.to_numpy(), right.to_numpy()
    return np.asarray((ours == theirs) | (pd.isna(ours) & pd.isna(theirs)), dtype=np.bool_)


def _same_bits(left: FloatArray, right: FloatArray) -> BoolArray:
    missing = np.isnan(left) & np.isnan(right)
    bits = [np.ascontiguousarray(side).view(np.int64) for side in (left, right)]
    return np.asarray(missing | (bits[0] == bits[1]))


def _counted(kinds: Array) -> dict[str, int]:
    named = [str(kind) for kind in kinds.tolist() if kind is not None]
    return {kind: named.count(kind) for kind in dict.fromkeys(named)}


def text(value: object) -> str | None:
    """Return a value as text that gives it back; None where a side has none."""
    if value is None:
        return None
    if isinstance(value, pd.Timestamp):
        return value.isoformat()
    return repr(float(value)) if isinstance(value, float) else str(value)


def _apart(left: object, right: object) -> float:
    """Return live less backtest; of times in seconds, NaN of what has no difference."""
    if isinstance(left, pd.Timestamp) and isinstance(right, pd.Timestamp):
        return float((right - left).total_seconds())
    if isinstance(left, float) and isinstance(right, float):
        return float(right - left)
    return np.nan


def _table(found: Sequence[tuple[object, ...]]) -> pd.DataFrame:
    table = pd.DataFrame(found, columns=[*COLUMNS, BACKTEST_ROW, LIVE_ROW])
    return table.astype({"ts": "datetime64[us, UTC]", "difference": np.float64})
