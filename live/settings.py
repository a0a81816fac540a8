"""Settings of one mode of the loop, as `conf/conf/` has them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from live.guard.modes import MODES
from live.hidden import check_no_password, check_variable
from live.journal.database import sqlite_path, without_password
from quantcore.errors import ConfigError

_FOLDERS = Path("data/live")


@dataclass(frozen=True, kw_only=True)
class SimulatorSettings:
    """The simulator that ``conf=sim`` attaches to, or else starts.

    Parameters
    ----------
    state_file : str
        Tells of a running one.
    folder : str
        Where a started one keeps its snapshot and its log.
    speed : float
        Of a started one: its seconds per second, > 0.
    overrides : tuple of str
        Of ``python -m live.simulator``.
    start_s : float
        Seconds until a started one must answer, > 0.
    """

    state_file: str
    folder: str
    speed: float
    overrides: tuple[str, ...]
    start_s: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "overrides", tuple(self.overrides))
        for name in ("speed", "start_s"):
            if not 0.0 < getattr(self, name) < math.inf:
                raise ConfigError(f"{name} must be > 0, was {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True)
class FeedSettings:
    """How long the feed waits for a bar, seconds on the wall; see `live.feed.assembler`."""

    marks: str
    settle_s: float
    grace_s: float
    absent_s: float
    deadline_s: float
    retry_s: float
    funding_after_s: float

    def at_speed(self, speed: float) -> dict[str, Any]:
        """Return the settings in seconds of a clock that is so many times as fast as the wall's."""
        return {
            name: value if isinstance(value, str) else value * speed
            for name, value in vars(self).items()
        }


@dataclass(frozen=True, kw_only=True)
class LiveSettings:
    """One mode.

    Parameters
    ----------
    mode : str
        One of `guard.modes.MODES`.
    account : str
        A name of the account; a journal holds one.
    journal : str
        Its URL, without a password.
    synchronous : str
        Of SQLite, see `open_journal`.
    copy_url : str or None
        Of a database to which the journal, a file then, is copied all the time, without a password; None: of none.
    copy_behind_max : int
        Steps that the copy may lack until nothing opens any more, >= 1: so the file stays bounded.
    metrics_port : int or None
        Of this machine, where Prometheus finds the metrics; 0 is any, None serves none.
    rest_url, stream_url, permissions_url : str or None
        Of the exchange; None of a simulator, which tells them itself.
    clock_speed : float or None
        Seconds of the exchange per second here: 1, but of a simulator that gives prices to a paper account; None of
        ``conf=sim``, whose simulator tells it.
    api_key, api_secret : str
        Names of the environment variables that hold them.
    symbols_max : int
        Of those that the exchange trades, the first so many where the data's settings name none, >= 1.
    recv_window_ms : int
        See `BrokerSettings`.
    grace_s : float
        On the wall, until an order that nobody knows of is believed not to be there, > 0.
    tick_s : float
        On the wall, between two looks of the router at the book, > 0.
    reconcile_s : float
        On the wall, between two comparisons with the exchange, > 0.
    feed : FeedSettings
        Its patience.
    simulator : SimulatorSettings or None
        Of ``conf=sim`` alone.
    """

    mode: str
    account: str
    journal: str
    synchronous: str
    copy_url: str | None
    copy_behind_max: int
    metrics_port: int | None
    rest_url: str | None
    stream_url: str | None
    permissions_url: str | None
    clock_speed: float | None
    api_key: str
    api_secret: str
    symbols_max: int
    recv_window_ms: int
    grace_s: float
    tick_s: float
    reconcile_s: float
    feed: FeedSettings
    simulator: SimulatorSettings | None

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ConfigError(f"conf.mode must be one of {', '.join(MODES)}, was {self.mode!r}")
        for name in ("api_key", "api_secret"):
            check_variable(f"conf.{name}", getattr(self, name))
        for name in ("grace_s", "tick_s", "reconcile_s"):
            if not 0.0 < getattr(self, name) < math.inf:
                raise ConfigError(f"conf.{name} must be > 0, was {getattr(self, name)}")
        for name in ("symbols_max", "copy_behind_max"):
            if getattr(self, name) < 1:
                raise ConfigError(f"conf.{name} must be >= 1, was {getattr(self, name)}")
        port = self.metrics_port
        if port is not None and not 0 <= port < 65_536:
            raise ConfigError(f"conf.metrics_port must be null or a port, was {port}")
        if (self.simulator is None) == (self.mode == "sim"):
            raise ConfigError("conf.simulator must be given for mode sim, and for no other")
        try:
            without_password(self.journal)
        except ConfigError as error:
            raise ConfigError(f"conf.journal: {error}") from None
        check_no_password("conf.journal", self.journal)
        self._check_copy()
        self._check_place()

    @property
    def folder(self) -> Path:
        """Where the files of the kill switch and of a paper account are: beside the journal, if that is a file."""
        journal = sqlite_path(self.journal)
        return _FOLDERS / self.mode if journal is None else journal.parent

    def _check_copy(self) -> None:
        if self.copy_url is None:
            return
        check_no_password("conf.copy_url", self.copy_url)
        try:
            without_password(self.copy_url)
        except ConfigError as error:
            raise ConfigError(f"conf.copy_url: {error}") from None
        if sqlite_path(self.journal) is None or self.copy_url == self.journal:
            raise ConfigError("conf.copy_url must be null where conf.journal is no file of its own")

    def _check_place(self) -> None:
        if self.mode == "sim":
            for name in ("rest_url", "stream_url", "clock_speed"):
                if getattr(self, name) is not None:
                    raise ConfigError(
                        f"conf.{name} must be null for mode sim, whose simulator tells it, was {getattr(self, name)}"
                    )
            return
        for name in ("rest_url", "stream_url", "clock_speed"):
            if getattr(self, name) is None:
                raise ConfigError(f"conf.{name} must be given for mode {self.mode}, was null")
        speed = self.clock_speed or 0.0
        if not 0.0 < speed < math.inf or (speed != 1.0 and self.mode != "paper"):
            rule = "> 0" if self.mode == "paper" else "1"
            raise ConfigError(f"conf.clock_speed must be {rule} for mode {self.mode}, was {speed}")
