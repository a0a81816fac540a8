r"""The price at which a position is liquidated, as the exchange shows it.

.. math:: P = \frac{W - M_o + U_o + c - \sigma q e}{q m - \sigma q}

with the wallet W, maintenance margin and profit of the other cross positions :math:`M_o, U_o`, the bracket's cum c and
rate m, size q, side :math:`\sigma` and entry e; an isolated position knows its own margin alone (BINANCE.md).
"""

from __future__ import annotations

import numpy as np

from live.simulator.accounts import VenueAccount
from quantcore.kernels import layout as at
from quantcore.types import FloatArray


def liquidation_price(account: VenueAccount, s: int, marks: FloatArray) -> float:
    """Return the price, 0 without a position or where none liquidates it.

    Parameters
    ----------
    account : VenueAccount
        Read only.
    s : int
        Column of the symbol.
    marks : float64 array
        Of all symbols; known where a position is held.
    """
    qty = account.qty(s)
    if qty == 0.0:
        return 0.0
    if account.isolated(s):
        wallet = float(account.held["position"][s, at.MARGIN])
    else:
        wallet = account.wallet
        profits = account.unrealised(marks)
        for other in np.flatnonzero(account.held["position"][:, at.QTY]):
            if other != s and not account.isolated(int(other)):
                wallet += float(profits[other])
                wallet -= account.maintenance_margin(int(other), float(marks[other]))
    for row in account.rules.bracket[s]:
        rate = row[at.MAINTENANCE_RATE]
        price = (wallet + row[at.CUM] - qty * account.entry(s)) / (abs(qty) * rate - qty)
        if price > 0.0 and row[at.FLOOR] <= abs(qty) * price < row[at.CAP]:
            return float(price)
    return 0.0
