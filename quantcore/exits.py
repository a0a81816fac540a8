"""Exit rules that a strategy carries as settings; the account plane turns them into protective orders."""

from __future__ import annotations

from dataclasses import dataclass

from quantcore.errors import ConfigError

TRAILING_MIN, TRAILING_MAX, TRAILING_STEP = 0.001, 0.1, 0.001
"""By what fractions a trailing stop of the exchange may follow: it takes per cent with one decimal, 0.1 to 10."""


@dataclass(frozen=True, kw_only=True)
class ExitSettings:
    """When a position is closed other than by its target weight; every rule is off where it is None.

    A protective order is placed at the close of the execution bar that filled the position and is active from the
    next bar on. After an exit the symbol stays flat until its target changes sign or passes through zero.

    Parameters
    ----------
    stop_loss : float or None
        Loss as a fraction of the entry price, in (0, 1); triggered on mark price.
    take_profit : float or None
        Gain as a fraction of the entry price, > 0; triggered on last price.
    trailing_stop : float or None
        Fall from the best mark price since entry, as a fraction from `TRAILING_MIN` to `TRAILING_MAX` in steps of
        `TRAILING_STEP`; triggered on mark price.
    time_exit : int or None
        Execution bars after the entry at which the position is closed at the next open, >= 1.
    """

    stop_loss: float | None
    take_profit: float | None
    trailing_stop: float | None
    time_exit: int | None

    def __post_init__(self) -> None:
        if self.stop_loss is not None and not 0.0 < self.stop_loss < 1.0:
            raise ValueError(f"stop_loss must be in (0, 1) or null, was {self.stop_loss}")
        if self.trailing_stop is not None and not _exchange_takes(self.trailing_stop):
            raise ValueError(
                f"trailing_stop must be {TRAILING_MIN} to {TRAILING_MAX} in steps of {TRAILING_STEP}, as the exchange "
                f"takes it, or null, was {self.trailing_stop}"
            )
        if self.take_profit is not None and not self.take_profit > 0.0:
            raise ValueError(f"take_profit must be > 0 or null, was {self.take_profit}")
        if self.time_exit is not None and self.time_exit < 1:
            raise ValueError(f"time_exit must be >= 1 or null, was {self.time_exit}")


def _exchange_takes(trailing_stop: float) -> bool:
    return TRAILING_MIN <= trailing_stop <= TRAILING_MAX and trailing_stop == round(
        trailing_stop, 3
    )


NO_EXITS = ExitSettings(stop_loss=None, take_profit=None, trailing_stop=None, time_exit=None)
"""Every rule off."""


def exits_of(strategy: object) -> ExitSettings:
    """Return the exits that a strategy's settings carry as `exits`; `NO_EXITS` if they have none.

    Raises
    ------
    ConfigError
        If `exits` is something else.
    """
    exits = getattr(strategy, "exits", None)
    if exits is None:
        return NO_EXITS
    if not isinstance(exits, ExitSettings):
        raise ConfigError(f"strategy.exits must be ExitSettings or null, was {exits!r}")
    return exits
