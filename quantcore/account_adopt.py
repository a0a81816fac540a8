"""An account that goes on under other settings: what its state keeps, what begins anew, and what would be lost.

Between two runs of the live loop its user may change symbols, execution, risk limits and leverage. Positions, orders
and money are carried over; what only the former settings knew is left behind, and what the new ones need begins anew.
"""

from __future__ import annotations

import numpy as np

from quantcore.account_plane import KIND, VERSION, AccountPlane
from quantcore.errors import ConfigError
from quantcore.fold import FoldState
from quantcore.kernels import layout as at

_BY_SYMBOL = ("position", "held")
_ROUTER = ("route", "quote")


def adopt(plane: AccountPlane, state: FoldState) -> FoldState:
    """Return an account's state as one of other settings.

    Money, positions and open orders stay as they are. Risk ladder and covariances, routes and what was learnt of the
    symbols' liquidity are carried over where both settings have them, symbol by symbol; where only the new ones do they
    begin: the ladder with the account's own peak, the covariances with the prior. The leverage is that of the new ones.

    Parameters
    ----------
    plane : AccountPlane
        Of the new settings.
    state : FoldState
        Of an account under other ones; not modified.

    Raises
    ------
    ConfigError
        If a symbol is left out that holds a position or has an open order, or the router is left out while its orders
        are open.
    """
    state.expect(KIND, VERSION)
    held = state.copies()
    former = [name.decode() for name in held["symbols"]]
    _check_left_out(held, former, plane)
    fresh = plane.start().copies()
    now, then = _places(plane.symbols, former)
    for name in _BY_SYMBOL:
        fresh[name][now] = held[name][then]
    for name in (*_ROUTER, "liquidity"):
        if len(held[name]) and len(fresh[name]):
            fresh[name][now] = held[name][then]
    _carry_risk(fresh, held, now, then)
    for name in ("cash", "counter", "order", "ticket"):
        fresh[name] = held[name]
    n_open = int(held["counter"][at.OPEN_ORDERS])
    moved = np.zeros(len(former), dtype=np.int64)
    moved[then] = now
    fresh["ticket"][:n_open, at.SYMBOL] = moved[held["ticket"][:n_open, at.SYMBOL]]
    fresh["position"][:, at.LEVERAGE_SET] = plane.rules.rate[:, at.LEVERAGE]
    return FoldState(KIND, VERSION, fresh)


def _check_left_out(held: dict[str, np.ndarray], former: list[str], plane: AccountPlane) -> None:
    tickets = held["ticket"][: int(held["counter"][at.OPEN_ORDERS])]
    for s, symbol in enumerate(former):
        if symbol in plane.symbols:
            continue
        if held["held"][s, at.LOTS] != 0:
            raise ConfigError(
                f"data.symbols must keep {symbol} while a position in it is held: close that first, as by flattening"
            )
        n_open = int((tickets[:, at.SYMBOL] == s).sum())
        if n_open:
            raise ConfigError(f"data.symbols must keep {symbol} while it has {n_open} open orders")
    routed = plane.config[at.POST_ONLY] != at.OFF
    n_routes = int(held["counter"][at.ACTIVE_ROUTES])
    if not routed and n_routes:
        raise ConfigError(
            f"execution must keep its router while it works in {n_routes} symbols: end the loop in order first (Ctrl-C)"
        )


def _places(symbols: tuple[str, ...], former: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return the places of the symbols that stay, in the new order and in the former one."""
    known = {symbol: s for s, symbol in enumerate(former)}
    now = [s for s, symbol in enumerate(symbols) if symbol in known]
    then = [known[symbols[s]] for s in now]
    return np.array(now, dtype=np.int64), np.array(then, dtype=np.int64)


def _carry_risk(
    fresh: dict[str, np.ndarray], held: dict[str, np.ndarray], now: np.ndarray, then: np.ndarray
) -> None:
    guarded = fresh["pairs"].shape[1] > 0
    if guarded and held["pairs"].shape[1] > 0:
        fresh["risk"] = held["risk"]
        for kept, former in zip(fresh["pairs"], held["pairs"], strict=True):
            kept[np.ix_(now, now)] = former[np.ix_(then, then)]
    elif guarded:
        cash = held["cash"]
        fresh["risk"][at.PEAK] = cash[at.PEAK_NAV]
        fresh["risk"][at.DAY_NAV] = cash[at.EQUITY] * cash[at.NAV_RATE]
