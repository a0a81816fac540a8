"""Exit rules that a strategy carries as settings; the account plane turns them into protective orders."""

from __future__ import annotations

from dataclasses import dataclass

from quantcore.errors import ConfigError


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
        Fall from the best mark price since entry, as a fraction, in (0, 1); triggered on mark price.
    time_exit : int or None
        Execution bars after the entry at which the position is closed at the next open, >= 1.
    """

    stop_loss: float | None
    take_profit: float | None
    trailing_stop: float | None
    time_exit: int | None

    def __post_init__(self) -> None:
        for name in ("stop_loss", "trailing_stop"):
            value = getattr(self, name)
            if value is not None and not 0.0 < value < 1.0:
                raise ValueError(f"{name} must be in (0, 1) or null, was {value}")
        if self.take_profit is not None and not self.take_profit > 0.0:
            raise ValueError(f"take_profit must be > 0 or null, was {self.take_profit}")
        if self.time_exit is not None and self.time_exit < 1:
            raise ValueError(f"time_exit must be >= 1 or null, was {self.time_exit}")


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
