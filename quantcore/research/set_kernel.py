"""The compiled pass over parameter sets: signals, weights and account of each, block by block.

Decision bars are taken in short blocks. What no set decides (shares and covariance of the symbols) is measured once per
block, then each set runs its strategy, its portfolio and its account over the block's rows and adds what happened to
its tally. Between two blocks a set is its state, so that memory does not grow with bars times sets, and a block's data
is read from the processor's cache. Strategy and account are the ones of the backtest, called by address.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from quantcore.kernels.by_address import call
from quantcore.kernels.compiled import inner
from quantcore.kernels.fields import Fields
from quantcore.kernels.layout import Account, Journal, Market, Rules
from quantcore.kernels.tally import count_curve, count_events
from quantcore.signals.generator import SMOOTH_DECAY, measure, smooth, weigh_row
from quantcore.types import BoolArray, FloatArray, IntArray


class Timeline(NamedTuple):
    """When what happens, the same for all sets."""

    decision_row: IntArray
    """Execution row at whose close each decision is taken, shape ``(n_decisions,)``; -1 before the traded span."""
    local: IntArray
    """Each execution row's decision, counted from its block's first; -1 for none, -2 to record the curve alone."""
    curve_ts: IntArray
    """Stamps of the execution rows that record the curve."""
    settlement: IntArray
    settlement_value: FloatArray
    flow_row: IntArray
    flow_time: IntArray
    flow_amount: FloatArray
    script: IntArray
    script_value: FloatArray


class Sets(NamedTuple):
    """The sets of a group, one per row of each array; what they share is the same in all rows."""

    vector: FloatArray
    """Settings of the strategy."""
    portfolio: FloatArray
    """Settings of the portfolio; the half-lives are the same for all."""
    config: FloatArray
    rules: IntArray
    """Row of `Books.rate` and its like."""


class Books(NamedTuple):
    """Accounts and rules of a group; fields as in `kernels.layout`, one dimension more."""

    cash: FloatArray
    counter: IntArray
    position: FloatArray
    held: IntArray
    order: FloatArray
    ticket: IntArray
    risk: FloatArray
    pairs: FloatArray
    route: IntArray
    quote: FloatArray
    liquidity: FloatArray
    rate: FloatArray
    size: IntArray
    bracket: FloatArray


class Held(NamedTuple):
    """What each set carries from block to block besides its account."""

    state: FloatArray
    """Of the strategy."""
    counts: IntArray
    smooth: FloatArray
    """Of the portfolio's smoothing, as `generator.init`."""
    tally: FloatArray
    trips: FloatArray
    daily: FloatArray
    """Unit value at the end of each UTC day."""
    views: IntArray
    """Forecasts that were not NaN."""


@njit(cache=True, error_model="numpy", nogil=True)
def run_sets(
    strategy: int, account_step: int, fields: Fields, members: BoolArray, market: Market, timeline: Timeline,
    first: int, sets: Sets, books: Books, held: Held, journal: Journal, room: int, weights: FloatArray,
    read_weights: FloatArray,
) -> int:  # fmt: skip
    """Run every set over all bars; return the number of decisions taken by each.

    Parameters
    ----------
    strategy, account_step : int
        Addresses of the strategy's `fill_rows` and of `account_step.scan`.
    fields : Fields
        Decision bars, those that warm signals up included.
    members : bool array, shape (n_decisions, n_symbols) or (0, n_symbols)
        The universe; without rows everything.
    market : Market
        Execution bars from the first traded decision on.
    timeline : Timeline
        When what happens.
    first : int
        First decision that is traded.
    sets, books, held : Sets, Books, Held
        The group; `books` and `held` are advanced in place.
    journal : Journal
        Room for one block's events and its curve, emptied after each.
    room : int
        Rows of the journal from which on it is emptied.
    weights, read_weights : float64 arrays, shape (n_block, n_symbols)
        Room for one block's weights, and a read-only view of it.
    """
    n_decisions, n_symbols = fields.close.shape
    block = len(weights)
    symbols, pairs = np.zeros((n_symbols, 7)), np.zeros((2, n_symbols, n_symbols))
    for i in range(n_symbols):
        symbols[i, 1] = np.nan
    estimated = np.full(n_symbols, np.nan)
    returns, moved = np.empty(n_symbols), np.empty(n_symbols)
    shares = np.empty((block, n_symbols))
    covariance = np.empty((block, n_symbols, n_symbols))
    begun, recorded = 0, 0
    start = 0
    while start < n_decisions:
        stop = min(start + block, first if start < first else n_decisions)
        for t in range(start, stop):
            measure(
                symbols, pairs, fields.close[t], sets.portfolio[0], estimated, returns, shares[t - start],
                covariance[t - start],
            )  # fmt: skip
        traded = start >= first
        until = begun
        if traded:
            last = stop == n_decisions
            until = len(market.ts_us) if last else timeline.decision_row[stop - 1] + 1
        for g in range(len(sets.vector)):
            call(
                strategy,
                (fields, sets.vector[g], held.state[g], held.counts[g], start, stop, weights),
            )
            held.views[g] += _weigh(
                fields.close, members, start, stop, shares, covariance, sets.portfolio[g], held.smooth[g],
                moved, weights,
            )  # fmt: skip
            if traded:
                _trade(
                    account_step, market, timeline, sets, books, held, journal, room, read_weights, g, begun,
                    until, recorded,
                )  # fmt: skip
        if traded:
            for row in range(begun, until):
                recorded += timeline.local[row] != -1
            begun = until
        start = stop
    return int(n_decisions - first)


@inner()
def _weigh(
    closes: FloatArray, members: BoolArray, start: int, stop: int, shares: FloatArray, covariance: FloatArray,
    portfolio: FloatArray, symbols: FloatArray, moved: FloatArray, weights: FloatArray,
) -> int:  # fmt: skip
    """Turn a block's forecasts into weights in place; return how many forecasts there were."""
    views = 0
    for t in range(start, stop):
        k = t - start
        for i in range(closes.shape[1]):
            if len(members) > 0 and not members[t, i]:
                weights[k, i] = np.nan
            views += 0 if np.isnan(weights[k, i]) else 1
            if portfolio[SMOOTH_DECAY] > 0.0:
                weights[k, i] = smooth(symbols, i, weights[k, i], portfolio[SMOOTH_DECAY])
        weigh_row(weights[k], closes[t], shares[k], covariance[k], portfolio, moved)
        for i in range(closes.shape[1]):
            if np.isnan(closes[t, i]):
                weights[k, i] = np.nan
    return views


@inner()
def _trade(
    account_step: int, market: Market, timeline: Timeline, sets: Sets, books: Books, held: Held, journal: Journal,
    room: int, weights: FloatArray, g: int, row: int, until: int, recorded: int,
) -> None:  # fmt: skip
    """Advance a set's account over a block's execution rows and count what happened."""
    account = Account(
        books.cash[g], books.counter[g], books.position[g], books.held[g], books.order[g], books.ticket[g],
        books.risk[g], books.pairs[g], books.route[g], books.quote[g], books.liquidity[g],
    )  # fmt: skip
    r = sets.rules[g]
    rules = Rules(books.rate[r], books.size[r], books.bracket[r])
    while row < until:
        row = call(
            account_step,
            (
                account, market, rules, sets.config[g], timeline.settlement, timeline.settlement_value,
                timeline.flow_row, timeline.flow_time, timeline.flow_amount, timeline.local, weights,
                timeline.script, timeline.script_value, journal, room, row, until,
            ),
        )  # fmt: skip
        count_events(journal, held.tally[g], held.trips[g])
    count_curve(journal, timeline.curve_ts, recorded, held.tally[g], held.daily[g])
