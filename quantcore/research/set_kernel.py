"""The compiled pass over parameter sets: signals, weights and account of each, block by block.

Decision bars are taken in short blocks. What several sets have in common (a strategy's averages, the shares and the
covariance of the symbols) is measured once per block, then each set runs its strategy, its portfolio and its account
over the block's rows and adds what happened to its tally. Between two blocks a set is its state, so that memory does
not grow with bars times sets, and a block's data is read from the processor's cache. Strategy and account are those of
the backtest, called by address; the plain account of one symbol has a way of its own (`account_solo`).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit

from quantcore.account_hold import Marks
from quantcore.account_solo import is_plain, solo
from quantcore.kernels.by_address import call
from quantcore.kernels.compiled import inner
from quantcore.kernels.fields import Fields
from quantcore.kernels.layout import Account, Journal, Market, Rules
from quantcore.kernels.memory import lent
from quantcore.kernels.tally import count_curve, count_events
from quantcore.signals import fixed
from quantcore.signals.generator import SMOOTH_DECAY, measure, smooth, weigh_row
from quantcore.types import BoolArray, FloatArray, IntArray

FIXED = 1
"""Numbers in the settings of a fixed portfolio; a generator's are more."""
STEPS_MAX = 512
"""Most rows that the step takes before the way of one symbol is tried again."""


class Kernels(NamedTuple):
    """Addresses."""

    features: int
    """Of the strategy's `fill_features`; 0 where sets have nothing in common."""
    strategy: int
    """Of its `fill_rows`, or `fill_from_features`."""
    account: int
    """Of `account_step.scan`."""


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


class Common(NamedTuple):
    """What several sets of a strategy measure alike."""

    vector: FloatArray
    state: FloatArray
    rows: FloatArray
    """Room for one block, shape ``(n_features, n_block, n_symbols)``."""


class Sets(NamedTuple):
    """The sets of a group, one per row of each array; what they share is the same in all rows."""

    vector: FloatArray
    """Settings of the strategy."""
    portfolio: FloatArray
    """Settings of the portfolio; a generator's half-lives are the same for all."""
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
    portfolio: FloatArray
    """Of the portfolio, shape ``(n_sets, n_symbols, 7)``: a generator's smoothing, or a fixed one's last target."""
    tally: FloatArray
    trips: FloatArray
    daily: FloatArray
    """Unit value at the end of each UTC day."""
    views: IntArray
    """Forecasts that were not NaN."""


class Room(NamedTuple):
    """What a block is worked out in; its content means nothing before or after."""

    weights: FloatArray
    """Shape ``(n_block, n_symbols)``."""
    read_weights: FloatArray
    """A read-only view of the same."""
    targets: FloatArray
    """The targets of one symbol that are given, shape ``(n_block, 1)``."""
    events: IntArray
    """Their execution rows."""


@njit(cache=True, error_model="numpy", nogil=True)
def run_sets(  # noqa: C901 - the order of the stages is read in one place
    kernels: Kernels, fields: Fields, members: BoolArray, market: Market, marks: Marks, timeline: Timeline,
    first: int, common: Common, sets: Sets, books: Books, held: Held, journal: Journal, room: Room, journal_rows: int,
) -> int:  # fmt: skip
    """Run every set over all bars; return the number of decisions taken by each.

    Parameters
    ----------
    kernels : Kernels
        What is called.
    fields : Fields
        Decision bars, those that warm signals up included.
    members : bool array, shape (n_decisions, n_symbols) or (0, n_symbols)
        The universe; without rows everything.
    market : Market
        Execution bars from the first traded decision on.
    marks : Marks
        Of one symbol whose decisions are taken at every execution bar, else without rows.
    timeline : Timeline
        When what happens.
    first : int
        First decision that is traded.
    common, sets, books, held : Common, Sets, Books, Held
        The group; all but `sets` are advanced in place.
    journal : Journal
        Room for one block's events and its curve, emptied after each.
    room : Room
        Of one block.
    journal_rows : int
        Rows of the journal from which on it is emptied.
    """
    # References to what a tuple holds are counted at every look at it, with locked instructions: only the strategy is
    # handed tuples, everything else is lent.
    closes, common_rows = fields.close, common.rows
    lent_market, lent_marks, lent_timeline, lent_journal = (
        lent(market),
        lent(marks),
        lent(timeline),
        lent(journal),
    )
    sets, books, held, room = lent(sets), lent(books), lent(held), lent(room)
    n_decisions, n_symbols = closes.shape
    block = len(room.weights)
    generated = sets.portfolio.shape[1] > FIXED
    symbols, pairs = np.zeros((n_symbols, 7)), np.zeros((2, n_symbols, n_symbols))
    for i in range(n_symbols):
        symbols[i, 1] = np.nan
    estimated = np.full(n_symbols, np.nan)
    returns, moved = np.empty(n_symbols), np.empty(n_symbols)
    shares = np.empty((block if generated else 1, n_symbols))
    covariance = np.empty((len(shares), n_symbols, n_symbols))
    local, n_rows = timeline.local, len(market.ts_us)
    begun, recorded, start = 0, 0, 0
    while start < n_decisions:
        stop = min(start + block, first if start < first else n_decisions)
        if kernels.features != 0:
            call(kernels.features, (fields, common.vector, common.state, start, stop, common_rows))
        if generated:
            for t in range(start, stop):
                measure(
                    symbols, pairs, closes[t], sets.portfolio[0], estimated, returns, shares[t - start],
                    covariance[t - start],
                )  # fmt: skip
        traded = start >= first
        until = begun
        if traded:
            last = stop == n_decisions
            until = n_rows if last else lent_timeline.decision_row[stop - 1] + 1
        for g in range(len(sets.vector)):
            call(
                kernels.strategy,
                (
                    fields, common_rows, sets.vector[g], held.state[g], held.counts[g], start, stop, room.weights,
                ),
            )  # fmt: skip
            if generated:
                held.views[g] += _weigh(
                    closes, members, start, stop, shares, covariance, sets.portfolio[g], held.portfolio[g],
                    moved, room.weights,
                )  # fmt: skip
            else:
                held.views[g] += _fix(
                    closes, members, start, stop, sets.portfolio[g, 0], held.portfolio[g], room.weights
                )  # fmt: skip
            if not traded:
                continue
            if len(lent_marks.close) > 0:
                _trade_one(
                    kernels.account, market, lent_market, lent_marks, lent_timeline, sets, books, held, journal,
                    lent_journal, room, journal_rows, g, begun, until, stop - start,
                )  # fmt: skip
            else:
                _trade(
                    kernels.account, market, lent_timeline, sets, books, held, journal, lent_journal, room,
                    journal_rows, g, begun, until, recorded,
                )  # fmt: skip
        if traded:
            for row in range(begun, until):
                recorded += local[row] != -1
            begun = until
        start = stop
    return int(n_decisions - first)


@inner()
def _weigh(
    closes: FloatArray, members: BoolArray, start: int, stop: int, shares: FloatArray, covariance: FloatArray,
    portfolio: FloatArray, symbols: FloatArray, moved: FloatArray, weights: FloatArray,
) -> int:  # fmt: skip
    """Turn a block's forecasts into a generator's weights in place; return how many forecasts there were."""
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
def _fix(
    closes: FloatArray, members: BoolArray, start: int, stop: int, weight: float, last: FloatArray, weights: FloatArray
) -> int:  # fmt: skip
    """Turn a block's forecasts into a fixed portfolio's targets in place; return how many forecasts there were."""
    views = 0
    for i in range(closes.shape[1]):
        before = last[i, 0]
        for t in range(start, stop):
            forecast = weights[t - start, i]
            if len(members) > 0 and not members[t, i]:
                forecast = np.nan
            views += 0 if math.isnan(forecast) else 1
            target = fixed.change(forecast, closes[t, i], before, weight)
            weights[t - start, i] = target
            before = before if math.isnan(target) else target
        last[i, 0] = before
    return views


@inner()
def _account(books: Books, g: int) -> Account:
    return Account(
        books.cash[g], books.counter[g], books.position[g], books.held[g], books.order[g], books.ticket[g],
        books.risk[g], books.pairs[g], books.route[g], books.quote[g], books.liquidity[g],
    )  # fmt: skip


@inner()
def _trade(
    account_step: int, market: Market, timeline: Timeline, sets: Sets, books: Books, held: Held, journal: Journal,
    lent_journal: Journal, room: Room, journal_rows: int, g: int, row: int, until: int, recorded: int,
) -> None:  # fmt: skip
    """Advance a set's account over execution rows by the step, and count what happened."""
    account, r = _account(books, g), sets.rules[g]
    rules = Rules(books.rate[r], books.size[r], books.bracket[r])
    while row < until:
        row = call(
            account_step,
            (
                account, market, rules, sets.config[g], timeline.settlement, timeline.settlement_value,
                timeline.flow_row, timeline.flow_time, timeline.flow_amount, timeline.local, room.read_weights,
                timeline.script, timeline.script_value, journal, journal_rows, row, until,
            ),
        )  # fmt: skip
        count_events(lent_journal, held.tally[g], held.trips[g])
    count_curve(lent_journal, timeline.curve_ts, recorded, held.tally[g], held.daily[g])


@inner()
def _trade_one(
    account_step: int, market: Market, lent_market: Market, marks: Marks, timeline: Timeline, sets: Sets, books: Books,
    held: Held, journal: Journal, lent_journal: Journal, room: Room, journal_rows: int, g: int, row: int, until: int,
    n: int,
) -> None:  # fmt: skip
    """Advance the account of one symbol: by its own way as far as that goes, by the step where it does not."""
    own, r = _account(books, g), sets.rules[g]
    exchange = Rules(books.rate[r], books.size[r], books.bracket[r])
    account, rules, config = lent(own), lent(exchange), sets.config[g]
    if not is_plain(account, rules, config, lent_market.ts_us[-1]):
        _trade(
            account_step, market, timeline, sets, books, held, journal, lent_journal, room, journal_rows, g, row, until,
            row,
        )  # fmt: skip
        return
    weights, targets, events = room.weights, room.targets, room.events
    count = 0
    for k in range(n):
        if not math.isnan(weights[k, 0]):
            targets[count, 0], events[count] = weights[k, 0], row + k
            count += 1
    flows, steps = timeline.flow_row, 2
    while row < until:
        flow = until
        for f in range(len(flows)):
            if row <= flows[f] < flow:
                flow = flows[f]
        reached = solo(
            account, rules, lent_market, marks, timeline.settlement, timeline.settlement_value, config, lent_journal,
            held.tally[g], held.trips[g], held.daily[g], events, targets, count, row, flow,
        )  # fmt: skip
        lent_journal.filled[0] = 0
        steps = 2 if reached > row else min(2 * steps, STEPS_MAX)
        row = reached
        if row < until:
            last = min(row + steps, until)
            _trade(
                account_step, market, timeline, sets, books, held, journal, lent_journal, room, journal_rows, g, row,
                last, row,
            )  # fmt: skip
            row = last
