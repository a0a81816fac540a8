"""Quantities and prices as the exchange writes them: exact text of whole steps and ticks."""

from __future__ import annotations

from decimal import Decimal

from quantcore.data.instruments import Instrument
from quantcore.errors import VenueError


def qty_text(instrument: Instrument, lots: int) -> str:
    """Return whole steps as coins, without powers of ten.

    Examples
    --------
    >>> from decimal import Decimal
    >>> format(Decimal("0.001") * 12, "f")
    '0.012'
    """
    return format(Decimal(instrument.step_size) * lots, "f")


def price_text(instrument: Instrument, price: float) -> str:
    """Return a price as a multiple of the tick, with the tick's decimals."""
    tick = Decimal(instrument.tick_size)
    return format(tick * round(Decimal(repr(float(price))) / tick), "f")


def lots_of(instrument: Instrument, qty: str) -> int:
    """Return the signed whole steps of a quantity.

    Raises
    ------
    VenueError
        If it is no multiple of the step: then this host's rules are others than those that were loaded.
    """
    lots = Decimal(qty) / Decimal(instrument.step_size)
    if lots != lots.to_integral_value():
        raise VenueError(
            f"{instrument.symbol}: a quantity must be a multiple of {instrument.step_size}, was {qty}"
        )
    return int(lots)
