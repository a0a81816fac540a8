"""What a session of the loop is to be, from the settings of a command; refused where that needs no exchange."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from live.guard.checks import refuse
from live.guard.flight import flight_of, limited
from live.guard.preflight import Flight, on_the_ground
from live.settings import LiveSettings
from quantcore.config import build

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from live.parts import Parts


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A session.

    Parameters
    ----------
    cfg : DictConfig
        The settings, with the strictest of all limits.
    settings : LiveSettings
        Of the mode.
    parts : Parts
        Of both folds.
    flight : Flight
        What is checked before it trades.
    """

    cfg: DictConfig
    settings: LiveSettings
    parts: Parts = field(repr=False)
    flight: Flight

    @classmethod
    def of(
        cls,
        cfg: DictConfig,
        arguments: Sequence[str],
        environment: Mapping[str, str] = os.environ,
        ask: Callable[[str], str] | None = None,
    ) -> Asked:
        """Return the session that a command asks for.

        Parameters
        ----------
        cfg : DictConfig
            Of ``live.yaml``.
        arguments : sequence of str
            Of the process, without its name.
        environment : mapping
            Of the process.
        ask : callable or None
            Shows a question on a terminal and returns what was typed; None where there is no terminal.

        Raises
        ------
        ConfigError
            If a setting is refused, or a check that needs no exchange does not hold.
        """
        settings = build(cfg.conf, LiveSettings)
        flight = flight_of(cfg, settings, arguments=arguments, environment=environment, ask=ask)
        refuse(settings.mode, on_the_ground(flight))
        from live.parts import parts_of  # a refusal need not wait for it

        strict = limited(cfg, flight)
        return cls(cfg=strict, settings=settings, parts=parts_of(strict), flight=flight)
