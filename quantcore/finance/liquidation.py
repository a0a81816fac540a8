r"""Margin facts of Binance USDT-M futures: brackets, liquidation price, PnL and return on margin, funding.

Quantities are signed coins (long > 0), prices USDT per coin, notionals and margins USDT, rates fractions. Brackets are
the array of `kernels.layout`: one row of floor, cap, maintenance rate and cum per bracket, the last cap infinite. Fees
are in none of these formulas, as on the exchange. `liquidation_probability` tells how likely the price is reached.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from quantcore.data.instruments import maintenance_amounts
from quantcore.kernels import margin
from quantcore.kernels.layout import CAP, CUM, FLOOR, MAINTENANCE_RATE, N_BRACKET, ZERO
from quantcore.types import BoolArray, FloatArray


def bracket_table(
    floors: npt.ArrayLike, rates: npt.ArrayLike, *, first_cum: float = 0.0
) -> FloatArray:
    r"""Return margin brackets with the maintenance amounts that make maintenance margin continuous in notional.

    .. math:: c_n = f_n (r_n - r_{n-1}) + c_{n-1}

    Parameters
    ----------
    floors : array-like, shape (n_brackets,)
        Lower ends of the brackets, USDT, increasing from 0; each ends where the next begins, the last never.
    rates : array-like, shape (n_brackets,)
        Maintenance margin rates, fractions in (0, 1) that do not fall.
    first_cum : float
        c of the first bracket, USDT; 0 unless the table stands for the upper brackets of a longer one.

    Returns
    -------
    float64 array, shape (n_brackets, 4)
        Floor, cap, rate, cum.

    Raises
    ------
    ValueError
        If the lengths differ, nothing is given, or a rule above is broken. NaN breaks them.

    References
    ----------
    Binance FAQ, *Leverage and Margin of USD-M Futures Contracts* (maintenance amount).

    Examples
    --------
    >>> bracket_table([0, 10_000, 100_000], [0.005, 0.0065, 0.01])[:, 3].round(9).tolist()
    [0.0, 15.0, 365.0]
    """
    floor = np.atleast_1d(np.asarray(floors, dtype=np.float64))
    rate = np.atleast_1d(np.asarray(rates, dtype=np.float64))
    if floor.ndim != 1 or floor.shape != rate.shape or len(floor) == 0:
        raise ValueError(
            f"rates must have one value per floor, at least one, was {rate.shape} for {floor.shape}"
        )
    table = np.empty((len(floor), N_BRACKET))
    table[:, FLOOR], table[:, MAINTENANCE_RATE] = floor, rate
    table[:, CAP] = [*floor[1:], math.inf]
    table[:, CUM] = np.add(maintenance_amounts(floor.tolist(), rate.tolist()), first_cum)
    check_brackets(table)
    return table


def check_brackets(brackets: FloatArray) -> None:
    """Check one symbol's margin brackets; rows after the first infinite cap are padding and are not read.

    Raises
    ------
    ValueError
        If the shape is not ``(n_brackets, 4)``, the brackets do not join from 0 to infinity, a rate falls or leaves
        (0, 1), or a cum is not finite.
    """
    if brackets.ndim != 2 or brackets.shape[1] != N_BRACKET or len(brackets) == 0:
        raise ValueError(f"brackets must have shape (n_brackets, 4), was {brackets.shape}")
    open_ended = np.flatnonzero(np.isposinf(brackets[:, CAP]))
    if len(open_ended) == 0:
        raise ValueError(f"brackets must end in an infinite cap, was {brackets[-1, CAP]}")
    used = brackets[: open_ended[0] + 1]
    floors, caps, rates = used[:, FLOOR], used[:, CAP], used[:, MAINTENANCE_RATE]
    if floors[0] != 0.0 or not ((floors[1:] == caps[:-1]).all() and (caps > floors).all()):
        raise ValueError(f"brackets must join from floor 0 upwards, was {floors.tolist()}")
    if not (((rates > 0.0) & (rates < 1.0)).all() and (np.diff(rates) >= 0.0).all()):
        raise ValueError(f"rates must be in (0, 1) and not fall, was {rates.tolist()}")
    if not np.isfinite(used[:, CUM]).all():
        raise ValueError(f"cum must be finite, was {used[:, CUM].tolist()}")


def bracket_index(notional: float, brackets: FloatArray) -> int:
    """Return the row of the bracket that holds a notional, USDT; a floor belongs to its own bracket.

    Raises
    ------
    ValueError
        If the notional is negative or not finite, or the brackets are malformed.
    """
    check_brackets(brackets)
    if not 0.0 <= notional < math.inf:
        raise ValueError(f"notional must be finite and >= 0, was {notional}")
    return int(margin.bracket_of(brackets, float(notional), ZERO))


def maintenance_margin(notional: float, brackets: FloatArray) -> float:
    r"""Return the maintenance margin of a notional, :math:`N r - c` at its bracket, USDT.

    Raises
    ------
    ValueError
        As `bracket_index`.
    """
    tier = bracket_index(notional, brackets)
    return float(margin.maintenance_margin(brackets, float(notional), tier))


def liquidation_price(
    qty: float,
    entry: float,
    brackets: FloatArray,
    *,
    wallet: float,
    other_margin: float = 0.0,
    other_pnl: float = 0.0,
) -> float:
    r"""Return the mark price at which a position is liquidated, the others' marks standing still.

    .. math:: p = \frac{W - M_o + U_o + c - q e}{|q| r - q}

    with rate r and cum c of the bracket that holds the notional **at that price**.

    Parameters
    ----------
    qty, entry : float
        Signed coins, not 0, and entry price, > 0.
    brackets : float64 array, shape (n_brackets, 4)
        From `bracket_table` or the exchange.
    wallet : float
        W: cross wallet, or the isolated wallet of the position.
    other_margin, other_pnl : float
        Maintenance margin and unrealised PnL of the other cross positions; 0 for isolated margin.

    Returns
    -------
    float
        > 0; NaN where no positive price liquidates the position (the exchange shows "--"). A price on the profitable
        side of the mark means that the position is due already.

    Raises
    ------
    ValueError
        If `qty` is 0, `entry` is not positive, or a number is not finite.

    References
    ----------
    Binance FAQ, *How to Calculate Liquidation Price of USD-M Futures Contracts*, one-way mode.

    Examples
    --------
    >>> brackets = bracket_table([0, 10_000], [0.005, 0.0065])
    >>> round(liquidation_price(0.1, 2300.0, brackets, wallet=23.0), 4)
    2080.402
    """
    numbers = (qty, entry, wallet, other_margin, other_pnl)
    if not np.isfinite(numbers).all() or qty == 0.0 or entry <= 0.0:
        raise ValueError(
            "qty must be finite and not 0, entry > 0, wallet and the others' margin and PnL finite, "
            f"was {numbers}"
        )
    check_brackets(brackets)
    return float(
        margin.liquidation_price(
            float(wallet), float(other_margin), float(other_pnl), float(qty), float(entry), brackets
        )
    )


def liquidation_distance(price: float, mark: float, *, side: float) -> float:
    """Return how far the mark is from the liquidation price, as a fraction of the mark.

    Parameters
    ----------
    price, mark : float
        Liquidation price, NaN if there is none, and mark price, > 0.
    side : float
        > 0 long, < 0 short.

    Returns
    -------
    float
        <= 0 where the position is due already, infinite without a liquidation price; NaN where the mark is NaN.

    Examples
    --------
    >>> liquidation_distance(90.0, 100.0, side=1)
    0.1
    """
    if math.isnan(mark):
        return math.nan
    return math.inf if math.isnan(price) else math.copysign(1.0, side) * (mark - price) / mark


_PER_SYMBOL = {
    "qty": (-math.inf, False),
    "entry": (0.0, False),
    "mark": (0.0, False),
    "isolated_margin": (-math.inf, False),
    "liquidation_fee": (0.0, True),
    "funding_rate": (-math.inf, False),
    "funding_interval_hours": (0.0, False),
    "hours_to_funding": (0.0, True),
}
"""The least value of each field where a position is held, and whether it is itself allowed."""


@dataclass(frozen=True, kw_only=True, eq=False)
class MarginAccount:
    """An account at an instant: what it holds, what stands behind it, and what it will be charged.

    Parameters
    ----------
    wallet : float
        Cross wallet, USDT; isolated margin is not in it.
    qty, entry, mark : float64 array, shape (n_symbols,)
        Signed coins, 0 if flat; entry and mark price, read where a position is held.
    brackets : float64 array, shape (n_symbols, n_brackets, 4)
        As `kernels.layout.Rules.bracket`.
    isolated_margin : float or array of shape (n_symbols,)
        Isolated wallet of each position, USDT; NaN for one on cross margin. From here on one number serves all.
    liquidation_fee : float or array of shape (n_symbols,)
        Fraction of notional, >= 0.
    funding_rate : float or array of shape (n_symbols,)
        Expected at each settlement, > 0 is paid by longs.
    funding_interval_hours : float or array of shape (n_symbols,)
        Between settlements, > 0.
    hours_to_funding : float or array of shape (n_symbols,)
        Until the next settlement, >= 0; NaN stands for one interval.

    Raises
    ------
    ValueError
        If shapes differ, or a number of a held symbol breaks a rule above.
    """

    wallet: float
    qty: FloatArray
    entry: FloatArray
    mark: FloatArray
    brackets: FloatArray
    isolated_margin: FloatArray | float = math.nan
    liquidation_fee: FloatArray | float = 0.0
    funding_rate: FloatArray | float = 0.0
    funding_interval_hours: FloatArray | float = 8.0
    hours_to_funding: FloatArray | float = math.nan

    def __post_init__(self) -> None:
        n = len(np.atleast_1d(self.qty))
        for name in _PER_SYMBOL:
            given = np.asarray(getattr(self, name), dtype=np.float64)
            if given.shape != (n,) and (given.ndim > 0 or name in ("qty", "entry", "mark")):
                raise ValueError(f"{name} must have shape ({n},), was {given.shape}")
            object.__setattr__(self, name, np.array(np.broadcast_to(given, n)))
        if self.brackets.ndim != 3 or len(self.brackets) != n:
            raise ValueError(
                f"brackets must have shape ({n}, n_brackets, 4), was {self.brackets.shape}"
            )
        _check_holdings(self)

    @property
    def held(self) -> BoolArray:
        """Symbols with a position."""
        return np.asarray(self.qty != 0.0)

    @property
    def cross(self) -> BoolArray:
        """Symbols with a position on cross margin."""
        return np.asarray(self.held & np.isnan(self.isolated_margin))

    def settled_rates(self, n_hours: int) -> FloatArray:
        """Return the funding rates to be settled within each hour from now, shape ``(n_hours, n_symbols)``.

        A settlement due now falls into the first hour; several within one hour are summed.
        """
        rates = np.zeros((n_hours, len(self.qty)))
        rate, every = np.asarray(self.funding_rate), np.asarray(self.funding_interval_hours)
        first = np.where(np.isnan(self.hours_to_funding), every, self.hours_to_funding)
        for s in np.flatnonzero(self.held):
            count = max(math.floor((n_hours - first[s]) / every[s]) + 1, 0)
            hours = np.ceil(first[s] + every[s] * np.arange(count)).astype(np.int64)
            np.add.at(rates[:, s], np.maximum(hours - 1, 0), rate[s])
        return rates


def _check_holdings(account: MarginAccount) -> None:
    if not math.isfinite(account.wallet):
        raise ValueError(f"wallet must be finite, was {account.wallet}")
    for name, (least, allowed) in _PER_SYMBOL.items():
        values = getattr(account, name)
        values = values if name == "qty" else values[account.held]
        good = (values >= least if allowed else values > least) & (values < math.inf)
        good |= np.isnan(values) & (name in ("isolated_margin", "hours_to_funding"))
        if not good.all():
            rule = f"finite and {'>=' if allowed else '>'} {least:g}"
            raise ValueError(f"{name} must be {rule} where held, was {values[~good][0]}")
    for s in np.flatnonzero(account.held):
        check_brackets(account.brackets[s])


def liquidation_prices(account: MarginAccount) -> FloatArray:
    """Return each position's liquidation price, all other marks standing still.

    Parameters
    ----------
    account : MarginAccount
        Cross positions share wallet, unrealised PnL and maintenance margin; isolated ones stand alone.

    Returns
    -------
    float64 array, shape (n_symbols,)
        NaN where flat or never liquidated.
    """
    cross = account.cross
    isolated = np.asarray(account.isolated_margin)
    pnl = np.where(account.held, position_pnl(account.qty, account.entry, account.mark), 0.0)
    required = np.zeros(len(cross))
    for s in np.flatnonzero(cross):
        notional = abs(account.qty[s]) * account.mark[s]
        required[s] = maintenance_margin(notional, account.brackets[s])
    prices = np.full(len(cross), np.nan)
    # A few positions need no machine code, whose loading takes 50 MB in a process that only looks on.
    price_of = margin.liquidation_price.py_func
    for s in np.flatnonzero(account.held):
        others = cross.copy()
        others[s] = False
        prices[s] = price_of(
            account.wallet if cross[s] else isolated[s],
            float(required[others].sum()) if cross[s] else 0.0,
            float(pnl[others].sum()) if cross[s] else 0.0,
            account.qty[s],
            account.entry[s],
            account.brackets[s],
        )
    return prices


def position_pnl(qty: npt.ArrayLike, entry: npt.ArrayLike, price: npt.ArrayLike) -> FloatArray:
    """Return the PnL of positions at a price, ``qty * (price - entry)``, USDT; NaN is passed on."""
    q, e, p = (np.asarray(x, dtype=np.float64) for x in (qty, entry, price))
    return np.asarray(q * (p - e))


def initial_margin(qty: float, price: float, *, leverage: float) -> float:
    """Return the initial margin of a position, notional over leverage, USDT.

    Raises
    ------
    ValueError
        If `leverage` is not positive.
    """
    _check_positive("leverage", leverage)
    return abs(qty) * price / leverage


def entry_margin_return(entry: float, price: float, *, side: float, leverage: float) -> float:
    r"""Return the PnL over the initial margin **at entry**, :math:`\mathrm{side}\,(p/e - 1)\,L`, a fraction.

    `exchange_roe` is the other definition in use.

    Raises
    ------
    ValueError
        If a price or the leverage is not positive.

    Examples
    --------
    >>> round(entry_margin_return(60_000, 61_000, side=1, leverage=20), 4)
    0.3333
    """
    for name, value in (("entry", entry), ("price", price), ("leverage", leverage)):
        _check_positive(name, value)
    return math.copysign(1.0, side) * (price / entry - 1.0) * leverage


def exchange_roe(entry: float, price: float, *, side: float, leverage: float) -> float:
    r"""Return the ROE as the exchange computes it, :math:`\mathrm{side}\,(1 - e/p)\,L`: PnL over margin at `price`.

    Raises
    ------
    ValueError
        If a price or the leverage is not positive.

    References
    ----------
    Binance FAQ, *How to Use Binance Futures Calculator* and its ROE formula.

    Examples
    --------
    >>> round(exchange_roe(60_000, 61_000, side=1, leverage=20), 4)
    0.3279
    """
    for name, value in (("entry", entry), ("price", price), ("leverage", leverage)):
        _check_positive(name, value)
    return math.copysign(1.0, side) * (1.0 - entry / price) * leverage


def target_price(entry: float, *, side: float, roe: float, leverage: float) -> float:
    r"""Return the price at which `entry_margin_return` is `roe`: :math:`e\,(1 + \mathrm{side}\,\mathrm{ROE}/L)`.

    The exchange's calculator inverts this definition, not its own ROE.

    Raises
    ------
    ValueError
        If `entry` or the leverage is not positive.

    References
    ----------
    Binance FAQ, *How to Use Binance Futures Calculator* (target price).

    Examples
    --------
    >>> target_price(2000.0, side=-1, roe=0.5, leverage=10)
    1900.0
    """
    _check_positive("entry", entry)
    _check_positive("leverage", leverage)
    return entry * (1.0 + math.copysign(1.0, side) * roe / leverage)


def funding_interest(daily: float, *, interval_hours: float) -> float:
    """Return the interest part of one funding interval from the daily one, 0.0003 a day on most symbols."""
    _check_positive("interval_hours", interval_hours)
    return daily * interval_hours / 24.0


def funding_rate(
    premium: float,
    *,
    interest: float,
    clamp: float = 0.0005,
    cap: float = math.inf,
    interval_hours: float = 8.0,
) -> float:
    r"""Return the funding rate of one settlement.

    .. math:: F = \frac{N}{8} \left(P + \mathrm{clamp}(I - P,\, -k,\, k)\right), \qquad |F| \le \text{cap}

    Parameters
    ----------
    premium : float
        P: average premium index over the interval, fraction.
    interest : float
        I: interest per 8 h, from `funding_interest`.
    clamp : float
        k, >= 0.
    cap : float
        Largest rate of either sign, >= 0; the symbol's own, mostly a share of its maintenance rate.
    interval_hours : float
        N, > 0. That the exchange scales an interval other than 8 h by N / 8 was recalled, not read; the formula
        without it is the published one.

    Returns
    -------
    float
        Fraction of notional, > 0 paid by longs; NaN where `premium` is NaN.

    Raises
    ------
    ValueError
        If `clamp` or `cap` is negative or `interval_hours` not positive.

    References
    ----------
    Binance FAQ, *Introduction to Binance Futures Funding Rates*.

    Examples
    --------
    >>> round(funding_rate(0.001, interest=0.0001), 10)
    0.0005
    """
    for name, value in (("clamp", clamp), ("cap", cap)):
        if not value >= 0.0:
            raise ValueError(f"{name} must be >= 0, was {value}")
    _check_positive("interval_hours", interval_hours)
    held = premium + min(max(interest - premium, -clamp), clamp)
    rate = held * interval_hours / 8.0
    return math.nan if math.isnan(premium) else min(max(rate, -cap), cap)


def funding_cash_flow(notional: float, rate: float, *, settlements: int = 1) -> float:
    """Return what a position receives at funding settlements, USDT, < 0 if it pays.

    Parameters
    ----------
    notional : float
        Signed, at the mark of the settlement: long > 0.
    rate : float
        Fraction per settlement; longs pay where it is positive.
    settlements : int
        At this notional and rate, >= 0.

    Raises
    ------
    ValueError
        If `settlements` is negative.

    Examples
    --------
    >>> funding_cash_flow(20_000.0, 0.0001, settlements=3)
    -6.0
    """
    if settlements < 0:
        raise ValueError(f"settlements must be >= 0, was {settlements}")
    return -notional * rate * settlements


def _check_positive(name: str, value: float) -> None:
    if not 0.0 < value < math.inf:
        raise ValueError(f"{name} must be > 0, was {value}")
