"""What the exchange says of a symbol: filters, fees, margin brackets; from committed facts or the exchange's own JSON."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal

from quantcore.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Bracket:
    """One row of a symbol's leverage and maintenance-margin table (DESIGN.md 1, BINANCE.md).

    Parameters
    ----------
    floor, cap : float
        Notional range in USDT, ``floor <= notional < cap``.
    maintenance_margin_rate : float
        Fraction of notional.
    cum : float
        USDT subtracted from ``notional * maintenance_margin_rate``, so that margin is continuous at the floor.
    leverage_max : int
        Highest initial leverage in this bracket.
    """

    floor: float
    cap: float
    maintenance_margin_rate: float
    cum: float
    leverage_max: int


@dataclass(frozen=True, kw_only=True)
class Instrument:
    """Rules and fees of one USDT-M perpetual.

    Sizes are decimal text, as the exchange writes them, so that integer lots and ticks are exact.

    Parameters
    ----------
    symbol : str
        Such as ``"BTCUSDT"``.
    tick_size, step_size : str
        Price and quantity steps, USDT per coin and coins.
    min_qty, market_max_qty, limit_max_qty : str
        Coins per order.
    min_notional : float
        USDT; reduce-only and close-position orders are exempt.
    maker_fee, taker_fee, liquidation_fee : float
        Fractions of notional.
    funding_interval_hours : int
        The regular interval; settlements that happened override it.
    brackets : tuple of Bracket
        Sorted by floor, contiguous from 0.
    ends : str or None
        UTC time at which trading ends and positions settle; None while listed.
    origin : str
        Where the facts come from, with date.
    defaulted : bool
        True where conservative defaults stand in for facts that are not known.
    """

    symbol: str
    tick_size: str
    step_size: str
    min_qty: str
    market_max_qty: str
    limit_max_qty: str
    min_notional: float
    maker_fee: float
    taker_fee: float
    liquidation_fee: float
    funding_interval_hours: int
    brackets: tuple[Bracket, ...] = field(repr=False)
    ends: str | None = None
    origin: str = ""
    defaulted: bool = False

    def __post_init__(self) -> None:
        for name in ("tick_size", "step_size"):
            if Decimal(getattr(self, name)) <= 0:
                raise ConfigError(
                    f"{self.symbol}: {name} must be > 0, was {getattr(self, name)}"
                )
        if self.min_notional < 0:
            raise ConfigError(
                f"{self.symbol}: min_notional must be >= 0, was {self.min_notional}"
            )
        _check_brackets(self.symbol, self.brackets)

    @property
    def leverage_max(self) -> int:
        """Highest leverage of any bracket."""
        return max(b.leverage_max for b in self.brackets)


def _check_brackets(symbol: str, brackets: tuple[Bracket, ...]) -> None:
    if not brackets or brackets[0].floor != 0.0:
        raise ConfigError(f"{symbol}: brackets must start at notional 0")
    for lower, upper in zip(brackets, brackets[1:], strict=False):
        if lower.cap != upper.floor:
            raise ConfigError(
                f"{symbol}: brackets must not have holes, {lower.cap} is followed by {upper.floor}"
            )
